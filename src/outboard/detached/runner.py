"""The runner: one small detached process per job that starts the command, waits for it and records how it ended.

Started by `job_directory` as `python -I -S boot.py outboard.detached.runner JOB_DIRECTORY`, with the job's environment.
What it does, and why in this order:

1. It forks into a session of its own and lets the first process wait for the claim, so that the client knows, without
   keeping a child, that the job has a runner or already had one.
2. It claims the job by writing `pid.json` once. Of any number of runners one gets past this line; the others leave.
3. It looks for the cancel mark *after* the claim. A canceller writes the mark and then looks for the claim, so either
   the runner sees the mark or the canceller sees the runner: a cancelled job never starts unnoticed.
4. It forks the command into a process group of its own. The command writes `command.json` about itself before it
   becomes the program, so it never runs unrecorded, even if the runner dies right then.
5. It waits. Each second it looks for the cancel mark, in case the canceller died before its signal. SIGTERM or the mark
   ends the session with SIGTERM and, after the grace, SIGKILL. What the command leaves behind in it ends with it.
6. It writes `exit.json` once. When the disk is full it waits for space: a job whose end is not written has not ended.

The runner leads the session but is in no group of the command's, so that it outlives what it kills and can tell of it.
"""

# The runner of every job loads this file, and pathlib would double its start.
# ruff: noqa: PTH118

from __future__ import annotations

import json
import os
import select
import signal
import time

from outboard.detached import job_files, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resource import struct_rusage
    from typing import NoReturn

TICK_S = 1.0
"""How often the runner wakes without cause: to sample and to look for the cancel mark."""

SAMPLES_PER_AGE = 600
"""Samples are taken each second at first and then each 600th of the job's age: a day's job has some 3,600 of them."""

DEFAULT_GRACE_S = 5.0
KILL_PATIENCE_S = 2.0
"""How long to wait for killed leftovers; a process that hangs in the kernel must not hold back the job's end."""

LONGEST_PAUSE_S = 30.0
HANDLED = (signal.SIGTERM, signal.SIGCHLD)
CANNOT_EXECUTE, NOT_FOUND = 126, 127
"""The exit codes by which every shell says that a command could not be started."""


