"""What a piece of YAML for Kubernetes is held against, with the tools of `tests/deploy`.

Objects are validated by the strict schemas of Kubernetes and by the definitions that other projects publish; values are rendered
by Helm, and what comes of them is validated, down to the settings in the ConfigMap. A piece of a pod or of a container stands in
a pod that is otherwise in order.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.published import definitions
from deploy.releases import CUSTOM
from deploy.schemas import complaints_about
from deploy.tools import helm_on_path, programs
from outboard.agent.discovery import installed
from outboard.deploying.charts import default_values
from outboard.deploying.rendering import render
from real_parts import NotToBeHad, install

VERSION: Final = "1.34.0"
_POD: Final = frozenset({"containers", "initContainers", "volumes", "hostAliases", "terminationGracePeriodSeconds"})
_CONTAINER: Final = frozenset(
    {"args", "command", "env", "envFrom", "image", "ports", "resources", "volumeMounts", "lifecycle"}
    | {"startupProbe", "livenessProbe", "readinessProbe"}
)


def is_object(keys: Iterable[str]) -> bool:
    """Tell whether these are the fields of an object of Kubernetes."""
    return {"apiVersion", "kind"} <= set(keys)


def is_part_of_pod(keys: Iterable[str]) -> bool:
    """Tell whether these are fields of a pod, or of a container."""
    return set(keys) <= _POD or set(keys) <= _CONTAINER


def is_values(document: Mapping[str, Any]) -> bool:
    """Tell whether these are values of our chart."""
    return set(document) <= set(yaml.safe_load(default_values())) and isinstance(next(iter(document.values())), Mapping)


def pod_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pod that holds a piece of one, or of its container."""
    container = {"name": "outboard", "image": "outboard"}
    spec = {"containers": [container], **part} if set(part) <= _POD else {"containers": [{**container, **part}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "outboard"}, "spec": spec}


def check_objects(documents: Sequence[Mapping[str, Any]]) -> None:
    """Raise where an object is not as its schema says.

    Raises:
        AssertionError: With the complaints.
        NotToBeHad: The schemas are not to be had here. Where only those of other projects are not, the others are held to theirs.
    """
    published: Sequence[Path] = ()
    if any(each["kind"] in CUSTOM for each in documents):
        try:
            published = definitions()
        except NotToBeHad:
            documents = [each for each in documents if each["kind"] not in CUSTOM]
            if not documents:
                raise
    named = [(f"{each['kind']} {each.get('metadata', {}).get('name', '')}", dict(each)) for each in documents]
    complaints = complaints_about(named, (VERSION,), published)
    assert not complaints, "\n".join(f"{name}: {words}" for name, _, words in complaints)


def check_values(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Render values of the chart, and return the objects; raise where one of them is not right.

    Raises:
        AssertionError: What is rendered is not as its schema says, or a platform is named that does not ship.
        InvalidSettings: The chart refuses the values.
        NotToBeHad: There is no Helm, or there are no schemas.
    """
    for service in (document.get("defaults", {}), *document.get("services", {}).values()):
        unknown = set(service.get("platforms", ())) - set(installed())
        assert not unknown, f"no platform that ships is called {sorted(unknown)}"
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file, helm_on_path(programs()["4"]):
        yaml.safe_dump(dict(document), file)
        file.flush()
        objects = [each.document for each in render(files=[Path(file.name)])]
    check_objects(objects)
    return objects


def check_dockerfile(text: str) -> None:
    """Raise where a Dockerfile has an error that hadolint knows.

    Raises:
        AssertionError: With its words.
        NotToBeHad: It is not to be had here.
    """
    command = [str(install("deploy").with_name("hadolint")), "--no-color", "--failure-threshold=error", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
