"""Secrets under attack: canaries planted in every source and looked for wherever something leaves, and names that lead elsewhere.

Agents (`gossips`) tell all their secrets in every way they can; afterwards every byte that left is searched for every canary (see
`canaries`). A part of a run without anything to search is a failure, and so is a run in which redaction had nothing to do.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import grpc
import yaml

from attack.canaries import CANARIES, CREDENTIALS, REDACTED, Haul
from attack.interviews import interview
from attack.onlookers import PAGES, read_page, set_level, take_commands, take_pages
from attack.planting import planted
from attack.secret_names import names
from outboard.host import HostSettings
from outboard.host.codecs import Codecs
from real_parts import NotToBeHad, install
from secret_servers import Bao, bao
from tables.sections import Section

_LIMIT_S: Final = 60.0
_SHAPES: Final[Mapping[str, Sequence[str]]] = {
    "one process, json": ("--log-format", "json"),
    "isolated platform, pretty": ("--log-format", "pretty", "--isolate", "attack.gossips:GossipPlatform"),
    "two workers, json": ("--log-format", "json", "--processes", "2"),
}
PLACES: Final = ("standard error", "standard output", "answers", "answers at once", "errors and trailers", "handles",
                 "handles, opened", "metrics page", "records and outputs", "log stream", "task metrics", "traces",
                 "outboard config", "outboard doctor", "outboard explain",
                 *(f"admin port: {page}" for page in PAGES))  # fmt: skip
"""Where a service lets something out, and what is said of it."""


def sections() -> Iterator[Section]:
    """Return the tables, one after the other."""
    yield canaries()
    yield names()


def canaries(shapes: Sequence[str] = tuple(_SHAPES)) -> Section:
    """Plant canaries in every source, let agents tell them in every way, and search what left."""
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    try:
        python = install("openbao")
    except NotToBeHad as error:
        return Section(title="canary secrets", skipped=str(error))
    with bao(python, _free_port()) as server:
        for shape in shapes:
            haul = asyncio.run(_serve_and_ask(server, _SHAPES[shape]))
            rows += haul.rows(shape)
            failures += haul.faults(shape, PLACES)
        for shape, name in (("outboard run", "run"), ("outboard run, start-up fails", "refused")):
            haul = asyncio.run(_run(server, name))
            rows += haul.rows(shape)
            failures += haul.faults(shape, ("console",))
    return Section(
        title="canary secrets: hits after agents told them in every way",
        columns=("how", "searched", "bytes", "canaries", "redactions", "hits"),
        rows=rows,
        failures=failures,
        notes=[
            f"sources: {', '.join((*CANARIES, *CREDENTIALS))}, and the token that we log in to Vault with",
            "each is looked for in plain text, JSON, URL, base64 at every offset, Python's notation, hexadecimal digits",
        ],
    )


async def _serve_and_ask(server: Bao, options: Sequence[str]) -> Haul:
    haul = Haul()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings, environment = await stack.enter_async_context(planted(server, folder, haul))
        metrics_port, admin_port = _free_port(), _free_port()
        isolated = () if "--isolate" in options else ("--agents", "attack.gossips:GossipPlatform")
        command = [sys.executable, "-m", "outboard", "serve", "--port", "0", "--platforms", "", *isolated, *options]
        command += ["--settings", str(settings), "--metrics-port", str(metrics_port), "--admin-port", str(admin_port)]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said: list[bytes] = []
        printed: list[bytes] = []
        reading = [asyncio.ensure_future(_read_on(process.stdout, printed))]
        try:
            address = await asyncio.wait_for(_until_ready(process, said), _LIMIT_S)
            reading.append(asyncio.ensure_future(_read_on(process.stderr, said)))
            await asyncio.to_thread(set_level, admin_port, "debug")
            async with grpc.aio.insecure_channel(address) as channel:
                await asyncio.wait_for(interview(channel, folder, haul), _LIMIT_S)
            await asyncio.to_thread(take_pages, admin_port, haul.take)
            haul.take("metrics page", await asyncio.to_thread(read_page, f"http://127.0.0.1:{metrics_port}/metrics"))
        finally:
            await _end(process)
            await asyncio.gather(*reading)
        await take_commands(settings, environment, haul.told["handles"][::5], haul.take)
        haul.take("standard output", b"".join(printed))
        haul.take("standard error", b"".join(said))
        for path in [*(folder / "records").rglob("*"), *(folder / "out").rglob("*")]:
            if path.is_file():
                haul.take("records and outputs", str(path).encode() + path.read_bytes())
        settings_of_host = HostSettings.model_validate(yaml.safe_load(settings.read_text())["host"])
        codec = Codecs.of(settings_of_host).handles
        for handle in haul.told.get("handles", ()):
            haul.take("handles, opened", repr(codec.decode(handle)))
    return haul


async def _run(server: Bao, name: str) -> Haul:
    """Run tasks with `outboard run`, and search what it shows, its journal and what it leaves on disk."""
    haul = Haul()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings, environment = await stack.enter_async_context(planted(server, folder, haul))
        if name == "refused":
            text = settings.read_text().replace(
                "kind: vault", f"kind: vault\n      addres: {json.dumps(CANARIES['override'])}"
            )
            settings.write_text(text)
        for mode in ("broken",) if name == "refused" else ("broken", "done", "outputs", "rejected"):
            command = [sys.executable, "-m", "outboard", "run", "gossip", "-c", f"mode={mode}", "--platforms", ""]
            command += ["--agents", "attack.gossips:GossipPlatform", "--settings", str(settings)]
            command += ["--project", "p", "--domain", "d", "--journal", str(folder / "journal.db"), "-o", "o0=str"]
            command += ["--output-base", str(folder / "out")]
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            out, err = await asyncio.wait_for(process.communicate(), _LIMIT_S)
            haul.take("console", out + err)
        _take_disk(folder, haul)
    if name == "refused":
        haul.take("console", REDACTED)  # nothing was resolved, so nothing could be redacted
    return haul


def _take_disk(folder: Path, haul: Haul) -> None:
    """Search the journal's bytes, its rows, and the files that tasks left."""
    for path in folder.rglob("journal.db*"):
        haul.take("journal", path.read_bytes())
    if (folder / "journal.db").exists():
        with sqlite3.connect(folder / "journal.db") as journal:
            haul.take("journal", "\n".join(journal.iterdump()))
    for path in (folder / "out").rglob("*"):
        if path.is_file():
            haul.take("records and outputs", path.read_bytes())


async def _until_ready(process: asyncio.subprocess.Process, said: list[bytes]) -> str:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        said.append(line)
        if line.startswith(b"outboard serves "):
            return line.decode().split(" on ")[1].split(": ")[0].split(";")[0].strip()
    raise RuntimeError(f"the service ended: {b''.join(said)[-1000:].decode()}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a service: in order, then at once (its jobs refuse to be cancelled), then by force."""
    for end in (process.terminate, process.terminate, process.kill):
        with suppress(ProcessLookupError):
            end()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 4)
            return
    await process.wait()


async def _read_on(stream: asyncio.StreamReader | None, said: list[bytes]) -> None:
    assert stream is not None
    while part := await stream.read(65536):
        said.append(part)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
