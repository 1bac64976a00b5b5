"""A site: a platform with its ledger, services of one system, roads to them, and a propeller that uses them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from typing_extensions import Self

from interop.propeller.engines import Engine, Node, Plugin, configuration
from interop.propeller.roads import FaultyRoad
from outboard.host.stores import Stores
from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Ledger, LedgerJob
from outboard.testing.ledger_agents import sample_task
from outboard.testing.platform_server import PlatformServer
from proof.services import RealService

_ROOT: Final = Path(__file__).resolve().parents[3]
_HERE: Final = Path(__file__).resolve().parent
_SUBMISSION_S: Final = 5.0
_EXECUTIONS: Final = "interop-development-"
PATIENCE_S: Final = 20.0
LINGER_S: Final = 1.0
"""How long our services go on after SIGTERM; 15 s in a cluster, where it takes longer until everybody knows."""
_JOB_S: Final = 60.0
_LOOK_S: Final = 0.2


class EngineService(RealService):
    """A service process with the agents of `agents`, or of `peer/engine_connectors`; all of them, or one."""

    def __init__(self, system: str, platform: str, folder: Path, *, only: str = "") -> None:
        self._only = only
        super().__init__(system, platform, folder, submission_limit_s=_SUBMISSION_S)

    @property
    def port(self) -> int:
        """Its port."""
        return self._port

    def _outboard(self, platform: str, submission_limit_s: float) -> tuple[Sequence[str], Mapping[str, str]]:
        command, variables = super()._outboard(platform, submission_limit_s)
        file = self._folder / "outboard.json"
        settings = json.loads(file.read_text("utf-8"))
        settings["platforms"] = {"EnginePlatform": settings["platforms"]["RestPlatform"]}
        settings["service"] = {"linger_s": LINGER_S}
        file.write_text(json.dumps(settings), encoding="utf-8")
        kit, ours = "outboard.testing.rest_agents:RestPlatform", "interop.propeller.agents:EnginePlatform"
        own = [ours if each == kit else each for each in command]
        return own, self._extended(variables, _ROOT / "tests")

    def _flytekit(self, platform: str, submission_limit_s: float) -> tuple[Sequence[str], Mapping[str, str]]:
        command, variables = super()._flytekit(platform, submission_limit_s)
        own = ["engine_connectors" if each == "rest_connectors" else each for each in command]
        return own, self._extended(variables, _HERE / "peer")

    def _extended(self, variables: Mapping[str, str], place: Path) -> Mapping[str, str]:
        path = os.pathsep.join([variables["PYTHONPATH"], str(place)])
        return {**variables, "PYTHONPATH": path, "INTEROP_ONLY": self._only}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Whose services are driven, by which plugin, with which build of propeller."""

    system: str
    plugin: Plugin
    program: Path


