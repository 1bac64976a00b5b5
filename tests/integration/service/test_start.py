"""A start waits for no platform: the service is ready while every name hangs that it would look up, and every connection."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration.service.served import HERE
from integration.service.test_admin import told
from outboard.agent.discovery import installed
from outboard.engine.remote import RemoteEndpoint

BLACK_HOLE = """
import os, socket, threading

def hanging(real, is_free):
    def asked(*arguments, **named):
        if is_free(*arguments):
            return real(*arguments, **named)
        with open(os.environ["ASKED"], "a") as file:
            file.write(repr(arguments) + "\\n")
        threading.Event().wait()
    return asked

def is_loopback(*arguments):
    where = arguments[-1] if isinstance(arguments[-1], tuple) else arguments[0]
    host = where[0] if isinstance(where, tuple) else where
    return host in (None, "", "localhost", "::1") or str(host).startswith(("127.", "/", "\\0"))

class Socket(socket.socket):
    def connect(self, where):
        return hanging(super().connect, lambda at: isinstance(at, (str, bytes)) or is_loopback(at))(where)

socket.getaddrinfo = hanging(socket.getaddrinfo, lambda host, *rest, **named: is_loopback(host))
socket.socket = Socket
"""
SETTINGS: dict[str, Any] = {
    "service": {
        "port": 0,
        "admin_port": 0,
        "host": "127.0.0.1",
        "access": {
            "callers": {
                "fleet": {"jwt": {"issuer": "https://issuer.nowhere.example", "audience": "outboard"}},
                "here": {"networks": ["127.0.0.0/8"]},
            }
        },
    },
    "log": {"format": "json"},
    "host": {
        "records": "s3://nowhere.example/records",
        "replicas_dns": "replicas.nowhere.example",
        "tracing": {"endpoint": "https://otlp.nowhere.example"},
        "secrets": {
            "stores": [
                {"kind": "vault", "address": "https://vault.nowhere.example", "token_file": "/nowhere/token"},
                {
                    "kind": "vault",
                    "name": "roles",
                    "address": "https://vault.nowhere.example",
                    "kubernetes": {"role": "outboard"},
                },
                {"kind": "kubernetes", "server": "https://kubernetes.nowhere.example"},
                {"kind": "aws", "region": "eu-west-1", "endpoint": "https://aws.nowhere.example"},
                {"kind": "gcp", "project": "nowhere"},
                {"kind": "azure", "vault": "https://nowhere.vault.azure.net"},
            ]
        },
    },
    "platforms": {
        "athena": {
            "region": "eu-west-1",
            "endpoint": "https://athena.nowhere.example",
            "output_location": "s3://bucket/r/",
        },
        "bigquery": {"endpoint": "https://bigquery.nowhere.example", "token_uri": "https://token.nowhere.example"},
        "databricks": {
            "default_instance": "https://databricks.nowhere.example",
            "allowed_hosts": ["*.nowhere.example"],
        },
        "snowflake": {"account": "nowhere-example"},
        "sql": {
            "connections": {"db": {"kind": "postgresql", "host": "db.nowhere.example", "database": "d", "user": "u"}}
        },
        "embedded": {},
        "files": {},
    },
}


async def test_a_service_is_ready_while_every_platform_and_every_name_hangs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLACK_HOLE, encoding="utf-8")
    file = tmp_path / "outboard.yaml"
    file.write_text(json.dumps(SETTINGS), encoding="utf-8")
    assert set(SETTINGS["platforms"]) == set(installed())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outboard", "serve", "--settings", str(file)),
        cwd=HERE,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "ASKED": str(tmp_path / "asked"),
            "OUTBOARD_HOME": str(tmp_path / "home"),
            "AWS_EC2_METADATA_DISABLED": "false",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        while not any("admin port is open" in line for line in lines):
            line = (await process.stderr.readline()).decode()
            assert line, lines
            lines.append(line)
        ready = next(line for line in lines if line.startswith("outboard serves "))
        assert "not loaded" not in ready
        admin_port = next(json.loads(line)["port"] for line in lines if "admin port is open" in line)
        assert [(await told(admin_port, page))[0] for page in ("/healthz", "/readyz", "/agents")] == [200, 200, 200]
        address = ready.split(" on ")[1].split(":", 2)
        target = ":".join(address[:2])
        async with grpc.aio.insecure_channel(target) as channel:
            check = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert check.status == health_pb2.HealthCheckResponse.SERVING
        async with RemoteEndpoint.at(target, timeout_s=30) as remote:
            assert len(await remote.list_agents()) >= len(SETTINGS["platforms"])
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 100)
    assert process.returncode == 0
