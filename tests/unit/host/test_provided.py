"""What an engine provides with a request: used for its task only, replaced by what comes next, and kept nowhere."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledgers import (
    QUICK,
    Ledger,
    LedgerAgent,
    LedgerConfig,
    LedgerConnection,
    LedgerJob,
    LedgerPlatform,
    ledger_task,
    until,
)
from outboard.agent import AccountContext, Context, ErrorMap, Missing, Phase, Registry, SecretRef, Status, Task
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.tasks import RawTask
from outboard.errors import AgentFault, ForeignHandle, MissingSecret, Rejected, Unauthorized
from outboard.host import Host
from outboard.testing.virtual_time import virtually

LOGIN = SecretRef("login")
CANARY = "canary-6f1d2c3b4a59"
ROTATED = "canary-rotated-0a1b2c3d"


class Vault(LedgerPlatform):
    """A platform that lets in whoever has its present password; the agent notes who asked for what."""

    errors = ErrorMap({"BAD": Rejected})

    def __init__(self, password: str, *classes: Any) -> None:
        super().__init__(Ledger(), *(classes or (Clerk,)))
        self.password = password
        self.opened_with: list[str] = []
        self.seen: list[tuple[str, Provided]] = []

    def open(self, connection: Any, secrets: Any, http: Any) -> Any:
        return self._door(secrets[connection.login].get_secret_value())

    @asynccontextmanager
    async def _door(self, password: str) -> AsyncIterator[Any]:
        self.opened_with.append(password)
        yield (self, password)


class Clerk(LedgerAgent):
    """Asks with the password that its client was opened with."""

    def connection(self, task: Task[LedgerConfig]) -> LedgerConnection:
        return LedgerConnection(login=LOGIN, region=task.provided.configs.get("region", "here"))

    async def create(self, task: Task[LedgerConfig], ctx: Context[Any]) -> LedgerJob:
        vault = self._entered("create", ctx)
        return await super().create(task, replace_client(ctx, vault.ledger))

    async def get(self, job: LedgerJob, ctx: Context[Any]) -> Status | Missing:
        vault = self._entered("get", ctx)
        return await super().get(job, replace_client(ctx, vault.ledger))

    async def cancel(self, job: LedgerJob, ctx: Context[Any]) -> None:
        vault = self._entered("cancel", ctx)
        await super().cancel(job, replace_client(ctx, vault.ledger))

    @staticmethod
    def _entered(method: str, ctx: Context[Any]) -> Vault:
        vault, password = ctx.client
        assert isinstance(vault, Vault)
        vault.seen.append((method, ctx.provided))
        if password != vault.password:
            raise Unauthorized(f"wrong password {password}")
        return vault


class Sleeper(Clerk):
    """Never answers whoever has the wrong password."""

    name = "sleeper"

    async def get(self, job: LedgerJob, ctx: Context[Any]) -> Status | Missing:
        vault, password = ctx.client
        if password != vault.password:
            await asyncio.Event().wait()
        return await super().get(job, ctx)


class Clerks(Clerk):
    """The same for many at once: their pages must not mix credentials."""

    name = "clerks"
    batch_size = 100

    async def get_many(self, jobs: Sequence[LedgerJob], ctx: AccountContext[Any]) -> Mapping[str, Any]:
        vault, password = ctx.client
        vault.ledger.polls += 1
        if password != vault.password:
            raise Unauthorized(f"wrong password {password}")
        return {job.id: Status(state=vault.ledger.jobs[job.id]) for job in jobs}


def replace_client(ctx: Context[Any], client: Any) -> Context[Any]:
    return replace(ctx, client=client)


def given(secret: str, **configs: str) -> Provided:
    return Provided(secrets={"login": secret}, configs=configs)


def asking(provided: Provided, node: str = "n0") -> RawTask:
    task = ledger_task()
    return replace(task, provided=provided, identity=replace(task.identity, node=node))


@pytest.fixture
def vault() -> Vault:
    return Vault(CANARY)


@pytest.fixture
async def host(vault: Vault) -> AsyncIterator[Host]:
    async with Host(Registry([vault]), QUICK) as served:
        yield served


async def test_a_provided_secret_opens_the_client_and_reaches_the_agent(vault: Vault, host: Host) -> None:
    provided = given(CANARY, region="eu")
    handle = await host.create_task(asking(provided))
    await host.get_task(handle, provided=provided)
    await host.delete_task(handle, provided=provided)
    assert vault.opened_with == [CANARY]
    assert {(method, seen) for method, seen in vault.seen} >= {("create", provided), ("cancel", provided)}


async def test_a_task_without_the_secret_is_refused_before_anything_is_sent(vault: Vault, host: Host) -> None:
    with pytest.raises(MissingSecret, match="login"):
        await host.create_task(asking(Provided(secrets={"other": CANARY})))
    assert vault.seen == []


async def test_what_the_engine_provides_goes_before_what_the_service_has(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_FSEC_LOGIN", "the service's own")
    async with Host(Registry([vault]), QUICK) as host:
        await host.create_task(asking(given(CANARY)))
    assert vault.opened_with == [CANARY]


async def test_neither_handle_nor_record_nor_shown_task_holds_it(vault: Vault, host: Host, tmp_path: Path) -> None:
    task = replace(asking(given(CANARY)), output_prefix=str(tmp_path / "e" / "n0" / "0"))
    proceed = asyncio.Event()
    vault.ledger.faults["create"] = proceed.wait
    intent = await host.create_task(task, timeout_s=0.5)
    records = [file.read_bytes() for file in (tmp_path / "e" / "n0" / "0" / ".outboard").iterdir()]
    proceed.set()
    assert records
    for kept in (intent, *records, repr(task).encode()):
        assert CANARY.encode() not in kept


async def test_errors_do_not_tell_it(vault: Vault, host: Host) -> None:
    vault.password = ROTATED
    handle = await host.create_task(asking(given(CANARY)))
    status = await host.get_task(handle, provided=given(CANARY))
    assert CANARY not in repr(status)
    assert "[redacted]" in host.redact(f"wrong password {CANARY}")


async def test_what_an_agent_quotes_before_anything_was_opened_is_taken_out_too() -> None:
    class Careless(Clerk):
        """Takes a secret for a number."""

        name = "careless"

        def connection(self, task: Task[LedgerConfig]) -> LedgerConnection:
            return LedgerConnection(region=str(int(task.provided.secrets["login"])))

    async with Host(Registry([Vault(CANARY, Careless)]), QUICK) as host:
        with pytest.raises(AgentFault) as caught:
            await host.create_task(asking(given(CANARY)))
        assert CANARY in str(caught.value.__cause__)
        assert CANARY not in host.redact(str(caught.value.__cause__))


async def test_a_rotated_secret_is_used_from_the_next_poll_on(vault: Vault, host: Host) -> None:
    handle = await host.create_task(asking(given(CANARY)))
    await host.get_task(handle, provided=given(CANARY))
    vault.password = ROTATED
    vault.ledger.jobs = dict.fromkeys(vault.ledger.jobs, "OK")
    assert (await host.get_task(handle, provided=given(ROTATED))).phase is Phase.SUCCEEDED
    assert vault.opened_with == [CANARY, ROTATED]


async def test_a_poll_that_provides_nothing_uses_what_came_before(vault: Vault, host: Host) -> None:
    handle = await host.create_task(asking(given(CANARY)))
    vault.ledger.jobs = dict.fromkeys(vault.ledger.jobs, "OK")
    assert (await host.get_task(handle)).phase is Phase.SUCCEEDED


async def test_another_replica_follows_with_what_the_poll_provides(vault: Vault, host: Host) -> None:
    handle = await host.create_task(asking(given(CANARY)))
    vault.ledger.jobs = dict.fromkeys(vault.ledger.jobs, "OK")
    async with Host(Registry([vault]), QUICK) as other:
        assert (await other.get_task(handle)).phase is Phase.RUNNING
        assert (await other.get_task(handle, provided=given(CANARY))).phase is Phase.SUCCEEDED


async def test_an_intent_s_job_is_followed_with_what_the_poll_provides(vault: Vault, host: Host) -> None:
    proceed = asyncio.Event()
    vault.ledger.faults["create"] = proceed.wait
    intent = await host.create_task(asking(given(CANARY)), timeout_s=0.1)
    proceed.set()
    vault.ledger.after["create"] = lambda: vault.ledger.jobs.update(dict.fromkeys(vault.ledger.jobs, "OK"))

    async def has_succeeded() -> bool:
        return (await host.get_task(intent, provided=given(CANARY))).phase is Phase.SUCCEEDED

    await until(has_succeeded)


async def test_two_tenants_never_share_a_client(vault: Vault, host: Host) -> None:
    await host.create_task(asking(given(CANARY), "n0"))
    await host.create_task(asking(given(CANARY), "n1"))
    await host.create_task(asking(given("another's"), "n2"))
    assert set(vault.opened_with[:2]) == {CANARY, "another's"}


@pytest.mark.parametrize(("node", "phase"), [("n1", Phase.RUNNING), ("n0", Phase.FAILED)], ids=["another's", "its own"])
async def test_a_secret_may_be_the_name_of_anothers_job_but_not_of_its_own(
    vault: Vault, host: Host, node: str, phase: Phase
) -> None:
    async with Host(Registry([vault]), QUICK) as before:
        await before.create_task(asking(given(CANARY), "n0"))
    name = next(iter(vault.ledger.jobs))
    await host.create_task(asking(Provided(secrets={"login": CANARY, "name": name}), node))
    handle = await host.create_task(asking(given(CANARY), "n0"))
    assert (await host.get_task(handle, provided=given(CANARY))).phase is phase


async def test_two_tenants_jobs_are_never_asked_about_together() -> None:
    vault = Vault(CANARY, Clerks)
    async with Host(Registry([vault]), QUICK) as host:
        mine = await host.create_task(asking(given(CANARY), "n0"))
        others = await host.create_task(asking(given(CANARY, region="us"), "n1"))
        vault.ledger.jobs = dict.fromkeys(vault.ledger.jobs, "OK")
        told = await asyncio.gather(
            host.get_task(mine, provided=given(CANARY)),
            host.get_task(others, provided=given("wrong", region="us")),
        )
    assert [status.phase for status in told] == [Phase.SUCCEEDED, Phase.RUNNING]


class Porter(Clerk):
    """Knows only the jobs of whoever asks."""

    name = "porter"

    async def get(self, job: LedgerJob, ctx: Context[Any]) -> Status | Missing:
        vault, password = ctx.client
        return await super().get(job, ctx) if password == vault.password else Missing()


def test_polls_with_others_secrets_never_end_a_job_that_its_own_engine_polls() -> None:
    @virtually
    async def play() -> None:
        vault = Vault(CANARY, Porter)
        async with Host(Registry([vault]), QUICK) as host:
            handle = await host.create_task(asking(given(CANARY)))
            for _ in range(100):
                await host.get_task(handle, provided=given("a stranger's"))
                await asyncio.sleep(0.1)
                assert (await host.get_task(handle, provided=given(CANARY))).phase is Phase.RUNNING
                await asyncio.sleep(9.9)

    play()


async def test_a_rotated_secret_is_used_while_a_question_with_the_former_one_hangs() -> None:
    vault = Vault(ROTATED, Sleeper)
    async with Host(Registry([vault]), QUICK) as host:
        handle = await host.create_task(asking(given(ROTATED)))
        assert (await host.get_task(handle, provided=given(CANARY))).phase is Phase.RUNNING
        vault.ledger.jobs = dict.fromkeys(vault.ledger.jobs, "OK")
        assert (await host.get_task(handle, provided=given(ROTATED))).phase is Phase.SUCCEEDED


async def test_what_comes_with_bytes_that_are_no_handle_is_not_kept(host: Host) -> None:
    provided = given(CANARY)
    with pytest.raises(ForeignHandle):
        await host.get_task(b"no handle", provided=provided)
    await host.delete_task(b"no handle", provided=provided)
    assert [each for each in gc.get_referrers(provided) if isinstance(each, dict)] == []


def test_two_tasks_that_differ_in_it_alone_are_the_same_task() -> None:
    assert asking(given(CANARY)) == asking(NOTHING)
    identity = ExecutionIdentity(execution="e")
    assert replace(asking(given(CANARY)), identity=identity) == replace(asking(given(ROTATED)), identity=identity)


def test_nothing_is_false_and_anything_is_true() -> None:
    assert not NOTHING
    assert not NOTHING.digest()
    assert given("")
    assert Provided(configs={"a": "b"})
    assert given("a").digest() != given("b").digest()
    assert given("a").digest(frozenset({"other"})) == ""


async def test_an_answer_to_a_question_with_former_secrets_brings_no_further_question_with_them() -> None:
    vault = Vault(CANARY, Clerks)
    async with Host(Registry([vault]), QUICK) as host:
        handle = await host.create_task(asking(given(CANARY)))
        await host.get_task(handle, provided=given(CANARY))
        live = host._live_jobs.find(handle)
        former = live.site.lane
        await host.get_task(handle, provided=given(ROTATED))
        assert former is not None
        former._period_s = 100.0  # as where polls are far apart, and answers are fetched ahead of them
        former._settled(live, Status(state="RUNNING"), time.monotonic())
        assert live.site.lane is not former
        assert live not in former._told
