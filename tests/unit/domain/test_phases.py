"""Phases step forward, and terminal ones stay."""

from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.phases import LIVE_PHASES, Phase, advance, is_legal_step

PHASES = st.sampled_from(list(Phase))


@given(PHASES, PHASES)
def test_a_terminal_phase_never_changes(reported: Phase, observed: Phase) -> None:
    if reported.is_terminal:
        assert advance(reported, observed) is reported


@given(st.lists(PHASES, min_size=1))
def test_whatever_a_platform_shows_every_reported_step_is_legal(observed: list[Phase]) -> None:
    reported: Phase | None = None
    for phase in observed:
        following = advance(reported, phase)
        assert reported is None or is_legal_step(reported, following)
        reported = following


@given(st.sampled_from(LIVE_PHASES), st.sampled_from([p for p in Phase if p.is_terminal]))
def test_every_live_phase_may_end(live: Phase, end: Phase) -> None:
    assert advance(live, end) is end


def test_a_running_task_is_never_reported_as_queued_or_initializing_again() -> None:
    assert not is_legal_step(Phase.RUNNING, Phase.QUEUED)
    assert not is_legal_step(Phase.RUNNING, Phase.INITIALIZING)


def test_a_running_task_may_wait_for_resources_and_come_back() -> None:
    assert is_legal_step(Phase.RUNNING, Phase.WAITING_FOR_RESOURCES)
    assert is_legal_step(Phase.WAITING_FOR_RESOURCES, Phase.RUNNING)


def test_undefined_cannot_be_said() -> None:
    assert "UNDEFINED" not in Phase.__members__
