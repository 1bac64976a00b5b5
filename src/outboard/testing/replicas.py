"""Replicas of a service in one event loop, that are killed, restarted, drained, and reached over a faulty network.

A `Replica` runs a host as a `Process`: a context of its own, a wall clock of its own. Calls enter it the way gRPC brings
them: the handler runs as the replica's code, is cancelled when the caller gives up or its deadline passes, and a caller
whose replica dies sees a broken connection.

A `Fleet` is what an engine sees of several replicas: one `Endpoint` that goes round robin over those that are ready, with
a network between, which decides the passage of every single call:

===================  =====================================================================================
`request_lost`       it never arrives
`reply_lost`         it arrives and takes effect; nobody hears of it
`delay_before_s`     it arrives late, even after the caller gave up
`delay_after_s`      its reply comes late
===================  =====================================================================================

Where a passage brings no reply, a caller with a deadline waits for that; one without sees its connection break at once.
Both are `Unavailable`, as `engine.remote` words them; a call that reached nobody is `EndpointUnreachable`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from typing_extensions import Self

from outboard.domain.endpoints import AgentInfo, Endpoint
from outboard.domain.statuses import LogPage, MetricSeries, TaskStatus
from outboard.domain.tasks import RawTask, TaskType
from outboard.errors import EndpointUnreachable, Unavailable
from outboard.host.invocation import deadline
from outboard.testing.processes import Process, outside

T = TypeVar("T")


class Served(Endpoint, Protocol):
    """What a replica runs: a host, or another service behind an adapter."""

    async def drain(self) -> None:
        """Take no new work and wait for what is in flight."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


