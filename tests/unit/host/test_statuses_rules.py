"""The rules of statuses under any sequence of answers: only the platform's own word ends a job, silence shows once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from ledgers import Ledger, LedgerAgent, LedgerJob, LedgerPlatform, ledger_task
from outboard.agent import (
    Context,
    Failure,
    Missing,
    Phase,
    Registry,
    StateMap,
    Status,
    TaskType,
    Usage,
    failed,
    succeeded,
)
from outboard.domain.phases import is_legal_step
from outboard.domain.statuses import TaskStatus
from outboard.errors import (
    AgentError,
    AgentFault,
    Forbidden,
    OperatorError,
    Overloaded,
    Rejected,
    Throttled,
    Unauthorized,
    Unavailable,
)
from outboard.host import Host, HostSettings
from outboard.testing.virtual_time import run_virtually, virtually

VISIBILITY_S = 55.0
SETTINGS = HostSettings(status_limit=timedelta(seconds=0.2), status_call_limit=timedelta(seconds=0.02))
LIVE: dict[Any, Any] = {"QUEUED": Phase.QUEUED, "STARTING": Phase.INITIALIZING, "RUNNING": Phase.RUNNING}
OVER: dict[Any, Any] = {"OK": Phase.SUCCEEDED, "BROKEN": Phase.FAILED}
RANK = {Phase.QUEUED: 0, Phase.INITIALIZING: 1, Phase.RUNNING: 2}


class Oracle(LedgerAgent):
    """Answers what the test says, and notes that it was asked."""

    name = "oracle"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("oracle"),)
    visibility = timedelta(seconds=VISIBILITY_S)
    states = StateMap(
        {**LIVE, "HELD": Phase.WAITING_FOR_RESOURCES, "OK": succeeded(), "BROKEN": failed(Failure(code="Broken"))},
        documented=frozenset({*LIVE, *OVER}),
        source="tests/unit/host/test_statuses_rules.py",
    )
    answer: ClassVar[Any] = None
    asked: ClassVar[int] = 0
    asked_at: ClassVar[list[float]] = []

    async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Status | Missing:
        type(self).asked += 1
        self.asked_at.append(time.monotonic())
        answer = self.answer
        if answer is HANG:
            await asyncio.Event().wait()
        if isinstance(answer, BaseException):
            raise answer
        return Status(state=answer) if isinstance(answer, str) else answer

    async def fetch_outputs(self, job: LedgerJob, ctx: Context[Ledger]) -> Mapping[str, Any]:
        await ctx.client.at("faults", "fetch")
        return {}


class LateOracle(Oracle):
    """Jobs become visible within ten minutes."""

    name = "late oracle"
    task_types = (TaskType("late_oracle"),)
    visibility = timedelta(minutes=10)


class OracleOfMany(Oracle):
    """The same in batches; a job that is not in the answer is no news."""

    name = "oracle of many"
    task_types = (TaskType("oracle_of_many"),)

    async def get_many(self, jobs: Sequence[LedgerJob], ctx: Any) -> Mapping[str, Any]:
        type(self).asked += 1
        answer = self.answer
        if isinstance(answer, Exception):
            raise answer
        return {} if answer is None else {job.id: Status(state=answer) for job in jobs}


HANG = object()


class Sky:
    """One job of one host, in virtual time."""

    def __init__(self, host: Host, handle: bytes, ledger: Ledger, agent: type[Oracle]) -> None:
        self.host, self.handle, self.ledger, self.agent = host, handle, ledger, agent

    async def ask(self, answer: Any, *, after_s: float = 0.0, times: int = 1) -> TaskStatus:
        """Let the platform answer this from now on, and poll `times` times, `after_s` apart."""
        for _ in range(times):
            await asyncio.sleep(after_s)
            self.agent.answer = answer
            status = await self.host.get_task(self.handle)
        return status

    async def phases(self, *answers: Any, after_s: float = 1.0) -> Sequence[Phase]:
        return [(await self.ask(answer, after_s=after_s)).phase for answer in answers]


def under_a_sky(play: Callable[[Sky], Any], kind: type[Oracle] = Oracle) -> None:
    """Run a coroutine function with a job that was just started."""

    async def run() -> None:
        ledger = Ledger()
        async with Host(Registry([LedgerPlatform(ledger, kind)]), SETTINGS) as host:
            await play(Sky(host, await host.create_task(ledger_task(kind.task_types[0].name)), ledger, kind))

    run_virtually(run)


def failures() -> Sequence[Any]:
    return [
        Unavailable("down"),
        Unauthorized("who are you"),
        Forbidden("not you"),
        Throttled("slow down"),
        Throttled("slow down", retry_after=timedelta(seconds=100)),
        Throttled("slow down", retry_after=timedelta(days=99)),
        Rejected("no"),
        AgentError("odd"),
        AgentFault("a bug"),
        Overloaded("too much"),
        OperatorError("somebody must act"),
        ValueError("odd"),
        ConnectionResetError(),
        RecursionError(),
        SystemExit(3),
        asyncio.CancelledError(),
        HANG,
        None,
        3,
        object(),
        [],
        {"state": "RUNNING"},
    ]


UNREADABLE = (None, 7, (), ("DONE",), "", "x" * 5_000)
_FAILED = range(len(failures()))
_STEPS = st.tuples(
    st.one_of(
        st.sampled_from([*LIVE, "ODD"]),
        st.sampled_from([Missing(), Missing(), *OVER]),
        st.sampled_from(UNREADABLE).map(lambda state: Status(state=state)),  # type: ignore[arg-type]
        st.sampled_from(_FAILED),
        st.sampled_from([0, 1, 1, 2]),
    ),
    st.sampled_from([0.0, 7.0, 31.0, 67.0, 131.0, 307.0]),
)


class Course:
    """What the platform said and what was reported, and which reports the rules allow."""

    def __init__(self) -> None:
        self.last: TaskStatus | None = None
        self.reached = -1
        self.failing_since: float | None = None
        self.refused_since: float | None = None
        self.missing_since: float | None = None
        self.sightings = 0
        self.overheard: list[tuple[Any, float]] = []
        self.is_last_known = True

    def overhear(self, answer: Any, at: float) -> None:
        """Take note of a question between two polls: one that waited for its turn with a platform that throttles."""
        self.overheard.append((answer, at))

    def check(self, answer: Any, at: float, age: float, status: TaskStatus, *, is_asked: bool) -> None:
        """Hold a poll's report against the rules; `answer` was heard at `at` if the poll asked."""
        between, self.overheard = self.overheard, []
        if between and not is_asked:  # the poll tells what the last of them heard
            (answer, heard_at), is_asked = between.pop(), True
            at, age = heard_at, age - (at - heard_at)
        for each, heard_at in between:
            self._note(each, heard_at)
        self.is_last_known = not between
        last, phase = self.last, status.phase
        if last is not None:
            assert is_legal_step(last.phase, phase)
            if last.phase.is_terminal:
                assert status is last
                return
        assert RANK.get(phase, 9) >= self.reached
        self.reached = max(self.reached, RANK.get(phase, -1))
        if not is_asked:
            assert status is last
        elif isinstance(answer, int):
            self._failed(failures()[answer], at, status)
        elif isinstance(answer, Missing):
            self._missing(at, age, status)
        else:
            self._note_news()
            self._told(answer if isinstance(answer, str) else answer.state, status)
        self.last = status

    def _note(self, answer: Any, at: float) -> None:
        if isinstance(answer, int):
            self._note_failure(failures()[answer], at)
        elif isinstance(answer, Missing):
            self._note_missing(at)
        else:
            self._note_news()

    def _note_news(self) -> None:
        self.failing_since = self.refused_since = self.missing_since = None
        self.sightings = 0

    def _note_failure(self, error: Any, at: float) -> float:
        since = self.failing_since = at if self.failing_since is None else self.failing_since
        if not isinstance(error, (Unauthorized, Forbidden)):
            self.refused_since = None
        elif self.refused_since is None:
            self.refused_since = at
        return since

    def _note_missing(self, at: float) -> float:
        self.failing_since = self.refused_since = None
        since = self.missing_since = at if self.missing_since is None else self.missing_since
        self.sightings += 1
        return since

    def _failed(self, error: Any, at: float, status: TaskStatus) -> None:
        since = self._note_failure(error, at)
        if not self.is_last_known:
            assert not status.phase.is_terminal
            return
        is_refused = self.refused_since is not None and at - self.refused_since >= 60
        is_shown = self.last is not None and self.last.phase is Phase.WAITING_FOR_RESOURCES
        if at - since >= 300 or is_refused or is_shown:
            assert status.phase is Phase.WAITING_FOR_RESOURCES
        elif status.phase is Phase.WAITING_FOR_RESOURCES:
            assert at - since >= 60  # the account's row of refusals goes on over other failures
        elif self.last is not None:
            assert status is self.last
        else:
            assert status.phase is Phase.RUNNING

    def _missing(self, at: float, age: float, status: TaskStatus) -> None:
        since = self._note_missing(at)
        if self.sightings >= 3 and at - since >= max(600, VISIBILITY_S):
            assert status.phase is Phase.RETRYABLE_FAILED
            assert status.error is not None
            assert status.error.code == "RecordGone"
            return
        assert not status.phase.is_terminal

    def _told(self, state: object, status: TaskStatus) -> None:
        if isinstance(state, str) and state in OVER:
            assert status.phase is OVER[state]
            return
        assert not status.phase.is_terminal
        if state == "RUNNING":
            assert status.phase is Phase.RUNNING
        assert status.is_flagged is not (isinstance(state, str) and state in LIVE)


