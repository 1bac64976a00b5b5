"""Where a job stands: the platform's own words, decided from the job directory and the processes alone.

==============  ==============================================================================  ========
state           what is known                                                                   ended
==============  ==============================================================================  ========
`CLAIMED`       there is a directory and no runner: its creator is about to start one, or died  no
`STARTING`      the runner lives; the command is not recorded yet                               no
`RUNNING`       the runner, or something of the command's group, lives                          no
`CANCELLING`    as above, and the job was asked to end                                          no
`SUCCEEDED`     the command ended with exit code 0                                              yes
`FAILED`        the command ended with another exit code, or could not be started               yes
`KILLED`        a signal that nobody asked us for ended the command: out of memory, an operator  yes
`CANCELLED`     the job was asked to end before it did, or before it began                      yes
`VANISHED`      there was a runner, nothing of it lives, and nobody recorded the end            yes
==============  ==============================================================================  ========

Where the runner or the creator may die, and what is found then:

* between making the directory and the spec, or the spec and the runner's claim: `CLAIMED`; creating again starts it;
* between the runner's claim and the command: `VANISHED`; the command never ran, but nobody can tell from outside;
* while the command runs: `RUNNING` until the last of its group ends, then `VANISHED`;
* the whole session killed, or the machine restarted: `VANISHED`;
* between the command's end and its record: `VANISHED`, a matter of microseconds unless the disk is full.

An ended state is final. It rests on `exit.json`, which is written once; who first finds a job vanished, or cancelled
before its start, writes that record in the runner's place. Whether an end counts as cancelled was decided when the
record was written, so a mark that comes later changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class JobState(str, Enum):
    """Our own word for where a job stands; the module's table says what each means."""

    CLAIMED = "CLAIMED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    CANCELLED = "CANCELLED"
    VANISHED = "VANISHED"

    @property
    def has_ended(self) -> bool:
        """Whether the state is final."""
        return self in ENDED


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.KILLED, JobState.CANCELLED, JobState.VANISHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found about a job.

    Attributes:
        ending: The record of its end.
        has_runner: A runner claimed it, living or not.
        has_command: The command recorded itself.
        is_alive: The runner or something of the command's group lives.
        is_marked: It was asked to end.
    """

    ending: Mapping[str, object] | None
    has_runner: bool
    has_command: bool
    is_alive: bool
    is_marked: bool


def state_of(facts: Facts) -> JobState:
    """Decide where a job stands; total over all facts."""
    if facts.ending is not None:
        return _ended_state(facts.ending)
    if not facts.has_runner:
        return JobState.CANCELLED if facts.is_marked else JobState.CLAIMED
    if not facts.is_alive:
        return JobState.CANCELLED if facts.is_marked else JobState.VANISHED
    if facts.is_marked:
        return JobState.CANCELLING
    return JobState.RUNNING if facts.has_command else JobState.STARTING


def _ended_state(ending: Mapping[str, object]) -> JobState:
    if ending.get("cancelled"):
        return JobState.CANCELLED
    if ending.get("exit_code") == 0:
        return JobState.SUCCEEDED
    if isinstance(ending.get("exit_code"), int):
        return JobState.FAILED
    return JobState.KILLED if ending.get("signal") else JobState.VANISHED
