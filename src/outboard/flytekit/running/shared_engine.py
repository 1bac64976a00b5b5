"""The one engine of this process: an event loop in a thread of its own, opened when first needed, closed at exit.

Callers may be scripts, threads, or the main thread of a notebook whose own loop is running; each waits for its errand. The
agents, or the service, are looked up first; only when something is served is the journal opened and a run begun, so a process
whose tasks are all flytekit's own leaves no trace. One run holds all tasks of the process: it is the execution, a task's name
with a counter is the node, so no two tasks share a submission key, whatever threads ask at once.

The run is begun anew after a Ctrl-C, since a notebook goes on after one. A forked child has none of this, and begins its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from outboard.agent.registry import LoadFailure
from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import RawTask, TaskType
from outboard.engine.engine import Engine
from outboard.engine.journal import Journal
from outboard.engine.outcomes import TaskEvent, TaskOutcome
from outboard.engine.runs import Run
from outboard.errors import InvalidSettings, UnknownTaskType
from outboard.flytekit.running.errands import Errand, Told
from outboard.flytekit.running.recalls import Recall, earlier_runs
from outboard.flytekit.running.settings import RunningSettings, read_settings
from outboard.local.connections import Found, find
from outboard.local.engines import engine_over
from outboard.local.settings_files import AgentChoice
from outboard.local.targets import kept_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SENSOR: Final = "sensor"
_EXIT_MARGIN_S: Final = 5.0


class SharedEngine:
    """An engine, its agents and its journal, for all threads of a process.

    Args:
        settings: What the environment says.

    Attributes:
        failures: Installed agents that could not be loaded.
    """

    def __init__(self, settings: RunningSettings) -> None:
        self.settings = settings
        self.is_interrupted = False
        self.failures: Sequence[LoadFailure] = ()
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._beginning = asyncio.Lock()
        self._found: Found | None = None
        self._engine: Engine | None = None
        self._run: Run | None = None
        self._recall: Recall | None = None
        self._errands: set[Errand[Any]] = set()
        self._listeners: dict[tuple[str, str], Errand[Any]] = {}
        self._numbers: Counter[str] = Counter()
        self._idle = threading.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._live, name="outboard-flytekit", daemon=True)
        self._thread.start()

    def start(self, errand: Errand[Any]) -> None:
        """Have an errand done; from any thread."""
        self._loop.call_soon_threadsafe(self._take, errand)

    async def is_served(self, task_type: TaskType, kind: tuple[str, str]) -> bool:
        """Tell whether a task has an agent here.

        Args:
            task_type: The task's.
            kind: Module and name of its class; a sensor's class is what an agent of sensors must know.

        Raises:
            OutboardError: That cannot be told: a service does not answer, or a setting is wrong.
        """
        found = await self._agents()
        if found.host is not None and not found.addresses:
            listed: Iterable[AgentInfo] = await found.host.list_agents()
            served = [each for each in listed if task_type in each.task_types]
            return bool(served) and _knows_sensor(served, task_type, kind)
        engine = await self._opened(found)
        try:
            await engine.directory.route(task_type)
        except UnknownTaskType:
            return False
        if task_type.name != SENSOR:
            return True
        answers = (await engine.list_agents()).values()
        listed = [each for answer in answers if not isinstance(answer, Exception) for each in answer]
        return _knows_sensor([each for each in listed if task_type in each.task_types], task_type, kind)

    async def run(self, task: RawTask, name: str, errand: Errand[TaskOutcome]) -> TaskOutcome:
        """Run a task to its end, or recall how it ended in the run that is gone on with.

        Args:
            task: The task.
            name: What its node is called, without a number.
            errand: Who is told what happens.

        Raises:
            OutboardError: Nothing could be sent: the journal cannot be written, or the run to go on with cannot be had.
        """
        engine = await self._opened(await self._agents())
        run = await self._running(engine, errand)
        recalled = await self._recall.find(task) if self._recall is not None else None
        task_id = recalled.task_id if recalled is not None else self._next_id(name)
        place = (run.run_id, task_id)
        self._listeners[place] = errand
        errand.is_sent = True
        try:
            if recalled is not None:
                errand.news.put(Told(f"{task_id}: {recalled.words}"))
                return await recalled.outcome()
            live = await run.submit(task, task_id=task_id)
            return await live.outcome()
        finally:
            del self._listeners[place]

    def interrupt(self) -> None:
        """Take a Ctrl-C, from any thread: the first cancels all that is under way, the second stops waiting for it."""
        self._loop.call_soon_threadsafe(self._interrupt)

    def wait_idle(self) -> None:
        """Wait until nobody waits for anything."""
        self._idle.wait()

    @property
    def is_abandoned(self) -> bool:
        """Whether somebody waits, and none of them in a thread that Python waits for."""
        errands = self._errands.copy()
        return bool(errands) and not any(each.is_awaited for each in errands)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything."""
        return self._idle.is_set()

    def close(self) -> None:
        """Close everything, within the time that cancelled jobs are waited for."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            wait_s = self.settings.engine.cancel_wait.total_seconds()
            self._thread.join(_EXIT_MARGIN_S + (0.0 if self.is_idle else wait_s))

    def _live(self) -> None:
        try:
            self._loop.run_until_complete(self._session())
        finally:
            self._loop.close()

    async def _session(self) -> None:
        async with self._stack:
            await self._closing.wait()

    def _take(self, errand: Errand[Any]) -> None:
        self._errands.add(errand)
        self._idle.clear()
        errand.task = self._loop.create_task(errand.perform())
        errand.task.add_done_callback(lambda _: self._forget(errand))

    def _forget(self, errand: Errand[Any]) -> None:
        self._errands.discard(errand)
        if not self._errands:
            self.is_interrupted = False
            self._idle.set()

    def _interrupt(self) -> None:
        if self._run is not None:
            if self.is_interrupted:
                self._run.abandon()
            else:
                self._run.cancel_all()
        self.is_interrupted = True
        for errand in self._errands:
            if not errand.is_sent and errand.task is not None:
                errand.task.cancel()

    async def _agents(self) -> Found:
        async with self._opening:
            if self._found is None:
                found = await self._stack.enter_async_context(find(self.settings.target))
                self.failures = _failures(found, self.settings.target.choice)
                self._found = found
            return self._found

    async def _opened(self, found: Found) -> Engine:
        async with self._opening:
            if self._engine is None:
                journal = await asyncio.to_thread(Journal.open, self.settings.journal)
                self._stack.callback(journal.close)
                engine = engine_over(found, self.settings.engine, journal, self._tell)
                self._engine = await self._stack.enter_async_context(engine)
            return self._engine

    async def _running(self, engine: Engine, errand: Errand[Any]) -> Run:
        async with self._beginning:
            if self._run is not None and self._run.is_cancelled:
                await self._run.close()
                self._run = self._recall = None
            if self._run is None:
                await self._begin(engine, errand)
            if self._run is None:
                raise AssertionError("a run was begun or an error raised")
            return self._run

    async def _begin(self, engine: Engine, errand: Errand[Any]) -> None:
        settings, journal = self.settings, engine.journal
        if journal is None:
            raise AssertionError("the engine was opened with a journal")
        if settings.resume:
            self._recall = await Recall.of(engine, journal, settings.resume, settings.title)
            self._run = self._recall.run
            errand.news.put(Told(f"going on with run {self._run.run_id}"))
            return
        for words in await earlier_runs(journal, settings.title):
            errand.news.put(Told(words))
        self._run = await engine.begin(settings.title, target=kept_target(settings.target))

    def _next_id(self, name: str) -> str:
        while True:
            task_id = f"{name}-{self._numbers[name]}"
            self._numbers[name] += 1
            if self._recall is None or task_id not in self._recall.task_ids:
                return task_id

    def _tell(self, event: TaskEvent) -> None:
        errand = self._listeners.get((event.run_id, event.task_id))
        if errand is not None:
            errand.news.put(event)


def _failures(found: Found, choice: AgentChoice) -> Sequence[LoadFailure]:
    """Return what could not be loaded, unless somebody asked for it by name: that is an error, and no change of ways."""
    asked = {*choice.modules, *(choice.platforms or ())}
    for failure in found.failures:
        if failure.source in asked:
            raise InvalidSettings(f"{failure.source} could not be loaded: {failure.reason}", field="agents")
    return found.failures


def _knows_sensor(served: Iterable[AgentInfo], task_type: TaskType, kind: tuple[str, str]) -> bool:
    """Tell whether a sensor's class is known to an agent: ours knows flytekit's file sensor and imports no other."""
    if task_type.name != SENSOR:
        return True
    from outboard.platforms.files.sensors import FLYTEKIT_SENSOR, FlytekitFileSensor  # noqa: PLC0415 - for sensors only

    return kind == FLYTEKIT_SENSOR or any(each.name != FlytekitFileSensor.name for each in served)


_lock = threading.Lock()
_shared: SharedEngine | None = None


def shared_engine() -> SharedEngine:
    """Return this process's engine, made when it is first asked for.

    Raises:
        InvalidSettings: The environment says something wrong.
    """
    global _shared  # noqa: PLW0603 - one per process is what it is
    with _lock:
        if _shared is None:
            _shared = SharedEngine(read_settings())
        return _shared


def current_engine() -> SharedEngine | None:
    """Return this process's engine, if there is one."""
    return _shared


def close_engine() -> None:
    """Close this process's engine, if there is one; the next task makes a new one, with the environment as it is then."""
    global _shared
    with _lock:
        engine, _shared = _shared, None
    if engine is not None:
        engine.close()


def _forget_in_child() -> None:
    global _shared, _lock
    _shared, _lock = None, threading.Lock()


def _close_abandoned() -> None:
    engine = current_engine()
    if engine is not None and engine.is_abandoned:
        close_engine()


atexit.register(close_engine)
# Python ends all pools of threads before it calls what `atexit` knows; from then on no job can be cancelled whose agent looks up
# an address or calls a blocking client. There is no public way to come first; where this one is gone, `atexit` does what it can.
getattr(threading, "_register_atexit", atexit.register)(_close_abandoned)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
