"""What a process tree has used: CPU seconds and memory, read from /proc.

CPU is user plus system time of all threads, live children included, so a server cannot hide work in a helper process. Memory is the
proportional set size (shared pages divided among who maps them), which adds up over a tree; where the kernel does not tell it,
the resident set size stands in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of a process tree in bytes."""

    pss_bytes: int
    rss_bytes: int


def tree(pid: int) -> list[int]:
    """Return `pid` and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found


def cpu_seconds(pid: int) -> float:
    """Return user plus system time of the tree; 0 for what is gone."""
    ticks = 0
    for member in tree(pid):
        fields = _stat(member)
        if fields:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def memory(pid: int) -> Memory:
    """Return the tree's proportional and resident set sizes."""
    pss = rss = 0
    for member in tree(pid):
        resident = _field(member, "status", "VmRSS:")
        rss += resident
        pss += _field(member, "smaps_rollup", "Pss:") or resident
    return Memory(pss_bytes=pss, rss_bytes=rss)


def peak_rss_bytes(pid: int) -> int:
    """Return the highest resident set size that the process itself ever had."""
    return _field(pid, "status", "VmHWM:")


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat that follow the command name: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _field(pid: int, file: str, name: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
