"""Accounts: silence and refusals show after minutes, never after one failure, and an answer ends them at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from ledgers import BatchingAgent, Ledger, LedgerAgent, LedgerConnection, LedgerPlatform, ledger_task
from outboard.agent import Registry
from outboard.domain.identity import Scope
from outboard.errors import (
    AgentError,
    AgentFault,
    DrainingError,
    Forbidden,
    MissingSecret,
    OutboardError,
    Overloaded,
    Rejected,
    Throttled,
    Unauthorized,
    Unavailable,
)
from outboard.host import Host, HostSettings
from outboard.host import account_metrics as metrics
from outboard.host.accounts import Accounts, Outcome, Reach, outcome_of
from outboard.host.clients import client_key
from outboard.host.secrets import Redactor
from outboard.host.words import Words

KEY = ("ledger", "ours")
SETTINGS = HostSettings(status_limit=timedelta(seconds=0.2))


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


@pytest.fixture
def accounts(clock: Clock, redactor: Redactor) -> Accounts:
    return Accounts(SETTINGS, Words(redactor))


def reach(accounts: Accounts, key: tuple[str, str] = KEY) -> Reach | None:
    report = accounts.find(*key)
    return None if report is None else report.reach


def fail(accounts: Accounts, clock: Clock, error: OutboardError, *, for_s: float, every_s: float = 10.0) -> None:
    """Fail now, and again until `for_s` have passed."""
    end = clock.now + for_s
    accounts.failed(KEY, error)
    while clock.now < end:
        clock.now = min(clock.now + every_s, end)
        accounts.failed(KEY, error)


def test_an_account_that_nobody_asked_is_not_known(accounts: Accounts) -> None:
    assert reach(accounts) is None
    assert accounts.reports() == []


def test_an_answer_makes_an_account_reachable(accounts: Accounts) -> None:
    accounts.answered(KEY)
    assert reach(accounts) is Reach.REACHABLE


def test_an_account_that_has_only_failed_for_a_while_is_not_called_anything_yet(
    accounts: Accounts, clock: Clock
) -> None:
    fail(accounts, clock, Unavailable("down"), for_s=299)
    assert reach(accounts) is Reach.UNKNOWN


@pytest.mark.parametrize(
    ("error", "patience_s", "lost"),
    [
        (Unavailable("down"), 300, Reach.UNREACHABLE),
        (Unauthorized("who are you"), 60, Reach.REFUSED),
        (Forbidden("not you"), 60, Reach.REFUSED),
        (MissingSecret("no token"), 60, Reach.REFUSED),
    ],
)
def test_failures_show_after_their_patience_and_an_answer_ends_them_at_once(
    accounts: Accounts, clock: Clock, error: OutboardError, patience_s: float, lost: Reach
) -> None:
    accounts.answered(KEY)
    fail(accounts, clock, error, for_s=patience_s - 1)
    assert reach(accounts) is Reach.REACHABLE
    clock.now += 1
    accounts.failed(KEY, error)
    assert reach(accounts) is lost
    accounts.answered(KEY)
    assert reach(accounts) is Reach.REACHABLE


def test_one_failure_after_a_long_rest_changes_nothing(accounts: Accounts, clock: Clock) -> None:
    accounts.answered(KEY)
    clock.now += 1_700
    accounts.failed(KEY, Unavailable("down"))
    accounts.failed(KEY, Unavailable("down"))
    assert reach(accounts) is Reach.REACHABLE


def test_one_failure_changes_nothing_even_without_any_patience(clock: Clock) -> None:
    accounts = Accounts(HostSettings(unreachable_after=timedelta(0)), Words(Redactor()))
    accounts.answered(KEY)
    accounts.failed(KEY, Unavailable("down"))
    assert reach(accounts) is Reach.REACHABLE
    accounts.failed(KEY, Unavailable("down"))
    assert reach(accounts) is Reach.UNREACHABLE


def test_one_401_late_in_a_short_outage_is_no_refusal(accounts: Accounts, clock: Clock) -> None:
    accounts.answered(KEY)
    fail(accounts, clock, Unavailable("down"), for_s=120)
    accounts.failed(KEY, Unauthorized("who are you"))
    assert reach(accounts) is Reach.REACHABLE


def test_one_401_in_the_middle_of_an_outage_is_no_recovery(accounts: Accounts, clock: Clock) -> None:
    fail(accounts, clock, Unavailable("down"), for_s=300)
    accounts.failed(KEY, Unauthorized("who are you"))
    assert reach(accounts) is Reach.UNREACHABLE
    with capture_logs() as lines:
        fail(accounts, clock, Unauthorized("who are you"), for_s=60)
        assert reach(accounts) is Reach.REFUSED
        accounts.failed(KEY, Throttled("slow down", code="SLOW"))
        assert reach(accounts) is Reach.REFUSED  # it is there, but takes our credentials no more than before
        accounts.answered(KEY)
    told = [(line["event"], line["seconds"]) for line in lines]
    assert told == [("account refuses its credentials", 360), ("account answers again", 360)]


def test_refusals_between_failures_break_the_silence(accounts: Accounts, clock: Clock) -> None:
    accounts.answered(KEY)
    for _ in range(10):
        fail(accounts, clock, Unavailable("down"), for_s=200)
        accounts.failed(KEY, Throttled("slow down", code="SLOW"))
    assert reach(accounts) is Reach.REACHABLE


def test_a_spent_budget_of_ours_does_not_break_the_silence(accounts: Accounts, clock: Clock) -> None:
    accounts.answered(KEY)
    for _ in range(4):
        fail(accounts, clock, Unavailable("down"), for_s=100)
        accounts.failed(KEY, Throttled("the budget for runs/get is spent"))
    assert reach(accounts) is Reach.UNREACHABLE


@pytest.mark.parametrize(
    "error",
    [
        AgentFault("a bug"),
        AgentError("TypeError: a bug"),
        Overloaded("too much"),
        DrainingError("going down"),
        Throttled("the budget for runs/get is spent"),
        Rejected("the agent says no by itself"),
    ],
)
def test_what_is_not_the_accounts_doing_tells_nothing(accounts: Accounts, clock: Clock, error: OutboardError) -> None:
    assert outcome_of(error) is None
    fail(accounts, clock, error, for_s=1_000)
    assert reach(accounts) is None
    assert len(accounts) == 0


def test_refusals_with_the_platforms_own_word_are_answers() -> None:
    raised = Rejected("bad request")
    raised.__cause__ = ValueError()
    assert outcome_of(raised) is Outcome.ANSWERED
    assert outcome_of(Rejected("bad request", code="BAD")) is Outcome.ANSWERED
    assert outcome_of(AgentError("odd", code="ODD")) is Outcome.ANSWERED
    assert outcome_of(Throttled("slow down", code="SLOW")) is Outcome.THROTTLED


def test_a_report_tells_since_when_and_in_which_words(accounts: Accounts, clock: Clock) -> None:
    accounts.answered(KEY)
    clock.now += 40
    fail(accounts, clock, Unavailable("down for work", code="E503"), for_s=90)
    clock.now += 7
    report = accounts.find(*KEY)
    assert report is not None
    assert report.answered_at is not None
    assert report.asked_at - report.answered_at == pytest.approx(timedelta(seconds=130), abs=timedelta(seconds=1))
    assert report.silent_for == timedelta(seconds=90)  # the seven seconds in which nobody asked do not count
    assert (report.failures, report.error, report.words) == (10, "E503", "down for work")


def test_words_are_short_and_hold_no_secret(accounts: Accounts, redactor: Redactor) -> None:
    redactor.learn("hunter2-hunter2")
    accounts.failed(KEY, Unavailable("no entry with hunter2-hunter2 " + "x" * 1_000))
    report = accounts.find(*KEY)
    assert report is not None
    assert "hunter2" not in report.words
    assert len(report.words) == 256


def test_one_line_says_that_it_is_gone_and_one_that_it_is_back(accounts: Accounts, clock: Clock) -> None:
    with capture_logs() as lines:
        for _ in range(2):
            accounts.answered(KEY)
            fail(accounts, clock, Unavailable("down"), for_s=1_200)
            accounts.answered(KEY)
    assert [line["event"] for line in lines] == ["account unreachable", "account answers again"] * 2
    assert lines[0] == {
        "event": "account unreachable",
        "log_level": "warning",
        "platform": "ledger",
        "account": "ours",
        "seconds": 300,
        "calls": 31,
        "error": "Unavailable",
        "reason": "down",
    }
    assert (lines[1]["seconds"], lines[1]["was"]) == (1_200, "unreachable")


def test_an_account_that_nobody_asks_is_forgotten(accounts: Accounts, clock: Clock) -> None:
    fail(accounts, clock, Unavailable("down"), for_s=300)
    assert accounts.is_lost(*KEY)
    clock.now += 1_801
    assert reach(accounts) is None
    assert not accounts.is_lost(*KEY)
    accounts.failed(KEY, Unavailable("down"))
    assert reach(accounts) is Reach.UNKNOWN  # a failure of half an hour ago is no part of this row


def test_listeners_are_told_of_changes_only_while_they_listen(accounts: Accounts, clock: Clock) -> None:
    told: list[Reach | None] = []
    with accounts.listening(lambda: told.append(reach(accounts))):
        accounts.answered(KEY)
        accounts.answered(KEY)
        fail(accounts, clock, Unavailable("down"), for_s=900)
        accounts.answered(KEY)
    fail(accounts, clock, Unavailable("down"), for_s=900)
    assert told == [Reach.REACHABLE, Reach.UNREACHABLE, Reach.REACHABLE]


def test_ever_new_accounts_neither_fill_the_memory_nor_push_out_one_that_is_lost(
    accounts: Accounts, clock: Clock
) -> None:
    fail(accounts, clock, Unavailable("down"), for_s=300)
    for n in range(5_000):
        accounts.answered(("ledger", f"made up {n}"))
    assert len(accounts) <= 1_000
    assert reach(accounts) is Reach.UNREACHABLE


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[[Accounts], Sequence[str]]:
    """The metrics of some hosts' accounts alone, as Prometheus reads them."""

    def read(*sources: Accounts) -> Sequence[str]:
        collector = metrics._Collector()
        for source in sources:
            collector.add(source)
        registry = CollectorRegistry()
        registry.register(collector)
        lines = generate_latest(registry).decode().splitlines()
        return [line for line in lines if not line.startswith("#")]

    return read


