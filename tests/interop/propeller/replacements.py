"""Scenarios of services that end while jobs run, of many tasks, and of several services."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from interop.propeller.engines import Node
from interop.propeller.roads import Forwarder
from interop.propeller.rows import Promise, Row, take
from interop.propeller.scenarios import Scenario
from interop.propeller.sites import EngineService, Site, node
from outboard.engine.propeller.deadlines import DEADLINES, LISTING
from outboard.engine.propeller.draft import SERVICE_CONFIG
from outboard.testing.faults import FaultPlan, Stall, When
from outboard.testing.ledger import Ledger

_KINDS: Final = ("rest_token", "rest_named", "rest_lookup")
_EACH: Final = 4
_PAUSE_S: Final = 1.0
_FEW_ERRORS: Final = 2
"""What a service that is away for a second may cost a task; the sixth would be its end."""
_MANY: Final = 1000
_EXECUTIONS: Final = 40
_WAVES: Final = 8
_SERVICE: Final = "agents"
_SLOW_S: Final = 3.0
_RUNS_S: Final = 20.0


def _nodes(running_s: float, *, retries: int = 0) -> list[Node]:
    kinds = [kind for kind in _KINDS for _ in range(_EACH)]
    return [node(kind, name=f"n{n}", running_s=running_s, retries=retries) for n, kind in enumerate(kinds)]


async def _restart(site: Site, name: str, number: signal.Signals) -> Row:
    begun = time.monotonic()
    nodes = _nodes(15)
    await site.engine.start(name, nodes)
    for each in nodes:
        await site.engine.phase(name, "RUNNING", node=each.id)
    await site.restart(number, _PAUSE_S)
    await site.engine.ended(name)
    promise = Promise(tasks=len(nodes), errors=_FEW_ERRORS)
    return await take(site, f"{number.name} and restart while jobs run", [name], promise, time.monotonic() - begun)


async def kill_while_jobs_run(site: Site) -> Row:
    """The service is killed, and started again a second later."""
    return await _restart(site, "killed", signal.SIGKILL)


async def terminate_while_jobs_run(site: Site) -> Row:
    """The service is asked to end, and started again a second later."""
    return await _restart(site, "termed", signal.SIGTERM)


@dataclass(slots=True)
class TwoReplicas(Site):
    """A site whose default service has two replicas behind `k8s:///agents.flyte:<port>`, as pods have.

    Attributes:
        behind: Where each replica that propeller knows is, oldest first.
    """

    behind: dict[str, EngineService] = field(default_factory=dict)
    port: int = 0
    _made: int = 0

    async def open(self) -> None:
        """Start both, and propeller with Flyte's own resolver."""
        for _ in range(2):
            await self._add()
        await self.drive(f"k8s:///{_SERVICE}.flyte:{self.port}", addresses={_SERVICE: list(self.behind)})

    async def replace_oldest(self) -> None:
        """Start another replica, then leave the oldest out and end it, as a Deployment does."""
        await self._add()
        await self.engine.point(_SERVICE, list(self.behind))
        place, old = next(iter(self.behind.items()))
        del self.behind[place]
        await asyncio.sleep(_PAUSE_S)
        await self.engine.point(_SERVICE, list(self.behind))
        await old.end(signal.SIGTERM)

    async def _add(self) -> None:
        service = await self.stack.enter_async_context(self.launch())
        self._made += 1
        place = f"127.0.1.{self._made}"
        forwarder = await self.stack.enter_async_context(Forwarder(place, self.port, service.port))
        self.port = forwarder.port
        self.behind[place] = service


