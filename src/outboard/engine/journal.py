"""The journal: what the engine has begun, so that a killed engine's run can be taken up again.

It is an SQLite file in WAL mode. Before a CreateTask is sent, `creating` is on the disk; so after a kill at any moment
each task is in one of four steps, and each says what to do:

    PLANNED    nothing was sent: create it
    CREATING   a CreateTask may have been sent: send it again, identical; the submission key makes that safe
    CREATED    there is a handle: poll it
    ENDED      there is a result: nothing to do

Writing to a run needs the run's lease (see `leases`), and the lease is the `OwnedRun` object: only `begin_run` and
`resume_run` give one out. Reading, and asking for a cancel, need none, so another process may look on and ask.

All methods are coroutines for any event loop; a write returns when it is on the disk (see `group_commit`). A wait that is
cancelled does not undo the write. Phases alone are not waited for: they can be asked again.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from typing_extensions import Self

from outboard.domain.phases import Phase
from outboard.engine import journal_schema as schema
from outboard.engine.courses import OwedCancel
from outboard.engine.group_commit import GroupCommit, all_or_nothing
from outboard.engine.journal_records import (
    OwedRecord,
    PlannedTask,
    RunRecord,
    Step,
    TaskRecord,
    UnfinishedTask,
    moment_of,
    owed_of,
    owner_of,
    task_of,
    unfinished_of,
)
from outboard.engine.leases import Life, this_process
from outboard.errors import InvalidSettings, InvalidTask, JournalUnwritable, RunOwned

__all__ = ["Journal", "OwnedRun", "PlannedTask", "RunRecord", "Step", "TaskRecord", "UnfinishedTask"]


class Journal:
    """The engine's memory on disk; open it with `Journal.open`, close it with `close` or as a context manager."""

    def __init__(self, commits: GroupCommit, token: str) -> None:
        self._commits = commits
        self._token = token

    @classmethod
    def open(cls, path: Path, *, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> Self:
        """Return the journal at `path`, made where there is none.

        Args:
            path: The file; missing folders above it are made.
            synchronous: FULL survives a power cut; NORMAL survives a killed process only, and is faster.

        Raises:
            JournalUnwritable: The folder or the file cannot be written, is something else, or is of a newer version.
        """
        token = secrets.token_hex(8)
        connection = schema.connect(path, synchronous)
        return cls(GroupCommit(connection, farewell=lambda c: c.execute(schema.RELEASE_LEASES, (token,))), token)

    def close(self) -> None:
        """Write what is queued, give all leases back and close the file; blocks for that long."""
        self._commits.close()

    async def aclose(self) -> None:
        """Close without blocking the event loop."""
        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def begin_run(
        self,
        title: str,
        *,
        run_id: str | None = None,
        target: Mapping[str, Any] | None = None,
        fail_fast: bool = False,
    ) -> OwnedRun:
        """Record a new run and hold its lease.

        Args:
            title: For lists of runs.
            run_id: Its id; made where there is none.
            target: What its engine talks to, as JSON values without secrets, for whoever resumes it (see `target`).
            fail_fast: Whoever resumes it, too, cancels the other tasks as soon as one does not succeed.

        Raises:
            InvalidSettings: There is a run of that id already.
        """
        name = run_id or f"r{secrets.token_hex(5)}"

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute(schema.SELECT_RUN, (name,)).fetchone():
                raise InvalidSettings(f"there is a run '{name}' already: resume it or choose another id", field="run")
            kept = None if target is None else json.dumps(dict(target))
            connection.execute(schema.INSERT_RUN, (name, title, time.time(), kept, fail_fast))
            self._take_lease(connection, name)

        await self._commits.submit(work)
        return OwnedRun(name, self._token, self._commits, fail_fast=fail_fast)

    async def resume_run(self, run_id: str, *, force: bool = False) -> OwnedRun:
        """Take the lease of a run whose engine is gone.

        Args:
            run_id: The run.
            force: Take it also where its owner is on a machine that cannot be asked. Never from one known to live.

        Raises:
            RunOwned: Its engine lives, or may live.
            InvalidSettings: There is no such run.
        """

        def work(connection: sqlite3.Connection) -> bool:
            run = connection.execute(schema.SELECT_RUN, (run_id,)).fetchone()
            if run is None:
                raise InvalidSettings(f"there is no run '{run_id}' in this journal: list its runs", field="run")
            row = connection.execute(schema.SELECT_LEASE, (run_id,)).fetchone()
            if row is not None:
                self._check_owner(run_id, row, force=force)
            self._take_lease(connection, run_id)
            return bool(run[0])

        fail_fast = await self._commits.submit(work)
        return OwnedRun(run_id, self._token, self._commits, fail_fast=fail_fast)

    def _check_owner(self, run_id: str, row: tuple[Any, ...], *, force: bool) -> None:
        token, owner = row[0], owner_of(row[1:])
        life = Life.ALIVE if token == self._token else owner.life(this_process())
        if life is Life.ALIVE:
            raise RunOwned(f"the engine of run '{run_id}' lives as process {owner.pid}: wait for it, or stop it first")
        if life is Life.UNKNOWN and not force:
            where = f"process {owner.pid} on {owner.host or 'an unknown host'}"
            remedy = "resume it there, or use force if it is surely gone"
            raise RunOwned(f"the engine of run '{run_id}', {where}, cannot be seen from here: {remedy}")

    def _take_lease(self, connection: sqlite3.Connection, run_id: str) -> None:
        me = this_process()
        row = (run_id, self._token, me.pid, me.started, me.boot_id, me.namespace, me.host, time.time())
        connection.execute(schema.TAKE_LEASE, row)

    async def request_cancel(self, run_id: str, task_id: str) -> bool:
        """Ask a task's engine, wherever it runs, to cancel it; False when it has ended or is unknown."""
        values = {"run": run_id, "task": task_id, "now": time.time()}
        return await self._commits.submit(lambda c: c.execute(schema.REQUEST_CANCEL, values).rowcount > 0)

    async def runs(self) -> list[RunRecord]:
        """Return all runs, the newest first."""
        return await self._commits.submit(_runs)

    async def target(self, run_id: str) -> Mapping[str, Any]:
        """Return what a run's engine said that it talks to; empty where it said nothing."""
        row = await self._commits.submit(lambda c: c.execute(schema.SELECT_TARGET, (run_id,)).fetchone())
        return {} if row is None or row[0] is None else json.loads(row[0])

    async def tasks(self, run_id: str) -> list[TaskRecord]:
        """Return all of a run's tasks in the order of planning."""
        return await self._commits.submit(lambda c: [task_of(row) for row in c.execute(schema.SELECT_TASKS, (run_id,))])

    async def open_first(self, run_id: str, *, limit: int) -> list[TaskRecord]:
        """Return so many of a run's tasks: those that have not ended, then the others, each in the order of planning."""

        def work(connection: sqlite3.Connection) -> list[TaskRecord]:
            rows = connection.execute(schema.SELECT_OPEN, (run_id, limit)).fetchall()
            rows += connection.execute(schema.SELECT_ENDED, (run_id, limit - len(rows))).fetchall()
            return [task_of(row) for row in rows]

        return await self._commits.submit(work)

    async def task(self, task_id: str, *, run_id: str | None = None) -> TaskRecord | None:
        """Return the newest task of an id, of one run or of all; None where there is none."""
        values = {"task": task_id, "run": run_id}
        row = await self._commits.submit(lambda c: c.execute(schema.SELECT_NEWEST, values).fetchone())
        return None if row is None else task_of(row)

    async def ids(self, prefix: str, *, run_id: str | None = None, limit: int) -> list[str]:
        """Return so many different ids of tasks, of one run or of all, that start so, in the order of the alphabet."""
        values = {"first": prefix, "beyond": prefix + "\U0010ffff", "run": run_id, "limit": limit}
        return await self._commits.submit(lambda c: [row[0] for row in c.execute(schema.SELECT_IDS, values)])

    async def open_ids(self, run_id: str) -> list[str]:
        """Return the ids of a run's tasks that have not ended."""
        return await self._commits.submit(lambda c: [row[0] for row in c.execute(schema.SELECT_OPEN_IDS, (run_id,))])

    async def open_endpoints(self, run_id: str) -> list[str | None]:
        """Return where a run's open tasks, and owed cancels, were sent, each place once; None stands for "never sent"."""
        return await self._commits.submit(
            lambda c: [row[0] for row in c.execute(schema.SELECT_OPEN_ENDPOINTS, {"run": run_id})]
        )

    async def owed(self, run_id: str) -> list[OwedRecord]:
        """Return the jobs that a run's tasks let go of and whose cancel is not confirmed, the oldest first."""
        return await self._commits.submit(lambda c: [owed_of(row) for row in c.execute(schema.SELECT_OWED, (run_id,))])

    async def prune(self, before: datetime) -> list[str]:
        """Forget the runs whose last task ended before a moment, and return their ids.

        Never forgotten are a run with a task that has not ended or a cancel that is not confirmed, and a run whose engine
        lives, or may live. Files that tasks
        wrote stay where they are; the room in the journal's file is used again, the file does not shrink.
        """

        def work(connection: sqlite3.Connection) -> list[str]:
            me = this_process()
            rows = connection.execute(schema.SELECT_ENDED_BEFORE, {"moment": before.timestamp()}).fetchall()
            ended = [run_id for run_id, *owner in rows if owner[0] is None or owner_of(owner).life(me) is Life.DEAD]
            with all_or_nothing(connection):
                for statement in schema.FORGET_RUN:
                    connection.executemany(statement, [(run_id,) for run_id in ended])
            return ended

        return await self._commits.submit(work)

    async def unfinished(self, run_id: str | None = None) -> list[UnfinishedTask]:
        """Return the tasks, of one run or of all, that have not ended, with how they were planned."""
        return await self._commits.submit(
            lambda c: [unfinished_of(row) for row in c.execute(schema.SELECT_UNFINISHED, (run_id,))]
        )

    async def spec(self, run_id: str, task_id: str) -> PlannedTask | None:
        """Return how a task was planned; None when it is unknown."""
        row = await self._commits.submit(lambda c: c.execute(schema.SELECT_SPEC, (run_id, task_id)).fetchone())
        return None if row is None else PlannedTask(task_id=task_id, spec=row[0], options=json.loads(row[1]))

    async def outputs(self, run_id: str, task_id: str) -> bytes | None:
        """Return the outputs a task ended with; None when it has none."""
        row = await self._commits.submit(lambda c: c.execute(schema.SELECT_OUTPUTS, (run_id, task_id)).fetchone())
        return None if row is None else bytes(row[0])


class OwnedRun:
    """A run whose lease is ours: the only way to write about its tasks.

    Attributes:
        fail_fast: The run's rule, as it was begun with.
    """

    def __init__(self, run_id: str, token: str, commits: GroupCommit, *, fail_fast: bool = False) -> None:
        self.run_id = run_id
        self.fail_fast = fail_fast
        self._token = token
        self._commits = commits

    async def plan(self, tasks: Iterable[PlannedTask]) -> None:
        """Record tasks, all or none; `InvalidTask` when two have one id."""
        planned, now = list(tasks), time.time()
        rows = [(self.run_id, task.task_id, now, now) for task in planned]
        specs = [(self.run_id, task.task_id, task.spec, json.dumps(dict(task.options))) for task in planned]

        def work(connection: sqlite3.Connection) -> None:
            try:
                with all_or_nothing(connection):
                    connection.executemany(schema.INSERT_TASK, rows)
                    connection.executemany(schema.INSERT_SPEC, specs)
            except sqlite3.IntegrityError:
                raise InvalidTask("two tasks of one run have the same id: give each its own", field="id") from None

        await self._commits.submit(work)

    async def creating(self, task_id: str, attempt: int, *, endpoint: str) -> None:
        """Record that a CreateTask is about to be sent; on the disk when this returns, so send it only then."""
        await self._step(schema.CREATING, task_id, attempt, endpoint=endpoint)

    async def created(self, task_id: str, attempt: int, handle: bytes) -> None:
        """Record the handle that CreateTask answered."""
        await self._step(schema.CREATED, task_id, attempt, handle=handle)

    def phase(
        self,
        task_id: str,
        attempt: int,
        phase: Phase,
        *,
        message: str = "",
        links: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        """Note where a task stands, soon and not durably; None keeps the links noted before."""
        values = self._values(
            task_id, attempt, phase=phase.value, message=message, links=None if links is None else json.dumps(links)
        )
        self._commits.note((self.run_id, task_id), lambda connection: connection.execute(schema.PHASE, values))

    async def ended(
        self,
        task_id: str,
        attempt: int | None,
        phase: Phase,
        *,
        message: str = "",
        links: Sequence[Mapping[str, str]] | None = None,
        outputs: bytes | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """Record a task's end, for good: a second end changes nothing. `attempt` is None if none was ever made."""
        values = self._values(
            task_id,
            attempt,
            phase=phase.value,
            message=message,
            links=None if links is None else json.dumps(links),
            error=None if error is None else json.dumps(dict(error)),
        )

        def work(connection: sqlite3.Connection) -> None:
            with all_or_nothing(connection):
                if not connection.execute(schema.ENDED, values).rowcount:
                    self._check_ended(connection, task_id, attempt)
                elif outputs is not None:
                    connection.execute(schema.INSERT_OUTPUTS, (self.run_id, task_id, outputs))

        await self._commits.submit(work)

    async def request_cancel(self, task_id: str) -> bool:
        """Record that the task is to be cancelled, so that a resumed run cancels it too; False when it has ended."""
        values = {"run": self.run_id, "task": task_id, "now": time.time()}
        return await self._commits.submit(lambda c: c.execute(schema.REQUEST_CANCEL, values).rowcount > 0)

    def note_cancels(self, task_ids: Iterable[str]) -> None:
        """Note that tasks are to be cancelled, all with the next commit, so that a kill cannot come between them."""
        now = time.time()
        values = [{"run": self.run_id, "task": task_id, "now": now} for task_id in task_ids]
        key = (self.run_id, None)  # no task's own
        self._commits.note(key, lambda connection: connection.executemany(schema.REQUEST_CANCEL, values))

    async def owe(self, task_id: str, owed: OwedCancel, *, endpoint: str) -> None:
        """Record a job that its task lets go of before it is known to be over."""
        values = self._values(
            task_id, owed.attempt, endpoint=endpoint, handle=owed.handle, is_reported_over=owed.is_reported_over
        )
        await self._commits.submit(lambda c: c.execute(schema.OWE, values).rowcount)

    async def settle(self, task_id: str, attempt: int) -> None:
        """Record that such a job is over."""
        await self._commits.submit(lambda c: c.execute(schema.SETTLE, (self.run_id, task_id, attempt)).rowcount)

    async def cancel_requests(self) -> list[str]:
        """Return the ids of unfinished tasks that somebody, perhaps in another process, asked to cancel."""
        return await self._commits.submit(
            lambda c: [task_id for (task_id,) in c.execute(schema.SELECT_CANCELS, (self.run_id,))]
        )

    async def release(self) -> None:
        """Give the lease back, so that another engine may resume the run."""
        await self._commits.submit(lambda c: c.execute(schema.RELEASE_LEASE, (self.run_id, self._token)).rowcount)

    def _values(self, task_id: str, attempt: int | None, **values: object) -> dict[str, object]:
        return {"run": self.run_id, "task": task_id, "attempt": attempt, "now": time.time(), **values}

    async def _step(self, statement: str, task_id: str, attempt: int, **values: object) -> None:
        parameters = self._values(task_id, attempt, **values)

        def work(connection: sqlite3.Connection) -> None:
            if not connection.execute(statement, parameters).rowcount:
                raise self._out_of_step(task_id, attempt)

        await self._commits.submit(work)

    def _check_ended(self, connection: sqlite3.Connection, task_id: str, attempt: int | None) -> None:
        row = connection.execute(schema.IS_ENDED, (self.run_id, task_id)).fetchone()
        if row is None or not row[0]:
            raise self._out_of_step(task_id, attempt)

    def _out_of_step(self, task_id: str, attempt: int | None) -> JournalUnwritable:
        at = "unstarted" if attempt is None else f"at attempt {attempt}"
        return JournalUnwritable(
            f"task '{task_id}' of run '{self.run_id}' is not {at} in the journal: resume the run afresh"
        )


def _runs(connection: sqlite3.Connection) -> list[RunRecord]:
    unfinished: dict[str, int] = {}
    ended: defaultdict[str, dict[Phase, int]] = defaultdict(dict)
    for run_id, phase, count in connection.execute(schema.COUNT_PHASES):
        if phase is None:
            unfinished[run_id] = count
        else:
            ended[run_id][Phase(phase)] = count
    owed = dict(connection.execute(schema.COUNT_OWED).fetchall())
    me = this_process()
    records = []
    for run_id, title, created_at, *lease in connection.execute(schema.SELECT_RUNS):
        owner = None if lease[0] is None else owner_of(lease)
        record = RunRecord(
            run_id=run_id,
            title=title,
            created_at=moment_of(created_at),
            owner=owner,
            owner_life=None if owner is None else owner.life(me),
            unfinished=unfinished.get(run_id, 0),
            ended=ended[run_id],
            owed=owed.get(run_id, 0),
        )
        records.append(record)
    return records
