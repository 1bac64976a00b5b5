"""Every line of the report in one place: what is measured, what it is compared with, and what it must reach.

The columns are ours, flytekit's connector service, and the limit: what no implementation of this kind can pass, which is another
thing in every line and is said there. `compared` names the two columns whose ratio is judged; without it our own value is.
"""

from __future__ import annotations

from dataclasses import dataclass

OURS, FLYTEKIT, LIMIT = COLUMNS = ("ours", "flytekit", "limit")
_PEER = (OURS, FLYTEKIT)
_BARE = (OURS, LIMIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a ratio or a value must be: `at least`, `at most` or `exactly` a value."""

    kind: str
    value: float

    def is_met(self, measured: float) -> bool:
        """Whether a measured value fulfils it."""
        if self.kind == "at least":
            return measured >= self.value
        return measured <= self.value if self.kind == "at most" else measured == self.value

    def __str__(self) -> str:
        sign = {"at least": ">=", "at most": "<=", "exactly": "="}[self.kind]
        return f"{sign} {self.value:,g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: `limit` says what the column of that name means in it."""

    key: str
    title: str
    unit: str
    compared: tuple[str, str] | None = None
    target: Target | None = None
    limit: str = ""

    @property
    def section(self) -> str:
        """The module that measures it."""
        return self.key.partition(".")[0]


def _at_least(value: float) -> Target:
    return Target(kind="at least", value=value)


def _at_most(value: float) -> Target:
    return Target(kind="at most", value=value)


def _exactly(value: float) -> Target:
    return Target(kind="exactly", value=value)


_RAW = "bare grpc.aio, raw bytes"
_ECHO = "bare grpc.aio, protobuf"


def _line(key: str, title: str, unit: str, **more: object) -> Line:
    return Line(key=key, title=title, unit=unit, **more)  # type: ignore[arg-type]


_LINES = (
    _line("calls.get_rate", "GetTask rate", "calls/s", compared=_PEER, target=_at_least(1.3), limit=_RAW),
    _line("calls.get_cpu_raw", "GetTask server CPU", "us/call", compared=_BARE, target=_at_most(1.1), limit=_RAW),
    _line("calls.get_cpu", "GetTask server CPU", "us/call", compared=_PEER, target=_at_most(0.6), limit=_RAW),
    _line("calls.get_cpu_echo", "GetTask server CPU", "us/call", compared=_BARE, target=_at_most(1.25), limit=_ECHO),
    _line("calls.get_p99", "GetTask p99", "ms", limit=_RAW),
    _line("calls.create_rate", "CreateTask rate", "calls/s", compared=_PEER, limit=_RAW),
    _line("calls.create_cpu", "CreateTask server CPU", "us/call", compared=_PEER, limit=_RAW),
    _line("calls.create_p99", "CreateTask p99", "ms", limit=_RAW),
    _line("calls.h2load", "GetTask rate by h2load", "calls/s", compared=_PEER, limit=_RAW),
    _line("blocking.rate", "one call per job: GetTasks", "calls/s", compared=_PEER, target=_at_least(20), limit=_RAW),
    _line("blocking.p99", "one call per job: p99", "ms", target=_at_most(3_000), limit=_RAW),
    _line("blocking.statuses", "one call per job: states learned", "jobs/s", compared=_PEER),
    _line(
        "blocking.paged_rate", "pages of 100: GetTasks", "calls/s", compared=_PEER, target=_at_least(200), limit=_RAW
    ),
    _line("blocking.paged_p99", "pages of 100: p99", "ms", target=_at_most(3_000), limit=_RAW),
    _line("blocking.paged_statuses", "pages of 100: states learned", "jobs/s", compared=_PEER),
    _line("fleet.over", "platform calls over its quota", "calls", target=_exactly(0)),
    _line("fleet.errors", "GetTask errors", "calls", target=_exactly(0)),
    _line("fleet.misses", "GetTasks without an answer in 3 s", "calls", target=_exactly(0)),
    _line("fleet.lag", "p95 from a job's end to our answer", "s", target=_at_most(15)),
    _line("fleet.p99", "GetTask p99", "ms"),
    _line("fleet.rate", "platform calls", "calls/s", limit="its quota"),
    _line("fleet.cpu", "server CPU per minute", "s"),
    _line("virtual.over", "platform calls over its quota", "calls", target=_exactly(0)),
    _line("virtual.errors", "GetTasks failed or slower than 3 s", "calls", target=_exactly(0)),
    _line("virtual.lag", "spread polls: p95 lag", "s", target=_at_most(15)),
    _line("virtual.burst_lag", "bursts by 10 workers: p95 lag", "s", limit="the least there can be"),
    _line("virtual.burst_round", "bursts: slowest round of 10,000 polls", "s", target=_at_most(10)),
    _line("growth.pages", "platform calls per 1,000 jobs and round", "calls", target=_at_most(11), limit="whole pages"),
    _line("growth.memory", "memory per live job, of 100,000", "bytes", target=_at_most(2_048)),
    _line("growth.cpu_1k", "server CPU per minute, 1,000 jobs", "s", compared=_PEER),
    _line("growth.cpu_10k", "server CPU per minute, 10,000 jobs", "s", compared=_PEER),
    _line("growth.cpu_100k", "server CPU per minute, 100,000 jobs", "s", compared=_PEER),
    _line("growth.calls_1k", "platform calls per minute, 1,000 jobs", "calls", compared=_PEER, limit="whole pages"),
    _line("growth.calls_10k", "platform calls per minute, 10,000 jobs", "calls", compared=_PEER, limit="whole pages"),
    _line("growth.calls_100k", "platform calls per minute, 100,000 jobs", "calls", compared=_PEER, limit="whole pages"),
    _line("growth.answered_100k", "GetTasks answered in 3 s, 100,000 jobs", "%"),
    _line("neighbours.quiet", "plain functions: quiet agent's p99", "x idle", target=_at_most(2)),
    _line("neighbours.health", "plain functions: slowest health answer", "ms", target=_at_most(1_000)),
    _line("neighbours.rude_quiet", "async def that blocks, isolated: quiet p99", "x idle", target=_at_most(2)),
    _line("neighbours.rude_health", "async def that blocks, isolated: health", "ms", target=_at_most(1_000)),
    _line("processes.one", "GetTask rate, 1 process, 2 cores", "calls/s", limit="CPU of call and load"),
    _line("processes.two", "GetTask rate, 2 processes, 2 cores", "calls/s", limit="CPU of call and load"),
    _line("start.time", "cold start to SERVING", "s", compared=_PEER, target=_at_most(0.6)),
    _line("start.memory", "idle memory (RSS)", "MiB", compared=_PEER, target=_at_most(0.75)),
    _line("engine.rate", "tasks through the engine, journal on", "tasks/s"),
    _line("engine.memory", "peak memory of the engine process", "MiB"),
    _line("engine.killed", "jobs in flight or held at SIGKILL", "jobs"),
    _line("engine.lost", "tasks without a job after kill and resume", "tasks", target=_exactly(0)),
    _line("engine.doubled", "jobs beyond one per task", "jobs", target=_exactly(0)),
    _line("engine.failed", "tasks that did not end well after resume", "tasks", target=_exactly(0)),
    _line("engine.repeated", "creates sent again and found done", "calls"),
    _line("engine.resume", "time to resume and finish", "s"),
)
LINES = {line.key: line for line in _LINES}
