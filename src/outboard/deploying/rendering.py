"""The chart as plain manifests, made by Helm's own engine.

Whichever engine there is, the answer is the same text: the manifests in the order in which Helm would install them, each with
the template that it came from. Nothing is asked of a cluster, so the same values make the same manifests everywhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import yaml

from outboard.deploying.charts import whole_chart
from outboard.errors import InvalidSettings

_ORDER: Final = {
    kind: place
    for place, kind in enumerate(
        (
            "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodDisruptionBudget", "ServiceAccount", "Secret",
            "ConfigMap", "StorageClass", "PersistentVolume", "PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole",
            "ClusterRoleBinding", "Role", "RoleBinding", "Service", "DaemonSet", "Pod", "ReplicaSet", "Deployment",
            "HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob", "Ingress",
        )
    )
}  # fmt: skip
"""Helm's own (`InstallOrder` of its release package), as far as it matters here; kinds that it does not know come last."""
_SOURCE: Final = re.compile(r"^# Source: [^/\n]+/(?P<path>\S+)\n", re.MULTILINE)
_FRAME: Final = r"values don't meet the specifications of the schema\(s\) in the following chart\(s\): "
_DEBUG: Final = "Use --debug flag to render out invalid YAML"
_NOISE: Final = re.compile(rf"^Error: |execution error at \([^)]*\): |{_FRAME}|{_DEBUG}|^outboard: -|outboard: (?=- )")
"""What Helm says beside what is wrong."""
_LIMIT_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A rendered object.

    Attributes:
        kind: Of the object.
        name: Its name.
        namespace: Where it goes; empty where it says nothing.
        source: The template that it comes from, `templates/...`.
        text: The object as YAML.
    """

    kind: str
    name: str
    namespace: str
    source: str
    text: str

    @property
    def document(self) -> Any:
        """The object as data."""
        return yaml.safe_load(self.text)

    @property
    def is_test(self) -> bool:
        """Whether it is a pod of `helm test`, which is no part of what is deployed."""
        annotations = (self.document.get("metadata") or {}).get("annotations") or {}
        return "test" in str(annotations.get("helm.sh/hook", "")).split(",")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    files: Sequence[str | Path]
    sets: Sequence[str]
    name: str
    namespace: str


def render(
    *,
    files: Sequence[str | Path] = (),
    sets: Sequence[str] = (),
    name: str = "outboard",
    namespace: str = "default",
    with_tests: bool = False,
) -> list[Manifest]:
    """Return the chart's manifests.

    Args:
        files: Values, later files over earlier ones.
        sets: Single values as Helm's `--set` reads them; over the files.
        name: Of the release.
        namespace: Where it goes.
        with_tests: Also the pods of `helm test`.

    Raises:
        InvalidSettings: The values are wrong, or there is no engine.
    """
    program = shutil.which("helm")
    release = _Release(files=files, sets=sets, name=name, namespace=namespace)
    with whole_chart() as folder:
        sources = _by_library(folder, release) if program is None else _by_program(program, folder, release)
    manifests = [_manifest(source, text) for source, texts in sources for text in _documents(source, texts)]
    return sorted(
        (found for found in manifests if with_tests or not found.is_test),
        key=lambda found: (_ORDER.get(found.kind, len(_ORDER)), found.kind, found.namespace, found.name),
    )


def as_text(manifests: Sequence[Manifest]) -> str:
    """Return manifests as one YAML stream."""
    return "".join(f"---\n# Source: {found.source}\n{found.text}\n" for found in manifests)


def _by_program(program: str, folder: Path, release: _Release) -> list[tuple[str, str]]:
    given = [f"--values={each}" for each in release.files] + [f"--set={each}" for each in release.sets]
    command = [
        program,
        "template",
        release.name,
        str(folder),
        f"--namespace={release.namespace}",
        *given,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)  # noqa: S603 - found on PATH
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidSettings(f"helm did not render the chart ({type(error).__name__}): try it by hand") from None
    if done.returncode:
        raise InvalidSettings(_refusal(done.stderr))
    parts = _SOURCE.split(done.stdout)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _by_library(folder: Path, release: _Release) -> list[tuple[str, str]]:
    try:
        helm = import_module("helm_python")
    except ImportError:
        raise InvalidSettings(
            "there is nothing to render the chart with: install helm, or `pip install 'outboard[deploy]'`"
        ) from None
    try:
        values: dict[str, Any] = {}
        for each in release.files:
            _overlay(values, helm.values_from_yaml(Path(each).read_text(encoding="utf-8")))
        for each in release.sets:
            if "[" in each.partition("=")[0]:
                raise InvalidSettings(f"--set {each}: an index needs the helm program; write a file for --values")
            _overlay(values, helm.parse_set_string(each))
        with helm.Chart.load(str(folder)) as loaded:
            rendered = loaded.render(values, name=release.name, namespace=release.namespace)
    except OSError as error:
        raise InvalidSettings(f"values cannot be read ({error.strerror}): {error.filename}") from None
    except helm.HelmError as error:
        raise InvalidSettings(_refusal(str(error))) from None
    return [(path.partition("/")[2], text) for path, text in sorted(rendered.items()) if path.endswith(".yaml")]


def _overlay(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _overlay(base[key], value)
        else:
            base[key] = value


def _documents(source: str, text: str) -> list[str]:
    """Return the documents of a stream without their separators; one that holds nothing but comments is none."""
    try:
        return _parted(text)
    except yaml.YAMLError as error:
        place = str(getattr(error, "problem_mark", "")).strip()
        raise InvalidSettings(
            f"{source}: what it renders is no YAML ({place}); look at the values that it prints"
        ) from None


def _parted(text: str) -> list[str]:
    found = (document.strip("\n") for document in re.split(r"^---[ \t]*$", text, flags=re.MULTILINE))
    return [document.rstrip() for document in found if yaml.safe_load(document) is not None]


def _manifest(source: str, text: str) -> Manifest:
    document = yaml.safe_load(text)
    metadata = document.get("metadata") if isinstance(document, dict) else None
    if not isinstance(metadata, dict) or "kind" not in document:
        raise InvalidSettings(f"{source}: what it renders is no Kubernetes object; look at the values that it prints")
    return Manifest(
        kind=str(document["kind"]),
        name=str(metadata.get("name", "")),
        namespace=str(metadata.get("namespace", "")),
        source=source,
        text=text,
    )


def _refusal(words: str) -> str:
    """Return Helm's words about wrong values as one sentence."""
    told = " ".join(_NOISE.sub(" ", " ".join(words.split())).split()).removeprefix("- ").rstrip(".")
    return f"the chart refuses these values: {told if ';' in told else told + '; correct them'}"
