"""What is wrong with a configuration: one record per place, with what it leads to and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from outboard.engine.propeller.trees import Place


class Severity(Enum):
    """How bad it is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong, or not as its author thinks.

    Attributes:
        name: What kind it is, for searching and for scripts: `no-deadline`, say.
        severity: `ERROR` where Flyte does not start, or tasks fail or go astray; `WARNING` where it works until it is busy,
            restarted or changed.
        place: Where it stands.
        wrong: What is there, in one sentence without an end.
        effect: What that leads to.
        remedy: What to write instead.
    """

    name: str
    severity: Severity
    place: Place
    wrong: str
    effect: str
    remedy: str


def error(name: str, place: Place, wrong: str, effect: str, remedy: str) -> Finding:
    """Return a finding because of which Flyte does not start, or tasks fail or go astray."""
    return Finding(name=name, severity=Severity.ERROR, place=place, wrong=wrong, effect=effect, remedy=remedy)


def warning(name: str, place: Place, wrong: str, effect: str, remedy: str) -> Finding:
    """Return a finding with which Flyte works until it is busy, restarted or changed."""
    return Finding(name=name, severity=Severity.WARNING, place=place, wrong=wrong, effect=effect, remedy=remedy)
