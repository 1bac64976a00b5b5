"""Processes, known by more than their recycled id.

A `ProcessMark` names one process for ever: its id, the moment it started as the kernel counts it, and the machine,
which is the boot and the process-id namespace. A mark of another boot or container is of a process that is gone. No
signal is ever sent by id alone: the mark is compared first, and where the system has process descriptors (Linux 5.3)
the signal goes through one, so that no recycling fits in between.

A job is one session: its runner opened it, its command and all that descends from it are in it, in one process group
or more. The kernel reuses no id while a session bears it, so a session stays recognisable after its leader died.

On Linux everything is read from /proc, with the field numbers of proc_pid_stat(5); elsewhere `ps` is asked, which
is slower and has no descriptors.
"""

# The runner of every job loads this file, and pathlib would double its start.
# ruff: noqa: PTH115, PTH123, PTH208

from __future__ import annotations

import os
import signal
import sys

IS_LINUX = sys.platform.startswith("linux")


class ProcessMark:
    """One process, recognisable after its id was reused.

    Args:
        pid: The process id.
        started: When it started: clock ticks since boot on Linux, the start's date elsewhere.
        machine: The boot and the process-id namespace.
    """

    __slots__ = ("machine", "pid", "started")

    def __init__(self, *, pid: int, started: str, machine: str) -> None:
        self.pid = pid
        self.started = started
        self.machine = machine

    @staticmethod
    def of_this_process() -> ProcessMark:
        """The mark of the process that asks."""
        return ProcessMark(pid=os.getpid(), started=_start_of(os.getpid()) or "", machine=machine_name())

    @staticmethod
    def from_document(document: dict[str, object]) -> ProcessMark:
        """Read a mark; an unreadable one is of a process that never lives."""
        pid = document.get("pid")
        return ProcessMark(
            pid=pid if isinstance(pid, int) else 0,
            started=str(document.get("started", "")),
            machine=str(document.get("machine", "")),
        )

    def to_document(self) -> dict[str, object]:
        """What `from_document` reads."""
        return {"pid": self.pid, "started": self.started, "machine": self.machine}

    def is_alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return self.pid > 0 and self.machine == machine_name() and _start_of(self.pid) == self.started

    def send(self, number: int) -> bool:
        """Send a signal to this very process; False where it is gone."""
        try:
            if not hasattr(os, "pidfd_open"):
                return self.is_alive() and _kill(self.pid, number)
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(descriptor, number)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def machine_name() -> str:
    """The boot and the process-id namespace; process ids mean nothing beyond."""
    if not IS_LINUX:
        return sys.platform
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"


def session_members(
    leader: ProcessMark, *, command: ProcessMark | None = None, proof: str = ""
) -> list[tuple[int, int]]:
    """Id and group of every living process of the session that a runner opened, the runner included.

    A session outlives its leader, and its number may one day be another's. Without the living leader the members count
    only if one of them proves to be the job's: it is the recorded command, or it was started with the job's variable.

    Args:
        leader: The runner, whose id is the session's.
        command: The recorded command.
        proof: `NAME=value` as it stands in the environment of the job's processes.
    """
    if leader.pid <= 0 or leader.machine != machine_name():
        return []
    found = [(pid, group) for pid, group, session in _living() if session == leader.pid]
    if leader.is_alive():
        return found
    if any(pid == leader.pid for pid, _ in found):
        return []
    is_ours = (command is not None and command.is_alive()) or any(_was_started_with(pid, proof) for pid, _ in found)
    return found if is_ours else []


def signal_groups(leader: ProcessMark, members: list[tuple[int, int]], number: int) -> bool:
    """Send a signal to every process group of a session but the leader's own; False where there is none."""
    groups = {group for _, group in members if group != leader.pid}
    for group in groups:
        _kill_group(group, number)
    return bool(groups)


def usage_of_tree(root: int) -> tuple[int, float] | None:
    """Resident bytes and CPU seconds of a process and its descendants; None where the system does not say."""
    if not IS_LINUX:
        return None
    pages, ticks = 0, 0
    waiting, is_found = [root], False
    while waiting:
        pid = waiting.pop()
        fields = _stat_fields(pid)
        if fields is None:
            continue
        is_found = True
        pages += int(fields[21])
        ticks += sum(map(int, fields[11:15]))
        waiting += _children_of(pid)
    page_size, ticks_a_second = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    return (pages * page_size, ticks / ticks_a_second) if is_found else None


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on (state, parent, group, session ...)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def _children_of(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _start_of(pid: int) -> str | None:
    """When a living process started; None for zombies and where there is none."""
    if IS_LINUX:
        fields = _stat_fields(pid)
        return fields[19] if fields and fields[0] not in "ZX" else None
    lines = _ps("-o", "stat=,lstart=", "-p", str(pid))
    state, _, started = lines[0].strip().partition(" ") if lines else ("Z", "", "")
    return None if state.startswith("Z") else started.strip()


def _living() -> list[tuple[int, int, int]]:
    """Id, group and session of every living process."""
    if not IS_LINUX:
        rows = [line.split() for line in _ps("-A", "-o", "pid=,pgid=,stat=")]
        return [(int(row[0]), int(row[1]), _session_of(int(row[0]))) for row in rows if not row[2].startswith("Z")]
    found: list[tuple[int, int, int]] = []
    for entry in os.listdir("/proc"):
        fields = _stat_fields(int(entry)) if entry.isdigit() else None
        if fields and fields[0] not in "ZX":
            found.append((int(entry), int(fields[2]), int(fields[3])))
    return found


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _was_started_with(pid: int, variable: str) -> bool:
    """Whether a process got this variable when its program started; taken for granted where no /proc tells."""
    if not IS_LINUX:
        return True
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return os.fsencode(variable) in file.read().split(b"\0")
    except OSError:
        return False


def _kill_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except OSError:
        return


def _kill(pid: int, number: int) -> bool:
    os.kill(pid, number)
    return True


def _ps(*arguments: str) -> list[str]:
    import subprocess  # noqa: PLC0415 - only systems without /proc pay for it

    found = subprocess.run(["/bin/ps", *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - fixed program, numbers only
    return [line for line in found.stdout.splitlines() if line.strip()]