@dataclass(slots=True)
class Site:
    """Use it as `async with Site(setting)`: then everything runs.

    Attributes:
        is_faulty: Whether propeller reaches the service by a road whose plan is `wire`.
        patience_s: How long jobs may take to end after their execution.
        deployment: What propeller's configuration says of the default service beyond its endpoint.
        faults: Of the platform.
        wire: Of the road.
        ledgers: Of all platforms; `ledger` is the first's.
    """

    setting: Setting
    is_faulty: bool = False
    patience_s: float = PATIENCE_S
    deployment: Mapping[str, Any] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    faults: FaultPlan = field(default_factory=FaultPlan)
    wire: FaultPlan = field(default_factory=FaultPlan)
    ledgers: list[Ledger] = field(default_factory=list)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _folder: Path = field(default_factory=Path)
    _platform: PlatformServer | None = None
    _service: EngineService | None = None
    _engine: Engine | None = None
    _launched: int = 0

    async def __aenter__(self) -> Self:
        self.ledgers.append(self.ledger)
        made = tempfile.TemporaryDirectory(prefix="interop-")
        self._folder = Path(self._stack.enter_context(made))
        try:
            self._platform = await self._stack.enter_async_context(self.platform(self.ledger, self.faults))
            await self.open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def open(self) -> None:
        """Start the service and the propeller that uses it."""
        self._service = await self._stack.enter_async_context(self.launch())
        address = self.service.address
        if self.is_faulty:
            address = (await self._stack.enter_async_context(FaultyRoad(address, self.wire))).address
        await self.drive(f"dns:///{address}")

    async def drive(
        self,
        endpoint: str,
        others: Mapping[str, tuple[str, Sequence[str]]] | None = None,
        addresses: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Start propeller with a default service and others.

        Args:
            endpoint: The default service's.
            others: See `configuration`.
            addresses: What is behind `k8s://` endpoints at first.
        """
        settings = configuration(self.setting.plugin, endpoint, others or {})
        settings["plugins"][self.setting.plugin.id][self.setting.plugin.default] |= self.deployment
        settings["propeller"]["rawoutput-prefix"] = f"file://{self._folder}/raw"
        engine = Engine(self.setting.program, settings, self._folder, addresses or {})
        self._engine = await self._stack.enter_async_context(engine)

    def platform(self, ledger: Ledger, faults: FaultPlan) -> PlatformServer:
        """Return a platform whose jobs write files where they are told."""
        return PlatformServer(ledger, faults, stores=Stores())

    def launch(self, platform: PlatformServer | None = None, *, only: str = "") -> EngineService:
        """Return a service of the site's system on a platform, the site's own by default; to be entered.

        Args:
            platform: What its agents talk to.
            only: The one task type that it has; empty has all.
        """
        chosen = platform or self._platform
        if chosen is None:
            raise RuntimeError("the site is not open; enter it with `async with`")
        self._launched += 1
        folder = self._folder / f"service-{self._launched}"
        folder.mkdir()
        return EngineService(self.setting.system, chosen.url, folder, only=only)

    @property
    def service(self) -> EngineService:
        """The service."""
        if self._service is None:
            raise RuntimeError("the site is not open; enter it with `async with`")
        return self._service

    @property
    def engine(self) -> Engine:
        """The propeller."""
        if self._engine is None:
            raise RuntimeError("the site is not open; enter it with `async with`")
        return self._engine

    @property
    def stack(self) -> AsyncExitStack:
        """What is ended with the site."""
        return self._stack

    async def restart(self, number: signal.Signals, pause_s: float) -> None:
        """End the service by a signal and start it again at its address, a while later."""
        await self.service.end(number)
        await asyncio.sleep(pause_s)
        await self._stack.enter_async_context(self.service)

    def jobs(self, execution: str) -> list[LedgerJob]:
        """Return the jobs of an execution, oldest first."""
        jobs = [job for ledger in self.ledgers for job in ledger.jobs.values()]
        return [job for job in jobs if f"{_EXECUTIONS}{execution}/" in job.output_prefix]

    async def job(self, execution: str, count: int = 1) -> LedgerJob:
        """Wait until an execution has so many jobs and return the last of these."""
        while len(self.jobs(execution)) < count:
            started = self.ledger.effects.reaches("started", self.ledger.effects["started"] + 1)
            await asyncio.wait_for(started, _JOB_S)
        return self.jobs(execution)[count - 1]

    async def live(self, execution: str) -> int:
        """Return how many jobs of an execution live on, given the time that a cancel takes."""
        give_up = time.monotonic() + self.patience_s
        while True:
            own = self.jobs(execution)
            left = sum(job in own for ledger in self.ledgers for job in ledger.live())
            if not left or time.monotonic() > give_up:
                return left
            await asyncio.sleep(_LOOK_S)


def node(kind: str, *, name: str = "n0", retries: int = 0, version: int = 0, **course: Any) -> Node:
    """Return a node that runs a task of a task type; `course` is how its job goes."""
    task = sample_task(kind, **{"running_s": 2, **course})
    return Node(id=name, task=replace(task, version=version), retries=retries)