@settings(max_examples=300)
@given(st.lists(_STEPS, min_size=2, max_size=14))
def test_any_course_of_answers_keeps_the_rules(steps: Sequence[tuple[Any, float]]) -> None:
    async def play(sky: Sky) -> None:
        course, began = Course(), time.monotonic()
        before: Any = None
        for answer, pause_s in steps:
            Oracle.asked_at.clear()
            await asyncio.sleep(pause_s)
            for at in Oracle.asked_at:
                course.overhear(before, at)
            Oracle.asked_at.clear()
            at = time.monotonic()
            status = await sky.ask(failures()[answer] if isinstance(answer, int) else answer)
            course.check(answer, at, at - began, status, is_asked=bool(Oracle.asked_at))
            before = answer

    under_a_sky(play)


def test_silence_of_hours_shows_once_and_ends_once() -> None:
    async def play(sky: Sky) -> None:
        phases = await sky.phases("RUNNING", *[Unavailable("down")] * 720, "RUNNING", after_s=30)
        changes = [after for before, after in pairwise(phases) if after is not before]
        assert changes == [Phase.WAITING_FOR_RESOURCES, Phase.RUNNING]
        assert phases[:11] == [Phase.RUNNING] * 11
        assert phases[11] is Phase.WAITING_FOR_RESOURCES

    under_a_sky(play)


