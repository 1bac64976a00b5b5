"""A client that blocks for 200 ms per call, and 200 GetTasks at once: what vendors' SDKs do to a service.

flytekit runs plain functions in the event loop's default executor, min(32, cores + 4) threads for all connectors together, and
asks at every GetTask. Ours asks the platform in a pool of the agent's own and answers from what it learned. Both get
1,000 jobs in turn from 200 callers that each wait for their answer, no deadline short enough to fail them. A GetTask that
is answered from memory is fast but not fresh, so the lines say as well how many jobs' states were really brought from
the platform in a second, as the platform counts them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cores
import loader
import messages
import polls
import servers
from catalogue import FLYTEKIT, LIMIT, OURS
from loader import Load, Stretch
from places import SCRATCH
from report import Row, row

_BY_JOB, _BY_PAGE = "slow_by_job", "slow_by_page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Rounds of `seconds` for those that answer fast, `slow_seconds` for flytekit, `callers` calls in flight over `jobs` jobs."""

    rounds: int = 3
    seconds: float = 2.0
    slow_seconds: float = 5.0
    callers: int = 200
    jobs: int = 1_000
    with_ours: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A server, its polls, how long it is loaded, and the file whose length counts the states that its platform told."""

    server: servers.Running
    bodies: Path
    seconds: float
    tally: Path


def measure(plan: Plan) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and every single round as details."""
    loader.build()
    with cores.apart() as placing, contextlib.ExitStack() as stack:
        sides = _sides(plan, stack, placing)
        seen: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for counted in range(-1, plan.rounds):
            for name, side in sides.items():
                if counted >= 0 or name != FLYTEKIT:
                    found = _load(plan, side)
                    seen[name] += [found] if counted >= 0 else []
    return _rows(seen), seen


def _sides(plan: Plan, stack: contextlib.ExitStack, placing: cores.Placing) -> dict[str, Side]:
    tallies = {name: _emptied(SCRATCH / f"tally-{name}") for name in (OURS, FLYTEKIT)}
    sides: dict[str, Side] = {}

    def add(name: str, server: servers.Running, bodies: Path, seconds: float) -> None:
        tally = tallies[FLYTEKIT if name == FLYTEKIT else OURS]
        sides[name] = Side(server=server, bodies=bodies, seconds=seconds, tally=tally)

    if plan.with_ours:
        settings = servers.settings_file("slow", platforms={"Slow": {"tally": str(tallies[OURS])}})
        ours = stack.enter_context(servers.running(servers.ours("slow:Slow", settings=settings), cores=placing.server))
        for task_type in (_BY_JOB, _BY_PAGE):
            add(task_type, ours, polls.write(ours, task_type, plan.jobs), plan.seconds)
    launch = servers.flytekit("flytekit_slow", {"BENCH_TALLY": str(tallies[FLYTEKIT])})
    theirs = stack.enter_context(servers.running(launch, cores=placing.server))
    bodies = polls.write(theirs, _BY_JOB, plan.jobs)
    add(FLYTEKIT, theirs, bodies, plan.slow_seconds)
    answer = {"GetTask": messages.running_answer(), "CreateTask": b""}
    answers = messages.write_answers(SCRATCH / "answers-blocking.json", answer)
    raw = servers.echo(answers, "--raw", name="raw-echo")
    add(LIMIT, stack.enter_context(servers.running(raw, cores=placing.server)), bodies, plan.seconds)
    return sides


def _load(plan: Plan, side: Side) -> dict[str, Any]:
    load = Load(method=messages.GET, bodies=side.bodies, seconds=side.seconds, callers=plan.callers, timeout_s=60.0)
    before = side.tally.stat().st_size
    stretch: Stretch = loader.apply(side.server, load)
    told = side.tally.stat().st_size - before
    return {**asdict(stretch), "states": told / (stretch.calls / stretch.rate)}


def _rows(seen: Mapping[str, list[dict[str, Any]]]) -> list[Row]:
    rows = []
    for ours, stem in ((_BY_JOB, ""), (_BY_PAGE, "paged_")):
        names = {OURS: ours, FLYTEKIT: FLYTEKIT, LIMIT: LIMIT}
        for key, field, columns in (
            ("rate", "rate", names),
            ("p99", "p99_ms", names),
            ("statuses", "states", {OURS: ours, FLYTEKIT: FLYTEKIT}),
        ):
            values = {column: [one[field] for one in seen[name]] for column, name in columns.items() if name in seen}
            rows.append(row(f"blocking.{stem}{key}", values))
    return rows


def _emptied(path: Path) -> Path:
    path.write_bytes(b"")
    return path
