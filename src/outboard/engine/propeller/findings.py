"""What is wrong with a configuration: one record per place, with what it leads to and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from outboard.domain.secret_refs import redact_forms
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
    return _finding(name, Severity.ERROR, place, wrong, effect, remedy)


def warning(name: str, place: Place, wrong: str, effect: str, remedy: str) -> Finding:
    """Return a finding with which Flyte works until it is busy, restarted or changed."""
    return _finding(name, Severity.WARNING, place, wrong, effect, remedy)


def _finding(name: str, severity: Severity, place: Place, wrong: str, effect: str, remedy: str) -> Finding:
    """Return a finding that repeats no secret of the file: an address may have a password in it."""
    return Finding(
        name=name,
        severity=severity,
        place=place,
        wrong=redact_forms(wrong),
        effect=redact_forms(effect),
        remedy=redact_forms(remedy),
    )
