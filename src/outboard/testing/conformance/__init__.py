"""The conformance suite: one set of checks that every agent passes, with what its author must write for it.

==================  ==================================================================
`cases`             `Case`, `StandIn`, `PlatformJob`: what an author writes, ten lines
`proxy`             a proxy with faults before a platform's real emulator
`suite`             `check_case`, `check_class`
`side_by_side`      several cases at once, each in a process of its own
`findings`          what was found, for people and machines
`declarations`      checks of what a class declares
`starting`          a job is started once
`following`         it is found, followed and stopped
`answering`         sync agents and sensors
`purity`            pure methods
`travelling`        journals and old handles
==================  ==================================================================

See `docs/check.md`.
"""

from outboard.testing.conformance.cases import Case, Clock, PlatformJob, Site, StandIn, jobs_of
from outboard.testing.conformance.findings import AgentReport, Finding, Outcome
from outboard.testing.conformance.suite import check_case, check_class

__all__ = [
    "AgentReport",
    "Case",
    "Clock",
    "Finding",
    "Outcome",
    "PlatformJob",
    "Site",
    "StandIn",
    "check_case",
    "check_class",
    "jobs_of",
]
