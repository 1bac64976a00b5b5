"""What a process tree has used: CPU seconds and memory, read from /proc.

CPU is user plus system time of all threads, live children included, so that a server cannot hide work in a helper process.
"""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


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


def resident_bytes(pid: int) -> int:
    """Return the resident set size of the tree; pages that its processes share count once for each."""
    return sum(_field(member, "status", "VmRSS:") for member in tree(pid))


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
