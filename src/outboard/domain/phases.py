"""Phases: where a task stands, in Flyte's words, and which step may follow which.

Flyte's own enumeration also has UNDEFINED. It is missing here on purpose: FlytePropeller reads it as a retryable
failure and starts the job again, so no part of this software can say it.

Between the phases of a live task only steps forward are legal, with one exception: any live phase may step to
WAITING_FOR_RESOURCES and back, because that is the only way a running task can show that its platform cannot be
asked. Terminal phases are final.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Phase(str, Enum):
    """Where a task stands. Source of the names: `flyteidl/core/execution.proto`, `TaskExecution.Phase`."""

    QUEUED = "QUEUED"
    WAITING_FOR_RESOURCES = "WAITING_FOR_RESOURCES"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    RETRYABLE_FAILED = "RETRYABLE_FAILED"
    ABORTED = "ABORTED"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows this phase."""
        return self in _TERMINAL

    @property
    def is_success(self) -> bool:
        """Whether the task ended with its outputs."""
        return self is Phase.SUCCEEDED


_TERMINAL: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED, Phase.ABORTED})
LIVE_PHASES: Final = (Phase.QUEUED, Phase.WAITING_FOR_RESOURCES, Phase.INITIALIZING, Phase.RUNNING)

_NEXT: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.QUEUED: frozenset(Phase),
    Phase.WAITING_FOR_RESOURCES: frozenset(Phase),
    Phase.INITIALIZING: frozenset(Phase) - {Phase.QUEUED},
    Phase.RUNNING: frozenset(Phase) - {Phase.QUEUED, Phase.INITIALIZING},
    **{phase: frozenset({phase}) for phase in _TERMINAL},
}


def is_legal_step(current: Phase, following: Phase) -> bool:
    """Tell whether a task in `current` may be reported as `following` next; staying is always legal."""
    return following in _NEXT[current]


def advance(reported: Phase | None, observed: Phase) -> Phase:
    """Return the phase to report after `reported` when the platform shows `observed`.

    A step that is not legal (a platform that requeues a running job, say) keeps the phase already reported:
    every backward step would cost the engine an event and a database write, and a terminal phase must not change.

    >>> advance(Phase.RUNNING, Phase.QUEUED)
    <Phase.RUNNING: 'RUNNING'>
    >>> advance(None, Phase.QUEUED)
    <Phase.QUEUED: 'QUEUED'>
    """
    if reported is None or is_legal_step(reported, observed):
        return observed
    return reported
