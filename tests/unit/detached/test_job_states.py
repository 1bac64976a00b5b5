"""The decision where a job stands, over every combination of facts."""

from itertools import product

import pytest

from outboard.detached.states import ENDED, Facts, JobState, state_of

ENDINGS = {
    JobState.SUCCEEDED: {"exit_code": 0, "signal": None, "cancelled": False},
    JobState.FAILED: {"exit_code": 3, "signal": None, "cancelled": False},
    JobState.KILLED: {"exit_code": None, "signal": 9, "cancelled": False},
    JobState.CANCELLED: {"exit_code": 0, "signal": None, "cancelled": True},
    JobState.VANISHED: {"found": True, "cancelled": False},
}
BOOLEANS = (False, True)


def facts(*, has_runner: bool, has_command: bool, is_alive: bool, is_marked: bool) -> Facts:
    return Facts(ending=None, has_runner=has_runner, has_command=has_command, is_alive=is_alive, is_marked=is_marked)


@pytest.mark.parametrize(("expected", "ending"), ENDINGS.items())
def test_a_recorded_end_decides_alone(expected: JobState, ending: dict[str, object]) -> None:
    for has_runner, has_command, is_alive, is_marked in product(BOOLEANS, repeat=4):
        found = Facts(
            ending=ending, has_runner=has_runner, has_command=has_command, is_alive=is_alive, is_marked=is_marked
        )
        assert state_of(found) is expected


def test_an_unreadable_end_is_an_end_without_success() -> None:
    found = Facts(ending={}, has_runner=True, has_command=True, is_alive=True, is_marked=False)
    assert state_of(found) is JobState.VANISHED


def test_without_a_recorded_end_nothing_alive_has_ended_and_nothing_succeeds() -> None:
    for has_runner, has_command, is_alive, is_marked in product(BOOLEANS, repeat=4):
        state = state_of(facts(has_runner=has_runner, has_command=has_command, is_alive=is_alive, is_marked=is_marked))
        if has_runner and is_alive:
            assert state not in ENDED
        assert state not in {JobState.SUCCEEDED, JobState.FAILED, JobState.KILLED}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facts(has_runner=False, has_command=False, is_alive=False, is_marked=False), JobState.CLAIMED),
        (facts(has_runner=False, has_command=False, is_alive=False, is_marked=True), JobState.CANCELLED),
        (facts(has_runner=True, has_command=False, is_alive=True, is_marked=False), JobState.STARTING),
        (facts(has_runner=True, has_command=True, is_alive=True, is_marked=False), JobState.RUNNING),
        (facts(has_runner=True, has_command=True, is_alive=True, is_marked=True), JobState.CANCELLING),
        (facts(has_runner=True, has_command=True, is_alive=False, is_marked=False), JobState.VANISHED),
        (facts(has_runner=True, has_command=True, is_alive=False, is_marked=True), JobState.CANCELLED),
    ],
)
def test_each_stage_of_a_job_has_its_state(found: Facts, expected: JobState) -> None:
    assert state_of(found) is expected
