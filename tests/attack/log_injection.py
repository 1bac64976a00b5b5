"""Log injection over a real socket: names, messages and metadata that try to end a line, forge one, or drive a terminal.

For each place that a caller or platform writes to, and each payload: the call is made, what the service wrote to its log since
is read as bytes, and nothing in it may be a control character, a forged line, or a line beyond its length. Both forms of
the log are attacked, and the service must be healthy after each.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration.service.probe import make_task
from outboard.engine.remote import RemoteEndpoint
from outboard.errors import OutboardError
from tables.sections import Section

_HERE: Final = Path(__file__).parent
_FORGED: Final = '{"event": "forged", "level": "error"}'
PAYLOADS: Final[Mapping[str, str]] = {
    "newline": f"\n{_FORGED}\n",
    "carriage return": f"\r{_FORGED}",
    "CR LF": f"\r\n{_FORGED}\r\n",
    "ANSI escapes": "\x1b[2K\x1b[1A\x1b[31mforged\x1b[0m\x1b]0;title\x07",
    "C1 escape": "\x9b2Kforged",
    "NUL": "a\x00b",
    "bidi": "a\u202edegrof\u202c\u2066b\u2069",
    "unseen": "a\u200b\u200d\ufeff\u2028b\u2029\U000e0041",
    "JSON breaking": '","event":"forged","level":"error","x":"',
    "format strings": "%s %n %(event)s {event} {0.__class__} ${jndi:ldap://x/a}",
    "markup": "[bold red]forged[/] <script>forged</script>",
    "1 MB name": "x" * 1_000_000,
}
_UNSAFE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0041]")
_LONGEST_LINE: Final = 32_768
_COLUMNS: Final = ("form", "place", "payload", "answered", "line", "forged", "healthy")
_SHOWN: Final = 60
_METADATA_BYTES: Final = 2_000
_STORM_CALLS: Final = 5_000
_AT_ONCE: Final = 500
_ALLOWED_AT_ONCE: Final = 100
_ALLOWED_PER_SECOND: Final = 10


@dataclass(kw_only=True)
class Attacked:
    """A service under attack, and its log."""

    form: str
    remote: RemoteEndpoint
    health: Any
    log: Path
    read_bytes: int = 0

    def news(self) -> bytes:
        """What was written since the last look."""
        data = self.log.read_bytes()[self.read_bytes :]
        self.read_bytes += len(data)
        return data

    async def heard(self, mark: str) -> bytes:
        """What was written since the last look, up to a line of ours that comes after all the others."""
        # A job that starts: such lines are not left out in a storm, as those of refused calls are.
        await self.remote.create_task(make_task("echo", config={}, node=mark))
        heard, give_up = b"", time.monotonic() + 30
        while mark.encode() not in heard:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{mark} is not in the log")
            await asyncio.sleep(0.01)
            heard += self.news()
        return heard

    async def is_healthy(self) -> bool:
        answer = await self.health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _read(log: Path) -> bytes:
    return log.read_bytes()


Attack = Callable[[Attacked, str], Awaitable[object]]


async def _create(attacked: Attacked, **fields: Any) -> object:
    return await attacked.remote.create_task(make_task(**{"task_type": "echo", "config": {}, **fields}))


def _as(name: str) -> Attack:
    async def attack(attacked: Attacked, text: str) -> object:
        task = make_task("echo", config={"job": 7})  # refused, and so logged, with the identity
        return await attacked.remote.create_task(
            replace(task, identity=replace(task.identity, **cast("Any", {name: text})))
        )

    return attack


async def _polled(attacked: Attacked, text: str) -> object:
    task = make_task("echo", config={"state": text}, node=f"n{hash(text)}")
    handle = await attacked.remote.create_task(task)
    return (await attacked.remote.get_task(handle, task_type=task.task_type)).phase.value


async def _with_metadata(attacked: Attacked, text: str) -> object:
    # gRPC's client refuses other texts in headers; of binary ones it takes any byte.
    metadata: list[tuple[str, str | bytes]] = [("x-note-bin", text.encode()[:_METADATA_BYTES])]
    if text.isascii() and text.isprintable():
        metadata += [(name, text[:_METADATA_BYTES]) for name in ("traceparent", "x-request-id", "authorization")]
    call = attacked.remote._connections._current.channel.unary_unary("/flyteidl.service.AsyncAgentService/GetTask")
    return await call(b"\xff", metadata=metadata, timeout=10)


PLACES: Final[Mapping[str, Attack]] = {
    "task type": lambda attacked, text: _create(attacked, task_type=f"t{text}"),
    "project": _as("project"),
    "execution": _as("execution"),
    "node id": _as("node"),
    "configuration key": lambda attacked, text: _create(attacked, config={f"job{text}": "1"}, node=f"c{hash(text)}"),
    "job id": lambda attacked, text: _create(attacked, config={"job": f"j{text}"}, node=f"j{hash(text)}"),
    "platform's state": _polled,
    "platform's words": lambda attacked, text: _create(attacked, config={"refusal": text}, node=f"w{hash(text)}"),
    "metadata": _with_metadata,
}


@asynccontextmanager
async def attacked(form: str) -> AsyncIterator[Attacked]:
    """A service in a process of its own whose log is a file."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        arguments = ("serve", "--port", "0", "--platforms", "", "--agents", "echoing:Echoing", "--log-format", form)
        with log.open("wb") as written:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "outboard", *arguments,
                cwd=_HERE, env={**os.environ, "TMPDIR": folder, "OUTBOARD_LOG_LEVEL": "info"},
                stderr=written, stdout=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        try:
            address = await _address(process, log)
            async with RemoteEndpoint.at(address, timeout_s=20) as remote:
                health = health_pb2_grpc.HealthStub(remote._connections._current.channel)
                yield Attacked(form=form, remote=remote, health=health, log=log)
        finally:
            process.terminate()
            await process.wait()