def test_the_words_of_a_silence_say_who_since_when_and_why() -> None:
    async def play(sky: Sky) -> None:
        status = await sky.ask(Unavailable("down for work"), after_s=100, times=4)
        assert status.phase is Phase.WAITING_FOR_RESOURCES
        assert "ledger" in status.message
        assert "down for work" in status.message

    under_a_sky(play)


class Wordy(Oracle):
    """Has words of its own for what a state means in general."""

    states = StateMap(
        {**LIVE, "OK": succeeded(), "BROKEN": failed(Failure(code="Broken", message="the job failed"))},
        documented=frozenset({*LIVE, *OVER}),
        source="tests/unit/host/test_statuses_rules.py",
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Status(state="BROKEN", message="the table is gone"), "the table is gone"),
        (Status(state="BROKEN"), "the job failed"),
        (Status(state="BROKEN", message="ended", failure=Failure(code="E7", message="disk full")), "disk full"),
    ],
)
def test_what_the_platform_says_of_a_failed_job_comes_before_what_its_state_means(answer: Status, words: str) -> None:
    async def play(sky: Sky) -> None:
        assert (await sky.ask(answer)).message == words

    under_a_sky(play, Wordy)


def test_a_job_comes_back_from_a_silence_to_where_it_was_and_never_before_that() -> None:
    async def play(sky: Sky) -> None:
        await sky.ask("RUNNING")
        shown = await sky.ask(Unavailable("down"), after_s=151, times=3)
        assert shown.phase is Phase.WAITING_FOR_RESOURCES
        assert await sky.ask(Unavailable("still down"), after_s=151, times=9) is shown
        assert (await sky.ask("STARTING", after_s=1)).phase is Phase.RUNNING

    under_a_sky(play)


