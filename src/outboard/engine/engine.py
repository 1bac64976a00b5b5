"""The local engine: FlytePropeller's role for one machine.

It drives tasks against agents, in process or over gRPC, through the one port `Endpoint`. Its rooms: `specs` completes a task,
`directory` knows who takes it, `decisions` says what follows, `effects` does it, `runs` is the loop, `journal` remembers. A run
that is killed goes on with `resume`; nothing is ever started twice under one submission key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from outboard.domain.endpoints import AgentInfo, Endpoint
from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from outboard.engine.addresses import ServiceAddress
from outboard.engine.directory import Directory
from outboard.engine.effects import Effects
from outboard.engine.journal import Journal
from outboard.engine.live_tasks import LiveTask
from outboard.engine.outcomes import LeftRunning, TaskOutcome
from outboard.engine.propeller.config import PropellerConfig
from outboard.engine.resumption import ended_outcome, owed_tasks, take_up
from outboard.engine.routing import IN_PROCESS, Routes
from outboard.engine.runs import OnEvent, Run
from outboard.engine.settings import EngineSettings
from outboard.engine.specs import new_execution_name
from outboard.errors import InvalidSettings, OutboardError
from outboard.host.stores import Store, Stores

if TYPE_CHECKING:
    from outboard.engine.remote import RemoteEndpoint
    from outboard.host.host import Host

_WITHOUT_SUCCESS = (Phase.FAILED, Phase.ABORTED)


class Engine:
    """Runs tasks; open it with `async with` in the event loop that uses it.

    Args:
        endpoints: By name: endpoints that the caller owns (a `Host`), or addresses that the engine connects to. What the
            first in order lists wins, unless `routes` say otherwise.
        routes: How tasks are routed.
        journal: Where runs are recorded, opened or as a path; None records nothing, and then nothing can be resumed.
        settings: What the user decides.
        on_event: Called in the event loop with every change of every task.
        stores: Object stores to share with the host in this process (`memory://` is one per `Stores`).

    >>> import asyncio
    >>> from outboard.agent import Registry
    >>> from outboard.host.host import Host
    >>> async def served() -> int:
    ...     async with Host(Registry()) as host, Engine.in_process(host) as engine:
    ...         return len(await engine.list_agents())
    >>> asyncio.run(served())
    1
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint | ServiceAddress],
        *,
        routes: Routes | None = None,
        journal: Journal | Path | None = None,
        settings: EngineSettings | None = None,
        on_event: OnEvent | None = None,
        stores: Store | None = None,
    ) -> None:
        self.settings = settings if settings is not None else EngineSettings()
        self.stores: Store = stores if stores is not None else Stores()
        self._given = dict(endpoints)
        self._routes = routes if routes is not None else Routes(order=tuple(endpoints))
        self._journal_at = journal
        self._journal: Journal | None = None
        self._on_event = on_event
        self._remotes: list[RemoteEndpoint] = []
        self._directory: Directory | None = None
        self._runs: set[Run] = set()
        self._left: list[LeftRunning] = []
        self.is_interrupted = False

    @classmethod
    def in_process(
        cls,
        host: Host,
        *,
        journal: Journal | Path | None = None,
        settings: EngineSettings | None = None,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Return an engine over a host in this process, which the caller opens and closes."""
        return cls({IN_PROCESS: host}, journal=journal, settings=settings, on_event=on_event, stores=host.stores)

    @classmethod
    def at(
        cls,
        *addresses: ServiceAddress | str,
        journal: Journal | Path | None = None,
        settings: EngineSettings | None = None,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Return an engine over services at addresses; the first also takes what none of them lists, if it cannot list.

        Raises:
            InvalidSettings: An address has none of the known forms.
        """
        known = [each if isinstance(each, ServiceAddress) else ServiceAddress.at(each) for each in addresses]
        named: dict[str, Endpoint | ServiceAddress] = {each.name: each for each in known}
        routes = Routes(order=tuple(named), default=known[0].name if known else None)
        return cls(named, routes=routes, journal=journal, settings=settings, on_event=on_event)

    @classmethod
    def configured(
        cls,
        config: PropellerConfig,
        *,
        journal: Journal | Path | None = None,
        settings: EngineSettings | None = None,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Return an engine over the services of a FlytePropeller configuration, with its routes and time-outs."""
        settings = settings if settings is not None else EngineSettings(listing_interval=config.listing_interval)
        return cls(
            dict(config.addresses), routes=Routes.of(config), journal=journal, settings=settings, on_event=on_event
        )

    async def __aenter__(self) -> Self:
        if isinstance(self._journal_at, Journal):
            self._journal = self._journal_at
        elif self._journal_at is not None:
            self._journal = await asyncio.to_thread(Journal.open, self._journal_at)
        endpoints: dict[str, Endpoint] = {}
        addresses: dict[str, ServiceAddress] = {}
        for name, given in self._given.items():
            if isinstance(given, ServiceAddress):
                from outboard.engine.remote import RemoteEndpoint  # noqa: PLC0415 - in process nobody needs gRPC

                addresses[name] = given
                endpoints[name] = remote = RemoteEndpoint(given)
                self._remotes.append(remote)
            else:
                endpoints[name] = given
        interval_s = self.settings.listing_interval.total_seconds()
        self._directory = Directory(endpoints, addresses, self._routes, interval_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what is under way, wait for the confirmation, and close what the engine opened."""
        for run in list(self._runs):
            await run.close()
            self._forget(run)
        if self._directory is not None:
            await self._directory.close()
            self._directory = None
        for remote in self._remotes:
            await remote.close()
        self._remotes.clear()
        if self._journal is not None and not isinstance(self._journal_at, Journal):
            await self._journal.aclose()
        self._journal = None

    @property
    def journal(self) -> Journal | None:
        """The open journal."""
        return self._journal

    @property
    def directory(self) -> Directory:
        """The endpoints and what they serve."""
        if self._directory is None:
            raise InvalidSettings("the engine is not open: use it as `async with engine:`")
        return self._directory

    async def list_agents(self) -> Mapping[str, Sequence[AgentInfo] | OutboardError]:
        """Ask every endpoint what it serves; by name, the answer or why there is none."""

        async def ask(name: str) -> Sequence[AgentInfo] | OutboardError:
            try:
                return await self.directory.endpoint(name).list_agents()
            except OutboardError as error:
                return error

        names = list(self._given)
        return dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))

    async def begin(
        self,
        title: str = "",
        *,
        run_id: str | None = None,
        max_live: int | None = None,
        fail_fast: bool = False,
        target: Mapping[str, Any] | None = None,
    ) -> Run:
        """Return a new run, to which tasks are submitted; use it as `async with await engine.begin() as run:`.

        Args:
            title: For lists of runs.
            run_id: Also the execution's name; made as Flyte makes it where there is none.
            max_live: Tasks under way at once; the settings' where it is None.
            fail_fast: Cancel the others as soon as a task does not succeed.
            target: What this engine talks to, as JSON values without secrets; kept for whoever resumes the run.

        Raises:
            JournalUnwritable: The run cannot be recorded.
            InvalidSettings: There is a run of that id already.
        """
        name = run_id or new_execution_name()
        effects_of = self.directory  # not open is an error before anything is recorded
        owned = None
        if self._journal is not None:
            owned = await self._journal.begin_run(title, run_id=name, target=target, fail_fast=fail_fast)
        effects = Effects(effects_of, self.stores, owned)
        run = Run(name, effects, owned, self.settings, on_event=self._on_event, max_live=max_live, fail_fast=fail_fast)
        run.is_cancelled = self.is_interrupted
        self._runs.add(run)
        return run

    async def run(self, task: RawTask, *, task_id: str | None = None, title: str = "") -> TaskOutcome:
        """Run a task to its end. Cancelling this cancels the job and waits for that to be confirmed.

        Raises:
            JournalUnwritable: The journal cannot be written; nothing was sent.
        """
        ids = None if task_id is None else [task_id]
        return (await self.run_many([task], title=title or task.type, task_ids=ids))[0]

    async def run_many(
        self,
        tasks: Iterable[RawTask],
        *,
        title: str = "",
        run_id: str | None = None,
        task_ids: Sequence[str] | None = None,
        max_live: int | None = None,
        fail_fast: bool = False,
        target: Mapping[str, Any] | None = None,
    ) -> list[TaskOutcome]:
        """Run independent tasks to their ends and return the outcomes in their order.

        A task that fails does not touch the others unless `fail_fast` is asked for. Cancelling this cancels all jobs and
        waits for that to be confirmed; cancelling it once more gives that up (see `left_running`). The arguments are those of
        `begin`.
        """
        run = await self.begin(title, run_id=run_id, max_live=max_live, fail_fast=fail_fast, target=target)
        try:
            async with run:
                lives = await run.submit_many(tasks, task_ids=task_ids)
                await run.wait()
        finally:
            self._forget(run)
        return [run.outcomes[live.task_id] for live in lives]

    async def submit(self, task: RawTask, *, task_id: str | None = None, title: str = "") -> LiveTask:
        """Start a task as a run of its own and return it at once; `await live.outcome()` waits for it."""
        run = await self.begin(title or task.type)
        return await run.submit(task, task_id=task_id)

    async def resume(
        self, run_id: str, *, force: bool = False, cancel: bool = False, only: Collection[str] | None = None
    ) -> list[TaskOutcome]:
        """Take up a run whose engine is gone, and return the outcomes of its tasks in the order of planning.

        Tasks with a handle are polled; tasks whose CreateTask may have been sent are sent again, identical; tasks that were to be
        cancelled are cancelled again, and so are jobs of earlier attempts whose cancel was not confirmed. A run that was begun
        with `fail_fast` keeps that. A run that is over does nothing and returns its outcomes.

        Args:
            run_id: The run.
            force: Take it over although its owner, on another machine, cannot be asked.
            cancel: Cancel all that is not over instead of going on with it.
            only: The ids of the tasks to take up; the others are left for a later resume, and are not returned unless ended.

        Raises:
            RunOwned: Its engine lives.
            InvalidSettings: There is no such run, or an endpoint it needs is not configured here, or there is no journal.
        """
        journal = self._journal_to_resume()
        run = await self.reopen(run_id, force=force, cancel=cancel, only=only)
        try:
            async with run:
                await run.wait()
                records = await journal.tasks(run_id)
                ended = [each for each in records if each.task_id not in run.outcomes and each.ended_at is not None]
                outcomes = await asyncio.gather(*(ended_outcome(journal, record) for record in ended))
        finally:
            self._forget(run)
        known = {outcome.task_id: outcome for outcome in outcomes} | run.outcomes
        return [known[record.task_id] for record in records if record.task_id in known]

    async def reopen(
        self, run_id: str, *, force: bool = False, cancel: bool = False, only: Collection[str] | None = None
    ) -> Run:
        """Take up a run as `resume` does, and return it at once, with its unfinished tasks under way; it takes further tasks.

        Raises:
            RunOwned: Its engine lives.
            InvalidSettings: As for `resume`; nothing was taken up.
        """
        journal = self._journal_to_resume()
        owned = await journal.resume_run(run_id, force=force)
        effects = Effects(self.directory, self.stores, owned)
        run = Run(run_id, effects, owned, self.settings, on_event=self._on_event, fail_fast=owned.fail_fast)
        run.is_cancelled = cancel or self.is_interrupted
        self._runs.add(run)
        try:
            records = await journal.tasks(run_id)
            if owned.fail_fast and any(each.phase in _WITHOUT_SUCCESS for each in records if each.ended_at):
                run.is_cancelled = True
            tasks = await journal.unfinished(run_id)
            wanted = [each for each in tasks if only is None or each.record.task_id in only]
            await take_up(run, wanted, await owed_tasks(journal, run_id, only), self.directory)
        except BaseException:
            await run.close()
            self._forget(run)
            raise
        return run

    def _journal_to_resume(self) -> Journal:
        if self._journal is None:
            raise InvalidSettings(
                "this engine has no journal, so there is nothing to resume: give it one", field="journal"
            )
        return self._journal

    async def cancel(self, task_id: str, *, run_id: str | None = None) -> TaskOutcome | None:
        """Cancel a task of this engine and return its outcome; None when another process drives it and was asked to.

        Raises:
            InvalidSettings: No unfinished task has this id, or several have.
        """
        mine = [
            live
            for run in self._runs
            if run_id in (None, run.run_id)
            for live in (run.open_tasks.get(task_id),)
            if live
        ]
        if len(mine) == 1:
            return await mine[0].cancel()
        found = [] if self._journal is None else await self._journal.unfinished(run_id)
        runs = [each.record.run_id for each in found if each.record.task_id == task_id]
        if len(runs) > 1 or len(mine) > 1:
            raise InvalidSettings(f"several runs have an unfinished task '{task_id}': name the run too", field="run")
        if not runs or self._journal is None:
            raise InvalidSettings(f"no unfinished task is called '{task_id}': list the jobs for their ids", field="id")
        await self._journal.request_cancel(runs[0], task_id)
        return None

    def interrupt(self) -> None:
        """Take a Ctrl-C: the first cancels everything and lets the waits return, the second stops waiting at once.

        Made to be given to `loop.add_signal_handler`; see `left_running` afterwards.
        """
        is_second = self.is_interrupted
        self.is_interrupted = True
        for run in list(self._runs):
            if is_second:
                run.abandon()
            else:
                run.cancel_all()

    @property
    def left_running(self) -> list[LeftRunning]:
        """What may still run although this engine does nothing more about it."""
        return [*self._left, *(left for run in self._runs for left in run.left_running)]

    def _forget(self, run: Run) -> None:
        if run in self._runs:
            self._runs.remove(run)
            self._left += run.left_running
