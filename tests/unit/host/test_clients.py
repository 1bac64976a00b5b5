"""Clients: opened once, within limits, never closed under a caller, opened anew when secrets were rotated."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from ledgers import (
    QUICK,
    BatchingAgent,
    Greeter,
    Ledger,
    LedgerAgent,
    LedgerConnection,
    LedgerJob,
    LedgerPlatform,
    ledger_task,
    until,
)
from outboard.agent import AccountContext, Connection, Inputs, Phase, Registry, SecretRef, SecretScope
from outboard.domain.identity import Scope
from outboard.errors import Sent, Unauthorized, Unavailable
from outboard.host import Host, HostSettings
from outboard.host.clients import client_key, secret_refs
from outboard.testing.conformance.direct import Direct
from outboard.testing.virtual_time import virtually


class Doors(LedgerPlatform):
    """A platform whose doors a test may hold: `entering` and `leaving` are called on the way in and out."""

    def __init__(self, ledger: Ledger, agent: type[LedgerAgent] = LedgerAgent) -> None:
        super().__init__(ledger, agent, Greeter)
        self.entering: Callable[[], Any] = lambda: None
        self.leaving: Callable[[], Any] = lambda: None
        self.tasks: list[Any] = []
        self.closed = asyncio.Event()

    def open(self, connection: Any, secrets: Any, http: Any) -> Any:
        return self._door()

    @asynccontextmanager
    async def _door(self) -> AsyncIterator[Ledger]:
        self.tasks.append(asyncio.current_task())
        await _called(self.entering)
        self.ledger.opened += 1
        try:
            yield self.ledger
        finally:
            self.tasks.append(asyncio.current_task())
            self.ledger.closed += 1
            self.closed.set()
            await _called(self.leaving)


class Tellers(BatchingAgent):
    """Answers what it met for each job."""

    name = "tellers"

    async def get_many(self, jobs: Sequence[LedgerJob], ctx: AccountContext[Ledger]) -> Mapping[str, Any]:
        try:
            return await super().get_many(jobs, ctx)
        except Unauthorized as error:
            return {job.id: error for job in jobs}


async def _called(function: Callable[[], Any]) -> None:
    answer = function()
    if asyncio.iscoroutine(answer):
        await answer


@pytest.fixture
async def doors() -> Doors:
    return Doors(Ledger())


@pytest.fixture
async def host(doors: Doors) -> AsyncIterator[Host]:
    async with Host(Registry([doors]), QUICK) as served:
        yield served


async def test_a_login_slower_than_a_poll_succeeds_in_the_end(doors: Doors) -> None:
    async with Host(Registry([doors]), QUICK) as first:
        handle = await first.create_task(ledger_task())
    proceed = asyncio.Event()
    doors.entering = proceed.wait
    doors.ledger.jobs = dict.fromkeys(doors.ledger.jobs, "OK")
    async with Host(Registry([doors]), QUICK) as host:
        assert (await host.get_task(handle, timeout_s=0.02)).phase is Phase.RUNNING
        assert (await host.get_task(handle, timeout_s=0.02)).phase is Phase.RUNNING
        proceed.set()
        assert (await host.get_task(handle)).phase is Phase.SUCCEEDED
    assert (doors.ledger.opened, doors.ledger.closed) == (2, 2)


async def test_a_login_that_hangs_leaves_an_intent_whose_job_starts_when_it_no_longer_does(doors: Doors) -> None:
    proceed = asyncio.Event()
    doors.entering = proceed.wait
    settings = HostSettings(submission_limit=timedelta(seconds=0.1))
    async with Host(Registry([doors]), settings) as host:
        handle = await host.create_task(ledger_task(), timeout_s=0.3)
        assert (await host.get_task(handle)).phase is Phase.INITIALIZING
        assert doors.ledger.starts == {}
        proceed.set()

        async def runs() -> bool:
            return (await host.get_task(handle)).phase is Phase.RUNNING

        await until(runs)
        assert list(doors.ledger.starts.values()) == [1]


@virtually
async def test_a_login_that_takes_longer_than_any_may_is_named() -> None:
    doors = Doors(Ledger())
    doors.entering = asyncio.Event().wait
    async with Direct(Registry([doors]), HostSettings()) as direct:
        request = direct.prepare(ledger_task())
        with pytest.raises(Unavailable, match=r"the connection to .+ was not open after 60 s"):
            await direct.call(request, "create", request.task, timeout_s=300)


@virtually
async def test_a_time_out_of_a_platforms_own_is_not_told_as_ours() -> None:
    doors = Doors(Ledger())

    async def give_up() -> None:
        await asyncio.sleep(10)
        raise asyncio.TimeoutError

    doors.entering = give_up
    async with Direct(Registry([doors]), HostSettings()) as direct:
        request = direct.prepare(ledger_task())
        with pytest.raises(Unavailable) as caught:
            await direct.call(request, "create", request.task, timeout_s=300)
    assert "60 s" not in caught.value.message


@pytest.mark.parametrize("fault", [ConnectionResetError(), Unavailable("login is down"), SystemExit(1), KeyError("x")])
async def test_an_opening_that_fails_is_not_kept(host: Host, doors: Doors, fault: BaseException) -> None:
    def fail() -> None:
        raise fault

    doors.entering = fail
    await asyncio.gather(*(host.create_task(ledger_task(node=node), timeout_s=0.1) for node in ("a", "b")))
    assert doors.ledger.opened == 0
    doors.entering = lambda: None
    await asyncio.gather(*(host.create_task(ledger_task(node=node)) for node in ("c", "d")))
    assert doors.ledger.opened == 1


async def test_one_task_opens_and_closes_a_client(doors: Doors) -> None:
    async with Host(Registry([doors]), QUICK) as host:
        await host.create_task(ledger_task())
    assert len(doors.tasks) == 2
    assert doors.tasks[0] is doors.tasks[1]


async def test_rotated_secrets_are_found_by_the_next_poll(host: Host, doors: Doors) -> None:
    handle = await host.create_task(ledger_task())

    def once() -> None:
        doors.ledger.faults.clear()
        doors.ledger.jobs = dict.fromkeys(doors.ledger.jobs, "OK")
        raise Unauthorized("the token expired", sent=Sent.MAYBE)

    doors.ledger.faults["get"] = once
    assert (await host.get_task(handle)).phase is Phase.SUCCEEDED
    assert doors.ledger.opened == 2


async def test_rotated_secrets_are_found_by_a_question_that_tells_each_job_its_refusal() -> None:
    doors = Doors(Ledger(), Tellers)
    async with Host(Registry([doors]), QUICK) as host:
        handle = await host.create_task(ledger_task("batching"))
        doors.ledger.faults["get"] = Unauthorized("the token expired")
        doors.leaving = doors.ledger.faults.clear
        doors.ledger.jobs = dict.fromkeys(doors.ledger.jobs, "OK")
        assert (await host.get_task(handle)).phase is Phase.SUCCEEDED
    assert doors.ledger.opened == 2


async def test_credentials_that_stay_refused_are_not_tried_again_at_every_poll(host: Host, doors: Doors) -> None:
    handle = await host.create_task(ledger_task())
    doors.ledger.faults["get"] = Unauthorized("no")
    for _ in range(5):
        assert (await host.get_task(handle)).phase is Phase.RUNNING
    assert doors.ledger.opened == 2


async def test_a_create_that_may_have_arrived_is_not_repeated_with_another_client(host: Host, doors: Doors) -> None:
    doors.ledger.faults["create"] = Unauthorized("no", sent=Sent.MAYBE)
    await host.create_task(ledger_task(), timeout_s=0.1)
    assert doors.ledger.opened == 1


async def test_what_was_done_at_once_and_may_have_arrived_is_not_done_again_with_another_client(
    host: Host, doors: Doors
) -> None:
    doors.ledger.faults["do"] = Unauthorized("no", sent=Sent.MAYBE)
    await host.execute_task(ledger_task("greeter", inputs=Inputs({"name": "x"})))
    assert (doors.ledger.starts, doors.ledger.opened) == ({"do": 1}, 1)


@virtually
async def test_a_create_whose_time_went_by_while_its_client_was_opened_is_left_to_the_next_claim() -> None:
    doors = Doors(Ledger())
    late: list[str] = []

    def stand_still() -> None:
        doors.entering = lambda: None
        time.sleep(600)  # virtual: the process is suspended while the clock goes on

    def look_at_the_clock() -> None:
        late.extend("late" for ctx in doors.ledger.contexts[-1:] if ctx.timeout_s <= 0)

    doors.entering = stand_still
    doors.ledger.faults["create"] = look_at_the_clock
    async with Host(Registry([doors]), HostSettings()) as host:
        handle = await host.create_task(ledger_task(), timeout_s=10)
        await asyncio.sleep(120)
        assert (await host.get_task(handle)).phase is Phase.RUNNING
    assert (late, list(doors.ledger.starts.values())) == ([], [1])


async def test_a_refused_client_stays_open_for_those_who_use_it(host: Host, doors: Doors) -> None:
    handle, other = [await host.create_task(ledger_task(node=node)) for node in ("one", "other")]
    proceed, began = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        doors.ledger.faults["get"] = Unauthorized("no")
        began.set()
        await proceed.wait()
        assert doors.ledger.closed == 0

    doors.ledger.faults["get"] = hold
    using = asyncio.ensure_future(host.get_task(handle, timeout_s=30))
    await began.wait()
    await host.get_task(other)
    proceed.set()
    assert (await using).phase is Phase.RUNNING
    await doors.closed.wait()


@pytest.mark.parametrize("fault", [RuntimeError, SystemExit])
async def test_a_client_that_cannot_be_closed_costs_nobody_his_result(
    host: Host, doors: Doors, fault: type[BaseException]
) -> None:
    def once() -> None:
        doors.ledger.faults.clear()
        raise Unauthorized("expired", sent=Sent.NO)

    def fail() -> None:
        raise fault

    doors.leaving = fail
    doors.ledger.faults["create"] = once
    assert await host.create_task(ledger_task())


async def test_idle_clients_are_closed_and_open_again(doors: Doors) -> None:
    settings = HostSettings(idle_client=timedelta(0))
    async with Host(Registry([doors]), settings) as host:
        handle = await host.create_task(ledger_task())
        host._exchange.clients.close_idle()
        await doors.closed.wait()
        assert (await host.get_task(handle)).phase is Phase.RUNNING
    assert (doors.ledger.opened, doors.ledger.closed) == (2, 2)


async def test_closing_a_host_does_not_wait_for_a_login_that_hangs(doors: Doors) -> None:
    doors.entering = asyncio.Event().wait
    settings = HostSettings(submission_limit=timedelta(seconds=0.01))
    host = Host(Registry([doors]), settings)
    await host.create_task(ledger_task(), timeout_s=0.1)
    await asyncio.wait_for(host.close(), 30)


class Login(Connection):
    password: SecretRef | None = None


class Nested(Connection):
    logins: tuple[Login, ...] = ()
    secrets_of: tuple[SecretRef, ...] = ()


def test_secrets_anywhere_in_a_connection_are_found_and_keep_projects_apart() -> None:
    ref = SecretRef("key", scope=SecretScope.PROJECT)
    platform = LedgerPlatform()
    for connection in (Nested(logins=(Login(password=ref),)), Nested(secrets_of=(ref,))):
        assert secret_refs(connection) == [ref]
        keys = {client_key(platform, connection, Scope(project=name)) for name in ("a", "b")}
        assert len(keys) == 2
    assert secret_refs(LedgerConnection()) == []