def test_a_slow_poll_does_not_undo_the_end_that_a_faster_one_saw() -> None:
    async def play(sky: Sky) -> None:
        proceed = asyncio.Event()
        real = sky.agent.get

        async def slow(self: Oracle, job: LedgerJob, ctx: Any) -> Any:
            await proceed.wait()
            return Status(state="RUNNING")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sky.agent, "get", slow)
            late = asyncio.ensure_future(sky.host.get_task(sky.handle))
            await asyncio.sleep(0)
            patch.setattr(sky.agent, "get", real)
            ended = await sky.ask("BROKEN")
            proceed.set()
            assert ended.phase is Phase.FAILED
            assert await late is ended

    under_a_sky(play)


def test_a_job_that_is_not_visible_yet_is_not_gone() -> None:
    async def play(sky: Sky) -> None:
        assert (await sky.phases(Missing(), Missing(), after_s=25))[-1] is Phase.RUNNING
        assert (await sky.ask(Missing(), after_s=59)).phase is Phase.RUNNING  # the first sighting that counts
        assert (await sky.ask("RUNNING", after_s=59)).phase is Phase.RUNNING
        assert (await sky.ask(Missing(), after_s=59)).phase is Phase.RUNNING
        assert (await sky.ask(Missing(), after_s=59)).phase is Phase.RUNNING

    under_a_sky(play)


@pytest.mark.parametrize("wait", [30, "30"], ids=repr)
def test_a_retry_after_that_is_no_duration_is_no_reason_to_fail_a_poll(wait: Any) -> None:
    async def play(sky: Sky) -> None:
        assert (await sky.ask(Throttled("slow down", retry_after=wait))).phase is Phase.RUNNING

    under_a_sky(play)


def test_a_platform_that_holds_a_running_job_and_starts_it_again_does_not_move_it_backwards() -> None:
    async def play(sky: Sky) -> None:
        phases = await sky.phases("RUNNING", "HELD", "STARTING")
        assert Phase.INITIALIZING not in phases

    under_a_sky(play)


def test_silence_of_a_queued_job_ends_when_the_platform_answers() -> None:
    async def play(sky: Sky) -> None:
        await sky.ask("QUEUED")
        assert (await sky.ask(Unavailable("down"), after_s=301, times=2)).phase is Phase.WAITING_FOR_RESOURCES
        assert (await sky.ask("QUEUED", after_s=1)).phase is not Phase.WAITING_FOR_RESOURCES

    under_a_sky(play)


def test_a_platform_that_answers_that_it_knows_no_such_job_is_not_called_unreachable() -> None:
    async def play(sky: Sky) -> None:
        await sky.ask("RUNNING")
        await sky.ask(Unavailable("down"), after_s=301, times=2)
        assert "cannot reach" not in (await sky.ask(Missing(), after_s=1)).message

    under_a_sky(play)


def test_one_401_in_an_outage_of_two_minutes_shows_nothing() -> None:
    async def play(sky: Sky) -> None:
        await sky.ask("RUNNING")
        await sky.ask(Unavailable("down"), after_s=61, times=2)
        assert (await sky.ask(Unauthorized("who are you"), after_s=1)).phase is Phase.RUNNING

    under_a_sky(play)


