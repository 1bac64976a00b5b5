"""How a platform keeps a job from being started twice; declared once per agent, checked when its class is created.

A request may reach the host twice, on two replicas, after a restart, or as the next attempt of a task whose first
answer was lost. What the host may do then depends on what the platform offers, and the declaration says it: send
again (`Token`, `Named`), look first (`Lookup`), or never (`Nothing`). See docs/promise.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The platform takes an idempotency token and answers a repeated create with the first job.

    Attributes:
        valid_for: How long the platform remembers tokens.
    """

    valid_for: timedelta


@dataclass(frozen=True, slots=True)
class Named:
    """The job's name or id is ours to choose, and the platform refuses a second one of the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The platform has neither, but a job can be found by a label or name that we gave it.

    Attributes:
        visible_within: After which time a job that exists is certainly found.
        retained_for: How long ended jobs are found.
    """

    visible_within: timedelta
    retained_for: timedelta


class OnUnknown(str, Enum):
    """What becomes of a submission whose outcome nobody can find out."""

    FAIL = "fail"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """The platform offers no way to tell whether a create arrived.

    Attributes:
        on_unknown: `FAIL` ends the task with "outcome unknown"; `RETRY` accepts that a job may run twice.
    """

    on_unknown: OnUnknown = OnUnknown.FAIL


Submission = Token | Named | Lookup | Nothing
