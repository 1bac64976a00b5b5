"""FlytePropeller as a process: what it is configured with, what it is asked for, and what it tells.

The configuration is the file that propeller's own binary reads. Everything is as Flyte ships it except what `configuration`
says, and that is said in the reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format
from typing_extensions import Self

from outboard.domain.tasks import RawTask
from outboard.wire.tasks import encode_template

_START_S: Final = 60.0
_LINE_BYTES: Final = 64 * 1024 * 1024
RESYNC_S: Final = 5
REEVALUATION_S: Final = 1
LISTING_S: Final = 2
NOTES: Final = ", ".join(
    [
        f"resyncInterval {RESYNC_S} s (default 30 s; 5 s is the least)",
        f"workflow-reeval-duration {REEVALUATION_S} s (10 s)",
        f"pollInterval {LISTING_S} s (10 s)",
        "read rate limiter 100/s with bursts of 1000 (10/s with 100)",
    ]
)
DEADLINES: Final = "10 s of connector-service, 3 s of agent-service"


class EngineFailed(Exception):
    """Propeller did not start, ended, or did not come to what the scenario waits for; the message says what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One of the two plugins that talk to agent services, and how its section spells things."""

    id: str
    default: str
    others: str
    by_type: str


CONNECTOR: Final = Plugin(
    id="connector-service", default="defaultConnector", others="connectors", by_type="connectorForTaskTypes"
)
AGENT: Final = Plugin(id="agent-service", default="defaultAgent", others="agents", by_type="agentForTaskTypes")
PLUGINS: Final = (CONNECTOR, AGENT)


def configuration(plugin: Plugin, endpoint: str, others: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, Any]:
    """Return propeller's configuration.

    Args:
        plugin: Which plugin is enabled.
        endpoint: Of the default service.
        others: Further services by id: the endpoint and the task types that it gets.
    """
    further = {"insecure": True, "defaultTimeout": "10s"}
    section = {
        plugin.default: {"endpoint": endpoint, "insecure": True},
        plugin.others: {name: {"endpoint": address, **further} for name, (address, _) in others.items()},
        plugin.by_type: {task_type: name for name, (_, types) in others.items() for task_type in types},
        "pollInterval": f"{LISTING_S}s",
        "webApi": {
            "caching": {"resyncInterval": f"{RESYNC_S}s"},
            "readRateLimiter": {"qps": 100, "burst": 1000},
        },
    }
    return {
        "propeller": {"workflow-reeval-duration": f"{REEVALUATION_S}s"},
        "tasks": {"task-plugins": {"enabled-plugins": [plugin.id]}},
        "plugins": {plugin.id: section},
        "logger": {"level": 5},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of an execution: a task, and how often it may be tried again."""

    id: str
    task: RawTask
    retries: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what the program reads; every node has a registered task of its own."""
        template = encode_template(self.task)
        template.id.resource_type = 1
        template.id.project, template.id.domain = "interop", "development"
        template.id.name, template.id.version = self.id, "1"
        return {"id": self.id, "template": json_format.MessageToDict(template), "retries": self.retries}


@dataclass(slots=True)
class Engine:
    """A running propeller; use it as `async with Engine(...)`.

    Attributes:
        addresses: What is behind `k8s:///<service>.flyte:<port>` at first.
        told: What it told, in order.
    """

    program: Path
    settings: Mapping[str, Any]
    folder: Path
    addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Self:
        file = self.folder / "propeller.yaml"
        file.write_text(json.dumps(self.settings), encoding="utf-8")  # JSON is YAML
        services = {f"flyte/{service}": list(behind) for service, behind in self.addresses.items()}
        objects = self.folder / "objects"
        objects.mkdir(exist_ok=True)
        with (self.folder / "propeller.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self.program),
                *("--config", str(file), "--objects", str(objects), "--services", json.dumps(services)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LINE_BYTES,
                cwd=self.folder,
            )
        self._reading = asyncio.create_task(self._read())
        await self.until(lambda event: event["event"] == "ready", _START_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading

    async def start(self, execution: str, nodes: Sequence[Node], lose: Sequence[Mapping[str, Any]] = ()) -> None:
        """Start an execution; `lose` are the faults of cluster and flyteadmin that it meets."""
        made = [node.to_json() for node in nodes]
        await self._say({"do": "start", "name": execution, "nodes": made, "lose": list(lose)})

    async def abort(self, execution: str) -> None:
        """Abort an execution as a user does."""
        await self._say({"do": "abort", "name": execution})

    async def point(self, service: str, addresses: Sequence[str]) -> None:
        """Say which addresses are behind `k8s:///<service>.flyte:<port>`."""
        await self._say({"do": "endpoints", "service": service, "namespace": "flyte", "addresses": list(addresses)})

    async def counts(self) -> dict[str, Any]:
        """Return what the plugin's cache did so far."""
        known = len(self.told)
        await self._say({"do": "counts"})
        return await self.until(lambda event: event["event"] == "counts", since=known)

    async def phase(self, execution: str, phase: str, *, node: str = "n0", attempt: int = 0) -> None:
        """Wait until flyteadmin heard of a task's phase."""
        place = {"event": "task", "execution": execution, "node": node, "attempt": attempt, "phase": phase}
        await self.until(lambda event: all(event.get(name, 0) == value for name, value in place.items()))

    async def stored(self, execution: str, stand: str, *, node: str = "n0", since: int = 0) -> None:
        """Wait until a round was stored that left a node so: its phase, then its task's with the version.

        That is later than the event of the phase; a round that is not stored is forgotten.
        """

        def fits(event: dict[str, Any]) -> bool:
            is_own = event["event"] == "stored" and event["execution"] == execution
            return bool(is_own and event["nodes"].get(node) == stand)

        await self.until(fits, since=since)

    async def ended(self, execution: str, limit_s: float = 120.0) -> dict[str, Any]:
        """Wait until an execution is over and return what is told of that."""
        return await self.until(lambda event: event["event"] == "ended" and event["execution"] == execution, limit_s)

    async def until(
        self, fits: Callable[[dict[str, Any]], bool], limit_s: float = 60.0, *, since: int = 0
    ) -> dict[str, Any]:
        """Return the first event that fits, of those told after the first `since`.

        Raises:
            EngineFailed: It did not come.
        """
        deadline = asyncio.get_running_loop().time() + limit_s
        seen = since
        async with self._news:
            while True:
                for event in self.told[seen:]:
                    if fits(event):
                        return event
                seen = len(self.told)
                if self._reading is None or self._reading.done():
                    raise EngineFailed(f"propeller ended: {self._last_words()}")
                try:
                    await asyncio.wait_for(self._news.wait(), deadline - asyncio.get_running_loop().time())
                except (asyncio.TimeoutError, TimeoutError):
                    raise EngineFailed(f"not within {limit_s:g} s; the last was {self.told[-3:]}") from None

    async def _say(self, command: Mapping[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            raise EngineFailed("propeller does not run; enter it with `async with`")
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # its end is told by who waits for it
            await self._process.stdin.drain()

    async def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        while line := await self._process.stdout.readline():
            async with self._news:
                self.told.append(json.loads(line))
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    def _last_words(self) -> str:
        return (self.folder / "propeller.log").read_text("utf-8", "replace")[-500:]
