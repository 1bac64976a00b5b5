"""The real service, told what the rendered ConfigMap says, with the rendered arguments and variables, probed as is rendered.

Ports are the system's and paths are of this machine; everything else stays as it was rendered. After it, SIGTERM: the service
must end by itself within the pod's grace period.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
import trustme
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.placed import Placed
from deploy.releases import Release, releases, settings_of
from deploy.tools import free_ports
from real_parts import NotToBeHad
from tables.sections import Section

_LIMIT_S: Final = 60.0
_WELL: Final = ("ok", "issuer")
_ISSUER: Final = "https://kubernetes.default.svc"
_PORTS: Final = ("port", "metrics_port", "admin_port", "callbacks_port")


def sections() -> Iterator[Section]:
    """Serve all releases."""
    try:
        yield served()
    except NotToBeHad as error:
        yield Section(title="The real service", skipped=str(error))


def served(*names: str) -> Section:
    """Serve each Deployment of the releases; of all where none is named."""
    rows, failures = [], []
    for release in releases():
        if names and release.name not in names:
            continue
        for deployment in release.of("Deployment"):
            row = {"values": release.name, "deployment": deployment["metadata"]["name"]}
            row |= asyncio.run(_serve(release, deployment))
            rows.append(row)
            failures += _faults(row)
    columns = (
        "values",
        "deployment",
        "startup",
        "readiness",
        "liveness",
        "metrics",
        "health",
        "stranger",
        "doctor",
        "ended",
        "ended_s",
        "grace_s",
    )
    return Section(
        title="The real service, told and probed as rendered",
        columns=columns,
        rows=rows,
        failures=failures,
    )


def _faults(row: dict[str, Any]) -> list[str]:
    where = f"{row['values']}, {row['deployment']}"
    asked = {name: row[name] for name in ("startup", "readiness", "liveness", "metrics", "health")}
    found = [f"{where}: {name} says {said}: {row['log']}" for name, said in asked.items() if said not in ("ok", "-")]
    if "not loaded" in row["log"].replace("is not loaded here", ""):
        found.append(f"{where}: a platform is not loaded: {row['log']}")
    if row["doctor"] not in _WELL:
        found.append(f"{where}: the doctor says {row['doctor']}")
    if row["stranger"] != row["stranger_wanted"]:
        found.append(f"{where}: a stranger is told {row['stranger']}, and should be told {row['stranger_wanted']}")
    if row["ended"] != 0 or row["ended_s"] > row["grace_s"]:
        found.append(f"{where}: it ended with {row['ended']} after {row['ended_s']} s: {row['log']}")
    return found


def _settings(release: Release, deployment: dict[str, Any]) -> dict[str, Any]:
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    name = next(volume["configMap"]["name"] for volume in volumes if volume["name"] == "settings")
    return settings_of(release.named("ConfigMap", name))


async def _serve(release: Release, deployment: dict[str, Any]) -> dict[str, Any]:
    pod = deployment["spec"]["template"]["spec"]
    container = next(each for each in pod["containers"] if each["name"] == "outboard")
    with tempfile.TemporaryDirectory(prefix="outboard-served-") as scratch:
        placed = Placed(Path(scratch))
        settings = _moved(_settings(release, deployment), placed)
        (Path(scratch) / "settings.yaml").write_text(yaml.safe_dump(settings))
        log = Path(scratch) / "log"
        with log.open("wb") as written:
            process = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("outboard")),
                *_arguments(container, Path(scratch)),
                env=_environment(container, Path(scratch)),
                stdout=written,
                stderr=written,
                cwd=scratch,
            )
        row: dict[str, Any] = {}
        try:
            for probe in ("startup", "readiness", "liveness"):
                row[probe] = await _probe(container[f"{probe}Probe"], settings["service"], process)
            row["metrics"] = await _asked(settings["service"].get("metrics_port"), "/metrics", process)
            authority = placed.authority if "tls" in settings["service"] else None
            row["health"] = await _health_in_the_end(settings["service"], authority, process)
            row["stranger"] = await _stranger(settings["service"], authority)
            row["doctor"] = await _doctor(release, deployment, settings["service"], placed, Path(scratch))
        finally:
            began = time.monotonic()
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            grace = pod["terminationGracePeriodSeconds"]
            try:
                await asyncio.wait_for(process.wait(), grace)
            except TimeoutError:
                process.kill()
        return {
            **row,
            "stranger_wanted": _wanted(settings["service"]),
            "ended": process.returncode,
            "ended_s": round(time.monotonic() - began, 1),
            "grace_s": grace,
            "log": log.read_text(errors="replace")[-600:],
        }


def _moved(settings: dict[str, Any], placed: Placed) -> dict[str, Any]:
    """Return settings for this machine."""
    moved = placed.moved(settings)
    service = moved["service"]
    ports = [name for name in _PORTS if name in service]
    service.update(dict(zip(ports, free_ports(len(ports)), strict=True)), linger_s=min(service["linger_s"], 1))
    return moved


def _arguments(container: dict[str, Any], home: Path) -> list[str]:
    given = [each for each in container["args"] if not each.startswith("--settings=")]
    return [*given, f"--settings={home / 'settings.yaml'}"]


def _environment(container: dict[str, Any], home: Path) -> dict[str, str]:
    keys = base64.b64encode(secrets.token_bytes(32)).decode()
    given = {
        each["name"]: each.get("value", keys)
        for each in container["env"]
        if not each["name"].endswith(("_FILE", "_BUNDLE", "_PATH", "_HEADERS"))
    }
    cluster = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "9"}
    return {"PATH": os.environ["PATH"], **cluster, **given, "OUTBOARD_HOME": str(home / "home"), "TMPDIR": str(home)}


async def _probe(probe: dict[str, Any], service: dict[str, Any], process: asyncio.subprocess.Process) -> str:
    """Return `ok`, what was answered at the end, or `-` where this service has no such port."""
    if "httpGet" in probe:
        return await _asked(service.get(f"{probe['httpGet']['port']}_port"), probe["httpGet"]["path"], process)
    return await _health_in_the_end(service, None, process)


async def _health_in_the_end(
    service: dict[str, Any], authority: trustme.CA | None, process: asyncio.subprocess.Process
) -> str:
    end = time.monotonic() + _LIMIT_S
    said = "nothing"
    while said != "ok" and time.monotonic() < end and process.returncode is None:
        said = await _health(service["port"], authority)
    return said


async def _health(port: int, authority: trustme.CA | None) -> str:
    """Ask gRPC's health service; with an authority over TLS, as a client that has a certificate of it."""
    target = f"localhost:{port}"
    if authority is None:
        channel = grpc.aio.insecure_channel(target)
    else:
        own = authority.issue_cert("engine")
        shown = own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes()
        channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(authority.cert_pem.bytes(), *shown))
    async with channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            await asyncio.sleep(0.2)
            return str(error.code())
    return "ok" if answer.status == health_pb2.HealthCheckResponse.SERVING else "NOT_SERVING"


