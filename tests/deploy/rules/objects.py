"""Rendered objects by kind, and what of one belongs to another: the pods, what they are told, the files that they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from deploy.releases import releases, settings_of

Objects = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod as it would be started.

    Attributes:
        name: Of its Deployment, or its own.
        labels: Its labels.
        spec: Its spec.
        container: Ours in it.
        config_map: What it has of settings, by file.
    """

    name: str
    labels: Mapping[str, str]
    spec: dict[str, Any]
    container: dict[str, Any]
    config_map: Mapping[str, str]

    @property
    def settings(self) -> dict[str, Any]:
        """What the service is told."""
        return settings_of({"data": self.config_map})

    @property
    def probes(self) -> dict[str, Any]:
        """What kubelet asks, by `startupProbe` and its like."""
        return {key: value for key, value in self.container.items() if key.endswith("Probe")}

    @property
    def mounts(self) -> dict[str, dict[str, Any]]:
        """What our container mounts, by its path."""
        return {mount["mountPath"]: mount for mount in self.container["volumeMounts"]}

    def volume(self, path: str) -> dict[str, Any]:
        """Return the volume that our container has at a path."""
        found: dict[str, Any]
        [found] = [each for each in self.spec["volumes"] if each["name"] == self.mounts[path]["name"]]
        return found


@cache
def released() -> Mapping[str, Objects]:
    """Return the objects of all releases, by their names; they are not to be changed."""
    found: dict[str, Objects] = {}
    for release in releases():
        objects = found.setdefault(release.name, {})
        for manifest in release.manifests:
            objects.setdefault(manifest.kind, []).append(manifest.document)
    return found


def replicas(objects: Objects) -> Iterator[Pod]:
    """Yield one pod of each Deployment."""
    for each in objects.get("Deployment", []):
        template = each["spec"]["template"]
        [container] = [one for one in template["spec"]["containers"] if one["name"] == "outboard"]
        yield _pod(objects, each["metadata"]["name"], template, container)


def doctors(objects: Objects) -> Iterator[Pod]:
    """Yield each pod of `helm test`."""
    for each in objects.get("Pod", []):
        yield _pod(objects, each["metadata"]["name"], each, each["spec"]["containers"][0])


def _pod(objects: Objects, name: str, made: Mapping[str, Any], container: dict[str, Any]) -> Pod:
    [told] = [each["configMap"]["name"] for each in made["spec"]["volumes"] if each["name"] == "settings"]
    [config_map] = [each["data"] for each in objects["ConfigMap"] if each["metadata"]["name"] == told]
    return Pod(
        name=name, labels=made["metadata"]["labels"], spec=made["spec"], container=container, config_map=config_map
    )


def selected(labels: Mapping[str, str], objects: Objects) -> list[str]:
    """Return the Deployments whose pods have all of these labels."""
    return [pod.name for pod in replicas(objects) if labels.items() <= pod.labels.items()]


def named_files(settings: Any) -> Iterator[str]:
    """Yield every file that settings name as `..._file`."""
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key.endswith("_file"):
            yield from [value] if isinstance(value, str) else value
        else:
            yield from named_files(value)
    for each in settings if isinstance(settings, list) else ():
        yield from named_files(each)


def projected_files(pod: Pod) -> set[str]:
    """Return the files of a pod's projected volume `files`, as our container sees them."""
    [mounted] = [path for path, mount in pod.mounts.items() if mount["name"] == "files"] or [""]
    return {
        f"{mounted}/{item['path']}"
        for volume in pod.spec["volumes"]
        if volume["name"] == "files"
        for source in volume["projected"]["sources"]
        for each in source.values()
        for item in each.get("items", [each])
    }


def client_of(doctor: Pod) -> dict[str, Any]:
    """Return what the pod of `helm test` shows."""
    client: dict[str, Any] = yaml.safe_load(doctor.config_map["client.yaml"])["client"]
    return client