def test_metrics_tell_reach_silence_and_outcomes(
    accounts: Accounts, clock: Clock, page: Callable[..., Sequence[str]]
) -> None:
    accounts.answered(KEY)
    accounts.failed(KEY, Throttled("slow down", code="SLOW"))
    accounts.failed(KEY, Unauthorized("who are you"))
    fail(accounts, clock, Unavailable("down"), for_s=300, every_s=100)
    label = 'account="ours"'
    assert page(accounts) == [
        f'outboard_account_reachable{{{label},platform="ledger"}} 0.0',
        f'outboard_account_silent_seconds{{{label},platform="ledger"}} 300.0',
        f'outboard_account_calls_total{{{label},outcome="answered",platform="ledger"}} 1.0',
        f'outboard_account_calls_total{{{label},outcome="unreachable",platform="ledger"}} 4.0',
        f'outboard_account_calls_total{{{label},outcome="refused",platform="ledger"}} 1.0',
        f'outboard_account_calls_total{{{label},outcome="throttled",platform="ledger"}} 1.0',
    ]


def test_ever_new_accounts_make_a_bounded_number_of_series_whose_counts_never_fall(
    accounts: Accounts, page: Callable[..., Sequence[str]]
) -> None:
    others = []
    for n in range(3_000):
        accounts.answered(("ledger", f"made up {n}"))
        if n % 500 == 499:
            lines = page(accounts)
            assert len(lines) <= 101 * 6
            (other,) = [line for line in lines if 'account="other",outcome="answered"' in line]
            others.append(float(other.split()[-1]))
    assert others == sorted(others)
    assert others[-1] > 2_000