async def _stranger(service: dict[str, Any], authority: trustme.CA | None) -> str:
    """Return what somebody without token and certificate is told who lists the agents."""
    address = f"localhost:{service['port']}"
    if authority is None:
        channel = grpc.aio.insecure_channel(address)
    else:
        channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority.cert_pem.bytes()))
    async with channel:
        listing = channel.unary_unary("/flyteidl.service.AgentMetadataService/ListAgents")
        try:
            await listing(b"", timeout=5)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return "ok"


def _wanted(service: dict[str, Any]) -> str:
    access = service.get("access")
    if "client_ca" in service.get("tls", {}):
        return "UNAVAILABLE"
    is_open = access is None or "anonymous" in access or access.get("metadata") == "anyone"
    return "ok" if is_open else "UNAUTHENTICATED"


async def _doctor(
    release: Release, deployment: dict[str, Any], service: dict[str, Any], placed: Placed, home: Path
) -> str:
    """Carry out what the test pod of a Deployment does, and return `ok` or what the doctor found.

    A token of this cluster can be checked by its API server alone, and there is none: then a token of none is refused, and it is
    `issuer`.
    """
    pod = release.named("Pod", f"{deployment['metadata']['name']}-doctor")["spec"]
    trusted = {each["name"]: each["value"] for each in pod["containers"][0].get("env", [])}
    written = release.named("ConfigMap", deployment["metadata"]["name"])["data"]["client.yaml"]
    (home / "client.yaml").write_text(yaml.safe_dump(placed.moved(yaml.safe_load(written))))
    options = [each for each in pod["containers"][0]["args"][1:] if not each.startswith(("--endpoint=", "--settings="))]
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("outboard")),
        "doctor",
        f"--endpoint=localhost:{service['port']}",
        f"--settings={home / 'client.yaml'}",
        *options,
        env={"PATH": os.environ["PATH"], "OUTBOARD_HOME": str(home / "home"), **placed.moved(trusted)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=home,
    )
    said, _ = await process.communicate()
    if (
        process.returncode
        and _ISSUER in str(service.get("access"))
        and "the bearer token is none that is known here" in said.decode()
    ):
        return "issuer"
    return "ok" if process.returncode == 0 else said.decode()[-400:]


async def _asked(port: int | None, path: str, process: asyncio.subprocess.Process) -> str:
    if port is None:
        return "-"
    end = time.monotonic() + _LIMIT_S
    said = "nothing"
    async with aiohttp.ClientSession() as session:
        while said != "ok" and time.monotonic() < end and process.returncode is None:
            try:
                async with session.get(f"http://localhost:{port}{path}") as answer:
                    said = "ok" if answer.ok else f"{answer.status} {(await answer.text())[:100]}"
            except aiohttp.ClientError as error:
                said = type(error).__name__
            if said != "ok":
                await asyncio.sleep(0.2)
    return said
