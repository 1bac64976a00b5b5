"""What remote stores said is remembered: asked for once, renewed behind, kept through an outage, past it after a refusal."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from ledgers import Ledger, LedgerAgent, LedgerConfig, LedgerConnection, LedgerJob, LedgerPlatform, ledger_task
from outboard.agent import Context, Registry, SecretRef, SyncAgent, Task, TaskType
from outboard.domain.identity import ExecutionIdentity, Scope
from outboard.domain.phases import Phase
from outboard.errors import Forbidden, MissingSecret, SecretsUnavailable, Throttled, Unauthorized
from outboard.host import Host, HostSettings, SecretSettings
from outboard.host.accounts import outcome_of
from outboard.host.secrets import Redactor, SecretSource, opening
from outboard.host.secrets.ports import Document, Place, Reader
from outboard.testing.virtual_time import virtually

TOKEN = SecretRef("token")
LOGIN = SecretRef("password")
FIRST, SECOND = "first-of-the-passwords", "second-of-the-passwords"
READER = Reader(scope=Scope(project="a", domain="d"))
VALUE = "value-of-the-first-version"


class Shelf:
    """A remote store in memory: what it holds, how it fails, and what it was asked."""

    is_scoped = False

    def __init__(self, **held: str) -> None:
        self.held: dict[str, str] = dict(held)
        self.fault: Exception | None = None
        self.takes_s = 0.0
        self.lifetime_s: float | None = None
        self.asked: list[str] = []
        self.refusals: list[str] = []
        self.is_closed = False

    def places(self, ref: SecretRef, _reader: Reader) -> Sequence[Place]:
        return [Place(ref.key)]

    async def fetch(self, document: str, *, is_refused: bool = False) -> Document | None:
        self.asked.append(document)
        self.refusals += [document] if is_refused else []
        value = self.held.get(document)
        await asyncio.sleep(self.takes_s)
        if self.fault is not None:
            raise self.fault
        return None if value is None else Document(whole=value, version=value[-3:], lifetime_s=self.lifetime_s)

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf(token=VALUE)
    monkeypatch.setattr(opening, "_remote", lambda *_: made)
    return made


def _settings(**times: Any) -> SecretSettings:
    spelled: Mapping[str, Any] = {"kind": "aws", "name": "shelf", **times}
    return SecretSettings(stores=[spelled, {"kind": "environment"}])


def _source(**times: Any) -> SecretSource:
    return SecretSource(_settings(**times), Redactor(), {"_FSEC_LOCAL": "local"})


def _now(source: SecretSource, ref: SecretRef = TOKEN) -> str:
    return source.resolve(ref, READER.scope).get_secret_value()


@virtually
async def test_a_value_is_asked_for_once_however_many_want_it(shelf: Shelf) -> None:
    source = _source()
    shelf.takes_s = 1.0
    await asyncio.gather(*(source.fetch([TOKEN], READER, 5.0) for _ in range(50)))
    assert _now(source) == VALUE
    assert shelf.asked == ["token"]


@virtually
async def test_before_anybody_asked_reading_says_ask_again_and_asks_behind(shelf: Shelf) -> None:
    source = _source()
    with pytest.raises(SecretsUnavailable, match="has not said yet"):
        _now(source)
    await asyncio.sleep(0.01)
    assert _now(source) == VALUE


@virtually
async def test_a_value_is_renewed_behind_those_who_use_it(shelf: Shelf) -> None:
    source = _source(refresh=60)
    await source.fetch([TOKEN], READER, 5.0)
    shelf.held["token"], shelf.takes_s = "value-of-the-second", 2.0
    await asyncio.sleep(61)
    began = time.monotonic()
    await source.fetch([TOKEN], READER, 5.0)
    assert time.monotonic() == began  # nobody waits
    assert _now(source) == VALUE
    await asyncio.sleep(3)
    assert _now(source) == "value-of-the-second"


@virtually
async def test_the_last_good_value_outlives_an_outage_for_as_long_as_it_may(shelf: Shelf) -> None:
    source = _source(refresh=60, outlive=600)
    await source.fetch([TOKEN], READER, 5.0)
    shelf.fault = SecretsUnavailable("connection refused")
    with structlog.testing.capture_logs() as lines:
        for _ in range(64):
            await asyncio.sleep(10)
            await source.fetch([TOKEN], READER, 5.0)
            assert _now(source) == VALUE
        asked = len(shelf.asked)
        assert asked < 40  # at growing intervals
        for _ in range(3):
            await asyncio.sleep(31)
            with pytest.raises(SecretsUnavailable, match=r"shelf cannot be asked for token \(connection refused\)"):
                await source.fetch([TOKEN], READER, 5.0)
        shelf.fault = None
        await asyncio.sleep(31)
        await source.fetch([TOKEN], READER, 5.0)
    assert _now(source) == VALUE
    told = [line["event"] for line in lines]
    assert told.count("secret store cannot be asked; what it said last is used meanwhile") == 1
    assert told.count("secret given up: its store has been silent for too long") == 1
    assert told[-1] == "secret store answers again"
    assert VALUE not in str(lines)


@virtually
async def test_a_store_that_hangs_costs_its_time_limit_and_no_more(shelf: Shelf) -> None:
    source = _source(timeout=5)
    shelf.takes_s = 3600
    began = time.monotonic()
    with pytest.raises(SecretsUnavailable):
        await source.fetch([TOKEN], READER, 2.0)
    assert time.monotonic() - began == pytest.approx(2.0)
    await asyncio.sleep(3.5)
    with pytest.raises(SecretsUnavailable, match="no answer within 5 s"):
        await source.fetch([TOKEN], READER, 60.0)
    assert time.monotonic() - began == pytest.approx(5.5)


@virtually
async def test_a_store_is_asked_a_few_things_at_once_however_many_tasks_name(shelf: Shelf) -> None:
    source = _source(timeout=5)
    shelf.takes_s = 1.0
    refs = [SecretRef(f"made-up-{number}") for number in range(40)]
    asking = [asyncio.ensure_future(source.fetch([ref], READER, 60.0)) for ref in refs]
    for seen in (16, 32, 40):
        await asyncio.sleep(0.5)
        assert len(shelf.asked) == seen
        await asyncio.sleep(0.5)
    await asyncio.gather(*asking, return_exceptions=True)


@virtually
async def test_a_store_that_quotes_a_secret_in_an_error_tells_it_to_nobody(shelf: Shelf) -> None:
    source = _source()
    await source.fetch([TOKEN], READER, 5.0)
    shelf.fault = SecretsUnavailable(f"what is {VALUE}?")
    with pytest.raises(SecretsUnavailable, match=r"what is \[redacted\]\?"):
        await source.fetch([SecretRef("other")], READER, 5.0)


@virtually
async def test_the_age_of_a_value_that_nobody_uses_any_more_is_told_to_nobody(shelf: Shelf) -> None:
    """An alert on a value that is old is about one that some task still gets."""
    source = _source(refresh=60)
    remembered = next(each.remote for each in source._stores if each.remote is not None)
    await source.fetch([TOKEN], READER, 5.0)
    await asyncio.sleep(500)
    assert remembered.ages() == (500.0, 0.0)
    await asyncio.sleep(200)
    assert remembered.ages() == (0.0, 0.0)


@virtually
async def test_an_outage_is_no_reason_to_take_another_stores_value(shelf: Shelf) -> None:
    source = _source()
    local = SecretRef("local")
    await source.fetch([local], READER, 5.0)
    assert _now(source, local) == "local"
    shelf.fault = SecretsUnavailable("down")
    await asyncio.sleep(60)
    with pytest.raises(SecretsUnavailable):
        await source.fetch([local], READER, 5.0)


@virtually
async def test_what_is_not_there_is_missing_and_is_found_soon_after_it_was_put_there(shelf: Shelf) -> None:
    source = _source(absent=10)
    gone = SecretRef("gone")
    for _ in range(3):
        with pytest.raises(MissingSecret, match=r"gone in shelf, variable _FSEC_GONE"):
            await source.fetch([gone], READER, 5.0)
    assert shelf.asked == ["gone"]
    shelf.held["gone"] = "it came"
    await asyncio.sleep(11)
    await source.fetch([gone], READER, 5.0)
    assert _now(source, gone) == "it came"


@virtually
async def test_of_several_secrets_one_that_is_missing_is_told_before_one_that_cannot_be_asked_for(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(document: str, *, is_refused: bool = False) -> None:
        if document == TOKEN.key:
            raise SecretsUnavailable("down")

    monkeypatch.setattr(shelf, "fetch", fetch)
    with pytest.raises(MissingSecret):
        await _source().fetch([TOKEN, SecretRef("gone")], READER, 5.0)


@virtually
async def test_what_a_store_denies_is_missing_with_the_reason_and_a_login_that_is_refused_an_outage(
    shelf: Shelf,
) -> None:
    source = _source(refresh=60)
    await source.fetch([TOKEN], READER, 5.0)
    shelf.fault = Unauthorized("bad token")
    await asyncio.sleep(61)
    await source.fetch([TOKEN], READER, 5.0)
    await asyncio.sleep(1)
    assert _now(source) == VALUE
    shelf.fault = Forbidden("policy")
    await asyncio.sleep(31)
    with suppress(MissingSecret):
        await source.fetch([TOKEN], READER, 5.0)
    await asyncio.sleep(1)
    with pytest.raises(MissingSecret, match="shelf, which denies it"):
        _now(source)


@virtually
async def test_a_store_that_says_slow_down_is_asked_again_no_sooner(shelf: Shelf) -> None:
    source = _source()
    shelf.fault = Throttled("slow down", retry_after=timedelta(seconds=100))
    for _ in range(9):
        with pytest.raises(SecretsUnavailable):
            await source.fetch([TOKEN], READER, 5.0)
        await asyncio.sleep(10)
    assert len(shelf.asked) == 1
    shelf.fault = None
    await asyncio.sleep(15)
    await source.fetch([TOKEN], READER, 5.0)


@virtually
async def test_a_value_of_limited_lifetime_is_replaced_before_it_ends_and_never_used_after(shelf: Shelf) -> None:
    source = _source(refresh=3600)
    shelf.lifetime_s = 90.0
    await source.fetch([TOKEN], READER, 5.0)
    assert source.renew_at([TOKEN], READER) == pytest.approx(time.monotonic() + 75.0)
    await asyncio.sleep(59)
    await source.fetch([TOKEN], READER, 5.0)
    assert len(shelf.asked) == 1
    await asyncio.sleep(2)
    await source.fetch([TOKEN], READER, 5.0)
    await asyncio.sleep(1)
    assert len(shelf.asked) == 2
    shelf.fault = SecretsUnavailable("down")
    await asyncio.sleep(91)
    with pytest.raises(SecretsUnavailable):
        await source.fetch([TOKEN], READER, 5.0)


@virtually
async def test_thousands_of_names_that_tasks_make_up_are_forgotten_again(shelf: Shelf) -> None:
    source = _source()
    await source.fetch([TOKEN], READER, 5.0)
    for number in range(6_000):
        with pytest.raises(MissingSecret):
            await source.fetch([SecretRef(f"made-up-{number}")], READER, 5.0)
    remembered = next(each.remote for each in source._stores if each.remote is not None)
    assert len(remembered._entries) <= 4_096
    assert remembered.recall("token") is not None
    assert shelf.asked.count("token") == 1


async def test_a_store_may_raise_anything(shelf: Shelf) -> None:
    source = _source()
    shelf.fault = ZeroDivisionError("secret in a library's error")
    with pytest.raises(SecretsUnavailable, match="its library raised ZeroDivisionError") as caught:
        await source.fetch([TOKEN], READER, 5.0)
    assert "secret in a library" not in str(caught.value)
    await source.close()
    assert shelf.is_closed


# Through the host


class Bank(LedgerPlatform):
    """A platform whose client knows the password that it was opened with."""

    def open(self, connection: Any, secrets: Any, http: Any) -> Any:
        self.opened_with = [*getattr(self, "opened_with", []), secrets[connection.login].get_secret_value()]
        return super().open(connection, secrets, http)


class Clerk(LedgerAgent):
    """Reads a token at every call, and is refused where client or token are old."""

    name = "clerk"
    task_types = (TaskType("clerk"),)
    secrets = (TOKEN,)

    def connection(self, task: Task[LedgerConfig]) -> Any:
        return LedgerConnection(login=LOGIN)

    async def create(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> LedgerJob:
        self._enter(ctx)
        return await super().create(task, ctx)

    async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Any:
        self._enter(ctx)
        return await super().get(job, ctx)

    def _enter(self, ctx: Context[Ledger]) -> None:
        platform: Any = self.platform
        if platform.opened_with[-1] != platform.right or ctx.secrets[TOKEN].get_secret_value() != platform.right_token:
            raise Unauthorized("these credentials are old")


@pytest.fixture
def bank() -> Any:
    made: Any = Bank(Ledger(), Clerk)
    made.right, made.right_token = FIRST, VALUE
    return made


def _host(bank: Any, **times: Any) -> Host:
    return Host(Registry([bank]), HostSettings(secrets=_settings(**times), status_wait=timedelta(seconds=2)))


@virtually
async def test_refused_credentials_are_read_anew_past_what_is_remembered(shelf: Shelf, bank: Any) -> None:
    shelf.held.update({LOGIN.key: FIRST})
    shelf.takes_s = 0.1
    async with _host(bank, refresh=86_400) as host:
        handle = await host.create_task(ledger_task("clerk"), timeout_s=10)
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        shelf.held.update({LOGIN.key: SECOND, TOKEN.key: "value-of-the-second"})
        bank.right, bank.right_token = SECOND, "value-of-the-second"
        await asyncio.sleep(30)
        status = await host.get_task(handle)
    assert status.phase is Phase.RUNNING
    assert bank.opened_with == [FIRST, SECOND]
    assert sorted(shelf.refusals) == ["password", "token"]
    assert host.accounts.reports()[0].failures == 0


@virtually
async def test_a_question_that_was_put_before_the_refusal_will_not_do(shelf: Shelf) -> None:
    """What it answers may be what was refused; of those who were refused all but the first wait for one question more."""
    source = _source(refresh=60)
    await source.fetch([TOKEN], READER, 5.0)
    await asyncio.sleep(61)
    shelf.takes_s = 2.0
    await source.fetch([TOKEN], READER, 5.0)  # asks behind
    await asyncio.sleep(1)
    refused_at, shelf.held["token"] = time.monotonic(), "value-of-the-second"
    await asyncio.gather(*(source.fetch([TOKEN], READER, 9.0, asked_after=refused_at) for _ in range(20)))
    assert _now(source) == "value-of-the-second"
    assert (len(shelf.asked), len(shelf.refusals)) == (3, 1)


@virtually
async def test_an_outage_of_the_store_fails_neither_a_create_nor_a_status(shelf: Shelf, bank: Any) -> None:
    shelf.held.update({LOGIN.key: FIRST})
    async with _host(bank, refresh=60, outlive=60) as host:
        running = await host.create_task(ledger_task("clerk"), timeout_s=10)
        await host.get_task(running)
        shelf.fault = SecretsUnavailable("down")
        await asyncio.sleep(200)
        assert (await host.get_task(running)).phase is Phase.RUNNING
        waiting = await host.create_task(ledger_task("clerk", node="n1"), timeout_s=10)
        assert (await host.get_task(waiting)).phase is Phase.INITIALIZING
        assert not [report for report in host.accounts.reports() if report.reach.is_lost]
        shelf.fault = None
        await asyncio.sleep(40)
        assert (await host.get_task(waiting)).phase is Phase.RUNNING
    assert len(bank.ledger.starts) == 2


class Teller(SyncAgent[LedgerConfig, Ledger]):
    """Answers at once, with a token that it reads first; a second answer would be a second effect."""

    name = "teller"
    task_types = (TaskType("teller"),)
    secrets = (TOKEN,)

    def connection(self, task: Task[LedgerConfig]) -> Any:
        return LedgerConnection(login=LOGIN)

    async def do(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> Any:
        ctx.client.starts["do"] = ctx.client.starts.get("do", 0) + 1
        return {}


def _telling(shelf: Shelf) -> Host:
    shelf.held.update({LOGIN.key: FIRST})
    return _host(Bank(Ledger(), Teller))


@virtually
@pytest.mark.parametrize("timeout_s", [2.0, 20.0])
async def test_an_answer_that_could_not_begin_while_its_caller_waited_is_not_begun_later(
    shelf: Shelf, timeout_s: float
) -> None:
    """A silent store keeps neither the process from ending nor the task from being tried again."""
    host = _telling(shelf)
    shelf.takes_s = 3600.0
    answer = await host.execute_task(ledger_task("teller"), timeout_s=timeout_s)
    assert answer.phase is Phase.RETRYABLE_FAILED  # nothing was sent, so even this agent may be asked again
    answered = time.monotonic()
    await host.drain()
    assert time.monotonic() == answered
    await host.close()


@virtually
@pytest.mark.parametrize("timeout_s", [0.4, 3.0, 20.0])
async def test_a_silent_store_makes_neither_an_answer_nor_a_create_later_than_its_deadline(
    shelf: Shelf, bank: Any, timeout_s: float
) -> None:
    shelf.takes_s = 3600.0
    for host, kind in ((_telling(shelf), "teller"), (_host(bank), "clerk")):
        began = time.monotonic()
        await (host.execute_task if kind == "teller" else host.create_task)(ledger_task(kind), timeout_s=timeout_s)
        assert time.monotonic() - began < timeout_s * 0.9
        await host.close()


@virtually
async def test_an_answer_waits_for_its_store_as_long_as_the_last_of_its_callers(shelf: Shelf) -> None:
    host = _telling(shelf)
    shelf.takes_s = 4.0  # the client's secret, then the agent's
    async with host:
        hurried = asyncio.ensure_future(host.execute_task(ledger_task("teller"), timeout_s=2.0))
        await asyncio.sleep(1.0)
        patient = await host.execute_task(ledger_task("teller"), timeout_s=30.0)
        assert (await hurried).phase is not Phase.SUCCEEDED
    assert patient.phase is Phase.SUCCEEDED


@virtually
async def test_a_secret_that_is_in_no_store_is_told_to_who_creates(shelf: Shelf, bank: Any) -> None:
    async with _host(bank) as host:
        with pytest.raises(MissingSecret, match="password"):
            await host.create_task(ledger_task("clerk"), timeout_s=10)
    assert not bank.ledger.starts


@virtually
async def test_a_client_is_replaced_before_its_credentials_end(shelf: Shelf, bank: Any) -> None:
    shelf.held.update({LOGIN.key: FIRST})
    shelf.lifetime_s = 90.0
    async with _host(bank) as host:
        handle = await host.create_task(ledger_task("clerk"), timeout_s=10)
        for _ in range(12):
            await asyncio.sleep(10)
            assert (await host.get_task(handle)).phase is Phase.RUNNING
    assert len(bank.opened_with) == 2


def test_a_stores_outage_tells_nothing_of_the_platforms_account() -> None:
    assert outcome_of(SecretsUnavailable("down")) is None


async def test_two_projects_never_share_a_client_where_stores_tell_them_apart(tmp_path: Path, bank: Any) -> None:
    for project in ("p", "q"):
        _fill(tmp_path / project, login=f"password-of-{project}", token=VALUE)
    store = {"kind": "files", "directory": f"{tmp_path}/{{project}}"}
    settings = HostSettings(secrets=SecretSettings(stores=[store]), status_wait=timedelta(seconds=2))
    async with Host(Registry([bank]), settings) as host:
        for project in ("p", "q", "p"):
            bank.right = f"password-of-{project}"
            bank.opened_with = [*getattr(bank, "opened_with", []), bank.right]  # what the agent looks at
            identity = ExecutionIdentity(
                project=project, domain="d", execution="exec", node=f"n{len(bank.opened_with)}"
            )
            handle = await host.create_task(ledger_task("clerk", identity=identity), timeout_s=10)
            assert (await host.get_task(handle)).phase is Phase.RUNNING
    assert bank.ledger.opened == 2


async def test_a_ping_for_a_project_logs_in_with_that_projects_secrets(tmp_path: Path, bank: Any) -> None:
    for project in ("p", "q"):
        _fill(tmp_path / project, login=f"password-of-{project}", token=VALUE)
    store = {"kind": "files", "directory": f"{tmp_path}/{{project}}"}
    async with Host(Registry([bank]), HostSettings(secrets=SecretSettings(stores=[store]))) as host:
        for project in ("p", "q", "p", "r"):
            scope = Scope(project=project, domain="d")
            await host.examination.ping(bank, LedgerConnection(login=LOGIN), scope=scope, timeout_s=5)
    assert bank.opened_with == ["password-of-p", "password-of-q"]


def _fill(folder: Path, *, login: str, token: str) -> None:
    folder.mkdir()
    (folder / LOGIN.key).write_text(login)
    (folder / TOKEN.key).write_text(token)