def test_a_forgotten_account_leaves_its_label_to_another(
    accounts: Accounts, clock: Clock, page: Callable[..., Sequence[str]]
) -> None:
    for n in range(101):
        accounts.answered(("ledger", f"made up {n}"))
    clock.now += 1_801
    accounts.answered(KEY)
    named = [line for line in page(accounts) if 'account="ours"' in line]
    assert named
    assert 'outboard_account_calls_total{account="other",outcome="answered",platform="ledger"} 1.0' in page(accounts)


@pytest.mark.parametrize("name", ["other", "x" * 201, "key=hunter2-hunter2"])
def test_names_that_are_no_labels_are_told_as_other(
    accounts: Accounts, redactor: Redactor, page: Callable[..., Sequence[str]], name: str
) -> None:
    redactor.learn("hunter2-hunter2")
    accounts.answered(("ledger", name))
    accounts.answered(("ledger", "x" * 300))
    assert all('account="other"' in line for line in page(accounts))
    assert 'outboard_account_reachable{account="other",platform="ledger"} 1.0' in page(accounts)


def test_two_hosts_of_one_process_are_told_as_one(
    accounts: Accounts, clock: Clock, page: Callable[..., Sequence[str]]
) -> None:
    second = Accounts(SETTINGS, Words(Redactor()))
    second.answered(KEY)
    fail(accounts, clock, Unavailable("down"), for_s=300)
    lines = page(accounts, second)
    assert 'outboard_account_reachable{account="ours",platform="ledger"} 0.0' in lines
    assert 'outboard_account_calls_total{account="ours",outcome="answered",platform="ledger"} 1.0' in lines
    assert len(lines) == len(set(lines)) == 6