HostT = TypeVar("HostT", bound=Served)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call on its way to a replica.

    Attributes:
        operation: The endpoint's method, e.g. "create_task".
        number: How many calls of this operation came before it, over the whole fleet.
        replica: The name of the replica whose turn it is.
    """

    operation: str
    number: int
    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """How a call fares on the network; see the module. Delays are virtual seconds."""

    request_lost: bool = False
    reply_lost: bool = False
    delay_before_s: float = 0.0
    delay_after_s: float = 0.0

    @property
    def is_clear(self) -> bool:
        """Whether nothing stands in the way."""
        return self is CLEAR or self == CLEAR


CLEAR = Passage()
Network = Callable[[Call], Passage]


def clear_network(call: Call) -> Passage:  # noqa: ARG001 - every call fares the same
    """Let everything pass at once."""
    return CLEAR


class Replica(Generic[HostT]):
    """One replica: a host in a process that can be killed.

    Make it inside the event loop. `host` is there for assertions; calling it directly runs its code as the driver's,
    which a kill does not stop.

    Args:
        name: For people, and for the network's decisions.
        make_host: Makes the host, anew for every start; whatever replicas share is the caller's to pass in.
        wall_skew_s: How far its wall clock is off.

    Attributes:
        host: The host that runs now, or ran last.
        process: What a kill ends; new with every start.
        starts: How often it was started.
        is_ready: Whether a fleet sends it calls: from its start until it is killed or drains.
        on_step: Called before each step of its process, also after a restart (see `crashes`).
    """

    def __init__(self, name: str, make_host: Callable[[], HostT], *, wall_skew_s: float = 0.0) -> None:
        self.name = name
        self.starts = 0
        self.on_step: Callable[[Process], None] | None = None
        self._make_host = make_host
        self._wall_skew_s = wall_skew_s
        self._boot()

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return not self.process.is_dead

    @property
    def wall_skew_s(self) -> float:
        """How far its wall clock is off; set it and the clock jumps, now and for later starts."""
        return self._wall_skew_s

    @wall_skew_s.setter
    def wall_skew_s(self, seconds: float) -> None:
        self._wall_skew_s = self.process.wall_skew_s = seconds

    def kill(self) -> None:
        """Kill it as SIGKILL does; calls that wait for it see their connections break."""
        self.is_ready = False
        self.process.kill()

    def kill_at(self, step: int) -> None:
        """Kill it just before its process takes its `step`-th step from now (the next is 1)."""
        at = self.process.steps + step
        process = self.process

        def strike(stepping: Process) -> None:
            if stepping is process and stepping.steps >= at:
                self.kill()

        self.on_step = strike

    def restart(self) -> None:
        """Start it anew, with a new host and nothing in memory; kills it first where it still runs."""
        self.kill()
        self._boot()

    async def terminate(self, grace_s: float = 90.0) -> bool:
        """End it as SIGTERM does: it takes no new calls, drains and closes; what is left after the grace is killed.

        Returns:
            Whether it was done within the grace.
        """
        self.is_ready = False
        if self.process.is_dead:
            return False
        ending = self.process.start(_drain_and_close(self.host))
        answer = self._answer(ending)
        await asyncio.wait([answer], timeout=grace_s)
        is_done = answer.done() and answer.exception() is None
        answer.cancel()
        self.kill()
        return is_done

    async def ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work()` as a handler of this replica and return its result; cancelling the call cancels the handler.

        Raises:
            EndpointUnreachable: It does not run.
            Unavailable: It died meanwhile.
        """
        if self.process.is_dead:
            raise EndpointUnreachable(f"{self.name} does not run; start it", endpoint=self.name)
        handler = self.process.start(work())
        answer = self._answer(handler)
        try:
            return await answer
        except asyncio.CancelledError:
            handler.cancel()
            raise

    def recall_task(self, handle: bytes) -> TaskStatus | None:
        """Return what the host would answer a poll from memory, as the service asks it before anything else."""
        recall = getattr(self.host, "recall_task", None)
        if recall is None or self.process.is_dead:
            return None
        found: TaskStatus | None = self.process.run(recall, handle)
        return found

    def _boot(self) -> None:
        self.process = Process(self.name, wall_skew_s=self._wall_skew_s, on_step=self._step)
        self.host = self.process.run(self._make_host)
        self.process.keep(self.host)
        self.process.on_death(self, self._died)
        self.starts += 1
        self.is_ready = True

    def _died(self) -> None:
        self.is_ready = False

    def _step(self, process: Process) -> None:
        if self.on_step is not None:
            self.on_step(process)

    def _answer(self, handler: asyncio.Task[T]) -> asyncio.Future[T]:
        """Return the driver's end of a connection: it gets the handler's result, or breaks when the process dies."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        process = self.process

        def hand_over(done: asyncio.Task[T]) -> None:
            process.on_death(answer, None)
            _settle(answer, done)

        def break_off() -> None:
            if not answer.done():
                answer.set_exception(Unavailable(f"{self.name} broke the connection", code="UNAVAILABLE"))

        process.on_death(answer, break_off)
        handler.add_done_callback(hand_over)
        return answer


class Fleet(Generic[HostT]):
    """Replicas behind round robin; an `outboard.domain.endpoints.Endpoint`.

    Use it as `async with Fleet(2, make_host) as fleet:`; leaving kills what still runs.

    Args:
        count: How many replicas.
        make_host: Makes the host of each, for every start.
        wall_skews_s: How far their wall clocks are off, in order; the others are right.
        network: Decides how each call fares; may be set at any time.
    """

    def __init__(
        self,
        count: int,
        make_host: Callable[[], HostT],
        *,
        wall_skews_s: Sequence[float] = (),
        network: Network = clear_network,
    ) -> None:
        skews = [*wall_skews_s, *([0.0] * count)]
        self.replicas = [Replica(f"replica-{n}", make_host, wall_skew_s=skews[n]) for n in range(count)]
        self.network = network
        self.calls: Counter[str] = Counter()
        self._turn = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill all replicas."""
        for replica in self.replicas:
            replica.kill()

    async def list_agents(self) -> Sequence[AgentInfo]:
        """Return what the replica whose turn it is serves."""
        return await self._call("list_agents", None, lambda host: host.list_agents())

    async def create_task(self, task: RawTask, *, timeout_s: float | None = None) -> bytes:
        """Start the task's job at the replica whose turn it is and return its handle."""
        return await self._call("create_task", timeout_s, lambda host: host.create_task(task, timeout_s=timeout_s))

    async def get_task(
        self, handle: bytes, *, task_type: TaskType, output_prefix: str = "", timeout_s: float | None = None
    ) -> TaskStatus:
        """Return where the task stands, as the replica whose turn it is sees it."""
        return await self._call(
            "get_task",
            timeout_s,
            lambda host: host.get_task(handle, task_type=task_type, output_prefix=output_prefix, timeout_s=timeout_s),
            recall=lambda replica: replica.recall_task(handle),
        )

    async def delete_task(self, handle: bytes, *, task_type: TaskType, timeout_s: float | None = None) -> None:
        """Cancel the task's job at the replica whose turn it is."""
        await self._call(
            "delete_task", timeout_s, lambda host: host.delete_task(handle, task_type=task_type, timeout_s=timeout_s)
        )

    async def execute_task(self, task: RawTask, *, timeout_s: float | None = None) -> TaskStatus:
        """Run a task of a sync agent at the replica whose turn it is."""
        return await self._call("execute_task", timeout_s, lambda host: host.execute_task(task, timeout_s=timeout_s))

    async def task_logs(
        self, handle: bytes, *, task_type: TaskType, cursor: str | None = None, limit: int = 0
    ) -> AsyncIterator[LogPage]:
        """Stream what the log holds, read whole by one replica before the first page is given."""

        async def read(host: HostT) -> list[LogPage]:
            return [page async for page in host.task_logs(handle, task_type=task_type, cursor=cursor, limit=limit)]

        for page in await self._call("task_logs", None, read):
            yield page

    async def task_metrics(
        self,
        handle: bytes,
        *,
        task_type: TaskType,
        names: Sequence[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Sequence[MetricSeries]:
        """Return metrics of the job."""
        return await self._call(
            "task_metrics",
            None,
            lambda host: host.task_metrics(handle, task_type=task_type, names=names, start=start, end=end),
        )

    async def _call(
        self,
        operation: str,
        timeout_s: float | None,
        work: Callable[[HostT], Coroutine[Any, Any, T]],
        recall: Callable[[Replica[HostT]], T | None] | None = None,
    ) -> T:
        replica = self._next()
        call = Call(operation=operation, number=self.calls[operation], replica=replica.name)
        self.calls[operation] += 1
        passage = self.network(call)
        if passage.is_clear:
            found = recall(replica) if recall is not None else None
            if found is not None:
                return found
        try:
            async with deadline(timeout_s):
                return await _carry(replica, passage, work, has_deadline=timeout_s is not None)
        except (TimeoutError, asyncio.TimeoutError):
            if timeout_s is None:
                raise  # the service's own
            message = f"{replica.name} did not answer {operation} within {timeout_s:g} s"
            raise Unavailable(message, code="DEADLINE_EXCEEDED") from None

    def _next(self) -> Replica[HostT]:
        for _ in self.replicas:
            replica = self.replicas[self._turn % len(self.replicas)]
            self._turn += 1
            if replica.is_ready:
                return replica
        raise EndpointUnreachable("no replica is ready; restart one", endpoint="fleet")


async def _carry(
    replica: Replica[HostT],
    passage: Passage,
    work: Callable[[HostT], Coroutine[Any, Any, T]],
    *,
    has_deadline: bool,
) -> T:
    """Bring a call to a replica and its reply back, as the passage has it."""

    async def arrive_late() -> T:
        await asyncio.sleep(passage.delay_before_s)
        return await replica.ask(lambda: work(replica.host))

    if passage.request_lost:
        await _hear_nothing(replica, has_deadline)
    # What is under way arrives though nobody waits any more; what has arrived is cancelled with its caller.
    answer = await (outside(arrive_late()) if passage.delay_before_s else replica.ask(lambda: work(replica.host)))
    if passage.reply_lost:
        await _hear_nothing(replica, has_deadline)
    if passage.delay_after_s:
        await asyncio.sleep(passage.delay_after_s)
    return answer


async def _hear_nothing(replica: Replica[HostT], has_deadline: bool) -> NoReturn:
    """Wait for the caller's deadline, which cancels this; without one the connection breaks."""
    if has_deadline:
        await asyncio.get_running_loop().create_future()
    raise Unavailable(f"{replica.name} broke the connection", code="UNAVAILABLE")


async def _drain_and_close(host: Served) -> None:
    await host.drain()
    await host.close()


def _settle(answer: asyncio.Future[T], done: asyncio.Task[T]) -> None:
    if answer.done():
        return
    if done.cancelled():
        answer.set_exception(Unavailable("the service cancelled the call", code="CANCELLED"))
    elif (error := done.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
