"""State maps are total, and never guess how a job ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.phases import Phase
from outboard.domain.states import ANY, StateMap, failed, succeeded
from outboard.domain.statuses import Failure, State
from outboard.errors import ContractViolation, Retry

STATES = StateMap(
    {
        "PENDING": Phase.QUEUED,
        ("RUNNING", ANY): Phase.RUNNING,
        ("TERMINATED", "SUCCESS"): succeeded(),
        ("TERMINATED", "TIMEDOUT"): failed(Failure(code="Timeout", retry=Retry.YES)),
    },
    documented=frozenset({"PENDING", ("RUNNING", "A"), ("TERMINATED", "SUCCESS"), ("TERMINATED", "TIMEDOUT")}),
    source="https://example.com/states",
    ended=frozenset({"TERMINATED"}),
)


@given(st.text() | st.tuples(st.text(), st.text()))
def test_no_unknown_state_ends_a_job(state: State) -> None:
    first = state[0] if isinstance(state, tuple) else state
    if first not in {"PENDING", "RUNNING", "TERMINATED"}:
        reading = STATES.read(state)
        assert reading.phase is Phase.RUNNING
        assert reading.is_flagged


@given(st.text())
def test_an_unknown_result_of_an_ended_job_is_failed_and_flagged(result: str) -> None:
    reading = STATES.read(("TERMINATED", result + "?"))
    assert reading.phase is Phase.FAILED
    assert reading.is_flagged


def test_known_states_read_as_mapped() -> None:
    assert STATES.read("PENDING").phase is Phase.QUEUED
    assert STATES.read(("RUNNING", "whatever")).phase is Phase.RUNNING
    assert STATES.read(("TERMINATED", "SUCCESS")).phase is Phase.SUCCEEDED
    assert STATES.read(("TERMINATED", "TIMEDOUT")).failure == Failure(code="Timeout", retry=Retry.YES)


def test_a_map_that_misses_a_documented_state_is_refused_by_its_name() -> None:
    with pytest.raises(ContractViolation, match="NODE_FAIL"):
        StateMap({"OK": succeeded()}, documented=frozenset({"OK", "NODE_FAIL"}), source="x")


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED, Phase.ABORTED])
def test_terminal_phases_cannot_be_mapped_directly(phase: Phase) -> None:
    with pytest.raises(ContractViolation, match="succeeded\\(\\) or failed\\(\\)"):
        StateMap({"X": phase}, documented=frozenset({"X"}), source="x")


def test_a_map_without_a_source_is_refused() -> None:
    with pytest.raises(ContractViolation, match="source"):
        StateMap({}, documented=frozenset(), source="")


@pytest.mark.parametrize("state", [None, 3, [], ["RUNNING"], (), ("A", 2), (None, "B"), {"a": 1}, object(), b"RUNNING"])
def test_what_is_no_state_at_all_is_still_running_and_flagged(state: object) -> None:
    reading = STATES.read(state)  # type: ignore[arg-type]
    assert (reading.phase, reading.is_flagged) == (Phase.RUNNING, True)
