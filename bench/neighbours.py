"""A noisy agent beside a quiet one in one service: what one team's blocking SDK does to another team's tasks.

The quiet agent's platform answers in 5 ms; 200 of its jobs are polled once a second. The noisy one blocks for 3 s per call, and
50 of its jobs are polled every 3 s, so that 50 calls are under way at any time. First the quiet agent's p99 alone, then with
the noise; meanwhile the health service is asked ten times a second. Once the noise is plain functions, as SDKs are; once it
is an `async def` that blocks, which is a mistake, and ours is given the operator's remedy, `--isolate`. flytekit has
none. A GetTask without an answer in 3 s counts with 3 s, and so does a health check.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import cores
import loader
import pacing
import polls
import servers
from catalogue import FLYTEKIT, OURS
from pacing import Pace, Watched
from report import Row, row

_QUIET_JOBS, _NOISY_JOBS = 200, 50
_NOISE_LEAD_S = 3.0
_ASK_EVERY_S = 0.1
_HEALTH_LIMIT_S = 3.0
_CALM_S, _CALM_LIMIT_S, _CALM_MS = 1.0, 30.0, 500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """For how long the quiet agent is watched, alone and with each noise."""

    seconds: float = 5.0
    with_ours: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The quiet agent alone and beside noise, and how long health checks took beside noise."""

    alone: Watched
    beside: Watched
    noisy: Watched
    health_ms: list[float]

    @property
    def factor(self) -> float:
        """The quiet agent's p99 beside noise as a multiple of its p99 alone."""
        return self.beside.p99_ms / self.alone.p99_ms


def measure(plan: Plan) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and what was seen of each agent."""
    loader.build()
    plain: dict[str, Beside] = {}
    rude: dict[str, Beside] = {}
    with cores.apart() as placing:
        if plan.with_ours:
            agents = "neighbours:Quiet,neighbours:Noisy"
            (plain[OURS],) = _watch(plan, servers.ours(agents), ("noisy",), placing)
            isolated = servers.ours("neighbours:Quiet,neighbours:Rude", "--isolate", "neighbours:Rude")
            (rude[OURS],) = _watch(plan, isolated, ("rude",), placing)
        theirs = servers.flytekit("flytekit_neighbours")
        # In this order: what flytekit has queued for its threads outlives its callers, what it has for its loop does not.
        rude[FLYTEKIT], plain[FLYTEKIT] = _watch(plan, theirs, ("rude", "noisy"), placing)
    rows = [
        row("neighbours.quiet", {name: one.factor for name, one in plain.items()}),
        row("neighbours.health", {name: max(one.health_ms) for name, one in plain.items()}),
        row("neighbours.rude_quiet", {name: one.factor for name, one in rude.items()}),
        row("neighbours.rude_health", {name: max(one.health_ms) for name, one in rude.items()}),
    ]
    return rows, {"plain functions": _details(plain), "async def that blocks": _details(rude)}


def _watch(plan: Plan, launch: servers.Launch, noises: Sequence[str], placing: cores.Placing) -> list[Beside]:
    """Watch the quiet agent of one server, alone and then beside one noise after the other."""
    quiet_pace = Pace(every_s=1.0, seconds=plan.seconds, slots=_QUIET_JOBS, warm_s=1.0)
    noisy_pace = Pace(every_s=3.0, seconds=plan.seconds + _NOISE_LEAD_S, slots=_NOISY_JOBS, channels=1)
    found = []
    with servers.running(launch, cores=placing.server) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        quiet = polls.write(server, "quiet", _QUIET_JOBS)
        alone = pacing.poll(server, quiet, quiet_pace)
        for noise in noises:
            loud = pool.submit(pacing.poll, server, polls.write(server, noise, _NOISY_JOBS), noisy_pace)
            time.sleep(_NOISE_LEAD_S)
            with _health(server) as health_ms:
                beside = pacing.poll(server, quiet, quiet_pace)
            found.append(Beside(alone=alone, beside=beside, noisy=loud.result(), health_ms=health_ms))
            _await_quiet(server)
    return found


def _await_quiet(server: servers.Running) -> None:
    """Wait until the noise that is still queued in the server has passed: health answers at once, for a while."""
    calm_since = time.monotonic()
    give_up = calm_since + _CALM_LIMIT_S
    while time.monotonic() < min(calm_since + _CALM_S, give_up):
        with _health(server) as health_ms:
            time.sleep(3 * _ASK_EVERY_S)
        if max(health_ms, default=math.inf) > _CALM_MS:
            calm_since = time.monotonic()


@contextlib.contextmanager
def _health(server: servers.Running) -> Any:
    """Ask for the service's health on and on, and yield how many milliseconds each answer took."""
    found: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        with grpc.insecure_channel(server.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while not is_over.wait(_ASK_EVERY_S):
                begun = time.perf_counter()
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_LIMIT_S)
                    is_well = answer.status == health_pb2.HealthCheckResponse.SERVING
                except grpc.RpcError:
                    is_well = False
                took = time.perf_counter() - begun
                found.append((took if is_well else max(took, _HEALTH_LIMIT_S)) * 1000)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def _details(seen: Mapping[str, Beside]) -> dict[str, Any]:
    def short(watched: Watched) -> dict[str, Any]:
        return {name: value for name, value in asdict(watched).items() if name not in {"outcomes", "timeline"}}

    return {
        name: {
            "quiet alone": short(one.alone),
            "quiet beside noise": short(one.beside),
            "noisy": short(one.noisy),
            "health_ms": [round(took, 1) for took in one.health_ms],
        }
        for name, one in seen.items()
    }
