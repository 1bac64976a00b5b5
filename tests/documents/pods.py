"""The real service, told what a rendered Deployment says: its arguments and variables, the files that are mounted, its Secrets.

Every mounted file lies below the reader's folder, where commands of the document find it too; the service listens on loopback. A
Secret that was not created is missing here as it would be there.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from documents.services import serve

Objects = Mapping[str, dict[str, Any]]
_SETTINGS: Final = {"grpc": "port", "metrics": "metrics_port", "admin": "admin_port", "callbacks": "callbacks_port"}


def forward(objects: Objects, namespace: str, target: dict[str, Any], ports: Sequence[str]) -> int:
    """Serve what a Deployment, or the one behind a Service, says, on local ports."""
    deployment = _deployment(objects, namespace, target)
    told: dict[str, int] = json.loads(os.environ["READER_PORTS"])
    there = {local: int(said) for said, local in told.items()}
    names = {each["containerPort"]: each["name"] for each in _container(deployment)["ports"]}
    wanted = {}
    for each in ports:
        local, _, remote = each.partition(":")
        wanted[names[there.get(int(remote or local), int(remote or local))]] = int(local)
    arguments, environment = _told(objects, namespace, deployment, wanted)
    return serve(arguments, environment)


def execute(objects: Objects, namespace: str, target: dict[str, Any], command: Sequence[str]) -> int:
    """Run one of our commands as in a pod of a Deployment."""
    assert command[0] == "outboard", f"the image has no {command[0]} that a reader could count on"
    _, environment = _told(objects, namespace, _deployment(objects, namespace, target), {})
    return subprocess.run(
        [sys.executable, "-m", "outboard", *command[1:]], check=False, env={**os.environ, **environment}
    ).returncode


def _told(
    objects: Objects, namespace: str, deployment: dict[str, Any], ports: Mapping[str, int]
) -> tuple[list[str], dict[str, str]]:
    """Return the service's arguments and variables, once everything that is mounted lies below the reader's folder."""
    container, root = _container(deployment), Path.cwd()
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
    places = sorted((each["mountPath"] for each in container["volumeMounts"]), key=len, reverse=True)
    for mount in container["volumeMounts"]:
        folder = root / mount["mountPath"].strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _files(objects, namespace, volumes[mount["name"]]):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    for path in (root / "etc/outboard/settings").glob("*.yaml"):
        path.write_text(_here(path.read_text(), places, root, ports))
    arguments = [_here_path(each, places, root) for each in container["args"]]
    environment = dict(_variables(objects, namespace, container))
    secrets = {"OUTBOARD_HOST__SECRETS__DIRECTORY": str(root / "etc/secrets")}
    environment = {name: _here_path(value, places, root) for name, value in environment.items()}
    return arguments, {**environment, **secrets, "TMPDIR": os.environ.get("TMPDIR", "/tmp")}  # noqa: S108 - as it is here


def _here(text: str, places: Sequence[str], root: Path, ports: Mapping[str, int]) -> str:
    settings = yaml.safe_load(text)
    service = settings.get("service", {})  # the test pod's file has none
    service["host"] = "127.0.0.1"
    for name, setting in _SETTINGS.items():
        if setting in service:
            service[setting] = ports.get(name, 0)
    return _here_path(yaml.safe_dump(settings), places, root)


def _here_path(text: str, places: Sequence[str], root: Path) -> str:
    for place in places:
        if place in text and f"{root}{place}" not in text and place != "/tmp":  # noqa: S108 - of the container
            text = text.replace(place, f"{root}{place}")
    return text


def _files(objects: Objects, namespace: str, volume: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    sources = volume.get("projected", {}).get("sources", [volume])
    for source in sources:
        if "configMap" in source:
            data = _object(objects, namespace, "configmap", source["configMap"]["name"])["data"]
            yield from ((name, content.encode()) for name, content in data.items())
        elif "secret" in source:
            of_it = source["secret"]
            yield from _secret(objects, namespace, of_it.get("secretName") or of_it["name"]).items()


def _variables(objects: Objects, namespace: str, container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in container.get("envFrom", ()):
        yield from (
            (name, content.decode()) for name, content in _secret(objects, namespace, each["secretRef"]["name"]).items()
        )
    for each in container.get("env", ()):
        if "value" in each:
            yield each["name"], each["value"]
        elif "secretKeyRef" in each["valueFrom"]:
            asked = each["valueFrom"]["secretKeyRef"]
            yield each["name"], _secret(objects, namespace, asked["name"])[asked["key"]].decode()


def _secret(objects: Objects, namespace: str, name: str) -> dict[str, bytes]:
    found = _object(objects, namespace, "secret", name)
    return {
        **{key: base64.b64decode(value) for key, value in found.get("data", {}).items()},
        **{key: value.encode() for key, value in found.get("stringData", {}).items()},
    }


def _deployment(objects: Objects, namespace: str, target: dict[str, Any]) -> dict[str, Any]:
    if target["kind"] == "Deployment":
        return target
    assert target["kind"] == "Service", f"a {target['kind']} leads to no service of ours"
    wanted = target["spec"]["selector"].items()
    [found] = [
        each
        for key, each in objects.items()
        if key.startswith(f"{namespace}/deployment/") and wanted <= each["spec"]["selector"]["matchLabels"].items()
    ]
    return found


def _container(deployment: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def _object(objects: Objects, namespace: str, kind: str, name: str) -> dict[str, Any]:
    found = objects.get(f"{namespace}/{kind}/{name}")
    assert found is not None, f"{kind} {name} is not in namespace {namespace}: its pods would not start"
    return found
