"""A world: a platform with its ledger, two services of one system, an object store, and Flyte 2's executor that uses them.

The first service is the engine's default; the second serves one project and domain alone, has a platform of its own, and
seals no handles, so that one can look into them. Outputs go to a real S3, where executor, services and jobs find them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from integration.stores.seaweed import BUCKET, running_seaweed
from interop.flyte2.executor import Executor
from interop.flyte2.services import FlyteSdk, Outboard, Service
from interop.flyte2.tasks import DOMAIN, PROJECT, ConnectorTask, inputs_of, template_of
from outboard.host.stores import Stores
from outboard.testing.faults import Fault, FaultPlan
from outboard.testing.ledger import Ledger, LedgerJob
from outboard.testing.ledger_jobs import ENDS
from outboard.testing.platform_clock import platform_time
from outboard.testing.platform_server import PlatformServer

OURS: Final = "outboard"
PEER: Final = "flyte-sdk"
RESEARCH: Final = "research"
PRODUCTION: Final = "production"
"""The project and the domain of the second service."""
SECRET_NAME: Final = "platform-token"  # noqa: S105 - a name
CANARY: Final = "canary-5b1f0c9e7d"
CREATE_DEADLINE_S: Final = 3.0
REQUEUE_S: Final = 0.3
"""The executor's own is 10 s."""
_TASK_TYPES: Final = ("rest_token", "rest_files", "rest_answer", "echo")
_LOOK_S: Final = 0.02


