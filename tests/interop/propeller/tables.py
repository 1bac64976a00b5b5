"""The tables of `make interop`: a row per scenario and plugin, Outboard and flytekit's own service side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from interop.go_programs import NotToBeHad
from interop.propeller.building import PROGRAM
from interop.propeller.engines import DEADLINES, NOTES, PLUGINS
from interop.propeller.rows import Row
from interop.propeller.running import SCENARIOS, run
from interop.propeller.sites import LINGER_S, Setting
from proof import peers
from proof.scenarios import FLYTEKIT, OUTBOARD
from tables.sections import Section

_TITLE: Final = "FlytePropeller's {plugin} plugin drives the service"
_COUNTS: Final = ("jobs", "live", "polls", "errors", "verdict")
_COLUMNS: Final = (
    *("scenario", "tasks", "phases", "attempts"),
    *_COUNTS,
    *("rounds", "seconds", "words"),
    *(f"{FLYTEKIT}: {name}" for name in _COUNTS),
)


def sections() -> list[Section]:
    """Return a section per plugin; one that is skipped, with the reason, where propeller cannot be built."""
    begun = time.monotonic()
    try:
        built = PROGRAM.build()
    except NotToBeHad as reason:
        return [Section(title=_TITLE.format(plugin="connector-service and agent-service"), skipped=str(reason))]
    systems = [OUTBOARD, *([FLYTEKIT] if peers.prepare() else [])]
    settings = [Setting(system=system, plugin=plugin, program=built) for plugin in PLUGINS for system in systems]
    found = run(settings, SCENARIOS)
    by_setting = {(each.plugin.id, each.system): rows for each, rows in zip(settings, found, strict=True)}
    seconds = round(time.monotonic() - begun, 1)
    return [
        _section(plugin.id, by_setting[plugin.id, OUTBOARD], by_setting.get((plugin.id, FLYTEKIT), {}), seconds)
        for plugin in PLUGINS
    ]


def _section(plugin: str, ours: Mapping[str, Row], theirs: Mapping[str, Row], seconds: float) -> Section:
    return Section(
        title=_TITLE.format(plugin=plugin),
        columns=_COLUMNS if theirs else _COLUMNS[: -len(_COUNTS)],
        rows=[_line(row, theirs.get(name)) for name, row in ours.items()],
        failures=[f"{row.scenario} ({plugin}): {row.broken}" for row in ours.values() if row.broken],
        notes=_notes(theirs),
        seconds=seconds,
        versions={"flyte": "1.16.8", **peers.versions()},
    )


def _line(ours: Row, theirs: Row | None) -> dict[str, Any]:
    line = ours.to_json()
    line["jobs"] = _of_wanted(ours)
    if theirs is not None:
        told = {**theirs.to_json(), "jobs": _of_wanted(theirs)}
        line |= {f"{FLYTEKIT}: {name}": told[name] for name in told if name not in {"scenario", "system", "plugin"}}
    return line


def _of_wanted(row: Row) -> str:
    return f"{row.jobs} of {row.wanted_jobs}"


def _notes(theirs: Mapping[str, Row]) -> Sequence[str]:
    notes = [
        f"Settings that differ from Flyte's own: {NOTES}. Deadlines are the defaults: {DEADLINES}.",
        f"Our service goes on for {LINGER_S:g} s after SIGTERM (15 s in a cluster) and may submit for 5 s (60 s).",
        "jobs: in the platform's ledger, of those that should be. live: not ended 20 s after the last execution.",
        "errors: the most failed polls that the plugin's cache counted for one task. rounds: of the engine that failed.",
    ]
    if not theirs:
        notes.append("flytekit is not to be had here, so there is nothing to compare with.")
    return notes