async def _restart_amidst_creates(site: Site, name: str, number: signal.Signals) -> Row:
    """End one of two replicas while the platform has started half of the jobs and answered few."""
    if not isinstance(site, TwoReplicas):
        raise TypeError("this scenario needs two replicas")
    begun = time.monotonic()
    site.faults.add(Stall(when=When.AFTER, seconds=_SLOW_S), "create")
    names = [f"{name}{n}" for n in range(_EACH * len(_KINDS))]
    for n, execution in enumerate(names):
        await site.engine.start(execution, [node(_KINDS[n % len(_KINDS)], running_s=_RUNS_S, retries=1)])
    await site.ledger.effects.reaches("started", len(names) // 2)
    place, service = next(iter(site.behind.items()))
    if number is signal.SIGTERM:  # a cluster announces it; a kill it notices later than this takes
        await site.engine.point(_SERVICE, [other for other in site.behind if other != place])
    await service.end(number)
    await asyncio.sleep(_PAUSE_S)
    await site.stack.enter_async_context(service)
    await site.engine.point(_SERVICE, list(site.behind))
    site.faults.clear()
    for execution in names:
        await site.engine.ended(execution)
    attempts = 1 if number is signal.SIGTERM else 2
    promise = Promise(tasks=len(names), errors=_FEW_ERRORS, attempts=attempts)
    return await take(site, f"{number.name} of one of two amidst creates", names, promise, time.monotonic() - begun)


async def kill_amidst_creates(site: Site) -> Row:
    """One of two replicas is killed, and started again a second later."""
    return await _restart_amidst_creates(site, "killc", signal.SIGKILL)


async def terminate_amidst_creates(site: Site) -> Row:
    """One of two replicas is asked to end, and started again a second later."""
    return await _restart_amidst_creates(site, "termc", signal.SIGTERM)


def advised() -> Mapping[str, Any]:
    """Return what `outboard flyte-config` prints for a service: calls that are repeated, deadlines with room for that.

    Deadlines are a list of maps, since Flyte's loader writes the keys of a map in small letters.
    """
    deadlines = [{each.operation: f"{each.advised_s}s"} for each in DEADLINES if each.operation != LISTING]
    return {"defaultServiceConfig": SERVICE_CONFIG, "timeouts": deadlines}


@dataclass(slots=True)
class AdvisedSite(Site):
    """A site whose propeller is configured so."""

    deployment: Mapping[str, Any] = field(default_factory=advised)


async def kill_amidst_creates_as_advised(site: Site) -> Row:
    """The only replica is killed amidst creates; propeller's client repeats them, so no attempt of a task is spent."""
    begun = time.monotonic()
    site.faults.add(Stall(when=When.AFTER, seconds=_SLOW_S), "create")
    names = [f"adv{n}" for n in range(_EACH)]
    for execution in names:
        await site.engine.start(execution, [node("rest_token", running_s=_RUNS_S)])
    await site.ledger.effects.reaches("started", len(names) // 2)
    await site.restart(signal.SIGKILL, _PAUSE_S)
    site.faults.clear()
    for execution in names:
        await site.engine.ended(execution)
    words = "SIGKILL amidst creates, calls repeated as `outboard flyte-config` has it"
    promise = Promise(tasks=len(names), errors=_FEW_ERRORS)
    return await take(site, words, names, promise, time.monotonic() - begun)


async def replace_replicas(site: Site) -> Row:
    """Both replicas are replaced, one after the other, while tasks begin and end."""
    if not isinstance(site, TwoReplicas):
        raise TypeError("this scenario needs two replicas")
    begun = time.monotonic()
    names = [f"wave{n}" for n in range(_WAVES)]
    replacing = asyncio.ensure_future(_replace_both(site))
    for name in names:
        await site.engine.start(name, [node(kind, name=f"n{n}", running_s=8) for n, kind in enumerate(_KINDS)])
        await asyncio.sleep(_PAUSE_S)
    await replacing
    for name in names:
        await site.engine.ended(name)
    promise = Promise(tasks=len(names) * len(_KINDS))
    return await take(site, "rolling replacement of two replicas", names, promise, time.monotonic() - begun)


async def _replace_both(site: TwoReplicas) -> None:
    for _ in range(2):
        await asyncio.sleep(_PAUSE_S)
        await site.replace_oldest()


async def run_a_thousand(site: Site) -> Row:
    """A thousand tasks at once, in forty executions."""
    begun = time.monotonic()
    names = [f"many{n}" for n in range(_EXECUTIONS)]
    for name in names:
        tasks = _MANY // _EXECUTIONS
        nodes = [node(_KINDS[n % len(_KINDS)], name=f"n{n}", running_s=20) for n in range(tasks)]
        await site.engine.start(name, nodes)
    for name in names:
        await site.engine.ended(name, 300)
    return await take(site, "1,000 tasks at once", names, Promise(tasks=_MANY), time.monotonic() - begun)


@dataclass(slots=True)
class TwoServices(Site):
    """A site with a second service on a platform of its own, which gets one task type by the configuration."""

    other: Ledger = field(default_factory=Ledger)

    async def open(self) -> None:
        """Start both and propeller."""
        platform = await self.stack.enter_async_context(self.platform(self.other, FaultPlan()))
        first = await self.stack.enter_async_context(self.launch())
        second = await self.stack.enter_async_context(self.launch(platform, only="rest_named"))
        self.ledgers.append(self.other)
        others = {"second": (f"dns:///{second.address}", ("rest_named",))}
        await self.drive(f"dns:///{first.address}", others)


async def use_two_services(site: Site) -> Row:
    """One task goes to the default service, the other by its type to the second."""
    if not isinstance(site, TwoServices):
        raise TypeError("this scenario needs two services")
    begun = time.monotonic()
    await site.engine.start("two", [node("rest_token"), node("rest_named", name="n1")])
    await site.engine.ended("two")
    strays = [] if len(site.other.jobs) == 1 else [f"the second service has {len(site.other.jobs)} jobs instead of 1"]
    words = "two services, one by task type"
    return await take(site, words, ["two"], Promise(tasks=2), time.monotonic() - begun, strays)


SCENARIOS: Final = (
    Scenario(run=kill_while_jobs_run, is_lean=True),
    Scenario(run=terminate_while_jobs_run),
    Scenario(run=kill_amidst_creates, make=TwoReplicas),
    Scenario(run=terminate_amidst_creates, make=TwoReplicas),
    Scenario(run=kill_amidst_creates_as_advised, make=AdvisedSite),
    Scenario(run=replace_replicas, is_lean=True, make=TwoReplicas),
    Scenario(run=use_two_services, is_lean=True, make=TwoServices),
    Scenario(run=run_a_thousand, is_alone=True),
)