@pytest.mark.parametrize("skew_s", [-3_600, 3_600])
def test_a_young_job_is_not_gone_because_the_clocks_of_two_replicas_differ(skew_s: float) -> None:
    async def play(sky: Sky) -> None:
        with pytest.MonkeyPatch.context() as patch:
            right = time.time
            patch.setattr(time, "time", lambda: right() + skew_s)
            phases = await sky.phases(*[Missing()] * 8, after_s=61)
        assert set(phases) == {Phase.RUNNING}

    under_a_sky(play, LateOracle)


def test_a_job_that_succeeded_is_not_gone_because_its_outputs_took_longer_than_its_record_lasts() -> None:
    async def play(sky: Sky) -> None:
        done = Status(state="OK", outputs="deferred")
        await sky.ask("RUNNING", after_s=60)
        sky.ledger.faults["fetch"] = Unavailable("store down")
        assert (await sky.ask(done, after_s=1)).phase is Phase.RUNNING
        phases = await sky.phases(Missing(), Missing(), Missing(), after_s=61)
        assert Phase.RETRYABLE_FAILED not in phases

    under_a_sky(play)


@pytest.mark.parametrize("hint", [timedelta.max, timedelta(days=365)], ids=str)
def test_an_absurd_poll_hint_does_not_stop_the_polling(hint: timedelta) -> None:
    async def play(sky: Sky) -> None:
        await sky.ask(Status(state="RUNNING", poll_after=hint))
        assert (await sky.ask("OK", after_s=24 * 3_600)).phase is Phase.SUCCEEDED

    under_a_sky(play)


def test_a_job_of_which_there_is_never_any_news_shows() -> None:
    async def play(sky: Sky) -> None:
        assert (await sky.ask("RUNNING")).phase is Phase.RUNNING
        assert (await sky.ask(None, after_s=60, times=10)).phase is Phase.WAITING_FOR_RESOURCES

    under_a_sky(play, OracleOfMany)


def test_two_polls_at_the_same_time_ask_once_and_count_the_usage_once() -> None:
    async def play(sky: Sky) -> None:
        def billed() -> float:
            return sum(
                sample.value
                for metric in REGISTRY.collect()
                for sample in metric.samples
                if sample.name == "outboard_usage_total" and sample.labels["unit"] == "duration_s"
            )

        asked = 0
        real = sky.agent.get

        async def get(self: Oracle, job: LedgerJob, ctx: Any) -> Any:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            return await real(self, job, ctx)

        before = billed()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sky.agent, "get", get)
            sky.agent.answer = Status(state="BROKEN", usage=Usage(duration=timedelta(seconds=5)))
            ends = await asyncio.gather(sky.host.get_task(sky.handle), sky.host.get_task(sky.handle))
        assert ends[0] is ends[1]
        assert (asked, billed() - before) == (1, 5)

    under_a_sky(play)


def test_a_job_that_reaches_a_replica_late_in_an_outage_is_told_as_the_other_jobs_of_its_account() -> None:
    async def play(sky: Sky) -> None:
        late = await sky.host.create_task(ledger_task("oracle", node="late"))
        assert (await sky.ask(Unavailable("down"), after_s=100, times=5)).phase is Phase.WAITING_FOR_RESOURCES
        assert (await sky.host.get_task(late)).phase is Phase.WAITING_FOR_RESOURCES

    under_a_sky(play)


@virtually
async def test_a_submission_that_was_told_as_initializing_is_not_queued_on_another_replica() -> None:
    ledger, proceed = Ledger(), asyncio.Event()
    ledger.faults["create"] = proceed.wait

    def replica(stores: Any = None) -> Host:
        return Host(Registry([LedgerPlatform(ledger, Oracle)]), SETTINGS, stores=stores)

    async with replica() as first, replica(first.stores) as second:
        handle = await first.create_task(ledger_task("oracle"), timeout_s=0.03)
        Oracle.answer = "QUEUED"
        assert (await first.get_task(handle)).phase is Phase.INITIALIZING
        proceed.set()
        await first.drain()
        assert (await second.get_task(handle)).phase is Phase.INITIALIZING