EVENTS: Sequence[Any] = [
    None,
    Unavailable("down"),
    Unauthorized("who are you"),
    Forbidden("not you"),
    Throttled("slow down", code="SLOW"),
    Throttled("our budget"),
    Rejected("bad", code="BAD"),
    AgentFault("a bug"),
]


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from([0.0, 1.0, 29.0, 61.0, 240.0, 301.0])), max_size=30))
def test_whatever_happens_only_rows_of_failures_make_it_lost_and_only_an_answer_ends_that(
    events: Sequence[tuple[OutboardError | None, float]],
) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", clock)
        accounts = Accounts(SETTINGS, Words(Redactor()))
        seen: list[tuple[float, Outcome]] = []
        before: Reach | None = None
        for error, pause_s in events:
            clock.now += pause_s
            outcome = Outcome.ANSWERED if error is None else outcome_of(error)
            if error is None:
                accounts.answered(KEY)
            else:
                accounts.failed(KEY, error)
            after = reach(accounts)
            if outcome is None:
                assert after is before
                continue
            seen.append((clock.now, outcome))
            if outcome is Outcome.ANSWERED:
                assert after is Reach.REACHABLE
            if after is Reach.UNREACHABLE and before is not Reach.UNREACHABLE:
                assert _row_s(seen, {Outcome.UNREACHABLE}) >= 300
            if after is Reach.REFUSED and before is not Reach.REFUSED:
                assert outcome is Outcome.REFUSED
                assert _row_s(seen, set(Outcome) - {Outcome.ANSWERED}) >= 60
            if before is not None and before.is_lost and after is Reach.REACHABLE:
                assert outcome in (Outcome.ANSWERED, Outcome.THROTTLED)
            before = after


def _row_s(seen: Sequence[tuple[float, Outcome]], kinds: set[Outcome]) -> float:
    """How long only outcomes of these kinds have been seen; at least two of them."""
    row = []
    for at, outcome in reversed(seen):
        if outcome not in kinds:
            break
        row.append(at)
    return row[0] - row[-1] if len(row) > 1 else -1.0


class Shift:
    """Time runs on, and a test may jump ahead."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        real = time.monotonic
        patch.setattr(time, "monotonic", lambda: real() + self.ahead_s)


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shift]:
    with monkeypatch.context() as patch:
        yield Shift(patch)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def host(shift: Shift, ledger: Ledger) -> Any:
    async with Host(Registry([LedgerPlatform(ledger, LedgerAgent, BatchingAgent)]), SETTINGS) as host:
        yield host


def of_host(host: Host) -> Accounts:
    accounts = host._exchange.calls._accounts
    assert accounts is not None
    return accounts


async def test_every_call_of_a_host_tells_the_account(host: Host, ledger: Ledger, shift: Shift) -> None:
    handle = await host.create_task(ledger_task())
    (report,) = of_host(host).reports()
    assert (report.platform, report.reach) == ("ledger", Reach.REACHABLE)
    ledger.faults["get"] = ConnectionResetError()
    for _ in range(4):
        await host.get_task(handle)
        shift.ahead_s += 101
    assert of_host(host).reports()[0].reach is Reach.UNREACHABLE
    ledger.faults.clear()
    await host.get_task(handle)
    assert of_host(host).reports()[0].reach is Reach.REACHABLE


async def test_a_job_that_the_platform_does_not_know_is_an_answer(host: Host, ledger: Ledger, shift: Shift) -> None:
    handle = await host.create_task(ledger_task())
    ledger.jobs.clear()
    await host.get_task(handle)
    report = of_host(host).reports()[0]
    assert (report.reach, report.failures) == (Reach.REACHABLE, 0)


async def test_a_batch_of_nothing_but_failures_is_a_failure(
    host: Host, ledger: Ledger, shift: Shift, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get_many(self: Any, jobs: Sequence[Any], ctx: Any) -> Any:
        return {job.id: Unavailable("down") for job in jobs}

    handle = await host.create_task(ledger_task("batching"))
    monkeypatch.setattr(BatchingAgent, "get_many", get_many)
    for _ in range(2):
        await host.get_task(handle)
        shift.ahead_s += 301
    assert of_host(host).reports()[0].reach is Reach.UNREACHABLE


async def test_an_opening_that_fails_is_one_failure_however_many_wait_for_it(host: Host, ledger: Ledger) -> None:
    ledger.faults["open"] = ConnectionRefusedError()
    for _ in range(2):
        waiting = (host._exchange.clients.open(*_opening(host), 1.0) for _ in range(5))
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(error) for error in errors} == {Unavailable}
    (report,) = of_host(host).reports()
    assert (report.reach, report.failures, report.error) == (Reach.UNKNOWN, 2, "Unavailable")


async def test_rotated_secrets_leave_no_trace(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(ledger_task())

    def once() -> None:
        ledger.faults.clear()
        raise Unauthorized("expired")

    ledger.faults["get"] = once
    await host.get_task(handle)
    report = of_host(host).reports()[0]
    assert (report.reach, report.failures) == (Reach.REACHABLE, 0)


def _opening(host: Host) -> tuple[Any, Any, Any, Any]:
    agent = host.registry.named("ledger")
    assert agent is not None
    scope = Scope(project="p", domain="d")
    connection = LedgerConnection()
    return client_key(agent.platform, connection, scope), agent.platform, connection, scope
