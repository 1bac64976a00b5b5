"""Where the time of a GetTask from memory goes, as a table: our service beside bare servers, and its threads one by one.

Three facts are put together, all from one run:

* *What the transport costs.* Echoes with raw bytes do nothing but hand an answer to grpc.aio: one as grpc.aio comes, on asyncio;
  one on our event loop; one with our settings of gRPC's threads as well. What ours costs beyond the last is our own code.
* *Who spends it.* /proc tells for each thread how long it ran, in its own code and in the kernel (sockets, wake-ups, switches),
  and how often it was switched.
* *Which of our code.* py-spy samples who holds the interpreter lock; the samples' shares divide the time of Python's thread.
  Sampling disturbs what it looks at, so only shares are taken from there, from a stretch of its own.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loader import Stretch

_TRANSPORT = "grpc.aio and the event loop"
_PARTS = (
    (r"outboard/service/event_loops\.py", _TRANSPORT),
    (r"outboard/service/polls\.py", "our code: the request is found again"),
    (r"outboard/service/edge\.py", "our code: the edge (errors, time)"),
    (r"outboard/service/metrics\.py", "our code: metrics"),
    (r"outboard/host/", "our code: the job is found, and is fresh"),
    (r"outboard/|google/protobuf|flyteidl", "our code: requests that are read, all else"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """What a kind of thread spent, per call: microseconds in its own code and in the kernel; switches."""

    name: str
    own_us: float
    kernel_us: float
    waits: float
    interruptions: float


class Threads:
    """Reads what the threads of a process have spent."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = self._read()

    def since(self, calls: int, total_us: float) -> list[Thread]:
        """Return what each kind of thread spent since this was made, scaled to what the whole process tree spent.

        Args:
            calls: How many calls there were.
            total_us: CPU per call of the process tree; clock ticks of single threads are too coarse to add up.
        """
        spent: dict[str, list[float]] = {}
        for thread, (name, now) in self._read().items():
            before = self._before.get(thread, (name, [0.0] * 4))[1]
            sums = spent.setdefault(name, [0.0] * 4)
            for index, (later, earlier) in enumerate(zip(now, before, strict=True)):
                sums[index] += later - earlier
        ticks = sum(sums[0] + sums[1] for sums in spent.values()) or 1.0
        scale = total_us / ticks
        found = [
            Thread(
                name=name,
                own_us=own * scale,
                kernel_us=kernel * scale,
                waits=waits / calls,
                interruptions=interruptions / calls,
            )
            for name, (own, kernel, waits, interruptions) in spent.items()
        ]
        return sorted((one for one in found if one.own_us + one.kernel_us >= 0.1), key=lambda one: -one.own_us)

    def _read(self) -> dict[int, tuple[str, list[float]]]:
        found: dict[int, tuple[str, list[float]]] = {}
        for task in Path(f"/proc/{self._pid}/task").iterdir():
            name, _, rest = (task / "stat").read_text().rpartition(")")
            fields = rest.split()
            switches = [int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text())]
            number = int(task.name)
            counts = [float(fields[11]), float(fields[12]), *map(float, switches)]
            found[number] = (self._kind(number, name.partition("(")[2]), counts)
        return found

    def _kind(self, thread: int, name: str) -> str:
        if thread == self._pid:
            return "Python's thread"
        return (
            "gRPC's I/O threads"
            if name.startswith(("event_engine", "grpc", "lifeguard"))
            else "gRPC's poller and others"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The whole table.

    Attributes:
        servers: CPU per call in microseconds (medians of rounds), by server.
        threads: What ours spent, by kind of thread.
        parts: Python's thread of ours, by what it did, in microseconds per call; empty without py-spy.
    """

    servers: Mapping[str, float]
    threads: Sequence[Thread]
    parts: Mapping[str, float]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def show(self) -> str:
        """Return it for people."""
        lines = [f"{'server':52}{'CPU us/call':>12}{'ours is':>9}"]
        ours = self.servers["ours"]
        lines += [f"{name:52}{cpu:12.1f}{ours / cpu:9.2f}" for name, cpu in self.servers.items()]
        lines += ["", f"{'ours, by thread':30}{'own us':>9}{'kernel us':>11}{'waits':>8}{'interrupted':>13}"]
        lines += [
            f"{one.name:30}{one.own_us:9.1f}{one.kernel_us:11.1f}{one.waits:8.2f}{one.interruptions:13.2f}"
            for one in self.threads
        ]
        if self.parts:
            lines += ["", f"{'ours, Python thread by what it does':52}{'us':>9}"]
            lines += [f"{name:52}{value:9.1f}" for name, value in self.parts.items()]
        return "\n".join(lines)


def medians(seen: Mapping[str, Sequence[Stretch]]) -> dict[str, float]:
    """Return the servers' median CPU per call."""
    return {name: statistics.median(one.cpu_us for one in stretches) for name, stretches in seen.items()}


def divide(own: Counter[str], threads: Sequence[Thread]) -> dict[str, float]:
    """Divide the time of Python's thread by samples of the functions that ran in it.

    Args:
        own: Samples by innermost function, as `function (file)`.
        threads: What ours spent.
    """
    total = sum(own.values())
    if not total:
        return {}
    whole = sum(one.own_us + one.kernel_us for one in threads if one.name == "Python's thread")
    parts = dict.fromkeys((name for _, name in _PARTS), 0.0)
    for function, count in own.items():
        found = next((name for pattern, name in _PARTS if re.search(pattern, function)), _TRANSPORT)
        parts[found] += whole * count / total
    return parts