@dataclass(slots=True)
class Witness(FaultPlan):
    """A plan of faults that keeps what every request to the platform said, headers and all."""

    heard: list[tuple[str, str]] = field(default_factory=list)

    def strike(self, operation: str, about: str | Callable[[], str] = "") -> Fault | None:
        """Hear a request, then let it meet its fault."""
        text = about if isinstance(about, str) else about()
        self.heard.append((operation, text))
        return FaultPlan.strike(self, operation, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One platform and the service in front of it."""

    service: Service
    platform: PlatformServer
    faults: Witness

    @property
    def ledger(self) -> Ledger:
        """The platform's jobs."""
        return self.platform.ledger

    async def hears(self, operation: str, about: str) -> None:
        """Wait until the platform was asked for an operation about something."""
        while not any(said == operation and about in text for said, text in self.faults.heard):  # noqa: ASYNC110 - another thread or process acts
            await asyncio.sleep(_LOOK_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything of one system; see the module."""

    system: str
    executor: Executor
    first: Place
    second: Place

    @property
    def is_ours(self) -> bool:
        """Whether the services are ours."""
        return self.system == OURS

    async def start(self, name: str, task: Any, *, project: str = PROJECT, domain: str = DOMAIN, **inputs: Any) -> None:
        """Let the executor run a task; `name` is its action's and its run's."""
        template = template_of(task, project=project, domain=domain)
        await self.executor.create(name, template, await inputs_of(task, **inputs), f"s3://{BUCKET}/runs")

    def jobs(self, name: str) -> list[LedgerJob]:
        """Return an action's jobs on all platforms, oldest first."""
        return [
            job
            for place in (self.first, self.second)
            for job in place.ledger.jobs.values()
            if f"/{name}/" in job.output_prefix
        ]

    async def job(self, name: str, number: int = 1) -> LedgerJob:
        """Wait for an action's first job, or its n-th."""
        while len(jobs := self.jobs(name)) < number:  # noqa: ASYNC110 - as above
            await asyncio.sleep(_LOOK_S)
        return jobs[number - 1]

    async def live(self, name: str, patience_s: float = 10.0) -> int:
        """Return how many of an action's jobs live on, after some patience with those that are being ended."""
        for _ in range(int(patience_s / _LOOK_S)):
            living = [job for job in self.jobs(name) if job.state(platform_time()) not in ENDS]
            if not living:
                return 0
            await asyncio.sleep(_LOOK_S)
        return len(living)


def job_task(
    name: str, task_type: str = "rest_token", *, retries: int = 0, login: str = "", **course: Any
) -> ConnectorTask:
    """Return a task of the ledger with one output, `answer`, of which the job gives 42.

    Args:
        name: The task's name.
        task_type: Which agent runs it.
        retries: Further attempts after the first.
        login: The name of a secret with which the agent logs in.
        course: How the job goes; see `JobConfig`.
    """
    config = {"outputs": {"answer": 42}, **course, **({"login": "login"} if login else {})}
    secrets = {"login": login} if login else None
    return ConnectorTask(name, task_type, config, outputs={"answer": int}, secrets_by_name=secrets, retries=retries)


@asynccontextmanager
async def world(system: str, binary: Path) -> AsyncIterator[World]:
    """Run a world; everything that it started ends with it."""
    with tempfile.TemporaryDirectory(prefix="interop-flyte2-") as name, _object_store(Path(name)) as variables:
        folder = Path(name)
        stores = Stores()
        plans = Witness(), Witness()
        async with (
            PlatformServer(Ledger(), plans[0], stores=stores) as near,
            PlatformServer(Ledger(), plans[1], stores=stores) as far,
        ):
            services = _services(system, (near.url, far.url), folder, variables)
            try:
                await asyncio.gather(*(asyncio.to_thread(service.start) for service in services))
                settings = _executor_settings(services[0].address, services[1].address, variables)
                async with Executor(binary, settings, folder) as executor:
                    yield World(
                        system=system,
                        executor=executor,
                        first=Place(service=services[0], platform=near, faults=plans[0]),
                        second=Place(service=services[1], platform=far, faults=plans[1]),
                    )
            finally:
                await asyncio.gather(*(asyncio.to_thread(service.end, signal.SIGKILL) for service in services))


def _services(
    system: str, platforms: tuple[str, str], folder: Path, variables: Mapping[str, str]
) -> tuple[Service, Service]:
    near, far = platforms
    if system == OURS:
        return Outboard(near, folder, variables), Outboard(far, folder, variables, is_open=True)
    return FlyteSdk(near, folder, variables), FlyteSdk(far, folder, variables)


@contextmanager
def _object_store(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run an S3, and let this process find it too: the ledger's jobs write from here."""
    place = folder / "s3"
    place.mkdir()
    with running_seaweed(place) as variables:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield variables
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _executor_settings(near: str, far: str, variables: Mapping[str, str]) -> Mapping[str, Any]:
    deployment = {"insecure": True, "defaultTimeout": "10s", "timeouts": {"CreateTask": f"{CREATE_DEADLINE_S:g}s"}}
    return {
        "connector": {
            "supportedTaskTypes": _TASK_TYPES,
            "pollInterval": "1s",
            "defaultConnector": {**deployment, "endpoint": near},
            "connectors": {"research": {**deployment, "endpoint": far, "project": RESEARCH, "domain": PRODUCTION}},
            # The least that the plugin allows; its limits are those that 300 tasks at once need.
            "webApi": {
                "caching": {"size": 100_000, "resyncInterval": "5s", "workers": 20, "maxSystemFailures": 5},
                "readRateLimiter": {"qps": 500, "burst": 500},
            },
        },
        "requeueSeconds": REQUEUE_S,
        "secrets": [{"Project": RESEARCH, "Domain": PRODUCTION, "Name": SECRET_NAME, "Value": CANARY}],
        "storage": {
            "type": "stow",
            "container": BUCKET,
            "enable-multicontainer": True,
            "limits": {"maxDownloadMBs": 10},
            "stow": {
                "kind": "s3",
                "config": {
                    "auth_type": "accesskey",
                    "access_key_id": variables["AWS_ACCESS_KEY_ID"],
                    "secret_key": variables["AWS_SECRET_ACCESS_KEY"],
                    "region": variables["AWS_REGION"],
                    "endpoint": variables["AWS_ENDPOINT_URL"],
                    "disable_ssl": "true",
                },
            },
        },
    }
