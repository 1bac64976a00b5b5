"""What goes into a job and what is seen of it: specs, snapshots, progress and metrics, as plain records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from outboard.detached import job_files
from outboard.detached.job_files import Document
from outboard.detached.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a job runs.

    Args:
        command: The program and its arguments; no shell reads them.
        env: Variables on top of the few that every job inherits. Their values never reach the disk.
        cwd: The working directory; a fresh one inside the job directory by default.
        files: Texts to put into the job directory before the start, by file name; readable by this user only.
        grace_s: Seconds between SIGTERM and SIGKILL when the job is asked to end.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job says it is.

    Attributes:
        percent: 0 to 100, where it can tell.
        rows: Rows done, where it counts them.
        message: A few words for a person.
    """

    percent: float | None = None
    rows: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnapshot:
    """A job as it was found at one moment.

    Attributes:
        name: The submission key.
        state: Where it stands; see `states`.
        created_at: When its spec was written; None before that.
        started_at: When its command started.
        ended_at: When it ended, or was found to have.
        exit_code: The command's exit code; None while it runs and where a signal ended it.
        signal: The number of the signal that ended the command.
        is_cancel_asked: The job was asked to end before it did.
        progress: What it last said of itself.
        cpu_seconds: CPU time of the command and the descendants it waited for, after the end.
        peak_rss_bytes: The most memory the command held, after the end.
    """

    name: str
    state: JobState
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    signal: int | None = None
    is_cancel_asked: bool = False
    progress: Progress | None = None
    cpu_seconds: float | None = None
    peak_rss_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSample:
    """What a job and its descendants used at one moment."""

    time: datetime
    rss_bytes: int
    cpu_seconds: float


def read_progress(document: Document | None) -> Progress | None:
    """The progress in a document; None where there is none."""
    if document is None:
        return None
    return Progress(
        percent=number_in(document, "percent"),
        rows=integer_in(document, "rows"),
        message=str(document.get("message", "")),
    )


def read_metrics(folder: Path, since: datetime | None) -> Iterator[MetricSample]:
    """The samples taken after a moment, oldest first; a line that is still being written is skipped."""
    try:
        lines = (folder / job_files.METRICS).read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            document = json.loads(line)
            sample = MetricSample(
                time=datetime.fromtimestamp(document["time"], timezone.utc),
                rss_bytes=document["rss_bytes"],
                cpu_seconds=document["cpu_seconds"],
            )
        except (ValueError, KeyError, TypeError):
            continue
        if since is None or sample.time > since:
            yield sample


def number_in(document: Mapping[str, object], key: str) -> float | None:
    """A number of a document, None where it is missing or something else."""
    value = document.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def integer_in(document: Mapping[str, object], key: str) -> int | None:
    """An integer of a document, None where it is missing or something else."""
    value = document.get(key)
    return value if isinstance(value, int) else None


def moment_in(document: Mapping[str, object] | None, key: str) -> datetime | None:
    """A moment of a document that counts seconds since 1970, None where it is missing."""
    seconds = number_in(document or {}, key)
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
