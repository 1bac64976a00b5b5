"""One job directory as its readers and cancellers see it: observe, settle, press.

The order of reading is part of the protocol. The cancel mark is read *before* the runner's claim: if the mark was
there and then no claim, any runner that claims later will see the mark, so the job can never start. The command is
read before the processes, and the end is read again after nothing living was found, because a runner writes it just
before it leaves.
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from outboard.detached import job_files, processes
from outboard.detached.job_files import Document
from outboard.detached.jobs import JobSnapshot, integer_in, moment_in, number_in, read_progress
from outboard.detached.processes import ProcessMark
from outboard.detached.runner import DEFAULT_GRACE_S
from outboard.detached.states import Facts, JobState, state_of

RUNNER_MARGIN_S = 2.0
"""How much longer than the grace a living runner gets before the client kills the command in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What one look at a job directory found; documents are None where there is no such file."""

    state: JobState
    mark: Document | None
    runner: Document | None
    command: Document | None
    ending: Document | None


class JobFolder:
    """A job directory that exists.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = str(path)

    def observe(self) -> Sighting:
        """Find out where the job stands; an end that nobody recorded is recorded by the way."""
        sighting = self._look()
        if not sighting.state.has_ended or sighting.ending is not None:
            return sighting
        ending: Document = {"cancelled": sighting.state is JobState.CANCELLED, "ended_at": time.time(), "found": True}
        with suppress(OSError):
            job_files.write_once(self._folder, job_files.EXIT, ending)
        again = self._look()
        return again if again.ending is not None else sighting

    def snapshot(self, sighting: Sighting) -> JobSnapshot:
        """The job as a sighting and its other files tell."""
        spec = self.read(job_files.SPEC)
        ending = sighting.ending or {}
        return JobSnapshot(
            name=self.path.name,
            state=sighting.state,
            created_at=moment_in(spec, "created_at"),
            started_at=moment_in(sighting.command, "started_at"),
            ended_at=moment_in(ending, "ended_at"),
            exit_code=integer_in(ending, "exit_code"),
            signal=integer_in(ending, "signal"),
            is_cancel_asked=bool(ending.get("cancelled")) if sighting.state.has_ended else sighting.mark is not None,
            progress=read_progress(self.read(job_files.PROGRESS)),
            cpu_seconds=number_in(ending, "cpu_seconds"),
            peak_rss_bytes=integer_in(ending, "peak_rss_bytes"),
        )

    def mark_cancelled(self) -> None:
        """Make the wish that the job end durable.

        Raises:
            OSError: The mark cannot be written.
        """
        mark: Document = {"asked_at": time.time(), "monotonic_s": time.monotonic()}
        job_files.write_once(self._folder, job_files.CANCEL, mark)

    def ask_to_end(self, sighting: Sighting) -> None:
        """Send SIGTERM: to the runner, which does the rest, or to the command where its runner is gone."""
        runner = ProcessMark.from_document(sighting.runner or {})
        if not runner.send(signal.SIGTERM):
            processes.signal_groups(runner, self._members(sighting), signal.SIGTERM)

    def press_on(self, sighting: Sighting) -> None:
        """Kill what still lives after the grace; a living runner gets a margin to do it itself."""
        if sighting.state is not JobState.CANCELLING or sighting.mark is None:
            return
        runner = ProcessMark.from_document(sighting.runner or {})
        asked_s = number_in(sighting.mark, "monotonic_s")
        waited_s = time.monotonic() - (asked_s or 0.0)
        if waited_s < self._grace_s() + (RUNNER_MARGIN_S if runner.is_alive() else 0.0):
            return
        processes.signal_groups(runner, self._members(sighting), signal.SIGKILL)
        runner.send(signal.SIGCONT)

    def read(self, name: str) -> Document | None:
        """A document of the directory; None where there is none."""
        return job_files.read_document(self._folder, name)

    def _look(self) -> Sighting:
        ending = self.read(job_files.EXIT)
        mark = self.read(job_files.CANCEL)
        runner = self.read(job_files.RUNNER)
        command = self.read(job_files.COMMAND)
        is_alive = ending is None and runner is not None and self._has_life(runner, command)
        if ending is None and not is_alive:
            ending = self.read(job_files.EXIT)
        facts = Facts(
            ending=ending,
            has_runner=runner is not None,
            has_command=command is not None,
            is_alive=is_alive,
            is_marked=mark is not None,
        )
        return Sighting(state=state_of(facts), mark=mark, runner=runner, command=command, ending=ending)

    def _has_life(self, runner: Document, command: Document | None) -> bool:
        mark = ProcessMark.from_document(runner)
        return mark.is_alive() or bool(self._session(mark, command))

    def _members(self, sighting: Sighting) -> list[tuple[int, int]]:
        return self._session(ProcessMark.from_document(sighting.runner or {}), sighting.command)

    def _session(self, runner: ProcessMark, command: Document | None) -> list[tuple[int, int]]:
        known = None if command is None else ProcessMark.from_document(command)
        return processes.session_members(runner, command=known, proof=f"{job_files.JOB_VARIABLE}={self._folder}")

    def _grace_s(self) -> float:
        grace_s = number_in(self.read(job_files.SPEC) or {}, "grace_s")
        return DEFAULT_GRACE_S if grace_s is None else grace_s
