"""The client of the embedded platform: creates, reads, cancels and forgets jobs in a root of job directories.

The name of a job is its submission key, and its directory is `<root>/<name>/`: a name means one job, however often
and by whomever it is created. What is created twice is found the second time; what was created half is completed.
That exactly one process ever runs does not rest on the client: of any number of runners one can claim the job (see
`runner`). Nothing is held in memory.

All calls are synchronous and short: creating takes some tens of milliseconds (a process starts and a few small files
reach the disk), the rest far less. Nothing waits for a job. `cancel` asks; a later `cancel` or `snapshot` presses on
when the grace has passed and the job's own runner did not.

A root belongs to one machine and one process-id namespace: a job whose processes cannot be seen counts as gone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from outboard.detached import boot, job_files, logs
from outboard.detached.job_files import Document
from outboard.detached.job_folder import JobFolder
from outboard.detached.jobs import JobSnapshot, JobSpec, MetricSample, read_metrics
from outboard.detached.states import JobState
from outboard.errors import Rejected, Sent, Unavailable

INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("TMPDIR", "TMP", "TEMP", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH"),
)
"""The variables every job gets from the service; all others, its secrets among them, stay behind."""

START_PATIENCE_S = 30.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\.[a-z]{1,10}")
_REMOVED = ".removed"


class JobDirectory:
    """The jobs under one root.

    Args:
        root: The folder of the job directories, on a local disk of this machine; made when first needed.
        inherited: The variables that every job gets from this process.
    """

    def __init__(self, root: Path, *, inherited: Sequence[str] = INHERITED) -> None:
        self.root = root.absolute()
        self._inherited = tuple(inherited)

    def create(self, name: str, spec: JobSpec) -> JobSnapshot:
        """Start a job unless it was started before; returns it as it stands.

        Any number of callers may create one name at once: one process starts. A job that was cancelled before its
        start stays cancelled.

        Raises:
            Rejected: The name or the spec cannot be a job's.
            Unavailable: The directory cannot be written or no process can be started; the job was not started.
        """
        folder = self._folder(name)
        _check(spec)
        with _reaching("written", folder.path, sent=Sent.NO):
            if not job_files.has_document(str(folder.path), job_files.SPEC):
                _prepare(folder.path, spec)
            if folder.observe().state is JobState.CLAIMED:
                self._start_runner(folder.path, spec.env)
            return folder.snapshot(folder.observe())

    def snapshot(self, name: str) -> JobSnapshot | None:
        """The job as it stands; None where there is none of this name.

        A job that was asked to end and has not within its grace is killed by the way.

        Raises:
            Rejected: No job can have this name.
            Unavailable: The directory cannot be read.
        """
        folder = self._folder(name)
        with _reaching("read", folder.path):
            if not folder.path.is_dir():
                return None
            sighting = folder.observe()
            folder.press_on(sighting)
            return folder.snapshot(sighting)

    def snapshots(self, names: Iterable[str]) -> dict[str, JobSnapshot]:
        """Several jobs as they stand, by name; names without a job are left out.

        Raises:
            Rejected: No job can have one of these names.
            Unavailable: A directory cannot be read.
        """
        found = ((name, self.snapshot(name)) for name in names)
        return {name: snapshot for name, snapshot in found if snapshot is not None}

    def jobs(self) -> list[JobSnapshot]:
        """All jobs of the root, the oldest first.

        Raises:
            Unavailable: The root cannot be read.
        """
        with _reaching("read", self.root):
            names = [entry.name for entry in self.root.iterdir()] if self.root.is_dir() else []
        found = self.snapshots(name for name in names if _NAME.fullmatch(name))
        never = datetime.max.replace(tzinfo=timezone.utc)
        return sorted(found.values(), key=lambda snapshot: (snapshot.created_at or never, snapshot.name))

    def cancel(self, name: str) -> JobSnapshot | None:
        """Ask a job to end; returns it as it stands after that, or None where there is none of this name.

        The wish is durable before anything is signalled. A job that has not started never will; one that has ended is
        left as it is.

        Raises:
            Rejected: No job can have this name.
            Unavailable: The wish cannot be written; nothing was signalled.
        """
        folder = self._folder(name)
        with _reaching("written", folder.path):
            if not folder.path.is_dir():
                return None
            if not folder.observe().state.has_ended:
                folder.mark_cancelled()
                marked = folder.observe()
                if marked.state is JobState.CANCELLING:
                    folder.ask_to_end(marked)
                    folder.press_on(marked)
            return folder.snapshot(folder.observe())

    def read_log(self, name: str, stream: str, offset: int = 0, limit_bytes: int = 256 * 1024) -> logs.LogChunk:
        """A page of a job's output; empty and ended where there is no such job.

        Args:
            name: The job.
            stream: `stdout`, `stderr`, or `runner` for the runner's own words.
            offset: `next_offset` of the page before.
            limit_bytes: About how much to read.

        Raises:
            Rejected: There is no such stream, or no job can have this name.
            Unavailable: The log cannot be read.
        """
        if stream not in ("stdout", "stderr", "runner"):
            raise Rejected(f"A job has no stream {stream[:40]!a}; ask for stdout, stderr or runner.")
        snapshot = self.snapshot(name)
        folder = self._folder(name)
        with _reaching("read", folder.path):
            is_final = snapshot is None or snapshot.state.has_ended
            return logs.read_page(folder.path / f"{stream}.log", offset, limit_bytes, is_final=is_final)

    def metrics(self, name: str, since: datetime | None = None) -> list[MetricSample]:
        """What a job used, sampled each second at first and more rarely as it ages, oldest first.

        Raises:
            Rejected: No job can have this name.
            Unavailable: The samples cannot be read.
        """
        folder = self._folder(name)
        with _reaching("read", folder.path):
            return list(read_metrics(folder.path, since))

    def read_document(self, name: str, file: str) -> Document | None:
        """A JSON document that the job's program left (`job_files.RESULT`, `job_files.ERROR`); None where it left none.

        Raises:
            Rejected: No job can have this name, or no document that one.
            Unavailable: The document cannot be read.
        """
        folder = self._folder(name)
        if not _FILE_NAME.fullmatch(file):
            raise Rejected(f"A job directory has no document {file[:40]!a}.")
        with _reaching("read", folder.path):
            return folder.read(file)

    def remove(self, name: str) -> bool:
        """Forget an ended job, its logs included; False where there is none. Its name may then start a new job.

        Raises:
            Rejected: The job has not ended.
            Unavailable: The directory cannot be removed.
        """
        snapshot = self.snapshot(name)
        if snapshot is None:
            return False
        if not snapshot.state.has_ended:
            raise Rejected(f"The job {name} has not ended; cancel it first.")
        return self._erase(name)

    def purge(self, older_than: timedelta) -> int:
        """Forget the jobs that ended, or were claimed and never started, longer ago than this; returns how many.

        Raises:
            Unavailable: A directory cannot be read or removed.
        """
        limit = datetime.now(timezone.utc) - older_than
        forgotten = 0
        for job in self.jobs():
            moment = job.ended_at if job.state.has_ended else job.created_at
            if (job.state.has_ended or job.state is JobState.CLAIMED) and moment is not None and moment <= limit:
                forgotten += self._erase(job.name)
        return forgotten

    def _erase(self, name: str) -> bool:
        """Take the name away in one step, then the files: nobody ever meets half a job."""
        path = self._folder(name).path
        doomed = self.root / f"{_REMOVED}.{name}.{os.urandom(4).hex()}"
        with _reaching("removed", path):
            try:
                path.rename(doomed)
            except FileNotFoundError:
                return False
            shutil.rmtree(doomed)
        return True

    def _folder(self, name: str) -> JobFolder:
        if not _NAME.fullmatch(name):
            raise Rejected(
                f"{name[:40]!a} cannot name a job; use up to 128 letters, digits, dots, dashes, underscores."
            )
        return JobFolder(self.root / name)

    def _start_runner(self, path: Path, variables: Mapping[str, str]) -> None:
        """Start a runner and wait until the job has one, which is this or an earlier one."""
        inherited = {name: os.environ[name] for name in self._inherited if name in os.environ}
        descriptor = os.open(path / job_files.RUNNER_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # `-I -S`: neither the job's variables nor site-packages touch the runner, which needs neither.
            process = subprocess.Popen(  # noqa: S603 - this interpreter, this package's file, a checked path
                [sys.executable, "-I", "-S", boot.PATH, "outboard.detached.runner", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=descriptor,
                env={**inherited, **variables, job_files.JOB_VARIABLE: str(path)},
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        try:
            code = process.wait(START_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code != 0 and not job_files.has_document(str(path), job_files.RUNNER):
            raise Unavailable(f"The job's runner could not start; see {path / job_files.RUNNER_LOG}.", sent=Sent.NO)


def _prepare(path: Path, spec: JobSpec) -> None:
    """Put everything but the claim into the directory; the spec comes last and says that the rest is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    (path / job_files.WORK).mkdir(mode=0o700, exist_ok=True)
    for file, text in spec.files.items():
        job_files.write_text_once(str(path), file, text)
    document: Document = {
        "command": list(spec.command),
        "env_names": sorted(spec.env),
        "cwd": spec.cwd,
        "grace_s": spec.grace_s,
        "created_at": time.time(),
    }
    job_files.write_once(str(path), job_files.SPEC, document)


def _check(spec: JobSpec) -> None:
    if not spec.command or not spec.command[0]:
        raise Rejected("The job has no command; give the program and its arguments.")
    if any("\0" in text for text in (*spec.command, *spec.env, *spec.env.values(), spec.cwd or "")):
        raise Rejected("A command, a variable or a working directory holds a NUL character; no program can get that.")
    if any(not name or "=" in name for name in spec.env):
        raise Rejected("A variable has an empty name or one with '='; rename it.")
    if not 0 <= spec.grace_s <= 3600:
        raise Rejected("The grace must lie between 0 and 3600 seconds.")
    if any(not _FILE_NAME.fullmatch(file) or file in job_files.RESERVED for file in spec.files):
        raise Rejected("A file of the job has a name that the job directory cannot take.")


@contextmanager
def _reaching(verb: str, path: Path, *, sent: Sent | None = None) -> Iterator[None]:
    """Turn what the file system says into an error with a remedy."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        message = f"{path} cannot be {verb} ({reason}); check the space and the permissions of the job root."
        raise Unavailable(message, code=type(error).__name__, sent=sent) from error