def main(arguments: list[str]) -> int:
    """Run the job of a directory, detached; returns 0 as soon as the job has a runner, this one or an earlier one."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return 0 if os.read(reader, 1) else 1
    os.close(reader)
    os.setsid()
    runner = Runner(arguments[0])
    is_mine = runner.claim()
    os.write(writer, b"+")
    os.close(writer)
    if is_mine:
        runner.run()
    return 0


class Runner:
    """Takes one job to its end.

    Args:
        folder: The job directory, with its spec.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._spec = job_files.read_document(folder, job_files.SPEC) or {}
        grace = self._spec.get("grace_s")
        self._grace_s = float(grace) if isinstance(grace, (int, float)) else DEFAULT_GRACE_S
        self._mark = processes.ProcessMark.of_this_process()
        self._is_told_to_stop = False
        self._bell, ringer = os.pipe()
        for descriptor in (self._bell, ringer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(ringer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGCHLD, _on_child)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def claim(self) -> bool:
        """Make the job this runner's own; False where another runner was first."""
        claim = {**self._mark.to_document(), "claimed_at": time.time()}
        return job_files.write_once(self._folder, job_files.RUNNER, claim)

    def run(self) -> None:
        """Start the command unless the job is cancelled already, wait for its end, record it."""
        if job_files.has_document(self._folder, job_files.CANCEL):
            self._record_end({"exit_code": None, "signal": None})
            return
        pid = self._start()
        code, usage = self._wait(pid)
        self._end_leftovers()
        self._record_end(
            {
                "exit_code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
                "peak_rss_bytes": usage.ru_maxrss * (1024 if processes.IS_LINUX else 1),
            }
        )

    def _start(self) -> int:
        """Fork the command; signals wait meanwhile, so that none is lost between the fork and the new program."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        pid = os.fork()
        if not pid:
            _become_command(self._folder, self._spec)
        _lead_group(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        return pid

    def _wait(self, pid: int) -> tuple[int, struct_rusage]:
        """Wait for the command; its exit code, or its signal as a negative number, and what it used."""
        started = next_sample = time.monotonic()
        kill_at: float | None = None
        while True:
            found, status, usage = os.wait4(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status), usage
            now = time.monotonic()
            if kill_at is None and self._should_stop():
                kill_at = now + self._grace_s
                self._signal_all(signal.SIGTERM)
            elif kill_at is not None and now >= kill_at:
                self._signal_all(signal.SIGKILL)
            if now >= next_sample:
                next_sample = now + max(TICK_S, (now - started) / SAMPLES_PER_AGE)
                self._sample(pid)
            self._sleep(TICK_S if kill_at is None or now >= kill_at else min(TICK_S, kill_at - now))

    def _should_stop(self) -> bool:
        return self._is_told_to_stop or job_files.has_document(self._folder, job_files.CANCEL)

    def _end_leftovers(self) -> None:
        """End what the command left running in the session, politely first."""
        for number, patience_s in ((signal.SIGTERM, self._grace_s), (signal.SIGKILL, KILL_PATIENCE_S)):
            deadline = time.monotonic() + patience_s
            is_left = self._signal_all(number)
            while is_left and time.monotonic() < deadline:
                time.sleep(0.02)
                is_left = self._signal_all(0 if number == signal.SIGTERM else number)
            if not is_left:
                return

    def _signal_all(self, number: int) -> bool:
        """Signal all of the session but this process; False where nothing is left. Signal 0 only looks."""
        return processes.signal_groups(self._mark, processes.session_members(self._mark), number)

    def _sample(self, pid: int) -> None:
        usage = processes.usage_of_tree(pid)
        if usage is None:
            return
        line = json.dumps({"time": round(time.time(), 3), "rss_bytes": usage[0], "cpu_seconds": round(usage[1], 3)})
        try:
            descriptor = _open_to_append(self._folder, job_files.METRICS)
            try:
                os.write(descriptor, line.encode() + b"\n")
            finally:
                os.close(descriptor)  # a full disk must not cost the runner its descriptors
        except OSError:
            return

    def _sleep(self, seconds: float) -> None:
        """Sleep until a signal comes, at most so long."""
        if select.select([self._bell], [], [], seconds)[0]:
            os.read(self._bell, 512)

    def _record_end(self, ending: dict[str, object]) -> None:
        """Write the end, however long it takes to get the space; give up only where the directory is gone."""
        pause_s = 0.5
        while True:
            is_cancelled = job_files.has_document(self._folder, job_files.CANCEL)
            try:
                job_files.write_once(
                    self._folder, job_files.EXIT, {**ending, "cancelled": is_cancelled, "ended_at": time.time()}
                )
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                return

    def _on_terminate(self, _number: int, _frame: object) -> None:
        self._is_told_to_stop = True


def _on_child(_number: int, _frame: object) -> None:
    """Nothing: that there is a handler makes the wake-up descriptor ring when the command ends."""


def _lead_group(pid: int) -> None:
    """Put the command at the head of its group from this side too, whoever comes first."""
    try:
        os.setpgid(pid, pid)
    except OSError:
        return


def _become_command(folder: str, spec: job_files.Document) -> NoReturn:
    """In the forked child: record itself, then become the command; tells `stderr.log` why it cannot."""
    program = ""
    try:
        os.setpgid(0, 0)
        _redirect_output(folder)
        mark = processes.ProcessMark.of_this_process().to_document()
        job_files.write_once(folder, job_files.COMMAND, {**mark, "started_at": time.time()})
        command, cwd = spec.get("command"), spec.get("cwd")
        words = [str(word) for word in command] if isinstance(command, list) else []
        os.chdir(str(cwd) if cwd else os.path.join(folder, job_files.WORK))
        for number in (*HANDLED, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        program = words[0]
        os.execvp(program, words)  # noqa: S606 - the command is what the job is, and no shell is wanted
    except OSError as error:
        name = error.filename or program  # which exec does not tell
        os.write(
            2, f"outboard: cannot start the command: {error.strerror}: {name!r}\n".encode(errors="backslashreplace")
        )
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE)
    finally:
        os._exit(CANNOT_EXECUTE)


def _redirect_output(folder: str) -> None:
    sources = (os.open(os.devnull, os.O_RDONLY), *(_open_to_append(folder, name) for name in job_files.OUTPUTS))
    for target, source in enumerate(sources):
        os.dup2(source, target)


def _open_to_append(folder: str, name: str) -> int:
    return os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
