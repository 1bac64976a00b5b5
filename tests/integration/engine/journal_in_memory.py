"""A journal whose writes are steps of the event loop, so that an engine in virtual time can be killed around each.

A write that a process had queued when it was killed may have reached the disk or not: `rng` decides for each whether it
takes effect when it is asked for (its writer may die before it hears so) or a step later (and not at all if the writer is dead by
then). The file is an SQLite database in memory, shared by the lives of an engine.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sqlite3
from collections.abc import Hashable
from functools import partial
from pathlib import Path
from typing import TypeVar

from outboard.engine import journal_schema as schema
from outboard.engine.group_commit import GroupCommit, Work, unwritable
from outboard.engine.journal import Journal

ResultT = TypeVar("ResultT")


class SteppedCommits(GroupCommit):
    """Commits in the loop of whoever writes."""

    def __init__(self, connection: sqlite3.Connection, rng: random.Random) -> None:
        self._connection = connection
        self._rng = rng
        self.writes = 0
        self.is_broken = False

    def submit(self, work: Work[ResultT]) -> asyncio.Future[ResultT]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()

        def commit() -> None:
            try:
                settled = partial(future.set_result, self._write(work))
            except Exception as error:  # noqa: BLE001 - the writer gets it
                settled = partial(future.set_exception, error)
            loop.call_soon(lambda: None if future.done() else settled())

        if self._rng.random() < 0.5:
            commit()
        else:
            loop.call_soon(commit)
        return future

    def _write(self, work: Work[ResultT]) -> ResultT:
        self.writes += 1
        if self.is_broken:
            raise unwritable(sqlite3.OperationalError("disk full"))
        self._connection.execute("BEGIN")
        try:
            return work(self._connection)
        finally:
            self._connection.execute("COMMIT")

    def note(self, key: Hashable, work: Work[object]) -> None:
        if not self.is_broken:
            self._write(work)

    def close(self) -> None:
        """Nothing is queued, and the file outlives its engine."""


class JournalFile:
    """What lies on the disk."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        schema.migrate(self._connection, Path("journal.db"))

    def open(self) -> tuple[Journal, SteppedCommits]:
        """Return the journal as the next life of an engine opens it; the one before is dead, and its lease with it."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._connection.execute("DELETE FROM lease")
        commits = SteppedCommits(self._connection, self._rng)
        return Journal(commits, secrets.token_hex(8)), commits

    def may_be_sent(self) -> list[tuple[str, int]]:
        """Return the tasks and attempts whose CreateTask is about to be sent, or was, and has no answer yet."""
        query = "SELECT task_id, attempt FROM task WHERE attempt IS NOT NULL AND handle IS NULL"
        return self._connection.execute(query).fetchall()

    def forget_cancels(self) -> None:
        """Take back what was asked to be cancelled."""
        self._connection.execute("UPDATE task SET cancel_requested_at = NULL")

    def reopen(self, task_id: str) -> None:
        """Take back a task's end, as if its engine had been killed before."""
        self._connection.execute(
            "UPDATE task SET ended_at = NULL, phase = NULL, cancel_requested_at = NULL WHERE task_id = ?", (task_id,)
        )

    def close(self) -> None:
        self._connection.close()
