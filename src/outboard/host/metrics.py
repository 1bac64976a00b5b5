"""The host's metrics; the service exposes them beside its own."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Histogram

ABSORBED: Final = Counter(
    "outboard_status_absorbed_total",
    "Status questions that a platform did not answer, and that were answered from memory instead.",
    ["agent", "error"],
)
FLAGGED: Final = Counter(
    "outboard_unknown_states_total", "Platform states that no state map knows; treated as still running.", ["agent"]
)
UNCONFIRMED: Final = Counter(
    "outboard_cancel_unconfirmed_total", "Cancels that a platform accepted but did not carry out in time.", ["agent"]
)
UNCLAIMED: Final = Counter(
    "outboard_jobs_unclaimed_total",
    "Jobs that were started here and that nobody asked this process about within ten minutes.",
    ["agent"],
)
CLAIMED: Final = Histogram(
    "outboard_job_claimed_seconds",
    "From a job's start to the first poll that asked this process about it.",
    ["agent"],
    buckets=(0.1, 1, 5, 15, 60, 300, 600),
)
FOREIGN: Final = Counter("outboard_foreign_handles_total", "Cancels of handles that this software never wrote.")
USAGE: Final = Counter(
    "outboard_usage_total",
    "What jobs that ended consumed, as their platforms billed it.",
    ["agent", "account", "unit"],
)
HANGING: Final = Counter(
    "outboard_hanging_calls_total", "Calls of blocking agents that ran on after everybody gave up on them.", ["agent"]
)
