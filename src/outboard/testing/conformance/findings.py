"""What a run of the suite found: one finding per check, in a form for people and one for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

REPORT_VERSION: Final = 1
"""Of the machine-readable report; raised when a field changes its meaning."""


class Outcome(str, Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"
    """Something is missing in the case, or there is no case."""
    NOT_APPLICABLE = "does not apply"
    """It is not asked of an agent that declares what this one does."""


class Broken(Exception):
    """An agent breaks a rule; raised by checks.

    Args:
        what: What was seen, in one sentence.
        remedy: What the author must change.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class NotRun(Exception):
    """A check cannot be made of this case; the text says what is missing."""


class NotApplicable(Exception):
    """A check is not asked of this agent; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: The check's name, which never changes.
        message: What was seen; empty where it passed.
        remedy: What the author must change, or write.
        seconds: How long it took, in real time.
    """

    check: str
    outcome: Outcome
    message: str = ""
    remedy: str = ""
    seconds: float = 0.0

    def to_json(self) -> Mapping[str, Any]:
        """Return the finding as JSON values."""
        return {
            "check": self.check,
            "outcome": self.outcome.value,
            "message": self.message,
            "remedy": self.remedy,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """All that was found about one agent.

    Attributes:
        agent: Its name.
        source: Where its class is: `module:Class`.
        has_case: Whether there was a case, so that jobs were started.
        case: The case's name, where it has one.
    """

    agent: str
    source: str
    has_case: bool
    findings: Sequence[Finding]
    case: str = ""

    @property
    def is_conforming(self) -> bool:
        """Whether no check failed."""
        return not self.having(Outcome.FAILED)

    def having(self, outcome: Outcome) -> list[Finding]:
        """Return the findings of one outcome."""
        return [finding for finding in self.findings if finding.outcome is outcome]

    def to_json(self) -> Mapping[str, Any]:
        """Return the report as JSON values."""
        return {
            "agent": self.agent,
            "source": self.source,
            "has_case": self.has_case,
            "case": self.case,
            "is_conforming": self.is_conforming,
            "findings": [finding.to_json() for finding in self.findings],
        }


def document(reports: Iterable[AgentReport], failures: Sequence[Mapping[str, str]] = ()) -> Mapping[str, Any]:
    """Return the machine-readable report of a whole run.

    Args:
        reports: One per agent.
        failures: What could not be loaded: `source` and `reason`.
    """
    found = list(reports)
    counts = Counter(finding.outcome for report in found for finding in report.findings)
    return {
        "version": REPORT_VERSION,
        "is_conforming": not failures and all(report.is_conforming for report in found),
        "counts": {outcome.value: counts[outcome] for outcome in Outcome},
        "agents": [report.to_json() for report in found],
        "failures": list(failures),
    }
