"""The engine's decisions, without a loop, a clock or an endpoint."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.phases import LIVE_PHASES, Phase
from outboard.domain.statuses import Failure, TaskStatus
from outboard.engine.courses import (
    Abandoned,
    Answered,
    CancelAsked,
    Collected,
    Course,
    Created,
    Deleted,
    Effect,
    Event,
    NotDeleted,
    OwedCancel,
    Owing,
    Reason,
    Refused,
    Rules,
    Stage,
    Tick,
    Unanswered,
    Uncollected,
    Unreadable,
)
from outboard.engine.decisions import advance, due, wakes_at
from outboard.errors import (
    DrainingError,
    EndpointUnreachable,
    Forbidden,
    ForeignHandle,
    InvalidSettings,
    InvalidTask,
    MissingSecret,
    OutboardError,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    Retry,
    Sent,
    StoreUnavailable,
    Throttled,
    Unauthorized,
    Unavailable,
    UnknownTaskType,
)

RULES = Rules(jitter=lambda: 0.5)
TIMED = replace(RULES, timeout_s=60.0)
POLLING = Course(stage=Stage.POLLING, handle=b"h", began_at=0.0)
LOST = Failure(code="LOST", message="gone", retry=Retry.YES)


def status(phase: Phase, **more: object) -> Answered:
    return Answered(replace(TaskStatus(phase=phase), **more))  # type: ignore[arg-type]  # any field of the status


def play(course: Course, *events: tuple[float, Event], rules: Rules = RULES) -> Course:
    for now, event in events:
        course = advance(course, event, now, rules)
    return course


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("later"),
        Throttled("slow down"),
        DrainingError("bye"),
        Overloaded("full"),
        EndpointUnreachable("nobody"),
        StoreUnavailable("no store"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_that_says_not_now_is_sent_again_and_spends_no_retry(error: OutboardError) -> None:
    course = play(Course(retries_left=1), (1.0, Refused(error, 0.0, arrived=False)))
    assert (course.stage, course.attempt, course.retries_left) == (Stage.SENDING, 0, 1)
    assert due(course, 1.0) is Effect.WAIT
    assert due(course, course.due_at) is Effect.SEND


@pytest.mark.parametrize("error", [Rejected("syntax"), InvalidTask("no"), OutcomeUnknown("?"), MissingSecret("key")])
def test_a_refusal_that_will_be_repeated_ends_the_task_whatever_retries_it_has(error: OutboardError) -> None:
    course = play(Course(retries_left=3), (1.0, Refused(error, 0.0, arrived=False)))
    assert (course.stage, course.phase) == (Stage.ENDED, Phase.FAILED)
    assert course.failure is not None
    assert course.failure.message == error.message


@pytest.mark.parametrize("error", [Unauthorized("who?"), Forbidden("no")])
def test_refused_credentials_spend_a_retry(error: OutboardError) -> None:
    course = play(Course(retries_left=1), (1.0, Refused(error, 0.0, arrived=False)))
    assert (course.stage, course.attempt, course.retries_left) == (Stage.SENDING, 1, 0)
    course = play(course, (5.0, Refused(error, 4.0, arrived=False)))
    assert (course.stage, course.phase) == (Stage.ENDED, Phase.FAILED)


def test_a_create_is_given_up_after_its_time_and_stays_resumable() -> None:
    refused = Refused(Unavailable("down"), 0.0, arrived=True)
    course = play(Course(), (0.0, refused), (60.0, refused), (119.95, refused))
    assert course.stage is Stage.LEFT
    assert "may have started" in course.left


def test_the_first_poll_follows_the_create_at_once_and_the_pauses_grow_to_their_ceiling() -> None:
    course = play(Course(), (1.0, Created(b"h", 0.5)))
    assert due(course, 1.0) is Effect.POLL
    now, pauses = 1.0, []
    for _ in range(40):
        course = advance(course, status(Phase.RUNNING), now, RULES)
        pauses.append(course.due_at - now)
        now = course.due_at
    assert pauses[0] == pytest.approx(RULES.first_poll_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(RULES.longest_poll_s)


def test_a_hint_of_the_platform_sets_the_pause() -> None:
    course = advance(POLLING, status(Phase.RUNNING, poll_after=timedelta(seconds=42)), 1.0, RULES)
    assert course.due_at == 43.0


@pytest.mark.parametrize("error", [Unavailable("x"), InvalidTask("x"), MissingSecret("x"), Rejected("x")])
def test_no_error_of_a_poll_ends_a_task(error: OutboardError) -> None:
    course = POLLING
    now = 0.0
    for _ in range(200):
        course = advance(course, Unanswered(error), now, RULES)
        now = course.due_at
    assert course.stage is Stage.POLLING
    assert course.problem == error.message
    course = advance(course, status(Phase.RUNNING), now, RULES)
    assert course.problem == ""


def test_a_handle_that_is_called_foreign_is_deleted_and_then_the_task_has_failed() -> None:
    course = advance(POLLING, Unanswered(ForeignHandle("not ours")), 1.0, RULES)
    assert due(course, 1.0) is Effect.DELETE
    course = advance(course, Deleted(), 2.0, RULES)
    assert (course.stage, course.phase) == (Stage.ENDED, Phase.FAILED)


def test_a_phase_never_goes_back() -> None:
    course = play(POLLING, (1.0, status(Phase.RUNNING)), (2.0, status(Phase.QUEUED)))
    assert course.status is not None
    assert course.status.phase is Phase.RUNNING


def test_a_retryable_failure_is_deleted_before_the_next_attempt() -> None:
    course = advance(replace(POLLING, retries_left=1), status(Phase.RETRYABLE_FAILED, error=LOST), 1.0, RULES)
    assert due(course, 1.0) is Effect.DELETE
    course = advance(course, Deleted(), 2.0, RULES)
    assert (course.stage, course.attempt, course.retries_left, course.handle) == (Stage.SENDING, 1, 0, None)
    assert course.failure == LOST


def test_the_last_retryable_failure_is_deleted_too() -> None:
    """Who says "try again" (record gone, say) cannot vouch that the job is dead."""
    course = advance(POLLING, status(Phase.RETRYABLE_FAILED, error=LOST), 1.0, RULES)
    assert due(course, 1.0) is Effect.DELETE
    course = advance(course, Deleted(), 1.1, RULES)
    assert (course.stage, course.phase, course.failure, course.owed) == (Stage.ENDED, Phase.FAILED, LOST, None)


def test_an_unknown_outcome_is_deleted_and_never_tried_again() -> None:
    unknown = Failure(code="OutcomeUnknown", message="it may run")
    course = advance(replace(POLLING, retries_left=2), status(Phase.FAILED, error=unknown), 1.0, RULES)
    assert due(course, 1.0) is Effect.DELETE
    course = advance(course, Deleted(), 1.1, RULES)
    assert (course.stage, course.phase, course.attempt) == (Stage.ENDED, Phase.FAILED, 0)


@pytest.mark.parametrize("retries", [0, 1], ids=["last attempt", "retry"])
def test_a_failed_job_whose_delete_nobody_takes_is_let_go_and_owed(retries: int) -> None:
    course = advance(replace(POLLING, retries_left=retries), status(Phase.RETRYABLE_FAILED, error=LOST), 1.0, RULES)
    course = advance(course, NotDeleted(Unavailable("down")), 32.0, RULES)
    assert (course.stage, course.attempt) == ((Stage.SENDING, 1) if retries else (Stage.ENDED, 0))
    assert course.owed == OwedCancel(attempt=0, handle=b"h", is_reported_over=True)
    assert due(course, 32.0) is Effect.OWE
    assert advance(course, Owing(), 32.0, RULES).owed is None


@pytest.mark.parametrize(
    "error", [Unauthorized("expired"), UnknownTaskType("not here"), MissingSecret("key"), InvalidSettings("endpoint")]
)
@pytest.mark.parametrize("ask", [Tick(), CancelAsked()], ids=["going on", "cancelled"])
def test_while_a_job_may_exist_only_a_word_about_the_request_is_an_end(error: OutboardError, ask: Event) -> None:
    lost = Refused(Unavailable("?"), 0.0, arrived=True)
    course = play(Course(retries_left=2), (0.0, lost), (0.1, ask), (0.2, Refused(error, 0.1, arrived=False)))
    assert (course.stage, course.attempt, course.may_exist) == (Stage.SENDING, 0, True)
    course = play(course, (200.0, Refused(error, 199.0, arrived=False)), (400.0, Refused(error, 399.0, arrived=False)))
    assert course.stage is Stage.LEFT
    assert "may have started" in course.left


def test_a_timed_out_create_that_is_rejected_after_all_is_not_tried_again() -> None:
    lost = Refused(Unavailable("?"), 0.0, arrived=True)
    course = play(Course(retries_left=1), (0.0, lost), (61.0, Tick()), rules=TIMED)
    assert course.stop is not None
    course = advance(course, Refused(OutcomeUnknown("it may run"), 61.0, arrived=True), 62.0, TIMED)
    assert (course.stage, course.phase, course.attempt) == (Stage.ENDED, Phase.FAILED, 0)
    assert course.left


def test_the_time_limit_counts_from_the_first_create_and_wakes_a_waiting_task() -> None:
    course = play(Course(), (5.0, Created(b"h", 3.0)), (5.0, status(Phase.RUNNING)), rules=TIMED)
    course = replace(course, due_at=1000.0)
    assert wakes_at(course, TIMED) == 63.0
    assert advance(course, Tick(), 62.9, TIMED).stage is Stage.POLLING
    late = advance(course, Tick(), 63.0, TIMED)
    assert due(late, 63.0) is Effect.DELETE
    assert late.stop is not None
    assert late.stop.reason is Reason.TIMEOUT


def test_a_timed_out_job_makes_room_for_the_next_attempt_once_it_is_over() -> None:
    course = play(
        replace(POLLING, retries_left=1),
        (60.0, Tick()),
        (61.0, Deleted()),
        (61.1, status(Phase.RUNNING)),
        rules=TIMED,
    )
    assert course.stage is Stage.STOPPING
    course = advance(course, status(Phase.FAILED), 62.0, TIMED)
    assert (course.stage, course.attempt) == (Stage.SENDING, 1)


def test_a_timed_out_job_is_deleted_for_as_long_as_it_takes() -> None:
    course, now = advance(replace(POLLING, retries_left=1), Tick(), 60.0, TIMED), 60.0
    for _ in range(100):
        assert due(course, now) is Effect.DELETE
        course = advance(course, NotDeleted(Unavailable("down")), now, TIMED)
        assert due(course, now) is Effect.POLL  # it may have ended meanwhile
        course = advance(course, Unanswered(Unavailable("down")), now, TIMED)
        now = course.due_at
    assert now > 660.0
    assert (course.stage, course.attempt) == (Stage.STOPPING, 0)
    course = play(course, (now, Deleted()), (now, status(Phase.ABORTED)), rules=TIMED)
    assert (course.stage, course.attempt) == (Stage.SENDING, 1)


@pytest.mark.parametrize("retries", [0, 1], ids=["last attempt", "retry"])
def test_a_timed_out_job_whose_end_is_not_confirmed_is_told_or_owed(retries: int) -> None:
    course = replace(POLLING, retries_left=retries)
    course = play(course, (60.0, Tick()), (61.0, Deleted()), (95.0, status(Phase.RUNNING)), rules=TIMED)
    if retries:
        assert (course.stage, course.attempt) == (Stage.SENDING, 1)
        assert course.owed == OwedCancel(attempt=0, handle=b"h", is_reported_over=False)
    else:
        assert (course.stage, course.phase) == (Stage.LEFT, Phase.FAILED)
        assert "not confirmed" in course.left


def test_a_handle_that_comes_late_to_a_cancelled_task_gets_the_whole_time() -> None:
    lost = Refused(Unavailable("?"), 0.0, arrived=True)
    course = play(Course(), (0.0, lost), (0.1, CancelAsked()), (29.0, Created(b"h", 29.0)), (31.0, Deleted()))
    course = advance(course, status(Phase.RUNNING), 50.0, RULES)
    assert course.stage is Stage.STOPPING


@pytest.mark.parametrize("ask", [CancelAsked(), Tick()], ids=["cancel", "timeout"])
def test_a_job_that_succeeded_before_it_could_be_stopped_has_succeeded(ask: Event) -> None:
    course = play(POLLING, (60.0, ask), (61.0, Deleted()), (61.0, status(Phase.SUCCEEDED, outputs={})), rules=TIMED)
    assert course.stage is Stage.COLLECTING
    course = advance(course, Collected({}), 61.0, TIMED)
    assert (course.stage, course.phase) == (Stage.ENDED, Phase.SUCCEEDED)


def test_a_cancel_before_anything_was_sent_ends_the_task() -> None:
    course = advance(Course(), CancelAsked(), 0.0, RULES)
    assert (course.stage, course.phase, course.left) == (Stage.ENDED, Phase.ABORTED, "")


def test_a_cancel_while_a_create_may_have_arrived_fetches_the_handle_and_deletes() -> None:
    course = play(Course(), (0.0, Refused(Unavailable("?"), 0.0, arrived=True)), (0.1, CancelAsked()))
    assert due(course, 0.1) is Effect.SEND
    course = advance(course, Created(b"h", 0.1), 0.2, RULES)
    assert due(course, 0.2) is Effect.DELETE
    course = play(course, (0.3, Deleted()), (0.4, status(Phase.ABORTED)))
    assert (course.stage, course.phase) == (Stage.ENDED, Phase.ABORTED)


def test_a_cancel_of_a_job_being_deleted_for_a_retry_allows_no_further_attempt() -> None:
    course = advance(replace(POLLING, retries_left=1), status(Phase.RETRYABLE_FAILED, error=LOST), 1.0, RULES)
    course = play(course, (1.1, CancelAsked()), (1.2, Deleted()), (1.3, status(Phase.RETRYABLE_FAILED)))
    assert (course.stage, course.phase) == (Stage.ENDED, Phase.ABORTED)


def test_who_gives_no_answer_is_remembered_until_an_answer_comes() -> None:
    silent = EndpointUnreachable("h:1 cannot be reached", endpoint="h:1")
    course = advance(POLLING, Unanswered(silent), 0.0, RULES)
    assert course.unreachable == "h:1"
    stopping = advance(course, CancelAsked(), 0.1, RULES)
    assert stopping.unreachable == "h:1"
    for answer in (Deleted(), NotDeleted(Unavailable("busy")), Answered(TaskStatus(phase=Phase.RUNNING))):
        assert advance(stopping, answer, 0.2, RULES).unreachable == ""


def test_an_unconfirmed_cancel_is_left_for_a_resumed_run() -> None:
    course = play(POLLING, (0.0, CancelAsked()), (1.0, Deleted()), (31.0, status(Phase.RUNNING)))
    assert (course.stage, course.phase) == (Stage.LEFT, Phase.ABORTED)
    assert "not confirmed" in course.left


def test_outputs_that_cannot_be_read_for_long_leave_the_task_to_a_resumed_run() -> None:
    course = replace(POLLING, stage=Stage.COLLECTING)
    unreadable = Unreadable(StoreUnavailable("no access"))
    course = play(course, (0.0, unreadable), (60.0, unreadable), (121.0, unreadable))
    assert (course.stage, course.phase) == (Stage.LEFT, Phase.FAILED)


def test_missing_outputs_are_retryable_and_wrong_ones_are_not() -> None:
    course = replace(POLLING, stage=Stage.COLLECTING, retries_left=1)
    assert advance(course, Uncollected(LOST), 1.0, RULES).stage is Stage.STOPPING
    wrong = advance(course, Uncollected(Failure(code="InvalidOutputs")), 1.0, RULES)
    assert (wrong.stage, wrong.phase) == (Stage.ENDED, Phase.FAILED)


def test_a_sync_answer_that_is_no_end_is_a_failure() -> None:
    course = advance(Course(), status(Phase.RUNNING), 1.0, RULES)
    assert (course.stage, course.phase) == (Stage.ENDED, Phase.FAILED)


ERRORS = st.sampled_from(
    [
        Unavailable("x"),
        Unavailable("x", sent=Sent.NO),
        Rejected("x"),
        Unauthorized("x"),
        ForeignHandle("x"),
        EndpointUnreachable("x"),
        InvalidTask("x"),
    ]
)
STATUSES = st.sampled_from(list(Phase)).map(lambda phase: Answered(TaskStatus(phase=phase)))


def answers(course: Course, effect: Effect) -> st.SearchStrategy[Event]:
    """What can come of an effect."""
    if effect is Effect.SEND:
        refused = st.builds(Refused, ERRORS, st.just(0.0), st.booleans())
        return st.one_of(st.just(Created(b"h%d" % course.attempt, 0.0)), refused)
    if effect is Effect.POLL:
        return st.one_of(STATUSES, ERRORS.map(Unanswered))
    if effect is Effect.DELETE:
        return st.one_of(st.just(Deleted()), ERRORS.map(NotDeleted))
    failures = st.sampled_from([LOST, Failure(code="InvalidOutputs")]).map(Uncollected)
    if effect is Effect.OWE:
        return st.just(Owing())
    return st.one_of(st.just(Collected({})), failures, st.just(Unreadable(StoreUnavailable("x"))))


@given(st.data())
def test_whatever_happens_the_rules_hold(data: st.DataObject) -> None:
    """A job is never forgotten: a handle is let go only after a DeleteTask or the platform's own word that it is over."""
    retries = data.draw(st.integers(0, 2))
    rules = replace(RULES, timeout_s=data.draw(st.sampled_from([None, 20.0])), resend_limit_s=5.0, cancel_wait_s=3.0)
    course, now, is_over_or_deleted, sends = Course(retries_left=retries), 0.0, True, 0
    for _ in range(60):
        now += data.draw(st.sampled_from([0.0, 0.05, 1.0, 4.0]))
        interruption = data.draw(st.sampled_from([None, None, None, None, CancelAsked(), Abandoned(in_flight=False)]))
        effect = due(course, now)
        event = interruption or (Tick() if effect is Effect.WAIT else data.draw(answers(course, effect)))
        before, course = course, advance(course, event, now, rules)
        sends += isinstance(event, Created)
        if isinstance(event, Created):
            is_over_or_deleted = False
        if isinstance(event, (Deleted, Uncollected, Collected)) or (
            isinstance(event, Answered) and event.status.phase not in LIVE_PHASES
        ):
            is_over_or_deleted = True
        if isinstance(event, Unanswered) and isinstance(event.error, ForeignHandle):
            is_over_or_deleted = True
        assert course.attempt >= before.attempt
        assert course.attempt <= retries
        if before.handle is not None and course.handle != before.handle:
            assert is_over_or_deleted or course.owed is not None
        if before.may_exist and not course.may_exist:
            assert course.handle is not None  # nothing but the handle ends the doubt
        if course.stage is Stage.ENDED:
            assert course.phase is not None
            assert course.phase.is_terminal
            assert course.handle is None or is_over_or_deleted or course.owed is not None
            assert not course.may_exist or course.left
        if course.stage is Stage.LEFT:
            assert course.left
        if course.is_over and course.owed is None:
            assert advance(course, data.draw(STATUSES), now, rules) is course
            break
    assert sends <= retries + 1
