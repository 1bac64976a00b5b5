"""HTTP/2 as bytes (RFC 9113), for saying what no library says; and what the other side says, in words."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
NAMES: Final = (
    "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION",
)  # fmt: skip
ERRORS: Final = {
    0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 3: "FLOW_CONTROL_ERROR", 4: "SETTINGS_TIMEOUT", 5: "STREAM_CLOSED",
    6: "FRAME_SIZE_ERROR", 7: "REFUSED_STREAM", 8: "CANCEL", 9: "COMPRESSION_ERROR", 11: "ENHANCE_YOUR_CALM",
}  # fmt: skip
LIST_AGENTS: Final = "/flyteidl.service.AgentMetadataService/ListAgents"
GET_TASK: Final = "/flyteidl.service.AsyncAgentService/GetTask"
_CONNECT_S: Final = 20.0
_PIECE: Final = 65_536
_COURTESIES: Final = ("SETTINGS", "SETTINGS ack", "WINDOW_UPDATE", "PING")


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def opening(window: int = 65_535) -> bytes:
    """Return what a client says first."""
    return PREFACE + frame(SETTINGS, payload=struct.pack(">HI", 4, window))


def packed(headers: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """Return headers as HPACK's literals without indexing (RFC 7541 6.2.2)."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)


def request(path: str = LIST_AGENTS, *more: tuple[str | bytes, str | bytes], method: str = "POST") -> bytes:
    """Return the header block of a gRPC call."""
    fixed = ((":method", method), (":scheme", "http"), (":path", path), (":authority", "outboard"))
    return packed((*fixed, ("content-type", "application/grpc"), ("te", "trailers"), *more))


def message(data: bytes = b"", *, length: int | None = None, is_compressed: bool = False) -> bytes:
    """Return a gRPC message; `length` is what it claims."""
    return bytes((is_compressed,)) + struct.pack(">I", len(data) if length is None else length) + data


def call(stream: int, data: bytes = b"", path: str = LIST_AGENTS) -> bytes:
    """Return a whole unary call."""
    head = frame(HEADERS, END_HEADERS, stream, request(path))
    return head + frame(DATA, END_STREAM, stream, message(data))


def connected(port: int, *, reads_s: float = 5.0) -> socket.socket:
    """Return a connection."""
    found = socket.create_connection(("127.0.0.1", port), _CONNECT_S)
    found.settimeout(reads_s)
    return found


def said(connection: socket.socket, *, for_s: float = 3.0, answers: int | None = None) -> Counter[str]:
    """Read what the other side says until it is silent, closes, or has ended so many answers."""
    found: Counter[str] = Counter()
    held, give_up = b"", time.monotonic() + for_s
    while (left := give_up - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            piece = connection.recv(_PIECE)
        except TimeoutError:
            found["silence"] += 1
            break
        except OSError:
            piece = b""
        if not piece:
            found["closed"] += 1
            break
        held += piece
        while len(held) >= 9 and len(held) >= 9 + int.from_bytes(held[:3], "big"):
            size = int.from_bytes(held[:3], "big")
            kind, flags, payload, held = held[3], held[4], held[9 : 9 + size], held[9 + size :]
            found[_word(kind, flags, payload)] += 1
        if answers is not None and found["answer ends"] >= answers:
            break
    return found


def in_words(found: Counter[str]) -> str:
    """Return what was said, without the courtesies."""
    kept = [(name, count) for name, count in found.items() if name not in _COURTESIES]
    told = [name if count == 1 else f"{count:,} x {name}" for name, count in sorted(kept, key=lambda each: -each[1])]
    return ", ".join(told[:5]) or "silence"


def _word(kind: int, flags: int, payload: bytes) -> str:
    name = NAMES[kind] if kind < len(NAMES) else f"frame {kind}"
    if kind == GOAWAY:
        return f"GOAWAY {ERRORS.get(int.from_bytes(payload[4:8], 'big'), '?')}"
    if kind == RST_STREAM:
        return f"RST_STREAM {ERRORS.get(int.from_bytes(payload[:4], 'big'), '?')}"
    if kind == HEADERS:
        return "answer ends" if flags & END_STREAM else "answer begins"
    return f"{name} ack" if kind in (SETTINGS, PING) and flags & 1 else name


def _text(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return _number(len(data)) + data


def _number(value: int, bits: int = 7) -> bytes:
    """Return an integer as HPACK writes it (RFC 7541 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((value,))
    out, value = bytearray((most,)), value - most
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
