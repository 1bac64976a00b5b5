"""`outboard agents`: what is served, here or at a service, and what could not be loaded."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from outboard.cli.choices import (
    Agents,
    AsJson,
    CalledService,
    EngineConfig,
    Flytekit,
    FlytekitModules,
    Platforms,
    SettingsFile,
)
from outboard.cli.exits import Exit
from outboard.cli.json_values import dumps
from outboard.cli.loops import run_loop
from outboard.cli.printing import write_result
from outboard.domain.endpoints import AgentInfo
from outboard.errors import EndpointUnreachable, OutboardError
from outboard.local.notes import write_note
from outboard.local.settings_files import names, read_choice

if TYPE_CHECKING:
    from outboard.domain.endpoints import Endpoint
    from outboard.local.targets import Target

EXAMPLES: Final = (
    "outboard agents",
    "outboard agents --endpoint localhost:8000",
    "outboard agents --agents my_package.agents:MyPlatform --json",
)
_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """What one endpoint serves, or why it did not say."""

    endpoint: str
    agents: Sequence[AgentInfo] = ()
    problem: OutboardError | None = None


def command(
    *,
    service: CalledService,
    engine_config: EngineConfig = None,
    platforms: Platforms = None,
    agents: Agents = None,
    flytekit: Flytekit = None,
    flytekit_modules: FlytekitModules = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """List agents with their task types and versions, and what could not be loaded.

    Without --endpoint or --engine-config it is the agents of this installation.
    """
    choice = read_choice(
        settings,
        platforms=platforms,
        modules=agents,
        flytekit=flytekit,
        flytekit_modules=flytekit_modules,
        client=service.client,
    )
    target = service.target_with(choice, engine_config)
    listings, failures = run_loop(_list(target))
    problems = [each.problem for each in listings if each.problem is not None]
    if len(problems) == len(listings):
        raise problems[0]
    if as_json:
        write_result(dumps(_document(listings, failures), indent=2))
    else:
        _print_tables(listings, failures)
    asked_for = {*(names(platforms) or ()), *choice.modules}
    return Exit.USAGE if any(failure["source"] in asked_for for failure in failures) else Exit.SUCCESS


async def _list(target: Target) -> tuple[list[_Listing], list[dict[str, str]]]:
    from outboard.cli.connections import find  # noqa: PLC0415 - the engine is for those who use it

    async def ask(name: str, endpoint: Endpoint) -> _Listing:
        try:
            return _Listing(endpoint=name, agents=await asyncio.wait_for(endpoint.list_agents(), _PATIENCE_S))
        except OutboardError as problem:
            return _Listing(endpoint=name, problem=problem)
        except (asyncio.TimeoutError, TimeoutError):
            words = f"{name} did not answer within {_PATIENCE_S:g} s: is it an agent service, and well?"
            return _Listing(endpoint=name, problem=EndpointUnreachable(words))

    async with find(target) as found, found.endpoints() as endpoints:
        listings = await asyncio.gather(*(ask(name, each) for name, each in endpoints.items()))
        for warning in found.config.warnings if found.config else ():
            write_note(f"warning: {warning}")
        failures = [{"source": each.source, "reason": found.redact(each.reason)} for each in found.failures]
        return list(listings), failures


def _document(listings: Sequence[_Listing], failures: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    agents = [
        {
            "endpoint": listing.endpoint,
            "name": agent.name,
            "is_sync": agent.is_sync,
            "task_types": [{"name": each.name, "version": each.version} for each in agent.task_types],
        }
        for listing in listings
        for agent in listing.agents
    ]
    problems = [{"source": each.endpoint, "reason": str(each.problem)} for each in listings if each.problem]
    return {"agents": agents, "failures": [*failures, *problems]}


def _print_tables(listings: Sequence[_Listing], failures: Sequence[Mapping[str, str]]) -> None:
    from outboard.cli.tables import Column, render  # noqa: PLC0415 - rich is for people only

    several = len(listings) > 1
    rows = [
        (*([listing.endpoint] if several else []), agent.name, task_type, versions, "yes" if agent.is_sync else "")
        for listing in listings
        for agent in listing.agents
        for task_type, versions in _versions(agent)
    ]
    columns = [Column("AGENT"), Column("TASK TYPE"), Column("VERSIONS"), Column("SYNC")]
    write_result(render([*([Column("ENDPOINT")] if several else []), *columns], rows, empty="nothing is served"))
    for failure in failures:
        write_note(f"not loaded: {failure['source']}: {failure['reason']}")
    for listing in listings:
        if listing.problem:
            write_note(f"no answer: {listing.problem}")


def _versions(agent: AgentInfo) -> list[tuple[str, str]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for each in agent.task_types:
        found[each.name].append(each.version)
    return [(name, ", ".join(map(str, sorted(versions)))) for name, versions in found.items()]
