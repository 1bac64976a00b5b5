"""What those see who look at a service from outside its calls: its collector of traces, its admin port, and the command line.

For attacks that search all of it for secrets.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from otlp_sinks import grpc_sink

Take = Callable[[str, object], None]
PAGES: Final = ("/agents", "/loglevel", "/readyz", "/healthz", "/metrics")
_LIMIT_S: Final = 60.0
_AGENTS: Final = ("--platforms", "", "--agents", "attack.gossips:GossipPlatform")


@contextmanager
def collector(take: Take, login: str) -> Iterator[Mapping[str, Any]]:
    """Collect traces while it is open, and give the settings of who sends them.

    Args:
        take: Gets what came.
        login: What the collector is logged in to with; it comes as a header, and must not be in what is told.
    """
    with grpc_sink() as sink:
        yield {"endpoint": sink.endpoint, "headers": {"x-api-key": login}, "sample_ratio": 1}
    for data in sink.raw:
        take("traces", data)
    for span in sink.spans:
        take("traces", repr(span))
    if not all(headers.get("x-api-key") == login for headers in sink.headers):
        raise AssertionError("the collector was not logged in to, so its login was not tried")


def set_level(port: int, level: str) -> None:
    """Let a service log more, or less."""
    read_page(f"http://127.0.0.1:{port}/loglevel", level.encode(), "PUT")


def take_pages(port: int, take: Take) -> None:
    """Read every page of the admin port."""
    for page in PAGES:
        take(f"admin port: {page}", read_page(f"http://127.0.0.1:{port}{page}"))


async def take_commands(settings: Path, environment: Mapping[str, str], handles: Sequence[bytes], take: Take) -> None:
    """Ask the command line about the same settings, and about jobs by their handles.

    Args:
        settings: The settings' file.
        environment: Of the commands.
        handles: Of jobs; the agents that are asked about them tell what they know.
        take: Gets what was printed.
    """
    with_settings = ("--settings", str(settings))
    whose = ("--project", "p", "--domain", "d")
    commands = [("config", "--show", *with_settings), ("config", "--show", "--json", *with_settings)]
    commands += [("doctor", "--json", *_AGENTS, *with_settings, *whose), ("doctor", *_AGENTS, *with_settings, *whose)]
    for handle in handles:
        commands.append(("explain", base64.b64encode(handle).decode(), "--json", *_AGENTS, *with_settings))
    for command in commands:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outboard", *command),
            env=dict(environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), _LIMIT_S)
        if not out.strip():
            raise AssertionError(f"outboard {command[0]} said nothing: {err[-500:].decode(errors='replace')}")
        if "--json" in command:
            json.loads(out)  # whatever agents print
        take(f"outboard {command[0]}", out + err)


def read_page(url: str, body: bytes | None = None, verb: str = "GET") -> bytes:
    """Return what a port of HTTP answers."""
    request = urllib.request.Request(url, data=body, method=verb)  # noqa: S310 - of this machine
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return bytes(answer.read())
