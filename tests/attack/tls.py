"""TLS: who does not get in, and certificates that are replaced under load.

Each attack goes over a real socket against `outboard serve` in a process of its own, which requires client certificates. What the
attacker got is in the table beside what the service's log shows of it; after each, a client with a certificate is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc

from attack.tls_rotation import rotated
from attack.tls_target import CLIENTS, PATIENCE_S, SERVER, SERVING, Target, target
from certificates import Authority, Mount, self_signed
from integration.service.served import Served
from outboard.engine.credentials import Credentials
from outboard.engine.remote import RemoteEndpoint
from outboard.errors import OutboardError
from tables.sections import Section

LISTING: Final = "/flyteidl.service.AgentMetadataService/ListAgents"
SILENT: Final = 500
ROTATION_S: Final = 30.0
_CUT_OFF_S: Final = 10.0
"""Well over what a handshake may last on either port, and well under gRPC's own patience."""
_GRPC_LINE: Final = re.compile(r"^[IWEF]\d{4} \S+ +\d+ (\S+?):\d+\] (.*)$")
_STRANGERS = Authority("strangers")


Attack = Callable[[Target], Awaitable[str]]


async def _calls(target: Target, pair: tuple[bytes, bytes] | None) -> str:
    try:
        await target.call(pair, method=LISTING)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {(error.details() or '').rpartition('] ')[2].rpartition('Error: ')[2][-60:]}"
    return "IN"


async def without_certificate(target: Target) -> str:
    """No client certificate."""
    return await _calls(target, None)


async def of_strangers(target: Target) -> str:
    """A client certificate of another authority."""
    return await _calls(target, _STRANGERS.pair("alice.example", common_name="alice"))


async def expired(target: Target) -> str:
    """An expired client certificate."""
    return await _calls(target, CLIENTS.pair("alice.example", common_name="alice", expired=True))


async def signed_by_itself(target: Target) -> str:
    """A client certificate that vouches for itself."""
    return await _calls(target, self_signed("spiffe://prod/sa/flytepropeller"))


async def in_plain_text(target: Target) -> str:
    """Plain text to the TLS port."""
    async with grpc.aio.insecure_channel(f"localhost:{target.port}") as channel:
        try:
            await channel.unary_unary(LISTING)(b"", timeout=10)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {(error.details() or '')[-60:]}"
        return "IN"


def _weak(version: ssl.TLSVersion, ciphers: str, *, callbacks: bool = False) -> Attack:
    async def attack(target: Target) -> str:
        context = target.context()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, version
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        port = target.callbacks_port if callbacks else target.port
        return await asyncio.to_thread(_handshake, port, context)

    return attack


def _handshake(port: int, context: ssl.SSLContext) -> str:
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            return f"IN: {connection.version()} {connection.cipher()}"
    except (ssl.SSLError, ConnectionError) as error:
        return (getattr(error, "reason", None) or type(error).__name__).lower().replace("_", " ")


def _hello() -> bytes:
    """Return the first flight of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = SERVER.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def _slowly(flight: Callable[[], Iterator[bytes]], count: int, *, callbacks: bool = False) -> Attack:
    async def attack(target: Target) -> str:
        port = target.callbacks_port if callbacks else target.port
        begun = time.monotonic()
        held = [asyncio.ensure_future(_hold(port, flight())) for _ in range(count)]
        await asyncio.sleep(0.5)
        answered = time.monotonic()
        await target.call(target.pair)
        call_ms = (time.monotonic() - answered) * 1000
        last_s = max([await each - begun for each in held])
        fate = "cut off" if last_s < _CUT_OFF_S else "IN for too long"
        return f"{count} of {count} {fate}, the last after {last_s:.1f} s; a good call meanwhile: {call_ms:.0f} ms"

    return attack


async def _hold(port: int, flights: Iterator[bytes]) -> float:
    """Connect, send a piece at a time, and return when the service had enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await asyncio.wait_for(_fed(reader, writer, flights), 60)
        return time.monotonic()
    finally:
        writer.close()


async def _fed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flights: Iterator[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        for piece in flights:
            writer.write(piece)
            await writer.drain()
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                if not await asyncio.wait_for(reader.read(4096), 0.1):
                    return
        while await reader.read(4096):
            pass


def _silence() -> Iterator[bytes]:
    return iter(())


def _half_a_handshake() -> Iterator[bytes]:
    return iter([_hello()])


def _byte_by_byte() -> Iterator[bytes]:
    return (bytes([byte]) for byte in _hello())


async def random_bytes(target: Target) -> str:
    """Random bytes in place of a handshake."""

    async def throw() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        with contextlib.suppress(ConnectionError):
            writer.write(os.urandom(2000))
            await asyncio.wait_for(reader.read(), 40)  # some look like the beginning of a handshake, and have its time
        writer.close()

    await asyncio.gather(*(throw() for _ in range(200)))
    return "200 of 200 cut off"


async def impostor(_: Target) -> str:
    """An impostor in the service's place, after a client's token."""
    seen: list[bytes] = []

    async def listed(_data: bytes, context: Any) -> bytes:
        seen.append(dict(context.invocation_metadata()).get("authorization", ""))
        return b""

    server = grpc.aio.server()
    handlers = {"ListAgents": grpc.unary_unary_rpc_method_handler(listed)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(LISTING.split("/")[1], handlers),))
    certificate, key = _STRANGERS.pair()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    await server.start()
    with tempfile.TemporaryDirectory() as name:
        own = Mount(Path(name) / "own", *CLIENTS.pair(), SERVER.pem)
        token = Path(name) / "token"
        token.write_text("a-token-that-must-not-leave")
        credentials = Credentials(ca=own.ca, certificate=own.certificate, key=own.key, token_file=token)
        try:
            async with RemoteEndpoint.at(f"localhost:{port}", credentials=credentials, timeout_s=10) as remote:
                await remote.list_agents()
        except OutboardError as error:
            return f"{error.code}; it saw {len(seen)} calls, {len(list(filter(None, seen)))} tokens"
        finally:
            await server.stop(0)
    return f"IN: {seen}"


