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
import socket
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

from deploy.releases import Release, releases, settings_of
from real_parts import NotToBeHad
from tables.sections import Section

_LIMIT_S: Final = 60.0
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
    if row["health"] != "ok":
        found.append(f"{where}: it does not serve")
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
        settings, authority = _moved(_settings(release, deployment), Path(scratch))
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
            row["health"] = await _health_in_the_end(settings["service"], authority, process)
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
            "ended": process.returncode,
            "ended_s": round(time.monotonic() - began, 1),
            "grace_s": grace,
            "log": log.read_text(errors="replace")[-600:],
        }


def _moved(settings: dict[str, Any], home: Path) -> tuple[dict[str, Any], trustme.CA | None]:
    """Return settings for this machine."""
    service = dict(settings["service"])
    ports = [name for name in _PORTS if name in service]
    service.update(dict(zip(ports, _free_ports(len(ports)), strict=True)), linger_s=min(service["linger_s"], 1))
    authority = None
    if "tls" in service:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(home / "tls.crt")
        issued.private_key_pem.write_to_path(home / "tls.key")
        authority.cert_pem.write_to_path(home / "ca.crt")
        service["tls"] = {
            key: str(home / Path(value).name) if isinstance(value, str) else value
            for key, value in service["tls"].items()
        }
    return {**settings, "service": service}, authority


def _arguments(container: dict[str, Any], home: Path) -> list[str]:
    given = [each for each in container["args"] if not each.startswith("--settings=")]
    return [*given, f"--settings={home / 'settings.yaml'}"]


def _environment(container: dict[str, Any], home: Path) -> dict[str, str]:
    keys = base64.b64encode(secrets.token_bytes(32)).decode()
    given = {
        each["name"]: each.get("value", keys)
        for each in container["env"]
        if not each["name"].endswith(("_FILE", "_BUNDLE", "_PATH"))
    }
    return {"PATH": os.environ["PATH"], **given, "OUTBOARD_HOME": str(home / "home"), "TMPDIR": str(home)}


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


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
