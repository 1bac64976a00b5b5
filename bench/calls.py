"""Section A: what a GetTask and a CreateTask cost, and how many a server answers in a second.

Ours, flytekit's and the bare echo run at once, each idle while another is loaded; the load goes round ours, flytekit, echo, ours,
flytekit, echo. Before that every server is asked for some jobs: GetTask then walks over their handles, as an engine polls many
jobs and not one, and what came back is compared, so that no server is faster because it says less. The echo answers our
service's own bytes. Every CreateTask is a task of its own: a service that starts a task once may answer a repeated one from
memory, and that would measure the memory.
"""

from __future__ import annotations

import base64
import contextlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core.execution_pb2 import TaskExecution

import cores
import loader
import messages
import servers
from loader import Load, Stretch
from places import SCRATCH
from report import ECHO, FLYTEKIT, OURS, SERVERS, Row, Target, compare

_GET_RATE = Target(kind="at least", value=1.3)
_GET_CPU = Target(kind="at most", value=1.25)


class UnequalWorkError(Exception):
    """A server does not answer what the others answer, so its rate means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure: rounds of `seconds` per server and method, with `callers` calls in flight over `jobs` jobs."""

    rounds: int = 5
    seconds: float = 3.0
    callers: int = 64
    jobs: int = 200
    is_pinned: bool = True
    with_ours: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a server's jobs look like to an engine: the requests that poll them, and one answer to each method."""

    polls: Sequence[bytes]
    answers: Mapping[str, bytes]


def measure(plan: Plan) -> tuple[list[Row], dict[str, Any]]:
    """Run section A and return its rows, and every single round as details."""
    loader.build()
    placing = cores.apart() if plan.is_pinned else cores.shared()
    with placing, contextlib.ExitStack() as stack:
        started = {FLYTEKIT: stack.enter_context(servers.running(servers.flytekit(), cores=placing.server))}
        if plan.with_ours:
            started = {OURS: stack.enter_context(servers.running(servers.ours(), cores=placing.server)), **started}
        prepared = {name: prepare(server, plan.jobs) for name, server in started.items()}
        pattern = prepared[next(iter(prepared))]
        answers = _write_answers(pattern.answers)
        started[ECHO] = stack.enter_context(servers.running(servers.echo(answers), cores=placing.server))
        prepared[ECHO] = pattern
        polls = _rounds(plan, started, _poll_loads(plan, prepared))
        creations = _rounds(plan, started, _creation_loads(plan, prepared))
        witness = _witness(plan, started, prepared)
    rows = [*_rows("GetTask", polls, judged=True), *_rows("CreateTask", creations, judged=False), *witness]
    return rows, {"GetTask": _details(polls), "CreateTask": _details(creations)}


def prepare(server: servers.Running, count: int) -> Prepared:
    """Create `count` jobs on a server and check what it says about one of them.

    Raises:
        UnequalWorkError: The answer is not RUNNING with a message and one link.
    """
    with grpc.insecure_channel(server.address) as channel:
        create = channel.unary_unary(messages.CREATE)
        get = channel.unary_unary(messages.GET)
        polls = []
        created = b""
        for number in range(count):
            serial = messages.serial(number)
            created = create(messages.create_request(serial), timeout=10)
            meta = agent_pb2.CreateTaskResponse.FromString(created).resource_meta
            polls.append(messages.get_request(meta, serial))
        for poll in polls:
            got = get(poll, timeout=10)
    resource = agent_pb2.GetTaskResponse.FromString(got).resource
    if resource.phase != TaskExecution.RUNNING or not resource.message or len(resource.log_links) != 1:
        raise UnequalWorkError(f"{server.name} must say RUNNING with a message and one link; it said: {resource}")
    return Prepared(polls=polls, answers={"CreateTask": created, "GetTask": got})


def _write_answers(answers: Mapping[str, bytes]) -> Path:
    path = SCRATCH / "answers.json"
    path.write_text(json.dumps({name: base64.b64encode(data).decode() for name, data in answers.items()}))
    return path


def _poll_loads(plan: Plan, prepared: Mapping[str, Prepared]) -> dict[str, Load]:
    loads = {}
    for name, one in prepared.items():
        bodies = SCRATCH / f"get-{name}.bin"
        messages.write_bodies(bodies, one.polls)
        loads[name] = Load(method=messages.GET, bodies=bodies, seconds=plan.seconds, callers=plan.callers)
    return loads


def _creation_loads(plan: Plan, prepared: Mapping[str, Prepared]) -> dict[str, Load]:
    bodies = SCRATCH / "create.bin"
    messages.write_bodies(bodies, [messages.create_request()])
    load = Load(
        method=messages.CREATE, bodies=bodies, seconds=plan.seconds, callers=plan.callers, serial=messages.SERIAL
    )
    return dict.fromkeys(prepared, load)


def _rounds(plan: Plan, started: Mapping[str, servers.Running], loads: Mapping[str, Load]) -> dict[str, list[Stretch]]:
    order = [name for name in SERVERS if name in started]
    for name in order:
        loader.apply(started[name], loads[name])
    seen: dict[str, list[Stretch]] = {name: [] for name in order}
    for _ in range(plan.rounds):
        for name in order:
            seen[name].append(loader.apply(started[name], loads[name]))
    return seen


def _rows(method: str, seen: Mapping[str, list[Stretch]], *, judged: bool) -> list[Row]:
    def column(read: Callable[[Stretch], float]) -> dict[str, list[float]]:
        return {name: [read(one) for one in stretches] for name, stretches in seen.items()}

    rates, cpu, tail = column(lambda s: s.rate), column(lambda s: s.cpu_us), column(lambda s: s.p99_ms)
    rate_row = _row(f"{method} rate", "calls/s", rates)
    cpu_row = _row(f"{method} server CPU", "us/call", cpu)
    tail_row = _row(f"{method} p99", "ms", tail)
    if OURS not in seen:
        return [rate_row, cpu_row, compare(cpu_row, cpu[FLYTEKIT], cpu[ECHO], compared="flytekit / echo"), tail_row]
    return [
        compare(
            rate_row, rates[OURS], rates[FLYTEKIT], compared="ours / flytekit", target=_GET_RATE if judged else None
        ),
        compare(cpu_row, cpu[OURS], cpu[ECHO], compared="ours / echo", target=_GET_CPU if judged else None),
        compare(cpu_row, cpu[OURS], cpu[FLYTEKIT], compared="ours / flytekit"),
        tail_row,
    ]


def _row(name: str, unit: str, values: Mapping[str, Sequence[float]]) -> Row:
    medians = {server: statistics.median(rounds) for server, rounds in values.items()}
    return Row(section="A", name=name, unit=unit, medians=medians)


def _witness(plan: Plan, started: Mapping[str, servers.Running], prepared: Mapping[str, Prepared]) -> list[Row]:
    """The GetTask rate as h2load sees it, where it is installed."""
    rates: dict[str, float] = {}
    for name, server in started.items():
        rate = loader.h2load_rate(server, messages.GET, prepared[name].polls[0], plan.seconds, plan.callers)
        if rate is None:
            return []
        rates[name] = rate
    row = Row(section="A", name="GetTask rate by h2load", unit="calls/s", medians=rates)
    if OURS not in rates:
        return [row]
    return [compare(row, [rates[OURS]], [rates[FLYTEKIT]], compared="ours / flytekit")]


def _details(seen: Mapping[str, list[Stretch]]) -> dict[str, Any]:
    return {name: [asdict(one) for one in stretches] for name, stretches in seen.items()}
