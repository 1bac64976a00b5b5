"""How a platform keeps a job from being started twice; declared once per agent, checked when its class is created.

Within one process the host starts one job per key, whatever is declared (see `host.flights`). A repeated request that
reaches another process, or the same one after a restart, calls `create` again, and then the platform alone can tell
it from a new one: by the token or the name that `create` makes of the key. So `Token` and `Named` are safe everywhere,
while `Lookup` and `Nothing` are safe within a process only: the host acts on neither their windows nor `on_unknown`
yet, and calls no `find`.
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
