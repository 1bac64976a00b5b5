"""The rendered objects against strict schemas: those of each version of Kubernetes, and those that other projects publish."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.published import definitions
from deploy.releases import CUSTOM, releases
from deploy.tools import run
from real_parts import NotToBeHad, install
from tables.sections import Section

_VALIDATOR: Final = Path(__file__).with_name("validator.py")
VERSIONS: Final = tuple(f"1.{minor}.0" for minor in range(27, 38))
"""From the oldest that Chart.yaml admits to the newest that the library knows."""
_EMPTY: Final[dict[str, Any]] = {}


def sections() -> Iterator[Section]:
    """Validate all releases."""
    try:
        yield validated()
    except NotToBeHad as error:
        yield Section(title="Schemas", skipped=str(error))


def validated() -> Section:
    """Validate all objects of all releases, and prove that one with a fault is noticed."""
    published, note = _published()
    objects = {
        f"{release.name}/{found.kind}/{found.name}": found.document
        for release in releases()
        for found in release.manifests
        if published or found.kind not in CUSTOM
    }
    complaints = complaints_about(list(objects.items()), VERSIONS, published)
    failures = [f"{name}, {version}: {words}" for name, version, words in complaints]
    rows = [_row(release.name, objects, complaints) for release in releases()]
    planted = len(complaints_about(faulty(published), VERSIONS[-1:], published))
    wanted = 3 if published else 2
    if planted != wanted:
        failures.append(f"of {wanted} planted faults {planted} were noticed")
    rows.append(
        {"values": "(planted faults)", "objects": wanted, "Kubernetes": VERSIONS[-1][:-2], "complaints": planted}
    )
    columns = ("values", "objects", "Kubernetes", "custom", "complaints")
    return Section(title="Schemas", columns=columns, rows=rows, failures=failures, notes=note)


def _row(release: str, objects: dict[str, Any], complaints: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    kinds = [each["kind"] for name, each in objects.items() if name.startswith(f"{release}/")]
    custom = sorted(set(kinds) & CUSTOM)
    return {
        "values": release,
        "objects": len(kinds),
        "Kubernetes": f"{VERSIONS[0][:-2]} to {VERSIONS[-1][:-2]}",
        "custom": ", ".join(custom),
        "complaints": sum(name.startswith(f"{release}/") for name, _, _ in complaints),
    }


def complaints_about(
    objects: Sequence[tuple[str, dict[str, Any]]], versions: Sequence[str], published: Sequence[Path]
) -> list[tuple[str, str, str]]:
    """Return name, version and words of each complaint."""
    wanted = {"objects": objects, "versions": versions, "definitions": [str(path) for path in published]}
    done = run(install("deploy"), "-W", "ignore", _VALIDATOR, stdin=json.dumps(wanted))
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    return [(name, version, words) for name, version, words in json.loads(done.stdout)]


def faulty(published: Sequence[Path]) -> list[tuple[str, dict[str, Any]]]:
    """Return objects with a fault each: a field that is none, a value of a wrong type, and a field that a custom one lacks."""
    release = next(each for each in releases() if each.name == "flyte2")
    deployment, service, monitor = (
        copy.deepcopy(next(iter(release.of(kind)))) for kind in ("Deployment", "Service", "ServiceMonitor")
    )
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = _EMPTY
    service["spec"]["ports"][0]["port"] = "eight thousand"
    monitor["spec"]["endpoints"][0]["intervall"] = "30s"
    objects = [("field", deployment), ("type", service)]
    return [*objects, ("custom", monitor)] if published else objects


def _published() -> tuple[Sequence[Path], list[str]]:
    try:
        return definitions(), []
    except NotToBeHad as error:
        return (), [f"{', '.join(sorted(CUSTOM))} were not validated: {error}"]
