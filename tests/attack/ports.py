"""The HTTP ports, for metrics and callbacks: many connections, slow ones, large and random requests, and odd paths."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from typing import Final

from attack.frames import connected
from attack.site import Place
from attack.trials import Attack, tried
from tables.sections import Section

_PATHS: Final = (
    "/", "/metrics", "/metrics/../../etc/passwd", "//etc/passwd", "/callbacks/", "/callbacks/..%2f..%2fetc", "/callbacks/x",
    "/callbacks/" + "a" * 5_000, "/%00", "/\x7f", "*", "http://169.254.169.254/latest", "/?" + "a=b&" * 2_000,
)  # fmt: skip
_VERBS: Final = ("GET", "POST", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "", "G" * 10_000)


def sections() -> list[Section]:
    """Return the table."""
    return [tried("The HTTP ports", attacks())]


def attacks(many: int = 500) -> list[Attack]:
    """Return what is tried on each of the two ports."""
    found = []
    for port, held in (("metrics", min(many, 100)), ("callbacks", many)):  # the former's queue of new ones is short
        found += [
            Attack(
                name=f"{port}: slow requests", run=slow, arguments=(port, held), sent=f"{held:,} half requests, byte by byte",
                expected="open|closed",
            ),
            Attack(
                name=f"{port}: a large request", run=large, arguments=(port, 100), sent="a POST of 100 MiB",
                expected="4|closed|reset",
            ),
            Attack(
                name=f"{port}: header bombs", run=bombs, arguments=(port,), sent="100,000 headers; 10 MiB; an endless line",
                expected="4|closed|reset",
            ),
            Attack(
                name=f"{port}: odd requests", run=odd, arguments=(port,), sent=f"{len(_PATHS) * len(_VERBS)} paths and methods",
                expected="4",
            ),
            Attack(
                name=f"{port}: random bytes", run=noise, arguments=(port, many), sent=f"{many:,} connections with random bytes",
                expected="4|closed|reset|silence",
            ),
        ]  # fmt: skip
    return found


def slow(place: Place, name: str, count: int) -> str:
    """Begin many requests, and go on a byte at a time; ask properly beside them."""
    fates: Counter[str] = Counter()
    with contextlib.ExitStack() as opened:
        found = []
        for _ in range(count):
            with contextlib.suppress(OSError):
                found.append(opened.enter_context(connected(_port(place, name))))
        for each in found:
            with contextlib.suppress(OSError):
                each.sendall(b"POST /callbacks/rest_token HTTP/1.1\r\nHost: x\r\nContent-Le")
        for byte in b"ngth":
            time.sleep(0.25)
            for each in found:
                with contextlib.suppress(OSError):
                    each.sendall(bytes((byte,)))
        began = time.monotonic()
        beside = _asked(place, name, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        took = time.monotonic() - began
        for each in found:
            each.settimeout(0.0)
            try:
                fates["open" if each.recv(1) else "closed"] += 1
            except BlockingIOError:
                fates["open"] += 1
            except OSError:
                fates["closed"] += 1
    held = ", ".join(f"{number:,} x {fate}" for fate, number in fates.most_common())
    return f"{held}; beside them {beside} in {took:.1f} s"


def large(place: Place, name: str, mib: int) -> str:
    """Send a large body."""
    head = f"POST /callbacks/rest_token HTTP/1.1\r\nHost: x\r\nContent-Length: {mib << 20}\r\n\r\n".encode()
    return _asked(place, name, head, *(bytes(1 << 20) for _ in range(mib)))


def bombs(place: Place, name: str) -> str:
    """Send headers without bounds."""
    begin = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
    many = begin + b"".join(b"X-%d: y\r\n" % number for number in range(100_000)) + b"\r\n"
    one = begin + b"X: " + b"y" * (10 << 20) + b"\r\n\r\n"
    return ", ".join(_asked(place, name, each) for each in (many, one, b"GET /" + b"a" * (10 << 20)))


def odd(place: Place, name: str) -> str:
    """Ask for what is not there, in ways that are none."""
    found: Counter[str] = Counter()
    for path in _PATHS:
        for verb in _VERBS:
            found[_asked(place, name, f"{verb} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())] += 1
    return ", ".join(f"{number:,} x {answer}" for answer, number in found.most_common(6))


def noise(place: Place, name: str, count: int) -> str:
    """Send random bytes."""
    chance = random.Random(7)  # noqa: S311 - the same bytes each time
    found: Counter[str] = Counter()
    for _ in range(count):
        found[_asked(place, name, chance.randbytes(chance.randint(1, 500)) + b"\r\n\r\n", for_s=0.05)] += 1
    return ", ".join(f"{number:,} x {answer}" for answer, number in found.most_common(4))


def _asked(place: Place, name: str, *pieces: bytes, for_s: float = 5.0) -> str:
    """Send pieces and return the status of the answer, or what came in its place."""
    try:
        with connected(_port(place, name), reads_s=for_s) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for each in pieces:
                    connection.sendall(each)
            answer = connection.recv(200)
    except TimeoutError:
        return "silence"
    except OSError:
        return "reset"
    words = answer.split(b" ", 2)
    return (
        words[1].decode("ascii", "replace")
        if answer.startswith(b"HTTP/") and len(words) > 1
        else "closed"
        if not answer
        else "text"
    )


def _port(place: Place, name: str) -> int:
    return place.metrics_port if name == "metrics" else place.callbacks_port
