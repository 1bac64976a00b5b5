"""What a GetTask and a CreateTask cost, and how many a server answers in a second.

Ours, flytekit's and two bare echoes (with protobuf, and with raw bytes) run at once, each idle while another is loaded; the
load goes round all of them, and round again. Before that every server is asked for some jobs: GetTask then walks over their
handles, as an engine polls many jobs and not one, and what came back is compared, so that no server is faster because it
says less. The echo answers our service's own bytes. Every CreateTask is a task of its own: a service that starts a task once
may answer a repeated one from memory, and that would measure the memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core.execution_pb2 import TaskExecution

import cores
import loader
import messages
import servers
from catalogue import FLYTEKIT, LIMIT, OURS
from loader import Load, Stretch
from places import SCRATCH
from report import Row, row

ECHO, RAW = "echo", "raw echo"
_CREATE_ROUNDS = 3


class UnequalWorkError(Exception):
    """A server does not answer what the others answer, so its rate means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure: rounds of `seconds` per server and method, with `callers` calls in flight over `jobs` jobs."""

    rounds: int = 5
    seconds: float = 1.5
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
    """Return the rows, and every single round as details."""
    loader.build()
    placing = cores.apart() if plan.is_pinned else cores.shared()
    with placing, contextlib.ExitStack() as stack:
        started = {FLYTEKIT: stack.enter_context(servers.running(servers.flytekit(), cores=placing.server))}
        if plan.with_ours:
            started = {OURS: stack.enter_context(servers.running(servers.ours(), cores=placing.server)), **started}
        prepared = {name: prepare(server, plan.jobs) for name, server in started.items()}
        pattern = prepared[next(iter(prepared))]
        answers = messages.write_answers(SCRATCH / "answers.json", pattern.answers)
        for name, flags in ((ECHO, ()), (RAW, ("--raw",))):
            started[name] = stack.enter_context(
                servers.running(servers.echo(answers, *flags, name=name.replace(" ", "-")), cores=placing.server)
            )
            prepared[name] = pattern
        polls = _rounds(plan.rounds, started, _poll_loads(plan, prepared))
        tasks = {name: server for name, server in started.items() if name != ECHO}
        creations = _rounds(min(plan.rounds, _CREATE_ROUNDS), tasks, _creation_loads(plan, prepared))
        witness = _witness(plan, started, prepared)
    rows = [*_poll_rows(polls), *_creation_rows(creations), *witness]
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


def _poll_loads(plan: Plan, prepared: Mapping[str, Prepared]) -> dict[str, Load]:
    loads = {}
    for name, one in prepared.items():
        bodies = SCRATCH / f"get-{name.replace(' ', '-')}.bin"
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


def _rounds(count: int, started: Mapping[str, servers.Running], loads: Mapping[str, Load]) -> dict[str, list[Stretch]]:
    """Load every server once to warm it up, and then all in turns, `count` times."""
    for name, server in started.items():
        loader.apply(server, loads[name])
    seen: dict[str, list[Stretch]] = {name: [] for name in started}
    for _ in range(count):
        for name, server in started.items():
            seen[name].append(loader.apply(server, loads[name]))
    return seen


def _column(
    seen: Mapping[str, list[Stretch]], read: Callable[[Stretch], float], limit: str = RAW
) -> dict[str, list[float]]:
    names = {OURS: OURS, FLYTEKIT: FLYTEKIT, LIMIT: limit}
    return {column: [read(one) for one in seen[name]] for column, name in names.items() if name in seen}


def _poll_rows(seen: Mapping[str, list[Stretch]]) -> list[Row]:
    cpu = _column(seen, lambda s: s.cpu_us)
    return [
        row("calls.get_rate", _column(seen, lambda s: s.rate)),
        row("calls.get_cpu_raw", cpu),
        row("calls.get_cpu", cpu),
        row("calls.get_cpu_echo", _column(seen, lambda s: s.cpu_us, ECHO)),
        row("calls.get_p99", _column(seen, lambda s: s.p99_ms)),
    ]


def _creation_rows(seen: Mapping[str, list[Stretch]]) -> list[Row]:
    return [
        row("calls.create_rate", _column(seen, lambda s: s.rate)),
        row("calls.create_cpu", _column(seen, lambda s: s.cpu_us)),
        row("calls.create_p99", _column(seen, lambda s: s.p99_ms)),
    ]


def _witness(plan: Plan, started: Mapping[str, servers.Running], prepared: Mapping[str, Prepared]) -> list[Row]:
    """The GetTask rate as h2load sees it, where it is installed."""
    rates: dict[str, float] = {}
    for column, name in ((OURS, OURS), (FLYTEKIT, FLYTEKIT), (LIMIT, RAW)):
        if name not in started:
            continue
        body = prepared[name].polls[0]
        rate = loader.h2load_rate(started[name], messages.GET, body, plan.seconds, plan.callers)
        if rate is None:
            return []
        rates[column] = rate
    return [row("calls.h2load", rates)]


def _details(seen: Mapping[str, list[Stretch]]) -> dict[str, Any]:
    return {name: [asdict(one) for one in stretches] for name, stretches in seen.items()}
