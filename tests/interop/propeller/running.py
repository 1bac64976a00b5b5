"""Runs scenarios: those of one site together, a few sites at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

from interop.propeller import calm, replacements, troubles
from interop.propeller.rows import Row
from interop.propeller.scenarios import Scenario
from interop.propeller.sites import Setting, Site

SCENARIOS: Final[Sequence[Scenario]] = (*calm.SCENARIOS, *troubles.SCENARIOS, *replacements.SCENARIOS)
LEAN: Final[Sequence[Scenario]] = tuple(each for each in SCENARIOS if each.is_lean)
_AT_ONCE: Final = 7


def run(settings: Sequence[Setting], scenarios: Sequence[Scenario]) -> list[dict[str, Row]]:
    """Return for every setting the rows by the scenarios' names, in the scenarios' order.

    A scenario that does not come to its end has a row that says so.
    """
    return asyncio.run(_run(settings, scenarios))


async def _run(settings: Sequence[Setting], scenarios: Sequence[Scenario]) -> list[dict[str, Row]]:
    gates = {False: asyncio.Semaphore(_AT_ONCE), True: asyncio.Semaphore(1)}
    groups: dict[str, list[Scenario]] = {}
    for each in scenarios:
        groups.setdefault(each.site or each.name, []).append(each)

    async def visit(setting: Setting, group: Sequence[Scenario]) -> dict[str, Row]:
        async with gates[group[0].is_alone]:
            return await _visit(setting, group)

    found: list[dict[str, Row]] = []
    for is_alone in gates:
        chosen = [group for group in groups.values() if group[0].is_alone is is_alone]
        found += await asyncio.gather(*(visit(setting, group) for group in chosen for setting in settings))
    return [_joined(found[place :: len(settings)], scenarios) for place in range(len(settings))]


def _joined(parts: Sequence[Mapping[str, Row]], scenarios: Sequence[Scenario]) -> dict[str, Row]:
    rows = {name: row for part in parts for name, row in part.items()}
    return {each.name: rows[each.name] for each in scenarios}


async def _visit(setting: Setting, group: Sequence[Scenario]) -> dict[str, Row]:
    site = group[0].make(setting=setting, is_faulty=group[0].is_faulty)
    try:
        async with site:
            return dict(zip([each.name for each in group], await _perform_all(site, group), strict=True))
    except Exception as error:  # noqa: BLE001 - a site that does not open breaks its scenarios, not the others
        return {each.name: _unfinished(setting, each, error, 0.0) for each in group}


async def _perform_all(site: Site, group: Sequence[Scenario]) -> list[Row]:
    return list(await asyncio.gather(*(_perform(site, each) for each in group)))


async def _perform(site: Site, scenario: Scenario) -> Row:
    begun = time.monotonic()
    try:
        return await scenario.run(site)
    except Exception as error:  # noqa: BLE001 - same
        return _unfinished(site.setting, scenario, error, time.monotonic() - begun)


def _unfinished(setting: Setting, scenario: Scenario, error: Exception, seconds: float) -> Row:
    return Row(
        scenario=scenario.name.replace("_", " "),
        system=setting.system,
        plugin=setting.plugin.id,
        seconds=round(seconds, 1),
        broken=f"did not come to an end: {type(error).__name__}: {error}"[:300],
    )
