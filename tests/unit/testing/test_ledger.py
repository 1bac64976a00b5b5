"""The ledger: the truth about jobs, and how a platform hides it."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.testing.faults import (
    EFFECT_LOST,
    FAULTS,
    REPLY_LOST,
    FaultPlan,
    Refuse,
    Stall,
    When,
    keeps_effect,
    throttled,
)
from outboard.testing.ledger import Course, Ledger, LedgerRules, NameTaken, NoSuchJob
from outboard.testing.ledger_agents import sample_task
from outboard.testing.ledger_jobs import ENDS, STATES, JobView, LedgerJob
from outboard.testing.processes import Process
from outboard.testing.tallies import Tally
from outboard.testing.virtual_time import virtually

TOKEN = "t"  # noqa: S105 - an idempotency token is no secret
KEY = {"outboard-key": "ob-a"}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


def state(ledger: Ledger, job: JobView) -> str:
    view = ledger.get(job.id)
    assert view is not None
    return view.state


def test_a_job_goes_its_course(clock: Clock) -> None:
    ledger = Ledger()
    job = ledger.create(course=Course(queued_s=5, running_s=10, outcome="FAILED", message="out of memory"))
    seen = []
    for clock.now in (1_000, 1_004.9, 1_005, 1_014.9, 1_015):
        seen.append(state(ledger, job))
    assert seen == ["QUEUED", "QUEUED", "RUNNING", "RUNNING", "FAILED"]
    view = ledger.get(job.id)
    assert view is not None
    assert view.message == "out of memory"
    assert ledger.live() == []


def test_a_job_without_end_runs_for_ever(clock: Clock) -> None:
    ledger = Ledger(LedgerRules(course=Course(running_s=None)))
    job = ledger.create(course=Course(queued_s=1))
    clock.now += 10**9
    assert state(ledger, job) == "RUNNING"
    assert [each.id for each in ledger.live()] == [job.id]


def test_a_cancel_takes_its_time_and_the_job_lives_until_then(clock: Clock) -> None:
    ledger = Ledger(LedgerRules(course=Course(running_s=None, cancelling_s=60)))
    job = ledger.create(name="n")
    clock.now += 1
    ledger.cancel(job.id)
    assert (state(ledger, job), len(ledger.live())) == ("CANCELLING", 1)
    clock.now += 60
    assert (state(ledger, job), len(ledger.live())) == ("CANCELLED", 0)


def test_a_platform_that_is_deaf_to_the_first_cancels_heeds_a_later_one(clock: Clock) -> None:
    ledger = Ledger(LedgerRules(course=Course(running_s=None, deaf_to=2)))
    job = ledger.create()
    seen = []
    for _ in range(3):
        ledger.cancel(job.id)
        seen.append(state(ledger, job))
    assert seen == ["RUNNING", "RUNNING", "CANCELLED"]


def test_a_cancel_of_finished_work_changes_nothing_but_is_counted(clock: Clock) -> None:
    ledger = Ledger()
    job = ledger.create()
    clock.now += 10
    ledger.cancel(job.id)
    assert (state(ledger, job), ledger.late_cancels(), ledger.effects["cancelled"]) == ("SUCCEEDED", 1, 0)


def test_a_token_finds_the_first_job_until_it_is_forgotten(clock: Clock) -> None:
    ledger = Ledger(LedgerRules(valid_for=timedelta(hours=1)))
    first = ledger.create(token=TOKEN, labels=KEY)
    clock.now += 3_599
    assert ledger.create(token=TOKEN, labels=KEY).id == first.id
    assert (ledger.started("ob-a"), ledger.effects["repeated"], ledger.second_jobs()) == (1, 1, [])
    clock.now += 1
    second = ledger.create(token=TOKEN, labels=KEY)
    assert [job.id for job in ledger.second_jobs()] == [second.id]
    assert ledger.started("ob-a") == 2


def test_a_name_is_refused_while_its_record_is_kept(clock: Clock) -> None:
    ledger = Ledger(LedgerRules(retained_for=timedelta(seconds=100)))
    ledger.create(name="n")
    with pytest.raises(NameTaken):
        ledger.create(name="n")
    clock.now += 10 + 100
    assert ledger.get("n") is None
    ledger.create(name="n")
    assert (ledger.started("n"), len(ledger.jobs), len(ledger.live())) == (2, 2, 1)


def test_without_token_and_name_every_create_starts_a_job_and_the_second_shows() -> None:
    ledger = Ledger()
    ledger.create(labels=KEY)
    second = ledger.create(labels=KEY)
    assert [job.id for job in ledger.second_jobs()] == [second.id]


def test_an_anonymous_job_is_nobodys_second() -> None:
    ledger = Ledger()
    ledger.create()
    ledger.create()
    assert ledger.second_jobs() == []


def test_a_job_is_found_late_and_known_by_id_late(clock: Clock) -> None:
    ledger = Ledger(LedgerRules(visible_after=timedelta(seconds=20), readable_after=timedelta(seconds=5)))
    job = ledger.create(labels=KEY)
    seen = []
    for clock.now in (1_000, 1_004, 1_005, 1_019, 1_020):
        seen.append((ledger.get(job.id) is not None, len(ledger.find("outboard-key", "ob-a"))))
    assert seen == [(False, 0), (False, 0), (True, 0), (True, 0), (True, 1)]
    assert ledger.started("ob-a") == 1


def test_jobs_are_found_oldest_first_and_only_by_their_own_label(clock: Clock) -> None:
    ledger = Ledger()
    jobs = [ledger.create(labels=KEY).id, ledger.create(labels=KEY).id]
    ledger.create(labels={"outboard-key": "ob-b"})
    assert [view.id for view in ledger.find("outboard-key", "ob-a")] == jobs


def test_a_forgotten_record_hides_a_job_that_goes_on() -> None:
    ledger = Ledger()
    job = ledger.create(labels=KEY)
    ledger.forget(job.id)
    assert (ledger.get(job.id), ledger.find("outboard-key", "ob-a"), len(ledger.live())) == (None, [], 1)
    with pytest.raises(NoSuchJob):
        ledger.cancel(job.id)


def test_a_disguise_hides_the_state_but_not_from_the_truth(clock: Clock) -> None:
    ledger = Ledger()
    job = ledger.create()
    ledger.disguise(job.id, "HIBERNATING")
    clock.now += 10
    assert (state(ledger, job), ledger.live()) == ("HIBERNATING", [])
    ledger.disguise(job.id, None)
    assert state(ledger, job) == "SUCCEEDED"


def test_a_job_that_is_settled_stays_so(clock: Clock) -> None:
    ledger = Ledger()
    job = ledger.create()
    ledger.settle(job.id, "LOST")
    clock.now += 100
    ledger.cancel(job.id)
    assert (state(ledger, job), ledger.late_cancels()) == ("LOST", 1)


def test_reported_times_are_by_the_platforms_clock() -> None:
    ledger = Ledger(LedgerRules(clock_skew=timedelta(hours=2)))
    job = ledger.create()
    assert job.created_at == pytest.approx(ledger.jobs[job.id].started_at + 7_200)
    assert ledger.logs(job.id)[0][0] == pytest.approx(job.created_at)


def test_outputs_are_there_once_a_job_succeeded(clock: Clock) -> None:
    ledger = Ledger()
    job = ledger.create(course=Course(outputs={"answer": 42}))
    with pytest.raises(NoSuchJob):
        ledger.fetch(job.id)
    clock.now += 10
    view = ledger.get(job.id)
    assert view is not None
    assert view.has_outputs
    assert (ledger.fetch(job.id), ledger.jobs[job.id].fetches) == ({"answer": 42}, 1)


def test_all_attempts_of_a_task_are_its_jobs_and_overlap_is_a_second_job(clock: Clock) -> None:
    ledger = Ledger()
    tasks = [sample_task("ledger_token", attempt=attempt) for attempt in range(4)]
    keys = [{"outboard-key": f"ob-{attempt}"} for attempt in range(4)]
    ledger.create(labels=keys[0], output_prefix=tasks[0].output_prefix)
    beside = ledger.create(labels=keys[1], output_prefix=tasks[1].output_prefix)
    assert [job.id for job in ledger.second_jobs()] == [beside.id]
    for job in ledger.live():
        ledger.cancel(job.id)
    ledger.create(labels=keys[2], output_prefix=tasks[2].output_prefix)
    clock.now += 10
    ledger.create(labels=keys[3], output_prefix=tasks[3].output_prefix)
    assert [job.id for job in ledger.second_jobs()] == [beside.id]
    assert len(ledger.jobs_of(tasks[0])) == 4
    assert [job.key for job in ledger.jobs_of("ob-2")] == ["ob-2"]
    assert ledger.jobs_of(sample_task("ledger_token", node="n1")) == []


def test_the_log_tells_a_jobs_course_so_far(clock: Clock) -> None:
    ledger = Ledger()
    job = ledger.create(course=Course(queued_s=1, running_s=2))
    clock.now += 2
    assert [line for _, line in ledger.logs(job.id)] == [f"queued as {job.id}", "running"]
    clock.now += 1
    assert [line for _, line in ledger.logs(job.id)][-1] == "ended as SUCCEEDED"


def test_the_events_are_in_order(clock: Clock) -> None:
    ledger = Ledger()
    job = ledger.create(token=TOKEN)
    ledger.create(token=TOKEN)
    ledger.cancel(job.id)
    assert [(event.word, event.key) for event in ledger.events] == [
        ("started", TOKEN),
        ("repeated", TOKEN),
        ("cancelled", TOKEN),
    ]


@given(
    queued=st.floats(0, 100),
    running=st.none() | st.floats(0, 100),
    outcome=st.sampled_from(sorted(ENDS)),
    cancels=st.lists(st.floats(0, 300), max_size=3).map(sorted),
    cancelling=st.floats(0, 50),
    deaf=st.integers(0, 3),
)
def test_no_state_follows_an_end_and_the_end_is_where_it_is_said(
    queued: float, running: float | None, outcome: str, cancels: list[float], cancelling: float, deaf: int
) -> None:
    course = Course(queued_s=queued, running_s=running, outcome=outcome, cancelling_s=cancelling, deaf_to=deaf)
    job = LedgerJob(id="j", started_at=0.0, course=course)
    for at in cancels:
        if job.state(at) not in ENDS:
            job.cancels.append(at)
    states = [job.state(now) for now in range(500)]
    assert set(states) <= STATES
    for earlier, later in itertools.pairwise(states):
        assert earlier not in ENDS or later == earlier
    for now, each in enumerate(states):
        assert (each in ENDS) == (now >= job.ended_at())


async def test_a_tally_wakes_who_waits_for_a_count() -> None:
    tally = Tally()
    tally.add("create")
    await tally.reaches("create")
    waiting = asyncio.ensure_future(tally.reaches("create", 3))
    tally.add("create")
    await asyncio.sleep(0)
    assert not waiting.done()
    await asyncio.to_thread(tally.add, "create")
    await waiting
    assert (tally["create"], tally.total()) == (3, 3)


def test_faults_strike_by_operation_subject_count_and_skip() -> None:
    plan = FaultPlan()
    plan.add(REPLY_LOST, "create", about="ob-a", skip=1, times=2)
    struck = [plan.strike(operation, about) for operation, about in [
        ("get", "ob-a"), ("create", "ob-b"), ("create", "x ob-a y"), ("create", "ob-a"), ("create", "ob-a"), ("create", "ob-a"),
    ]]  # fmt: skip
    assert struck == [None, None, None, REPLY_LOST, REPLY_LOST, None]
    assert (plan.calls["create"], plan.calls["get"]) == (5, 1)
    assert [each.operation for each in plan.struck] == ["create", "create"]


def test_faults_strike_within_their_span_and_an_outage_wins(clock: Clock) -> None:
    plan = FaultPlan()
    plan.add(Refuse())
    plan.cut_off(1_010, 1_020)
    struck = []
    for clock.now in (1_009, 1_010, 1_019, 1_020):
        struck.append(plan.strike("get"))
    assert [type(fault).__name__ for fault in struck] == ["Refuse", "Unreachable", "Unreachable", "Refuse"]
    plan.clear()
    assert plan.strike("get") is None


@given(seed=st.integers(0, 1_000))
def test_chance_is_the_seeds(seed: int) -> None:
    def run(seed: int) -> list[bool]:
        plan = FaultPlan(seed=seed)
        plan.add(Refuse(), chance=0.3)
        return [plan.strike("get") is not None for _ in range(200)]

    assert run(seed) == run(seed)
    assert 20 <= sum(run(seed)) <= 110


def test_which_faults_keep_the_effect() -> None:
    kept = {name for name, fault in FAULTS.items() if keeps_effect(fault)}
    assert kept == {
        "reply lost", "reply reset", "reply never comes", "500 after the effect",
        "garbage", "truncated", "other shape", "mislabelled",
    }  # fmt: skip
    assert keeps_effect(Stall(when=When.BEFORE, seconds=5))
    assert not keeps_effect(EFFECT_LOST)
    assert not keeps_effect(throttled())


@virtually
async def test_the_ledgers_clock_is_not_that_of_the_replica_that_asks() -> None:
    ledger, plan = Ledger(), FaultPlan()
    plan.cut_off(time.time() + 3_000, time.time() + 4_000)
    fast = Process("fast", wall_skew_s=3_600)
    assert fast.run(time.time) == time.time() + 3_600
    job = fast.run(ledger.create)
    assert job.created_at == time.time()
    assert fast.run(lambda: plan.strike("get")) is None
