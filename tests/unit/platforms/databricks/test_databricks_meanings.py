"""What states, endings and errors of Databricks mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from integration.platforms.databricks.databricks_emulators import known_words
from outboard.agent import Cause, Phase, Retry
from outboard.errors import AgentError, Forbidden, Rejected, Sent, Throttled, Unauthorized, Unavailable
from outboard.platforms.databricks import runs
from outboard.platforms.databricks.errors import ERRORS, is_creation_limit, is_missing
from outboard.platforms.databricks.statement_states import (
    HISTORY_STATES,
    PLATFORM_ERRORS,
    STATEMENT_STATES,
    USER_ERRORS,
)
from outboard.platforms.databricks.statement_states import failure_of as statement_failure_of
from outboard.platforms.databricks.states import ENDED, LIVE, RESULTS, RUN_STATES, TERMINATIONS, failure_of

README = Path(runs.__file__).with_name("README.md").read_text("utf-8")


def test_every_state_result_and_code_that_the_sdk_knows_is_mapped() -> None:
    known = known_words()
    assert known["life"] | known["newer life"] == {*LIVE, *ENDED}
    assert known["results"] == set(RESULTS)
    assert known["terminations"] - {"SUCCESS", "SUCCESS_WITH_FAILURES"} <= set(TERMINATIONS)
    assert known["statements"] == STATEMENT_STATES.documented
    assert known["service errors"] - {"CANCELLED"} <= USER_ERRORS | PLATFORM_ERRORS
    assert known["history"] - set(HISTORY_STATES) == {"CANCELED", "FAILED", "FINISHED"}


def test_every_error_code_that_the_sdk_knows_is_classified() -> None:
    codes = known_words()["error codes"]
    unmapped = {code for code in codes if type(ERRORS.classify(code=code, status=418)) is AgentError}
    assert unmapped == {"ABORTED", "ALREADY_EXISTS", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS"}


@pytest.mark.parametrize(
    ("code", "status", "kind", "sent"),
    [
        ("INVALID_PARAMETER_VALUE", 400, Rejected, Sent.NO),
        ("RESOURCE_DOES_NOT_EXIST", 404, Rejected, Sent.NO),
        ("PERMISSION_DENIED", 403, Forbidden, Sent.NO),
        (None, 403, Unauthorized, Sent.NO),
        (None, 401, Unauthorized, Sent.NO),
        ("REQUEST_LIMIT_EXCEEDED", 429, Throttled, Sent.NO),
        ("RESOURCE_EXHAUSTED", 429, Throttled, Sent.NO),
        ("QUOTA_EXCEEDED", 400, Throttled, Sent.NO),
        ("TEMPORARILY_UNAVAILABLE", 503, Unavailable, Sent.MAYBE),
        ("INTERNAL_ERROR", 500, Unavailable, Sent.MAYBE),
        ("DEADLINE_EXCEEDED", 504, Unavailable, Sent.MAYBE),
        ("CANCELLED", 499, Unavailable, Sent.MAYBE),
        ("ABORTED", 409, AgentError, Sent.MAYBE),
        ("INVALID_STATE", 400, AgentError, Sent.NO),
        ("SOMETHING_NEW", 400, AgentError, Sent.NO),
        ("SOMETHING_NEW", 500, Unavailable, Sent.MAYBE),
    ],
)
def test_errors_say_who_must_act_and_whether_something_arrived(
    code: str | None, status: int, kind: type[AgentError], sent: Sent
) -> None:
    error = ERRORS.classify(words="w", status=status, code=code)
    assert type(error) is kind
    assert isinstance(error, AgentError)
    assert error.sent is sent


def test_a_run_that_is_gone_is_told_from_a_request_that_is_wrong() -> None:
    assert is_missing(AgentError("Run 12 does not exist.", code="INVALID_PARAMETER_VALUE"))
    assert is_missing(AgentError("Run: 1 in job: 2 doesn't exist", code="INVALID_PARAMETER_VALUE"))
    assert is_missing(AgentError("", code="RESOURCE_DOES_NOT_EXIST"))
    assert not is_missing(AgentError("limit must be less than 25", code="INVALID_PARAMETER_VALUE"))
    words = "There were already 1000 jobs created in past 3600 seconds, exceeding rate limit: 1000 per 3600 seconds."
    assert is_creation_limit(AgentError(words, code="INVALID_STATE"))
    assert not is_creation_limit(AgentError("Cluster is terminating", code="INVALID_STATE"))


@pytest.mark.parametrize(
    ("result", "code", "kind", "words", "cause", "retry"),
    [
        ("FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR", "boom", Cause.USER, Retry.YES),
        ("FAILED", "", "", "boom", Cause.USER, Retry.YES),
        ("CANCELED", "USER_CANCELED", "SUCCESS", "", Cause.CANCELLED_OUTSIDE, Retry.NEVER),
        ("TIMEDOUT", "CANCELED", "CLIENT_ERROR", "", Cause.USER, Retry.YES),
        ("FAILED", "CLUSTER_ERROR", "CLIENT_ERROR", "", Cause.USER, Retry.NEVER),
        ("FAILED", "CLUSTER_ERROR", "CLOUD_FAILURE", "", Cause.PLATFORM, Retry.YES),
        ("FAILED", "CLUSTER_ERROR", "CLOUD_FAILURE", "SPOT_INSTANCE_TERMINATION", Cause.PREEMPTED, Retry.YES),
        ("FAILED", "RUN_EXECUTION_ERROR", "", "the spot instance was terminated", Cause.PREEMPTED, Retry.YES),
        ("FAILED", "INVALID_RUN_CONFIGURATION", "CLIENT_ERROR", "", Cause.USER, Retry.NEVER),
        ("FAILED", "LIBRARY_INSTALLATION_ERROR", "CLOUD_FAILURE", "", Cause.PLATFORM, Retry.YES),
        ("FAILED", "NEW_CODE", "INTERNAL_ERROR", "", Cause.PLATFORM, Retry.YES),
        ("FAILED", "NEW_CODE", "CLIENT_ERROR", "", Cause.USER, Retry.NEVER),
        ("INTERNAL_ERROR", "", "", "", Cause.PLATFORM, Retry.YES),
        ("MAXIMUM_CONCURRENT_RUNS_REACHED", "", "", "", Cause.PLATFORM, Retry.YES),
        ("SKIPPED", "", "", "", Cause.USER, Retry.NEVER),
    ],
)
def test_failures_say_whose_doing_they_are(
    result: str, code: str, kind: str, words: str, cause: Cause, retry: Retry
) -> None:
    failure = failure_of(result, code, kind, words)
    assert (failure.cause, failure.retry, failure.message) == (cause, retry, words)


def test_a_spot_loss_is_none_where_somebody_cancelled() -> None:
    assert failure_of("CANCELED", "USER_CANCELED", "", "preempted").cause is Cause.CANCELLED_OUTSIDE


def test_an_unknown_state_goes_on_and_an_unknown_result_fails_flagged() -> None:
    assert RUN_STATES.read("NEW_STATE").phase is Phase.RUNNING
    odd = RUN_STATES.read(("TERMINATED", "ODD"))
    assert (odd.phase, odd.is_flagged) == (Phase.FAILED, True)
    assert RUN_STATES.read(("TERMINATED", "")).phase is Phase.FAILED


@pytest.mark.parametrize(
    ("run", "state"),
    [
        ({"state": {"life_cycle_state": "RUNNING"}}, "RUNNING"),
        ({"state": {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"}}, ("TERMINATED", "SUCCESS")),
        ({"status": {"state": "QUEUED"}}, "QUEUED"),
        (
            {"status": {"state": "TERMINATED", "termination_details": {"code": "CLUSTER_ERROR"}}},
            ("TERMINATED", "CLUSTER_ERROR"),
        ),
        ({"state": {"life_cycle_state": "INTERNAL_ERROR"}}, ("INTERNAL_ERROR", "")),
        (
            {"state": {"life_cycle_state": "TERMINATING", "user_cancelled_or_timedout": True}},
            ("TERMINATING", "CANCELED"),
        ),
        ({"state": {"life_cycle_state": "TERMINATING"}}, "TERMINATING"),
        ({"state": "odd", "status": 1}, ""),
    ],
)
def test_states_are_read_in_both_spellings(run: dict[str, Any], state: object) -> None:
    assert runs.state_of(run) == state


def test_a_cancelled_run_that_still_ends_is_of_no_use_to_another_attempt() -> None:
    assert RUN_STATES.read(("TERMINATING", "CANCELED")).is_cancelling


def failed_run(**more: Any) -> dict[str, Any]:
    state = {"life_cycle_state": "TERMINATED", "result_state": "FAILED", "state_message": "Task t failed."}
    return {"run_id": 1, "state": state, **more}


def test_of_a_task_that_was_repaired_the_latest_attempt_counts() -> None:
    good = {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"}
    tasks = [
        {"task_key": "t", "run_id": 12, "start_time": 2, "state": good},
        {"task_key": "t", "run_id": 11, "start_time": 1, "state": failed_run()["state"]},
    ]
    assert [task["run_id"] for task in runs.tasks_of({"tasks": tasks})] == [12]
    assert runs.failed_tasks({"tasks": tasks}) == []


def test_a_failure_tells_the_tasks_own_error_and_code() -> None:
    details = {"code": "LIBRARY_INSTALLATION_ERROR", "type": "CLIENT_ERROR"}
    task = {**failed_run(), "task_key": "t", "run_id": 5, "status": {"termination_details": details}}
    trace = "Traceback\n  x\nValueError: bad"
    status = runs.status_of(failed_run(tasks=[task]), {"5": {"error": "Exception", "error_trace": trace}})
    assert status.failure is not None
    assert (status.failure.code, status.failure.retry) == ("LIBRARY_INSTALLATION_ERROR", Retry.NEVER)
    assert status.message == "Exception (ValueError: bad); Task t failed."


def test_of_several_tasks_those_that_failed_by_themselves_are_named() -> None:
    upstream = {"life_cycle_state": "TERMINATED", "result_state": "UPSTREAM_FAILED"}
    tasks = [
        {**failed_run(), "task_key": "a", "run_id": 5},
        {"task_key": "b", "run_id": 6, "state": upstream},
    ]
    status = runs.status_of(failed_run(tasks=tasks), {"5": {"error": "no table x"}})
    assert status.message == "a: no table x; Task t failed."


def test_a_run_on_its_own_cluster_tells_hours_and_one_on_another_does_not() -> None:
    task = {"task_key": "t", "setup_duration": 600_000, "execution_duration": 2_900_000, "cleanup_duration": 100_000}
    own = runs.usage_of(failed_run(tasks=[{**task, "new_cluster": {"num_workers": 3}}], run_duration=3_600_000))
    assert {unit: float(amount) for unit, amount in own.billed.items()} == {"cluster_hours": 1.0, "node_hours": 4.0}
    assert own.currency_amount is None
    scaled = runs.usage_of(failed_run(tasks=[{**task, "new_cluster": {"autoscale": {}}}]))
    assert set(scaled.billed) == {"cluster_hours"}
    assert not runs.usage_of(failed_run(tasks=[{**task, "existing_cluster_id": "c"}])).billed


def test_facts_tell_clusters_repairs_and_durations() -> None:
    history = [{"type": "ORIGINAL"}, {"type": "REPAIR", "id": 7}]
    facts = runs.facts_of(failed_run(repair_history=history, queue_duration=5, cluster_instance={"cluster_id": "c"}))
    assert facts == {"run_id": 1, "queue_duration_ms": 5, "clusters": ["c"], "repairs": 1, "latest_repair_id": 7}


@pytest.mark.parametrize(
    ("state", "code", "cause", "retry"),
    [
        ("FAILED", "BAD_REQUEST", Cause.USER, Retry.NEVER),
        ("FAILED", "RESOURCE_EXHAUSTED", Cause.PLATFORM, Retry.YES),
        ("FAILED", "", Cause.USER, Retry.NEVER),
        ("CANCELED", "", Cause.CANCELLED_OUTSIDE, Retry.NEVER),
    ],
)
def test_failed_statements_say_whose_doing_it_is(state: str, code: str, cause: Cause, retry: Retry) -> None:
    failure = statement_failure_of(state, code, "w")
    assert (failure.cause, failure.retry) == (cause, retry)


def test_the_readme_has_every_state_as_the_code_maps_it() -> None:
    rows = {
        match["state"]: match["phase"]
        for match in re.finditer(r"^\| `(?P<state>[A-Z_/*]+)` \| (?P<phase>[A-Z_]+)", README, re.MULTILINE)
    }
    expected = {}
    for state in RUN_STATES.documented:
        text = "/".join(state) if isinstance(state, tuple) else state
        if isinstance(state, tuple) and state[0] in ("SKIPPED", "INTERNAL_ERROR"):
            text = f"{state[0]}/*"
        reading = RUN_STATES.read(state)
        is_retried = reading.failure is not None and reading.failure.retry is Retry.YES
        expected[text] = "RETRYABLE_FAILED" if is_retried else reading.phase.value
    for state in STATEMENT_STATES.documented:
        assert isinstance(state, str)
        expected.setdefault(state, STATEMENT_STATES.read(state).phase.value)
    assert rows == expected
