"""One thread that writes, and commits for everybody at once.

A durable commit costs a flush of the disk, whatever is in it. So a single thread owns the connection, takes everything
that is queued, runs it in one transaction, commits, and only then answers those who wait; while it flushes, the next
batch gathers. The thread is the only user of the connection: work runs in the order of submission, and reads see every
earlier write.

Invariants: who was answered is on the disk. Work that fails is answered with its own error and does not undo its
neighbours' (a statement that fails leaves no trace; work of several statements uses `all_or_nothing`). A transaction
that cannot begin or commit is everybody's error, and the thread goes on with the next. A waiter may sit in any event
loop, and may go away: its work is done all the same.

Notes are work nobody waits for, of which only the last per key counts. They ride along with the next batch, or go alone
after a short while.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from outboard.errors import JournalUnwritable, OutboardError

ResultT = TypeVar("ResultT")
Work = Callable[[sqlite3.Connection], ResultT]

_LONGEST_BATCH: Final = 2_000
_NOTE_DELAY_S: Final = 0.2


@contextmanager
def all_or_nothing(connection: sqlite3.Connection) -> Iterator[None]:
    """Undo every statement of the block when one of them fails."""
    connection.execute("SAVEPOINT work")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # else SQLite has undone the whole transaction itself
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
        raise
    connection.execute("RELEASE work")


@dataclass(slots=True, eq=False)
class _Job:
    work: Work[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class GroupCommit:
    """Runs work on an SQLite connection in one thread, many pieces to a commit.

    Args:
        connection: In autocommit mode (`isolation_level=None`) and usable from another thread; this object closes it.
        farewell: Work to be done last of all, when closing.
    """

    def __init__(self, connection: sqlite3.Connection, *, farewell: Work[object]) -> None:
        self._connection = connection
        self._farewell = farewell
        self._queue: deque[_Job] = deque()
        self._notes: dict[Hashable, Work[object]] = {}
        self._closing = False
        self._ready = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="outboard-journal", daemon=True)
        self._thread.start()

    def submit(self, work: Work[ResultT]) -> asyncio.Future[ResultT]:
        """Queue work; the future, of the running loop, has its result once the commit is on the disk."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        with self._ready:
            if self._closing:
                raise JournalUnwritable("the journal is closed: open it again")
            self._queue.append(_Job(work, loop, future))
            self._ready.notify()
        return future

    def note(self, key: Hashable, work: Work[object]) -> None:
        """Queue work nobody waits for; a later note with the same key replaces an earlier one that still waits."""
        with self._ready:
            if self._closing:
                return
            self._notes[key] = work
            if len(self._notes) == 1:  # later notes must not push the first one's deadline away
                self._ready.notify()

    def close(self) -> None:
        """Do what is queued, then the farewell, and close the connection; closing twice is harmless."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            jobs, notes, is_last = self._next_batch()
            if jobs or notes:
                self._commit(jobs, notes)
                _deliver(jobs)
            if is_last:
                self._commit([], [self._farewell])
                self._connection.close()
                return

    def _next_batch(self) -> tuple[list[_Job], list[Work[object]], bool]:
        with self._ready:
            while not self._queue and not self._closing:
                if not self._notes:
                    self._ready.wait()
                elif not self._ready.wait(_NOTE_DELAY_S):
                    break
            jobs = [self._queue.popleft() for _ in range(min(len(self._queue), _LONGEST_BATCH))]
            notes, self._notes = list(self._notes.values()), {}
            return jobs, notes, self._closing and not self._queue

    def _commit(self, jobs: list[_Job], notes: list[Work[object]]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._do(job)
            for work in notes:
                work(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for job in jobs:
                job.error = unwritable(error)

    def _do(self, job: _Job) -> None:
        try:
            job.result = job.work(self._connection)
        except OutboardError as error:
            job.error = error
        except sqlite3.Error as error:
            if not self._connection.in_transaction:  # a full disk, say: SQLite has undone the neighbours' work too
                raise
            job.error = unwritable(error)
        except Exception as error:  # noqa: BLE001 - the effect runner: the waiter gets it, the thread must live
            job.error = error


def unwritable(error: sqlite3.Error) -> JournalUnwritable:
    """Return our error for one of SQLite's; its name says what is wrong, its text may hold SQL and stays here."""
    reason = getattr(error, "sqlite_errorname", type(error).__name__)
    ours = JournalUnwritable(f"the journal cannot be written ({reason}): check its disk for space and permissions")
    ours.__cause__ = error
    return ours


def _deliver(jobs: list[_Job]) -> None:
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Job]] = defaultdict(list)
    for job in jobs:
        by_loop[job.loop].append(job)
    for loop, settled in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_settle, settled)


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        job.settle()