async def _address(process: asyncio.subprocess.Process, log: Path) -> str:
    while not (found := re.search(rb"outboard serves .* on (\S+):", written := _read(log))):
        if process.returncode is not None:
            raise RuntimeError(written.decode(errors="replace"))
        await asyncio.sleep(0.02)
    return found[1].decode()


async def _attack(place: str, payload: str, service: Attacked) -> tuple[dict[str, Any], list[str]]:
    """Make one attack and return its row, and what is not as promised."""
    try:
        answer = await PLACES[place](service, PAYLOADS[payload])
        answered = answer if isinstance(answer, str) else "OK"
    except grpc.aio.AioRpcError as error:
        answered = error.code().name
    except OutboardError as error:
        answered = type(error).__name__
    heard = await service.heard(f"mark-{place[:3]}-{payload[:3]}-{time.monotonic_ns()}")
    is_healthy = await service.is_healthy()
    written = [line for line in heard.decode(errors="replace").split("\n") if line]
    forged = sum(_is_forged(line, service.form) for line in written)
    failures = [f"{service.form}: {place}, {payload}: {words}" for words in _complaints(heard, written, service.form)]
    if forged:
        failures.append(f"{service.form}: {place}, {payload}: {forged} forged lines")
    if not is_healthy:
        failures.append(f"{service.form}: the service is not healthy after {place}, {payload}")
    row = {
        "form": service.form,
        "place": place,
        "payload": payload,
        "answered": answered[:30],
        "line": _shown(written, place),
        "forged": forged,
        "healthy": is_healthy,
    }
    return row, failures


