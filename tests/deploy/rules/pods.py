"""What a pod is and has: its confinement, its files, and the time that it is given to end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from deploy.rules.objects import Objects, Pod, doctors, named_files, projected_files, replicas
from deploy.rules.rule import Rule
from outboard.service.ending import grace_s
from outboard.service.settings import ServiceSettings

_API: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_TLS: Final = "/etc/outboard/tls"


def pods_are_restricted(objects: Objects) -> Iterator[str]:
    """Pod Security's `restricted`, and more: a read-only root, a numeric user, no token that nothing needs, bounded disks."""
    granted = {subject["name"] for each in objects.get("RoleBinding", []) for subject in each["subjects"]}
    services = list(replicas(objects))
    for pod in [*services, *doctors(objects)]:
        for what, is_kept in _kept(
            pod, is_granted=pod in services and pod.spec["serviceAccountName"] in granted
        ).items():
            if not is_kept:
                yield f"{pod.name}: {what}"
    for each in objects.get("ServiceAccount", []):
        if each.get("automountServiceAccountToken") is not False:
            yield f"{each['metadata']['name']}: a token for everybody"


def _kept(pod: Pod, *, is_granted: bool) -> dict[str, bool]:
    rights, told = pod.container["securityContext"], pod.spec["securityContext"]
    has_token = _API in pod.mounts
    return {
        "not root": told["runAsNonRoot"] is True and told["runAsUser"] > 0,
        "seccomp": told["seccompProfile"]["type"] == "RuntimeDefault",
        "read-only root": rights.get("readOnlyRootFilesystem") is True,
        "no escalation": rights["allowPrivilegeEscalation"] is False,
        "no capabilities": rights["capabilities"] == {"drop": ["ALL"]},
        "no host": not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec),
        "no token for everybody": pod.spec.get("automountServiceAccountToken") is False,
        "a token with rights": has_token or not is_granted,
        "no token without need": not has_token or is_granted or _asks_issuer(pod),
        "requests": {"cpu", "memory"} <= set(pod.container["resources"]["requests"])
        and "memory" in pod.container["resources"]["limits"],
        "bounded disks": all(each["emptyDir"].get("sizeLimit") for each in pod.spec["volumes"] if "emptyDir" in each),
        "no service links": pod.spec["enableServiceLinks"] is False,
    }


def _asks_issuer(pod: Pod) -> bool:
    """Tell whether tokens of this cluster are checked, for which its keys are asked for."""
    return "https://kubernetes.default.svc" in str(pod.settings["service"].get("access"))


def files_are_mounted(objects: Objects) -> Iterator[str]:
    """Files that settings or environment name are mounted; every mount has its volume; /tmp and our home can be written to.

    Whole volumes are: one file of a volume (`subPath`) would stay as it was when the volume changes.
    """
    for pod in replicas(objects):
        mounts, volumes = pod.mounts, {volume["name"] for volume in pod.spec["volumes"]}
        if lost := {mount["name"] for mount in mounts.values()} - volumes:
            yield f"{pod.name}: no volume for {sorted(lost)}"
        if parts := [path for path, mount in mounts.items() if "subPath" in mount]:
            yield f"{pod.name}: {parts} would never change"
        for file in _single_files(pod):
            if file.rpartition("/")[0] not in mounts:
                yield f"{pod.name}: {file} is not mounted"
        named = {file for file in named_files(pod.settings) if file.startswith("/etc/outboard/")}
        if named != (projected := projected_files(pod)):
            yield f"{pod.name}: it is told of {sorted(named - projected)} and has them not, or not of {sorted(projected - named)}"
        writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
        if not {"/tmp", "/var/lib/outboard"} <= writable:  # noqa: S108 - the container's own
            yield f"{pod.name}: only {sorted(writable)} can be written to"
        if _TLS in mounts and "tls" not in pod.settings["service"]:
            yield f"{pod.name}: it has a certificate, and is not told"


def _single_files(pod: Pod) -> Iterator[str]:
    """Yield the files that are no references: of arguments, TLS and environment."""
    yield from (each.partition("=")[2] for each in pod.container["args"] if each.startswith("--settings="))
    tls = pod.settings["service"].get("tls", {})
    yield from (tls[key] for key in ("certificate", "key", "client_ca") if key in tls)
    for each in pod.container["env"]:
        if each["name"].endswith(("_FILE", "_BUNDLE", "_PATH")) and "value" in each:
            yield each["value"]


def grace_outlives_the_drain(objects: Objects) -> Iterator[str]:
    """The grace period is what the service takes at most, by its own word, and a sleep before that."""
    for pod in replicas(objects):
        told = pod.settings["service"]
        sleep = pod.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep(0)"])[-1]
        takes = grace_s(ServiceSettings(linger_s=told["linger_s"], drain_s=told["drain_s"]))
        before = float(sleep.partition("sleep(")[2].rstrip(")")) + takes
        if pod.spec["terminationGracePeriodSeconds"] != math.ceil(before):
            yield f"{pod.name}: {pod.spec['terminationGracePeriodSeconds']} s, and its end takes {before:g}"


def _first(objects: Objects) -> Pod:
    return next(replicas(objects))


def _tests_pod(objects: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Pod"][0]["spec"]
    return spec


RULES: Final = (
    Rule(
        name="pods are restricted",
        look=pods_are_restricted,
        planted={
            "a root to write to": lambda objects: (
                _first(objects).container["securityContext"].pop("readOnlyRootFilesystem")
            ),
            "a token of the pod": lambda objects: _first(objects).spec.update(automountServiceAccountToken=True),
            "a token of the test's": lambda objects: _tests_pod(objects).pop("automountServiceAccountToken"),
            "a token of the account": lambda objects: objects["ServiceAccount"][0].pop("automountServiceAccountToken"),
            "a token without need": lambda objects: objects.pop("RoleBinding"),
            "a full disk": lambda objects: _first(objects).volume("/var/lib/outboard").update(emptyDir={}),
            "all memory": lambda objects: _first(objects).container["resources"].pop("limits"),
            "the test as root": lambda objects: _tests_pod(objects)["securityContext"].update(runAsUser=0),
        },
    ),
    Rule(
        name="files that are named are mounted",
        look=files_are_mounted,
        planted={
            "a mount": lambda objects: _first(objects).container["volumeMounts"].pop(),
            "a volume": lambda objects: _first(objects).spec["volumes"].pop(),
            "the certificate's place": lambda objects: _first(objects).mounts[_TLS].update(mountPath="/etc/tls"),
            "its renewal": lambda objects: _first(objects).mounts[_TLS].update(subPath="tls.crt"),
            "a home": lambda objects: _first(objects).mounts["/var/lib/outboard"].update(readOnly=True),
            "the settings' place": lambda objects: (
                _first(objects).mounts["/etc/outboard/settings"].update(mountPath="/x")
            ),
        },
    ),
    Rule(
        name="the grace period outlives linger and drain",
        look=grace_outlives_the_drain,
        planted={
            "too short": lambda objects: _first(objects).spec.update(terminationGracePeriodSeconds=15),
            "a sleep more": lambda objects: _first(objects).container.update(
                lifecycle={"preStop": {"exec": {"command": ["python", "-c", "import time; time.sleep(5)"]}}}
            ),
            "Kubernetes' own": lambda objects: _first(objects).spec.pop("terminationGracePeriodSeconds"),
        },
    ),
)
