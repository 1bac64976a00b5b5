"""A root of jobs whose every process is gone after the test, and ways to wait for what jobs do."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outboard.detached import job_files, processes
from outboard.detached.job_directory import JobDirectory
from outboard.detached.jobs import JobSnapshot

PATIENCE_S = 20.0


def wait_until(condition: Callable[[], object]) -> None:
    """Look until a condition holds; what jobs do shows in files only."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for does not happen"
        time.sleep(0.01)


def wait_for_end(jobs: JobDirectory, name: str) -> JobSnapshot:
    """The job once it has ended."""
    found: list[JobSnapshot] = []

    def has_ended() -> bool:
        snapshot = jobs.snapshot(name)
        assert snapshot is not None
        found[:] = [snapshot]
        return snapshot.state.has_ended

    wait_until(has_ended)
    return found[0]


def runner_of(jobs: JobDirectory, name: str) -> processes.ProcessMark:
    """The process that runs a job."""
    document = job_files.read_document(str(jobs.root / name), job_files.RUNNER)
    assert document is not None
    return processes.ProcessMark.from_document(document)


def members_of(jobs: JobDirectory, name: str) -> list[int]:
    """The ids of all that lives of a job."""
    folder = str(jobs.root / name)
    found = processes.session_members(runner_of(jobs, name), proof=f"{job_files.JOB_VARIABLE}={folder}")
    return [pid for pid, _ in found]


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[JobDirectory]:
    """An empty root; whatever a test leaves running in it is killed, and nothing outlives that."""
    directory = JobDirectory(tmp_path / "jobs")
    yield directory
    claimed = [path.parent.name for path in directory.root.glob(f"*/{job_files.RUNNER}")]
    for name in claimed:
        for pid in members_of(directory, name):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(members_of(directory, name) for name in claimed))
