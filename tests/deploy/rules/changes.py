"""What a change of a value does: where the value arrives, and whose pods are replaced by it."""

from __future__ import annotations

import tempfile
from functools import reduce
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.charts import rendered
from deploy.tools import programs
from outboard.deploying.charts import default_values
from tables.sections import Section

_PLACES: Final = Path(__file__).with_name("places.yaml")
_ROLLS: Final = {
    "services.a.settings.host.unreachable_after=99": {"outboard-a"},
    "services.a.lifecycle.drainSeconds=30": {"outboard-a"},
    "defaults.ports.grpc=9000": {"outboard-a", "outboard-b"},
    "defaults.rollOn=again": {"outboard-a", "outboard-b"},
    "services.b.replicas=5": set(),
    "defaults.networkPolicy.enabled=false": set(),
    "defaults.test.enabled=false": set(),
}
"""Changes of values, and the Deployments whose pods they replace."""


def placed() -> Section:
    """Look for values where they must arrive."""
    tried = yaml.safe_load(_PLACES.read_text(encoding="utf-8"))
    objects = _objects(tried["values"])
    rows, failures = [], []
    for value, where, place, wanted in tried["places"]:
        said = _at(objects.get(where), place)
        rows.append({"value": value, "object": where, "place": place, "arrives": said == wanted})
        failures += [] if said == wanted else [f"{value}: {where}, {place}: {said}, expected {wanted}"]
    known = {value.partition(".")[0] for value, *_ in tried["places"]}
    failures += [f"{value}: no place of it is known" for value in sorted(_values() - known)]
    return Section(
        title="Where values arrive", columns=("value", "object", "place", "arrives"), rows=rows, failures=failures
    )


def _values() -> set[str]:
    """Return the chart's values, less `services`, which are as `defaults`."""
    values = yaml.safe_load(default_values())
    return {*values, *values["defaults"]} - {"defaults", "services"}


def _objects(values: Any) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        text = rendered(programs()["4"], [Path(file.name)], with_tests=True)
    return {f"{each['kind']} {each['metadata']['name']}": each for each in yaml.safe_load_all(text) if each}


def _at(found: Any, place: str) -> Any:
    """Return what stands at a place, or None: of lists by number or by name, and in files of a ConfigMap."""
    try:
        return reduce(_step, place.split(), found)
    except (LookupError, TypeError, ValueError):
        return None


def _step(node: Any, name: str) -> Any:
    if isinstance(node, list):
        return node[int(name) if name.isdigit() else [each["name"] for each in node].index(name)]
    return (yaml.safe_load(node) if isinstance(node, str) else node)[name]


def rolled() -> Section:
    """Change one value at a time; the pods of the services that it concerns are replaced, and those of no other."""
    rows, failures = [], []
    before = _templates("services.a.replicas=1")
    for change, expected in _ROLLS.items():
        after = _templates(f"services.a.replicas=1,{change}")
        replaced = {name for name in before if before[name] != after[name]}
        if replaced != expected:
            failures.append(f"{change} replaces {sorted(replaced)}, expected {sorted(expected)}")
        rows.append({"change": change, "replaced": ", ".join(sorted(replaced)) or "none"})
    return Section(title="What a change replaces", columns=("change", "replaced"), rows=rows, failures=failures)


def _templates(values: str) -> dict[str, Any]:
    documents = yaml.safe_load_all(rendered(programs()["4"], [], f"services.b.logLevel=info,{values}"))
    return {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in documents
        if each and each["kind"] == "Deployment"
    }
