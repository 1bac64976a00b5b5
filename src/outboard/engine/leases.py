"""Leases: who drives a run, and whether that process still lives.

Two engines on one run could start a job twice, so a run belongs to one process at a time. The process is named by its id,
its start time (ids are reused), the machine's boot id (start times are, after a reboot) and its process-id namespace
(containers count from 1 each). A lease holds no clock: it neither expires under a suspended laptop nor has to be renewed.

Whether an owner lives can be told only from where its id means something: on the same boot and in the same namespace.
After a reboot of the same host it is surely dead. Elsewhere nothing is known, and what is not known is treated as alive;
the user may say otherwise.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

_START_TIME_FIELD: Final = 22  # proc_pid_stat(5): start time after boot, in clock ticks
_QUESTION_LIMIT_S: Final = 5


class Life(Enum):
    """What is known of an owner."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process, named so that no other one ever has the same name; an empty part is not known on this system."""

    pid: int
    started: str
    boot_id: str
    namespace: str
    host: str

    def life(self, me: Owner) -> Life:
        """Tell whether this process lives, as far as `me` can see it."""
        if self.boot_id != me.boot_id:
            return Life.DEAD if self.host == me.host and self.boot_id and me.boot_id else Life.UNKNOWN
        if self.namespace != me.namespace or self.host != me.host:
            return Life.UNKNOWN
        started = _start_time(self.pid)
        if started is None:
            return Life.DEAD
        if not started or not self.started:
            return Life.UNKNOWN
        return Life.ALIVE if started == self.started else Life.DEAD


def this_process() -> Owner:
    """Return the name of the process that asks."""
    return Owner(
        pid=os.getpid(),
        started=_start_time(os.getpid()) or "",
        boot_id=_boot_id(),
        namespace=_namespace(),
        host=platform.node(),
    )


def _start_time(pid: int) -> str | None:
    """Return when a process started, in the system's own words; empty where that cannot be told, None if it is gone."""
    if Path("/proc/self/stat").exists():
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError:
            return ""
        fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
        is_gone = fields[0] in ("Z", "X")
        return None if is_gone else fields[_START_TIME_FIELD - 3]
    answer = _ask(["ps", "-o", "lstart=", "-p", str(pid)])
    return None if answer == "" else answer or ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return _ask(["sysctl", "-n", "kern.boottime"]) or ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _ask(command: list[str]) -> str | None:
    """Return what a system command prints; None where there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_QUESTION_LIMIT_S, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()
