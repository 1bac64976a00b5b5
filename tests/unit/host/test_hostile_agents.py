"""Agents that misbehave: whatever they answer or raise, a poll is answered, a job is not ended, and errors are of our tree."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from ledgers import QUICK, Ledger, LedgerAgent, LedgerConfig, LedgerJob, LedgerPlatform, Lookout, ledger_task
from outboard.agent import (
    DEFERRED,
    After,
    Context,
    Failure,
    Link,
    LogLine,
    LogPage,
    Phase,
    Registry,
    Sensor,
    Status,
    SyncAgent,
    Task,
    TaskType,
    Usage,
)
from outboard.domain.types import Interface, SimpleType
from outboard.errors import AgentFault, OutboardError
from outboard.host import Host


class Panic(BaseException):
    """What extensions written in Rust raise when they panic: no `Exception`."""


def _panic(*_: object) -> Any:
    raise Panic("a thread panicked")


def _fail(*_: object) -> Any:
    raise ZeroDivisionError


class Puppet(LedgerAgent):
    """Does what a test says; `answer` and the others are functions of no arguments."""

    name = "puppet"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("puppet"),)
    does: ClassVar[dict[str, Callable[[], Any]]] = {}

    async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Status:
        return self.does["get"]()  # type: ignore[no-any-return]

    def judge(self, status: Status) -> Failure | None:
        return self.does["judge"]() if "judge" in self.does else super().judge(status)

    def links(self, job: LedgerJob, connection: Any) -> Sequence[Link]:
        return self.does["links"]() if "links" in self.does else super().links(job, connection)

    def connection(self, task: Task[Any]) -> Any:
        return self.does["connection"]() if "connection" in self.does else super().connection(task)

    async def fetch_outputs(self, job: LedgerJob, ctx: Context[Ledger]) -> Mapping[str, Any]:
        return self.does["fetch"]()  # type: ignore[no-any-return]

    async def logs(self, job: LedgerJob, ctx: Context[Ledger], *, cursor: str | None, limit: int) -> LogPage:
        return self.does["logs"]()  # type: ignore[no-any-return]


class PuppetMany(Puppet):
    name = "puppet many"
    task_types = (TaskType("puppet_many"),)

    async def get_many(self, jobs: Sequence[LedgerJob], ctx: Any) -> Any:
        return self.does["get"]()


class PuppetSensor(Sensor[LedgerConfig, Ledger]):
    name = "puppet sensor"
    task_types = (TaskType("puppet_sensor"),)

    async def poke(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> bool | After:
        return Puppet.does["get"]()  # type: ignore[no-any-return]


class PuppetAnswerer(SyncAgent[LedgerConfig, Ledger]):
    name = "puppet answerer"
    task_types = (TaskType("puppet_answerer"),)

    async def do(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> Mapping[str, Any]:
        return Puppet.does["do"]()  # type: ignore[no-any-return]


@pytest.fixture
def does() -> Any:
    Puppet.does.clear()
    Puppet.does["get"] = lambda: Status(state="RUNNING")
    yield Puppet.does
    Puppet.does.clear()


@pytest.fixture
async def host(does: object) -> AsyncIterator[Host]:
    platform = LedgerPlatform(Ledger(), Puppet, PuppetMany, PuppetSensor, PuppetAnswerer, Lookout)
    async with Host(Registry([platform]), QUICK) as served:
        yield served


class Unequal:
    """Like an array of numbers: `==` answers no truth value."""

    def __eq__(self, other: object) -> Any:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


NONSENSE: Sequence[Any] = [
    None,
    3,
    "RUNNING",
    [],
    object(),
    Status(state=None),  # type: ignore[arg-type]
    Status(state=3),  # type: ignore[arg-type]
    Status(state=["RUNNING"]),  # type: ignore[arg-type]
    Status(state=()),  # type: ignore[arg-type]
    Status(state=(1, 2)),  # type: ignore[arg-type]
    Status(state="RUNNING", message=b"bytes"),  # type: ignore[arg-type]
    Status(state="RUNNING", message="x" * 10_000_000),
    Status(state="RUNNING", links=["http://x"]),  # type: ignore[list-item]
    Status(state="RUNNING", links=[Link(name="l", url=None)]),  # type: ignore[arg-type]
    Status(state="RUNNING", links=3),  # type: ignore[arg-type]
    Status(state="RUNNING", custom_info={"a": object(), 3: {1, 2}, "n": float("nan")}),  # type: ignore[dict-item]
    Status(state="RUNNING", custom_info={"big": "x" * 10_000_000}),
    Status(state="RUNNING", custom_info=[1]),  # type: ignore[arg-type]
    Status(state="RUNNING", custom_info={"a": Unequal()}),
    Status(state="RUNNING", usage=Usage(billed={"x": "much"})),  # type: ignore[dict-item]
    Status(state="RUNNING", usage=Usage(currency_amount=Decimal("NaN"))),
    Status(state="RUNNING", usage="much"),  # type: ignore[arg-type]
    Status(state="RUNNING", poll_after="soon"),  # type: ignore[arg-type]
    Status(state="RUNNING", poll_after=timedelta(seconds=-5)),
]


@pytest.mark.parametrize("answer", NONSENSE, ids=[str(n) for n in range(len(NONSENSE))])
async def test_nonsense_answers_end_nothing_and_are_answered(host: Host, does: Any, answer: Any) -> None:
    handles = {}
    for kind in ("puppet", "puppet_many", "puppet_sensor"):
        handles[kind] = await host.create_task(ledger_task(kind, node=kind.replace("_", "-")))
    for kind, handle in handles.items():
        job = host.codec.decode(handle).job["id"]
        does["get"] = (lambda job=job: {job: answer}) if kind == "puppet_many" else lambda: answer
        for _ in range(2):
            status = await host.get_task(handle)
            assert status.phase is Phase.RUNNING
            assert len(status.message) < 20_000
            assert len(str(status.custom_info)) < 100_000
            assert {type(link.url) for link in status.links} == {str} or kind == "puppet_sensor"
        does["get"] = lambda: answer
        assert (await host.get_task(handle)).phase is Phase.RUNNING


@pytest.mark.parametrize("decoration", [{"usage": Usage(billed={"x": "y"})}, {"custom_info": 3}, {"links": [None]}])  # type: ignore[dict-item]
async def test_what_only_decorates_a_status_never_hides_the_end(host: Host, does: Any, decoration: Any) -> None:
    handle = await host.create_task(ledger_task("puppet"))
    does["get"] = lambda: Status(state="OK", **decoration)
    assert (await host.get_task(handle)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("raising", [_fail, _panic], ids=["exception", "panic"])
@pytest.mark.parametrize("method", ["get", "judge", "links"])
async def test_whatever_an_agent_raises_a_poll_is_answered(
    host: Host, does: Any, method: str, raising: Callable[[], Any]
) -> None:
    does["get"] = lambda: Status(state="BROKEN")
    does[method] = raising
    handle = await host.create_task(ledger_task("puppet"))
    assert (await host.get_task(handle)).phase is (Phase.RUNNING if method == "get" else Phase.FAILED)


@pytest.mark.parametrize("verdict", [3, "why", Failure(code=3), Failure(code="x", message=b"y")])  # type: ignore[arg-type]
async def test_a_judge_that_answers_nonsense_does_not_hide_the_end(host: Host, does: Any, verdict: Any) -> None:
    does["get"] = lambda: Status(state="BROKEN")
    does["judge"] = lambda: verdict
    status = await host.get_task(await host.create_task(ledger_task("puppet")))
    assert status.phase is Phase.FAILED
    assert status.error is not None
    assert isinstance(status.error.code, str)
    assert isinstance(status.message, str)


@pytest.mark.parametrize("connection", [_fail, _panic, lambda: None, lambda: {"region": "x"}])
async def test_a_connection_that_cannot_be_had_is_the_authors_fault(host: Host, does: Any, connection: Any) -> None:
    does["connection"] = connection
    with pytest.raises(AgentFault, match="puppet"):
        await host.create_task(ledger_task("puppet"))


@pytest.mark.parametrize("outputs", [3, [("a", 1)], {"rows": object()}, {3: 1}, {"rows": 1, 2: 3}, {"rows": Unequal()}])
@pytest.mark.parametrize("interface", [Interface(), Interface(outputs={"rows": SimpleType.INTEGER})])
@pytest.mark.parametrize("road", ["inline", "deferred", "answer"])
async def test_outputs_that_are_none_fail_the_task_with_the_agent_to_blame(
    host: Host, does: Any, outputs: Any, interface: Interface, road: str
) -> None:
    if road == "answer":
        does["do"] = lambda: outputs
        status = await host.execute_task(ledger_task("puppet_answerer", interface=interface))
    else:
        does["get"] = lambda: Status(state="OK", outputs=DEFERRED if road == "deferred" else outputs)
        does["fetch"] = lambda: outputs
        status = await host.get_task(await host.create_task(ledger_task("puppet", interface=interface)))
    assert status.phase is Phase.FAILED
    assert status.error is not None
    assert status.error.code == "InvalidOutputs"


async def test_outputs_promised_by_an_agent_that_cannot_fetch_them_fail_the_task() -> None:
    class Forgetful(LedgerAgent):
        name = "forgetful"
        task_types = (TaskType("forgetful"),)

        async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Status:
            return Status(state="OK", outputs=DEFERRED)

        fetch_outputs = LedgerAgent.__mro__[1].fetch_outputs  # type: ignore[attr-defined]

    async with Host(Registry([LedgerPlatform(Ledger(), Forgetful)]), QUICK) as host:
        status = await host.get_task(await host.create_task(ledger_task("forgetful")))
        assert (status.phase, status.error and status.error.code) == (Phase.FAILED, "InvalidOutputs")


@pytest.mark.parametrize("fault", [ZeroDivisionError, Panic, SystemExit, asyncio.CancelledError])
async def test_a_sync_agent_that_breaks_is_a_terminal_answer(host: Host, does: Any, fault: Any) -> None:
    def fail() -> None:
        raise fault()

    does["do"] = fail
    assert (await host.execute_task(ledger_task("puppet_answerer"))).phase.is_terminal


async def test_an_agent_that_cancels_itself_does_not_look_like_a_caller_that_gave_up(host: Host, does: Any) -> None:
    def fail() -> None:
        raise asyncio.CancelledError

    handle = await host.create_task(ledger_task("puppet"))
    does["get"] = fail
    assert (await host.get_task(handle)).phase is Phase.RUNNING


@pytest.mark.parametrize(
    "page",
    [None, [], LogPage(lines=None), LogPage(lines=["text"]), LogPage(lines=[LogLine(message=b"x")])],  # type: ignore[arg-type, list-item]
)
async def test_logs_that_are_none_are_the_authors_fault(host: Host, does: Any, page: Any) -> None:
    does["logs"] = lambda: page
    handle = await host.create_task(ledger_task("puppet"))
    with pytest.raises(OutboardError):
        _ = [each async for each in host.task_logs(handle)]


async def test_a_log_that_never_moves_on_is_not_read_for_ever(host: Host, does: Any) -> None:
    does["logs"] = lambda: LogPage(lines=[LogLine(message="again")], next_cursor="7")
    handle = await host.create_task(ledger_task("puppet"))
    pages = [page async for page in host.task_logs(handle)]
    assert len(pages) == 2


async def test_a_log_page_longer_than_asked_for_does_not_ask_for_less_than_nothing(host: Host, does: Any) -> None:
    does["logs"] = lambda: LogPage(lines=[LogLine(message="x")] * 9, next_cursor="7")
    handle = await host.create_task(ledger_task("puppet"))
    pages = [page async for page in host.task_logs(handle, limit=3)]
    assert len(pages) == 1
