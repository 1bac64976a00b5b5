"""What every warehouse is measured by: the promise, what is mapped of what is documented, the vendor's own client, and proofs.

A warehouse's module hands in its conformance cases and what it found out; what comes back are sections of the report, with a
failure for whatever is not as promised. `storms`, `loads` and `bad_inputs` measure the rest, on the fake platform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outboard.testing.conformance.cases import Case
from outboard.testing.conformance.findings import Outcome
from outboard.testing.conformance.suite import check_case
from tables.sections import Section

POLL_S: Final = 10.0
"""Between two polls of one job, about as FlytePropeller leaves."""
_SHOWN: Final = 400


# The promise


def conformance(title: str, cases: Mapping[str, Case]) -> Section:
    """Run `outboard check` of each case; a row per group of checks, with "passed of asked" for each case."""
    groups: dict[str, dict[str, list[int]]] = {}
    failures: list[str] = []
    for name, case in cases.items():
        for finding in check_case(case).findings:
            if finding.outcome is Outcome.NOT_APPLICABLE:
                continue
            counts = groups.setdefault(finding.check.partition("/")[0], {}).setdefault(name, [0, 0])
            counts[1] += 1
            if finding.outcome is Outcome.PASSED:
                counts[0] += 1
            else:
                failures.append(f"{name}: {finding.check} {finding.outcome.value}: {finding.message}")
    rows: list[dict[str, Any]] = [
        {"checks": group, **{name: f"{passed} of {asked}" for name, (passed, asked) in counts.items()}}
        for group, counts in groups.items()
    ]
    sums = {
        name: [sum(counts.get(name, [0, 0])[side] for counts in groups.values()) for side in (0, 1)] for name in cases
    }
    rows.append({"checks": "all", **{name: f"{passed} of {asked}" for name, (passed, asked) in sums.items()}})
    return Section(title=title, columns=["checks", *cases], rows=rows, failures=failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """How much of what a platform documents the agent knows.

    Attributes:
        what: Of which thing, e.g. "states of a query job".
        documented: What the vendor's page lists.
        mapped: What the agent's table holds.
        source: The page.
    """

    what: str
    documented: frozenset[str] | frozenset[Any]
    mapped: frozenset[str] | frozenset[Any]
    source: str


def mapped(title: str, tables: Sequence[Mapped]) -> Section:
    """Compare what is mapped with what is documented."""
    rows = [
        {
            "what": table.what,
            "documented": len(table.documented),
            "mapped": len(table.documented & table.mapped),
            "source": table.source,
        }
        for table in tables
    ]
    failures = [
        f"{table.what}: not mapped: {', '.join(sorted(map(str, table.documented - table.mapped)))}"
        for table in tables
        if table.documented - table.mapped
    ]
    return Section(title=title, columns=["what", "documented", "mapped", "source"], rows=rows, failures=failures)


# The vendor's own client


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One query's answer, read twice.

    Attributes:
        query: In words.
        ours: Column names, types and rows as our agent's output has them, in a form that can be compared.
        theirs: The same as the vendor's client has them.
    """

    query: str
    ours: Any
    theirs: Any


def compared(title: str, answers: Sequence[Compared], *, versions: Mapping[str, str] | None = None) -> Section:
    """Show whether both have the same rows and types."""
    rows = [
        {"query": each.query, "rows": _count(each.theirs), "same rows and types": each.ours == each.theirs}
        for each in answers
    ]
    failures = [
        f"{each.query}: {str(each.ours)[:_SHOWN]} is not {str(each.theirs)[:_SHOWN]}"
        for each in answers
        if each.ours != each.theirs
    ]
    columns = ["query", "rows", "same rows and types"]
    return Section(title=title, columns=columns, rows=rows, failures=failures, versions=versions or {})


def _count(answer: Any) -> int | None:
    rows = answer.get("rows") if isinstance(answer, Mapping) else answer
    return len(rows) if isinstance(rows, Sequence) and not isinstance(rows, str) else None


# Where each call was proven


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A call to the platform, and on what it was tried.

    Attributes:
        call: The vendor's name for it.
        real: The real part (a server, an emulator, a vendor's client) that answered or sent it; empty for none.
        fake: What of it the fake platform has that no real part had.
    """

    call: str
    real: str = ""
    fake: str = ""


def proven(title: str, calls: Sequence[Proven], *, notes: Sequence[str] = ()) -> Section:
    """Show where each call was proven."""
    rows = [
        {"call": each.call, "on a real part": each.real or "no", "on the fake": each.fake or "no"} for each in calls
    ]
    failures = [f"{each.call} was tried on nothing" for each in calls if not each.real and not each.fake]
    return Section(
        title=title, columns=["call", "on a real part", "on the fake"], rows=rows, failures=failures, notes=notes
    )
