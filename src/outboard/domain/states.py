"""State maps: from a platform's documented states to phases, total and never guessing.

A `StateMap` is a table that an agent declares once. Building it fails unless every documented state is mapped. The
look-up knows three outcomes beyond the table, and none of them ends a job on a guess:

* a state that no table entry knows is *still running, flagged*;
* an unknown second word (result) under a first word declared `ended` is *failed, flagged*: the platform said that the
  job is over, and success needs positive proof;
* success and failure are only ever what `succeeded()` or `failed()` mark in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from outboard.domain.phases import LIVE_PHASES, Phase
from outboard.domain.statuses import Failure, State
from outboard.errors import ContractViolation, Retry

ANY: Final = "*"
"""As the second word of a pair in a table: any second word that has no entry of its own."""


@dataclass(frozen=True, slots=True)
class Judge:
    """How a job that is over came out; made by `succeeded()` or `failed()`."""

    is_success: bool
    default: Failure | None = None


def succeeded() -> Judge:
    """Mark a state in a table as the platform's own word for success."""
    return Judge(is_success=True)


def failed(default: Failure | None = None) -> Judge:
    """Mark a state in a table as the end without success.

    Args:
        default: The failure to report where the agent's `judge` says nothing more exact. Its message is what users read
            where the platform says nothing of the job itself.
    """
    return Judge(is_success=False, default=default)


@dataclass(frozen=True, slots=True)
class Cancelling:
    """A job that was told to stop and has not stopped yet; made by `cancelling()`."""


def cancelling() -> Cancelling:
    """Mark a state in a table as "alive, but told to stop": RUNNING for the engine, and of no use to another attempt."""
    return Cancelling()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a state means.

    Attributes:
        phase: The phase it stands for.
        failure: The table's default failure of a failed state.
        is_flagged: The table did not know the state.
        is_cancelling: The job was told to stop and has not stopped yet.
    """

    phase: Phase
    failure: Failure | None = None
    is_flagged: bool = False
    is_cancelling: bool = False


class StateMap:
    """A total table from a platform's states to phases.

    Args:
        table: By state: a live phase, `cancelling()`, `succeeded()` or `failed(default)`. Keys are words, pairs of words,
            or `(word, ANY)`.
        documented: Every state the platform documents; each must be covered by the table.
        source: The page that documents them.
        ended: First words that say "it is over", whatever the second word.

    Raises:
        ContractViolation: A documented state is not covered, a live entry is no live phase, or there is no source.

    >>> states = StateMap(
    ...     {"RUNNING": Phase.RUNNING, ("DONE", "OK"): succeeded(), ("DONE", "ERROR"): failed()},
    ...     documented=frozenset({"RUNNING", ("DONE", "OK"), ("DONE", "ERROR")}),
    ...     source="https://example.com/api#states",
    ...     ended=frozenset({"DONE"}),
    ... )
    >>> [states.read(state).phase.value for state in ("RUNNING", "PAUSED", ("DONE", "ODD"))]
    ['RUNNING', 'RUNNING', 'FAILED']
    """

    __slots__ = ("_ended", "_readings", "documented", "source")

    def __init__(
        self,
        table: Mapping[State, Phase | Judge | Cancelling],
        *,
        documented: frozenset[State],
        source: str,
        ended: frozenset[str] = frozenset(),
    ) -> None:
        if not source:
            raise ContractViolation("a StateMap needs `source`: the page that documents the platform's states")
        self._readings = {state: _reading(state, entry) for state, entry in table.items()}
        self._ended = ended
        self.documented = documented
        self.source = source
        uncovered = sorted(str(state) for state in documented if self._find(state) is None)
        if uncovered:
            raise ContractViolation(
                f"the StateMap is not total: map these documented states too: {', '.join(uncovered)}"
            )

    def read(self, state: State) -> Reading:
        """Return what `state` means; never raises, whatever the platform answered."""
        if not _is_state(state):
            return Reading(Phase.RUNNING, is_flagged=True)
        found = self._find(state)
        if found is not None:
            return found
        first = state[0] if isinstance(state, tuple) else state
        if first in self._ended:
            return Reading(Phase.FAILED, Failure(code="UnknownResult", retry=Retry.NEVER), is_flagged=True)
        return Reading(Phase.RUNNING, is_flagged=True)

    def rule(self, state: State) -> str:
        """Return in words by which rule `read` tells what a state means.

        >>> states = StateMap({"UP": Phase.RUNNING}, documented=frozenset({"UP"}), source="https://example.com")
        >>> states.rule("UP"), states.rule("SIDEWAYS")
        ('the table has UP', 'the table does not know SIDEWAYS: unknown states are still running, and flagged')
        """
        if not _is_state(state):
            return "the agent answered no state: still running, and flagged"
        words = "/".join(state) if isinstance(state, tuple) else state
        if state in self._readings:
            return f"the table has {words}"
        if isinstance(state, tuple) and (state[0], ANY) in self._readings:
            return f"the table has {state[0]} with any second word"
        first = state[0] if isinstance(state, tuple) else state
        if first in self._ended:
            return f"the table does not know {words}, and {first} says that it is over: failed, and flagged"
        return f"the table does not know {words}: unknown states are still running, and flagged"

    def _find(self, state: State) -> Reading | None:
        found = self._readings.get(state)
        if found is None and isinstance(state, tuple):
            found = self._readings.get((state[0], ANY))
        return found


def _is_state(state: object) -> bool:
    """Tell whether this is a word or words, which agents that pass on what a platform sent may not have checked."""
    words = state if isinstance(state, tuple) and state else (state,)
    return all(isinstance(word, str) for word in words)


def _reading(state: State, entry: Phase | Judge | Cancelling) -> Reading:
    if isinstance(entry, Cancelling):
        return Reading(Phase.RUNNING, is_cancelling=True)
    if isinstance(entry, Judge):
        if entry.is_success:
            return Reading(Phase.SUCCEEDED)
        failure = entry.default or Failure(code="_".join(state) if isinstance(state, tuple) else state)
        return Reading(Phase.FAILED, failure)
    if entry not in LIVE_PHASES:
        raise ContractViolation(
            f"state {state!r} is mapped to {entry.value}; mark the end of a job with succeeded() or failed() instead"
        )
    return Reading(entry)
