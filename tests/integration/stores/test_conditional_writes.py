"""One suite over all kinds of stores that run here: files, memory, and a real S3 server."""

import asyncio

import pytest

from outboard.errors import StoreUnavailable
from outboard.host.stores import Store, Stored, Stores, join_uri


@pytest.fixture
def store() -> Store:
    return Stores()


async def test_what_was_never_written_is_not_there(store: Store, root: str) -> None:
    uri = join_uri(root, "nothing")

    assert await store.read(uri) is None
    assert await store.read_tagged(uri) is None
    assert not await store.exists(uri)
    assert not await store.copy(uri, join_uri(root, "copy"))
    await store.delete(uri)
    assert not await store.exists(join_uri(root, "copy"))


async def test_creating_writes_once_and_answers_with_the_tag_that_reading_finds(store: Store, root: str) -> None:
    uri = join_uri(root, ".outboard", "key")

    tag = await store.create(uri, b"first")

    assert tag
    assert await store.read_tagged(uri) == Stored(b"first", tag)
    assert await store.create(uri, b"second") is None
    assert await store.create(uri, b"first") is None
    assert await store.read(uri) == b"first"


async def test_replacing_follows_the_tag_and_only_the_newest(store: Store, root: str) -> None:
    uri = join_uri(root, "key")
    first = await store.create(uri, b"first")
    assert first

    second = await store.replace(uri, b"second", first)

    assert second
    assert second != first
    assert await store.replace(uri, b"third", first) is None
    assert await store.read_tagged(uri) == Stored(b"second", second)
    assert await store.replace(uri, b"third", second)
    assert await store.read(uri) == b"third"


async def test_a_plain_write_is_a_change_that_replacing_notices(store: Store, root: str) -> None:
    uri = join_uri(root, "key")
    tag = await store.create(uri, b"first")
    assert tag
    await store.write(uri, b"plain")

    assert await store.replace(uri, b"second", tag) is None
    assert await store.create(uri, b"second") is None
    assert await store.read(uri) == b"plain"


async def test_what_vanished_cannot_be_replaced_but_created_anew(store: Store, root: str) -> None:
    uri = join_uri(root, "key")
    tag = await store.create(uri, b"first")
    assert tag
    await store.delete(uri)

    assert await store.replace(uri, b"second", tag) is None
    assert not await store.exists(uri)
    assert await store.create(uri, b"third")


async def test_an_empty_object_is_an_object(store: Store, root: str) -> None:
    uri = join_uri(root, "key")
    tag = await store.create(uri, b"")

    assert tag
    assert await store.read(uri) == b""
    assert await store.create(uri, b"first") is None
    assert await store.replace(uri, b"first", tag)


async def test_copies_are_whole_and_overwrite(store: Store, root: str) -> None:
    source, target = join_uri(root, "1", "outputs.pb"), join_uri(root, "2", "outputs.pb")
    await store.write(source, b"new" * 1000)
    await store.write(target, b"old")

    assert await store.copy(source, target)
    assert await store.read(target) == b"new" * 1000
    assert await store.read(source) == b"new" * 1000


async def test_copies_reach_other_stores(store: Store, root: str) -> None:
    await store.write(join_uri(root, "outputs.pb"), b"value")

    assert await store.copy(join_uri(root, "outputs.pb"), "memory://other/outputs.pb")
    assert await store.read("memory://other/outputs.pb") == b"value"
    assert not await store.copy(join_uri(root, "nothing"), "memory://other/nothing")


async def test_of_many_writers_in_one_process_one_creates_and_no_update_is_lost(store: Store, root: str) -> None:
    uri = join_uri(root, "key")

    async def update(name: int) -> None:
        while True:
            found = await store.read_tagged(uri)
            assert found is not None
            number = int(found.data.split()[0])
            if await store.replace(uri, f"{number + 1} {name}".encode(), found.tag):
                return

    tags = await asyncio.gather(*(store.create(uri, f"0 {each}".encode()) for each in range(5)))
    await asyncio.gather(*(update(each) for each in range(5)))

    assert sum(tag is not None for tag in tags) == 1
    found = await store.read(uri)
    assert found is not None
    assert found.split()[0] == b"5"


async def test_a_bucket_that_does_not_exist_is_an_error_and_not_an_empty_one(
    store: Store, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(
        StoreUnavailable, match=r"cannot read s3://no-such-bucket/key: the bucket does not exist; check"
    ):
        await store.read("s3://no-such-bucket/key")
    with pytest.raises(StoreUnavailable, match=r"cannot create s3://no-such-bucket/key"):
        await store.create("s3://no-such-bucket/key", b"first")


async def test_wrong_credentials_are_said_as_such_and_not_shown(
    store: Store, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")

    with pytest.raises(StoreUnavailable, match=r"cannot create s3://records/key: .*403") as raised:
        await store.create("s3://records/key", b"first")
    assert "wrong-secret" not in raised.value.message
