"""Local paths as a store: whole files, and compare-and-swap between all processes of one machine.

obstore's local store has no conditional update, so this one is ours. A file is written beside its target and renamed
over it: readers, who take no lock, see the old version or the new one. Writers of a directory take turns by a lock on
the directory itself (`flock`), which leaves nothing behind and ends with the process that holds it, however that dies.
A tag is the hash of the content.

A directory that cannot be locked (NFS refuses it, Windows has none) has no conditional writes; plain writes then have
nothing to take turns with, and go on without. A file system that several machines share is no place for records.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, TypeVar

from outboard.host.stores.port import Stored

T = TypeVar("T")

_LIMIT_S: Final = 30.0
"""For one operation: a network drive that hangs must not hang the caller. Its thread is lost until the drive is back."""

_LOCK_PAUSE_S: Final = 0.002
_LOCK_TRIES: Final = 5000
"""About 10 s; a turn takes a millisecond."""

_NOT_THERE: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class LocalPaths:
    """All local files, by absolute path."""

    async def read(self, path: str) -> Stored | None:
        """Return the file and the hash of its content."""
        return await _in_thread(lambda: _read(Path(path)))

    async def write(self, path: str, data: bytes) -> None:
        """Write the file; directories are made."""
        await _in_thread(lambda: _write(Path(path), lambda part: _fill(part, data)))

    async def swap(self, path: str, data: bytes, tag: str | None) -> str | None:
        """Write the file if its content has this hash (None: if there is no file)."""
        return await _in_thread(lambda: _swap(Path(path), data, tag))

    async def copy(self, source: str, target: str) -> bool:
        """Copy the file; directories are made."""
        return await _in_thread(lambda: _copy(Path(source), Path(target)))

    async def exists(self, path: str) -> bool:
        """Tell whether a file is there."""
        return await _in_thread(Path(path).is_file)

    async def delete(self, path: str) -> None:
        """Delete the file if it is there."""
        await _in_thread(lambda: _delete(Path(path)))

    async def written_at(self, path: str) -> datetime | None:
        """Return when the file was written; a network drive has a clock of its own."""
        return await _in_thread(lambda: _written_at(Path(path)))


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.wait_for(asyncio.to_thread(work), _LIMIT_S)
    except asyncio.TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer within {_LIMIT_S:.0f} s") from error


def _written_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    except _NOT_THERE:
        return None


def _read(path: Path) -> Stored | None:
    try:
        data = path.read_bytes()
    except _NOT_THERE:
        return None
    return Stored(data, _tag(data))


def _swap(path: Path, data: bytes, tag: str | None) -> str | None:
    if tag is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        return None
    lock = _lock(path.parent)
    try:
        found = _read(path)
        if (None if found is None else found.tag) != tag:
            return None
        _put(path, lambda part: _fill(part, data, durable=True))
        os.fsync(lock)
    finally:
        _unlock(lock)
    return _tag(data)


def _write(path: Path, fill: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _taking_turns(path.parent):
        _put(path, fill)


def _copy(source: Path, target: Path) -> bool:
    if not source.is_file():
        return False
    _write(target, lambda part: shutil.copyfile(source, part))
    return True


def _delete(path: Path) -> None:
    if path.exists():
        with _taking_turns(path.parent), suppress(FileNotFoundError):
            path.unlink()


def _put(path: Path, fill: Callable[[Path], object]) -> None:
    # A process that is killed here leaves its part behind: hidden, small, and in nobody's way.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        fill(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _fill(part: Path, data: bytes, *, durable: bool = False) -> None:
    with part.open("xb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _taking_turns(folder: Path) -> Iterator[None]:
    try:
        lock = _lock(folder)
    except TimeoutError:
        raise
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        _unlock(lock)


def _lock(folder: Path) -> int:
    try:
        import fcntl  # noqa: PLC0415 - Windows has none
    except ImportError:
        raise NotImplementedError("this system cannot lock directories") from None
    lock = os.open(folder, os.O_RDONLY)
    with ExitStack() as undo:
        undo.callback(os.close, lock)
        # Tried again and again rather than waited for: a holder that was stopped must not stop us. Counted rather
        # than timed: the clock belongs to the program.
        for _ in range(_LOCK_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                undo.pop_all()
                return lock
            time.sleep(_LOCK_PAUSE_S)
    raise TimeoutError(f"another process has held the lock of {folder} for long")


def _unlock(lock: int) -> None:
    import fcntl  # noqa: PLC0415 - Windows has none

    # By word and not only by closing: a process forked meanwhile has a copy of the descriptor.
    try:
        fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