ATTACKS: Final[Sequence[tuple[str, Attack, str]]] = (
    ("no certificate", without_certificate, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
    ("certificate of another authority", of_strangers, "unable to get local issuer certificate"),
    ("expired client certificate", expired, "certificate has expired"),
    ("self-signed client certificate", signed_by_itself, "self"),
    ("plain text to the TLS port", in_plain_text, "WRONG_VERSION_NUMBER"),
    ("TLS 1.0", _weak(ssl.TLSVersion.TLSv1, "ALL"), "UNSUPPORTED_PROTOCOL"),
    ("TLS 1.1", _weak(ssl.TLSVersion.TLSv1_1, "ALL"), "UNSUPPORTED_PROTOCOL"),
    ("TLS 1.2, CBC ciphers", _weak(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"), "NO_SHARED_CIPHER"),
    ("TLS 1.1 to the callbacks port", _weak(ssl.TLSVersion.TLSv1_1, "ALL", callbacks=True), ""),
    (f"{SILENT} connections that send nothing", _slowly(_silence, SILENT), ""),
    ("100 first flights and nothing more", _slowly(_half_a_handshake, 100), ""),
    ("50 handshakes byte by byte", _slowly(_byte_by_byte, 50), ""),
    ("100 silent connections to the callbacks port", _slowly(_silence, 100, callbacks=True), ""),
    ("200 times random bytes", random_bytes, "Handshake failed"),
    ("an impostor service, for a token", impostor, ""),
)


async def _attacked() -> Section:
    rows: list[Mapping[str, Any]] = []
    failures: list[str] = []
    async with target() as victim:
        for name, attack, expected in ATTACKS:
            before = len(victim.service.texts)
            begun = time.monotonic()
            result = await attack(victim)
            seconds = time.monotonic() - begun
            lines = await _told(victim.service, before, expected)
            is_healthy = await victim.call(victim.pair) == SERVING
            is_refused = "IN" not in result
            rows.append(
                {
                    "attack": name,
                    "result": result,
                    "a log line": _shown(lines, expected),
                    "lines": len(lines),
                    "healthy after": is_healthy,
                    "seconds": round(seconds, 1),
                }
            )
            if not is_refused:
                failures.append(f"{name}: got in")
            if not is_healthy:
                failures.append(f"{name}: the service is not healthy")
            if expected and not any(expected in line for line in lines):
                failures.append(f"{name}: no log line says {expected}")
        if victim.service.process.returncode is not None:
            failures.append("the service ended")
        errors = [line for line in victim.service.lines if line.get("level") in ("error", "critical")]
        failures += [f"the service logged: {line}" for line in errors]
    return Section(
        title="Who does not get in: a service that requires client certificates",
        columns=("attack", "result", "a log line", "lines", "healthy after", "seconds"),
        rows=rows,
        failures=failures,
        notes=[
            f"A handshake may last {PATIENCE_S} s here (`handshake_s`, 10 by default), on the callbacks port 5 s.",
            "The lines are gRPC's own, on standard error; it tells the attacker nothing, and names no address.",
        ],
    )


async def _told(service: Served, before: int, expected: str) -> list[str]:
    """Return what was written since, once the expected line is there."""
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(
            service.until(lambda: any(expected in line for line in ["", *service.texts[before:]])), 5
        )
    return service.texts[before:]


def _shown(lines: Sequence[str], expected: str) -> str:
    line = next((line for line in lines if expected and expected in line), lines[0] if lines else "")
    found = _GRPC_LINE.match(line)
    return (
        (found[2] if found else line).replace("Handshake failed with error ", "").replace("OPENSSL_internal:", "")[:110]
    )


def attacks() -> Section:
    """Who does not get in."""
    return asyncio.run(_attacked())


def rotation(seconds: float = ROTATION_S, processes: int = 1) -> Section:
    """Certificates replaced under load: no call fails."""
    return asyncio.run(rotated(seconds, processes))


def sections() -> Iterator[Section]:
    """Make all tables."""
    yield attacks()
    yield rotation()
    yield rotation(processes=2)
