"""The releases that everything is tried with: the chart's defaults, and values as operators would write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.tools import VALUES, helm_on_path, programs
from outboard.deploying.rendering import Manifest, render

NAMESPACE: Final = "flyte"
CUSTOM: Final = frozenset({"Certificate", "ServiceMonitor", "PrometheusRule"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Rendered values.

    Attributes:
        name: Of the values.
        files: Where they are.
        manifests: What the chart makes of them.
    """

    name: str
    files: Sequence[Path]
    manifests: Sequence[Manifest]

    def of(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield the objects of a kind."""
        return (found.document for found in self.manifests if found.kind == kind)

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object."""
        return next(found for found in self.of(kind) if found["metadata"]["name"] == name)


def value_files() -> dict[str, list[Path]]:
    """Return the files of values by name; the chart's defaults have none."""
    return {"defaults": [], **{path.stem: [path] for path in sorted(VALUES.glob("*.yaml"))}}


@cache
def releases() -> tuple[Release, ...]:
    """Return all releases, rendered by the newest Helm.

    Raises:
        NotToBeHad: There is no Helm.
    """
    with helm_on_path(programs()["4"]):
        return tuple(
            Release(name=name, files=files, manifests=render(files=files, namespace=NAMESPACE, with_tests=True))
            for name, files in value_files().items()
        )


def settings_of(config_map: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a ConfigMap holds."""
    settings: dict[str, Any] = yaml.safe_load(config_map["data"]["settings.yaml"])
    return settings