def _complaints(heard: bytes, written: Sequence[str], form: str) -> Iterator[str]:
    found = _UNSAFE.search(heard.decode(errors="replace"))
    if found:
        yield f"{found[0]!r} is in the log"
    if any(len(line) > _LONGEST_LINE for line in written):
        yield "a line is too long"
    if form == "json":
        for line in written:
            try:
                fields = json.loads(line)
            except ValueError:
                yield f"a line is no JSON: {line[:80]!r}"
            else:
                if _UNSAFE.search(json.dumps(fields, ensure_ascii=False).replace("\\n", "\n")):
                    yield "what a reader decodes is not legible"


def _is_forged(line: str, form: str) -> bool:
    if form == "json":
        with suppress(ValueError):
            return bool(json.loads(line).get("event") == "forged")
        return True
    return re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[\w+ *\] ", line) is None


def _shown(written: Sequence[str], place: str) -> str:
    """The part of the line that shows what was written to the place."""
    name = {
        "task type": "task_type", "project": "project", "execution": "execution", "node id": "node", "job id": "job",
        "platform's state": "state", "platform's words": "reason", "configuration key": "field", "metadata": "operation",
    }[place]  # fmt: skip
    for line in written:
        found = re.search(rf'"?\b{name}"?[=:] ?(.{{1,{_SHOWN}}})', line)
        if found and "mark-" not in found[1]:
            return found[1]
    return ""


async def _table(form: str) -> Section:
    began, rows, failures = time.monotonic(), [], list[str]()
    async with attacked(form) as service:
        service.news()
        for place in PLACES:
            for payload in PAYLOADS:
                row, found = await _attack(place, payload, service)
                rows.append(row)
                failures += found
    if len(rows) != len(PLACES) * len(PAYLOADS):
        failures.append("not every attack was made")
    return Section(
        title=f"Log injection, log lines as {form}",
        columns=_COLUMNS,
        rows=rows,
        failures=failures,
        notes=[f"`line` is what the log shows of it, {_SHOWN} characters of it here."],
        seconds=time.monotonic() - began,
    )


async def _storm() -> Section:
    """Return what thousands of bad calls at once leave in the log, whose lines would fill a disk."""
    began = time.monotonic()
    async with attacked("json") as service:
        service.news()
        call = service.remote._connections._current.channel.unary_unary("/flyteidl.service.AsyncAgentService/GetTask")
        for _ in range(_STORM_CALLS // _AT_ONCE):
            await asyncio.gather(*(call(b"\xff", timeout=20) for _ in range(_AT_ONCE)), return_exceptions=True)
        sent_s = time.monotonic() - began
        lines = [json.loads(line) for line in (await service.heard("mark-storm")).splitlines()]
        await asyncio.sleep(0.2)  # one more may be written by then, and says how many were not
        with suppress(grpc.aio.AioRpcError):
            await call(b"\xff", timeout=20)
        lines += [json.loads(line) for line in (await service.heard("mark-after")).splitlines()]
        is_healthy = await service.is_healthy()
    written = [line for line in lines if line["event"] == "call failed"]
    left_out = sum(line.get("left_out", 0) for line in written)
    most = round(_ALLOWED_AT_ONCE + (sent_s + 5) * _ALLOWED_PER_SECOND)
    failures = [
        words
        for words, is_so in (
            (f"{len(written)} lines were written, of {most} at most", len(written) <= most),
            (
                f"{len(written)} lines and {left_out} left out are not all calls",
                len(written) + left_out == _STORM_CALLS + 1,
            ),
            ("the service is not healthy afterwards", is_healthy),
        )
        if not is_so
    ]
    row = {"calls": _STORM_CALLS + 1, "lines": len(written), "left out": left_out, "healthy": is_healthy}
    return Section(
        title="A storm of bad calls",
        columns=tuple(row),
        rows=[row],
        failures=failures,
        notes=["The line after the storm says how many were left out."],
        seconds=time.monotonic() - began,
    )


def sections() -> list[Section]:
    """Return the tables: each form of the log under every attack, and a storm."""
    return [*(asyncio.run(_table(form)) for form in ("json", "pretty")), asyncio.run(_storm())]
