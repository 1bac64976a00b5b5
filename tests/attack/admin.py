"""Attacks on the admin port: what strangers send, and whether probes still get their answer.

Every row is a service of its own process, attacked over real sockets; afterwards `/healthz` is asked, and gRPC's health.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration.service.served import Served, served
from integration.service.test_admin import ask, exchange
from tables.sections import Section

_COLUMNS: Final = ("attack", "sent", "answered", "probe", "gRPC health", "threads", "descriptors left")
_SLACK: Final = 8
"""Descriptors and threads that come and go with what the attack did not cause: a probe, a page."""
Attack = Callable[[int], Awaitable[tuple[int, str]]]


async def _slow_loris(port: int) -> tuple[int, str]:
    opened = []
    for _ in range(1000):
        with suppress(OSError):
            opened.append(await asyncio.open_connection("127.0.0.1", port))
            opened[-1][1].write(b"GET /healthz HT")
    status, _ = await ask(port, "/healthz")
    for _, writer in opened:
        writer.close()
    return len(opened), f"probe meanwhile {status}"


async def _each(port: int, requests: Sequence[bytes]) -> tuple[int, str]:
    counts: dict[str, int] = {}
    for request in requests:
        answer = b""
        with suppress(OSError, asyncio.TimeoutError):
            answer = await exchange(port, request)
        status = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else "cut off"
        counts[status] = counts.get(status, 0) + 1
    return len(requests), ", ".join(f"{status} x {count}" for status, count in sorted(counts.items()))


async def _header_bombs(port: int) -> tuple[int, str]:
    return await _each(port, [b"GET /healthz HTTP/1.1\r\n" + b"X-A: " + b"x" * 2**20 + b"\r\n\r\n"] * 20)


async def _bodies(port: int) -> tuple[int, str]:
    return await _each(port, [b"PUT /loglevel HTTP/1.1\r\nContent-Length: 104857600\r\n\r\n" + b"x" * 2**16] * 20)


async def _fuzz(port: int) -> tuple[int, str]:
    dice = random.Random(7)  # noqa: S311 - the same bytes each time
    return await _each(port, [dice.randbytes(dice.randrange(1, 300)) + b"\r\n\r\n" for _ in range(500)])


async def _foreign_changes(port: int) -> tuple[int, str]:
    forged = [b"X-Forwarded-For: 10.0.0.9", b"Origin: http://evil.example", b"Forwarded: for=10.0.0.9"]
    return await _each(
        port,
        [
            b"PUT /loglevel HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: 5\r\n\r\ndebug" % each
            for each in forged
        ],
    )


_ATTACKS: Final[dict[str, Attack]] = {
    "1,000 slow connections": _slow_loris,
    "headers of a megabyte": _header_bombs,
    "bodies of 100 MB": _bodies,
    "random bytes": _fuzz,
    "changes through a proxy or a browser": _foreign_changes,
}


def sections() -> list[Section]:
    """Run everything."""
    return [strangers()]


def strangers() -> Section:
    """Attack the admin port, and return what came of it."""
    return asyncio.run(_strangers())


async def _strangers() -> Section:
    rows: list[dict[str, Any]] = []
    async with served("--agents", "hostile:Calm", "--admin-port", "0") as service:
        port = int((await service.until(lambda: service.logged("admin port is open")))[0]["port"])
        await ask(port, "/healthz")
        before = _used(service)
        for name, attack in _ATTACKS.items():
            sent, answered = await attack(port)
            rows.append({"attack": name, "sent": sent, "answered": answered, **await _after(service, port, before)})
        level = (await ask(port, "/loglevel"))[1]
    failures = [
        f"{row['attack']}: {name} is {row[name]}"
        for row in rows
        for name, right in (("probe", 200), ("gRPC health", "SERVING"))
        if row[name] != right
    ]
    failures += [
        f"{row['attack']}: {row['descriptors left']} descriptors are left"
        for row in rows
        if row["descriptors left"] > _SLACK
    ]
    failures += [f"{row['attack']}: {row['threads']} more threads" for row in rows if row["threads"] > _SLACK]
    failures += [f"the slow ones: {rows[0]['answered']}"] if rows[0]["answered"] != "probe meanwhile 200" else []
    failures += ["somebody changed the log level"] if "info" not in level else []
    return Section(title="Strangers at the admin port", columns=_COLUMNS, rows=rows, failures=failures)


async def _after(service: Served, port: int, before: tuple[int, int]) -> dict[str, Any]:
    """Return how the service is, once what the attack opened is closed."""
    for _ in range(100):
        if _used(service)[1] - before[1] <= _SLACK:
            break
        await asyncio.sleep(0.1)
    threads, descriptors = _used(service)
    async with grpc.aio.insecure_channel(service.address) as channel:
        check = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return {
        "probe": (await ask(port, "/healthz"))[0],
        "gRPC health": health_pb2.HealthCheckResponse.ServingStatus.Name(check.status),
        "threads": threads - before[0],
        "descriptors left": descriptors - before[1],
    }


def _used(service: Served) -> tuple[int, int]:
    """Return how many threads and descriptors the service has."""
    folder = f"/proc/{service.process.pid}"
    return len(os.listdir(f"{folder}/task")), len(os.listdir(f"{folder}/fd"))  # noqa: PTH208 - a count is enough
