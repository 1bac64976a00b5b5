"""Prices the ingredients of a Python gRPC service: what the transport costs here, and what each layer adds to it.

Run by hand, `.venv/bin/python bench/floor.py`, to learn how much room the service has within its target. All variants answer
GetTask with the same bytes; they take turns in short rounds, and the medians of the CPU per call are compared to plain
asyncio with protobuf, round by round.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2

import cores
import loader
import messages
import servers
from outboard.cli import grpc_environment
from places import SCRATCH

_VARIANTS = {
    "asyncio, protobuf": (),
    "uvloop, protobuf": ("--loop", "uvloop"),
    "asyncio, raw bytes": ("--raw",),
    "uvloop, raw bytes": ("--loop", "uvloop", "--raw"),
    "uvloop, raw bytes, without EventEngine": ("--loop", "uvloop", "--raw"),
    "uvloop, raw bytes, patient threads": ("--loop", "uvloop", "--raw", "--patient"),
    "uvloop, raw bytes, both (ours stands on this)": ("--loop", "uvloop", "--raw", "--patient"),
    "uvloop, protobuf, 1 idle interceptor": ("--loop", "uvloop", "--pass-on", "1"),
    "uvloop, protobuf, 3 idle interceptors": ("--loop", "uvloop", "--pass-on", "3"),
    "uvloop, protobuf, 1 wrapping interceptor": ("--loop", "uvloop", "--wrap", "1"),
}
_WITHOUT_EVENT_ENGINE = ("without EventEngine", "both (ours stands on this)")
_BASE = "asyncio, protobuf"


def _launch(name: str, answers: Path, flags: Sequence[str]) -> servers.Launch:
    launch = servers.echo(answers, *flags, name="floor")
    if not name.endswith(_WITHOUT_EVENT_ENGINE):
        return launch
    return replace(launch, environment={grpc_environment.SWITCH: grpc_environment.OFF})


def _answers() -> dict[str, bytes]:
    link = execution_pb2.TaskLog(uri="https://console.example.com/jobs/job-00000001", name="Console")
    resource = agent_pb2.Resource(phase=execution_pb2.TaskExecution.RUNNING, message="running", log_links=[link])
    return {
        "GetTask": agent_pb2.GetTaskResponse(resource=resource).SerializeToString(),
        "CreateTask": agent_pb2.CreateTaskResponse(resource_meta=b"\0" * 250).SerializeToString(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--no-pin", action="store_true", help="let the scheduler place servers and load")
    options = parser.parse_args()
    loader.build()
    answers = SCRATCH / "floor-answers.json"
    answers.write_text(json.dumps({name: base64.b64encode(data).decode() for name, data in _answers().items()}))
    bodies = SCRATCH / "floor-get.bin"
    messages.write_bodies(bodies, [messages.get_request(b"\0" * 250, messages.serial(1))])
    load = loader.Load(method=messages.GET, bodies=bodies, seconds=options.seconds, callers=options.callers)
    placing = cores.shared() if options.no_pin else cores.apart()
    seen: dict[str, list[loader.Stretch]] = {name: [] for name in _VARIANTS}
    with contextlib.ExitStack() as stack, placing:
        started = {
            name: stack.enter_context(servers.running(_launch(name, answers, flags), cores=placing.server))
            for name, flags in _VARIANTS.items()
        }
        for _ in range(options.rounds + 1):
            for name, server in started.items():
                seen[name].append(loader.apply(server, load))
    _print({name: stretches[1:] for name, stretches in seen.items()})


def _print(seen: dict[str, list[loader.Stretch]]) -> None:
    print(f"{'variant':44}{'CPU us/call':>12}{'vs base':>9}{'calls/s':>9}{'busy':>6}{'p99 ms':>8}")
    for name, stretches in seen.items():
        pairs = zip(stretches, seen[_BASE], strict=True)
        ratio = statistics.median(one.cpu_us / base.cpu_us for one, base in pairs)
        cpu, rate, busy, p99 = (
            statistics.median(getattr(one, field) for one in stretches)
            for field in ("cpu_us", "rate", "busy", "p99_ms")
        )
        print(f"{name:44}{cpu:12.0f}{ratio:9.2f}{rate:9.0f}{busy:6.2f}{p99:8.1f}")


if __name__ == "__main__":
    main()
