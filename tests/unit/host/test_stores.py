"""Stores without a server: addresses, files, and what is imported when."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from outboard.errors import StoreUnavailable
from outboard.host.stores import Store, Stores, paths


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_local_paths_and_file_uris_are_the_same_place(tmp_path: Path) -> None:
    store: Store = Stores()
    tag = await store.create(f"file://{tmp_path}/a/key", b"value")

    found = await store.read_tagged(str(tmp_path / "a" / "key"))

    assert found is not None
    assert (found.data, found.tag) == (b"value", tag)


async def test_memory_is_one_for_each_stores() -> None:
    stores = Stores()
    await stores.write("memory://bucket/key", b"value")

    assert await stores.read("memory://bucket/key") == b"value"
    assert await Stores().read("memory://bucket/key") is None


async def test_an_unknown_scheme_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(
        StoreUnavailable, match=r"ftp:// is not supported; use a path, s3://, gs://, az:// or memory://"
    ):
        await Stores().create("ftp://host/key", b"value")


async def test_a_folder_is_not_an_object_and_cannot_be_overwritten(tmp_path: Path) -> None:
    stores = Stores()
    (tmp_path / "key").mkdir()

    assert await stores.read(str(tmp_path / "key")) is None
    assert not await stores.exists(str(tmp_path / "key"))
    with pytest.raises(StoreUnavailable, match=r"cannot create .*key: .*directory"):
        await stores.create(str(tmp_path / "key"), b"value")
    assert names_in(tmp_path) == ["key"]


async def test_nothing_is_left_beside_what_was_written(tmp_path: Path) -> None:
    stores = Stores()
    tag = await stores.create(str(tmp_path / "key"), b"first")
    assert tag
    await stores.replace(str(tmp_path / "key"), b"second", tag)
    await stores.write(str(tmp_path / "key"), b"third")
    await stores.copy(str(tmp_path / "key"), str(tmp_path / "copy"))

    assert names_in(tmp_path) == ["copy", "key"]


async def test_files_have_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    await Stores().create(str(tmp_path / "key"), b"value")

    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("any", "key")]
    assert rights[0] == rights[1]


async def test_replacing_makes_no_folders(tmp_path: Path) -> None:
    assert await Stores().replace(str(tmp_path / "a" / "key"), b"value", "tag") is None
    assert not (tmp_path / "a").exists()


async def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    stores, uri = Stores(), str(tmp_path / "key")
    wholes = [bytes([number]) * 300_000 for number in range(2)]
    await stores.write(uri, wholes[0])

    async def write() -> None:
        for number in range(30):
            await stores.write(uri, wholes[number % 2])

    writing = asyncio.ensure_future(write())
    seen = [await stores.read(uri) for _ in range(60)]
    await writing

    assert all(each in wholes for each in seen)


async def test_a_lock_that_is_never_given_back_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_LOCK_TRIES", 3)
    lock = paths._lock(tmp_path)
    try:
        with pytest.raises(StoreUnavailable, match=r"another process has held the lock"):
            await Stores().create(str(tmp_path / "key"), b"value")
        with pytest.raises(StoreUnavailable, match=r"another process has held the lock"):
            await Stores().write(str(tmp_path / "key"), b"value")
    finally:
        paths._unlock(lock)
    assert await Stores().create(str(tmp_path / "key"), b"value")


async def test_where_nothing_can_be_locked_only_plain_writes_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where a lock needs a file that is open for writing."""

    def refuse(*_: object) -> None:
        raise OSError(9, os.strerror(9))

    monkeypatch.setattr("fcntl.flock", refuse)
    stores = Stores()

    await stores.write(str(tmp_path / "key"), b"value")
    with pytest.raises(StoreUnavailable, match=r"cannot create .*Bad file descriptor"):
        await stores.create(str(tmp_path / "other"), b"value")

    assert names_in(tmp_path) == ["key"]


def test_obstore_is_imported_for_buckets_only(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from outboard.host.stores import Stores\n"
        f"asyncio.run(Stores().write({str(tmp_path / 'key')!r}, b'value'))\n"
        "assert 'obstore' not in sys.modules\n"
        "asyncio.run(Stores().write('memory://bucket/key', b'value'))\n"
        "assert 'obstore' in sys.modules\n"
        "os._exit(0)\n"  # obstore's threads may abort an interpreter that ends while they finish
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
