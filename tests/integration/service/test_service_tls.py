"""TLS over real sockets: who gets in, and what happens to handshakes and connections while certificates are replaced."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import time
import warnings
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from certificates import Authority, Mount, self_signed
from integration.service.probe import Gate, ProbePlatform
from integration.service.served import HERE, read, served
from outboard.agent import Registry
from outboard.cli.grpc_environment import OFF
from outboard.errors import InvalidSettings
from outboard.host import Host
from outboard.service import Service, ServiceSettings
from outboard.service.admin.liveness import Knocking
from outboard.service.own_port import OwnPort
from outboard.service.tls.keeper import TlsKeeper
from outboard.service.tls.settings import TlsSettings

HEALTH = "/grpc.health.v1.Health/Check"
SERVER, CLIENTS, STRANGERS = Authority("server"), Authority("clients"), Authority("strangers")
SPIFFE = self_signed("spiffe://prod/ns/flyte/sa/flytepropeller")


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "tls", *SERVER.pair(), CLIENTS.pem)


def tls(mount: Mount, **values: Any) -> TlsSettings:
    return TlsSettings(certificate=mount.certificate, key=mount.key, **values)


@asynccontextmanager
async def serving(settings: TlsSettings, **values: Any) -> AsyncIterator[Service]:
    own = ServiceSettings(port=0, drain_s=5, tls=settings, **values)
    async with Host(Registry([ProbePlatform(Gate())])) as host, Service(host, own) as service:
        yield service


def keeper_of(service: Service) -> TlsKeeper:
    assert service._tls is not None
    return service._tls


@asynccontextmanager
async def calling(
    service: Service, ca: bytes | None = None, pair: tuple[bytes, bytes] | None = None
) -> AsyncIterator[Any]:
    """A client of its own connection; gives what calls health."""
    certificate, key = pair if pair is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(ca or SERVER.pem, key, certificate)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"localhost:{service.port}", credentials, options=options) as channel:

        async def call() -> int:
            answer = await channel.unary_unary(HEALTH)(b"", timeout=10)
            status: int = health_pb2.HealthCheckResponse.FromString(answer).status
            return status

        yield call


def handshake(port: int, context: ssl.SSLContext, name: str = "localhost") -> dict[str, Any]:
    """Return the certificate that a port shows."""
    context.check_hostname = bool(name)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name or None) as connection,
    ):
        return dict(connection.getpeercert() or {})


async def shown(port: int, authority: Authority = SERVER) -> str:
    context = authority.trusting()
    return str((await asyncio.to_thread(handshake, port, context))["serialNumber"])


def renewed(keeper: TlsKeeper) -> None:
    """Let the keeper see a change, and then that it is at rest."""
    assert keeper.look()
    assert not keeper.look()


async def test_clients_that_trust_the_authority_get_in_and_others_do_not(mount: Mount) -> None:
    async with serving(tls(mount)) as service:
        async with calling(service) as call:
            assert await call() == health_pb2.HealthCheckResponse.SERVING
        async with calling(service, STRANGERS.pem) as call:
            with pytest.raises(grpc.aio.AioRpcError, match="CERTIFICATE_VERIFY_FAILED"):
                await call()
        async with grpc.aio.insecure_channel(f"localhost:{service.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
                await channel.unary_unary(HEALTH)(b"", timeout=10)
        async with calling(service) as call:
            assert await call() == health_pb2.HealthCheckResponse.SERVING


async def test_a_client_certificate_of_the_named_authorities_is_required(mount: Mount) -> None:
    async with serving(tls(mount, client_ca=mount.ca)) as service:
        alice = CLIENTS.pair("alice@example.com", "alice.example", common_name="alice")
        async with calling(service, pair=alice) as call:
            assert await call() == health_pb2.HealthCheckResponse.SERVING
        for pair in (None, STRANGERS.pair("alice.example"), CLIENTS.pair("alice.example", expired=True)):
            async with calling(service, pair=pair) as call:
                with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
                    await call()
        async with calling(service, pair=alice) as call:
            assert await call() == health_pb2.HealthCheckResponse.SERVING
        assert samples(keeper_of(service))["outboard_tls_handshakes_total", ""] >= 5


async def test_handlers_see_who_calls(mount: Mount) -> None:
    """What callers are told apart by: gRPC's own context of asyncio's server has it."""
    mount.put(*SERVER.pair(), SPIFFE[0] + CLIENTS.pem)
    keeper = TlsKeeper(tls(mount, client_ca=mount.ca))
    seen: list[Any] = []

    async def answer(data: bytes, context: Any) -> bytes:
        seen.append(context.auth_context())
        return data

    server = grpc.aio.server()
    handlers = {"Call": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("who", handlers),))
    port = server.add_secure_port("127.0.0.1:0", keeper.grpc_credentials())
    await server.start()
    try:
        for pair in (CLIENTS.pair("a.example", "alice@example.com", "10.0.0.7", common_name="alice"), SPIFFE):
            credentials = grpc.ssl_channel_credentials(SERVER.pem, pair[1], pair[0])
            options = [("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options) as channel:
                assert await channel.unary_unary("/who/Call")(b"x", timeout=10) == b"x"
    finally:
        await server.stop(0)
    alice, spiffe = seen
    assert alice["x509_common_name"] == [b"alice"]
    assert alice["x509_subject_alternative_name"] == [b"a.example", b"alice@example.com", b"10.0.0.7"]
    assert x509.load_pem_x509_certificate(alice["x509_pem_cert"][0]).subject.rfc4514_string().startswith("CN=alice")
    assert alice["transport_security_type"] == [b"ssl"]
    assert spiffe["x509_subject_alternative_name"] == [b"spiffe://prod/ns/flyte/sa/flytepropeller"]


async def test_new_handshakes_get_the_new_certificate_and_connections_that_stand_live_on(mount: Mount) -> None:
    successor = Authority("successor")
    async with serving(tls(mount)) as service, calling(service) as before:
        keeper = keeper_of(service)
        assert await before() == 1
        first = await shown(service.port)
        mount.put(*successor.pair(), CLIENTS.pem)
        with capture_logs() as lines:
            renewed(keeper)
        assert [line["event"] for line in lines] == ["tls certificate is renewed"]
        second = await shown(service.port, successor)
        assert second != first
        assert await before() == 1  # whose authority is the old one: it would not come in again
        async with calling(service) as late:
            with pytest.raises(grpc.aio.AioRpcError, match="CERTIFICATE_VERIFY_FAILED"):
                await late()
        assert samples(keeper)["outboard_tls_reloads_total", "taken"] == 1


async def test_authorities_of_clients_are_replaced_too(mount: Mount) -> None:
    alice, bob = CLIENTS.pair("alice.example"), STRANGERS.pair("bob.example")
    async with serving(tls(mount, client_ca=mount.ca)) as service:
        async with calling(service, pair=bob) as call:
            with pytest.raises(grpc.aio.AioRpcError):
                await call()
        mount.put(*SERVER.pair(), CLIENTS.pem + STRANGERS.pem)
        renewed(keeper_of(service))
        for pair in (alice, bob):
            async with calling(service, pair=pair) as call:
                assert await call() == 1
        mount.put(*SERVER.pair(), STRANGERS.pem)
        renewed(keeper_of(service))
        async with calling(service, pair=alice) as call:
            with pytest.raises(grpc.aio.AioRpcError):
                await call()


@pytest.mark.parametrize("broken", ["half", "mismatch", "expired", "gone", "no authorities"])
async def test_files_that_do_not_serve_leave_the_old_ones_in_force_and_are_told_once(mount: Mount, broken: str) -> None:
    async with serving(tls(mount, client_ca=mount.ca)) as service:
        keeper, alice = keeper_of(service), CLIENTS.pair("alice.example")
        expiry = samples(keeper)["outboard_tls_certificate_expiry_timestamp_seconds", "certificate"]
        certificate, key = SERVER.pair()
        if broken == "half":
            mount.put(certificate[:-30], key, CLIENTS.pem)
        elif broken == "mismatch":
            mount.put(certificate, SERVER.pair()[1], CLIENTS.pem)
        elif broken == "expired":
            mount.put(*SERVER.pair(expired=True), CLIENTS.pem)
        elif broken == "gone":
            mount.key.unlink()
        else:
            mount.put(certificate, key, b"")
        with capture_logs() as lines:
            renewed(keeper)
            keeper.look()
        (line,) = lines
        assert (line["event"], line["log_level"]) == ("tls files are refused; the ones before stay in force", "error")
        assert line["reason"].startswith("service.tls.")
        async with calling(service, pair=alice) as call:
            assert await call() == 1
        told = samples(keeper)
        assert told["outboard_tls_reloads_total", "refused"] == 1
        assert told["outboard_tls_files_refused", ""] == 1
        assert told["outboard_tls_certificate_expiry_timestamp_seconds", "certificate"] == expiry
        if broken == "gone":
            mount.key.symlink_to("..data/tls.key")
        mount.put(*SERVER.pair(), CLIENTS.pem)
        renewed(keeper)
        assert samples(keeper)["outboard_tls_files_refused", ""] == 0
        async with calling(service, pair=alice) as call:
            assert await call() == 1


async def test_files_that_are_written_one_after_the_other_are_read_when_they_are_at_rest(tmp_path: Path) -> None:
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"
    for path, data in zip((certificate, key), SERVER.pair(), strict=True):
        path.write_bytes(data)
    async with serving(TlsSettings(certificate=certificate, key=key)) as service:
        keeper = keeper_of(service)
        first, (chain, secret) = await shown(service.port), SERVER.pair()
        with capture_logs() as lines:
            certificate.write_bytes(chain)
            assert keeper.look()  # changed: to be looked at again
            key.write_bytes(secret)
            assert keeper.look()
            assert await shown(service.port) == first
            assert not keeper.look()
        assert [line["event"] for line in lines] == ["tls certificate is renewed"]
        assert await shown(service.port) != first


async def test_a_service_sees_a_renewal_by_itself(mount: Mount) -> None:
    async with serving(tls(mount, reload_s=0.01)) as service:
        first = await shown(service.port)
        mount.put(*SERVER.pair(), CLIENTS.pem)
        while await shown(service.port) == first:  # noqa: ASYNC110 - a thread sees it in its own time
            await asyncio.sleep(0.02)


async def test_the_watcher_survives_what_nobody_thought_of(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    def impossible(_: object) -> None:
        raise RuntimeError("secret")

    async with serving(tls(mount, reload_s=0.01)) as service:
        keeper, first = keeper_of(service), await shown(service.port)
        monkeypatch.setattr("outboard.service.tls.keeper.stamp", impossible)
        while not keeper.problem:  # noqa: ASYNC110 - a thread sees it in its own time
            await asyncio.sleep(0.01)
        assert keeper.problem == "an unexpected RuntimeError; please report it"
        monkeypatch.undo()
        while keeper.problem:  # noqa: ASYNC110 - same
            await asyncio.sleep(0.01)
        mount.put(*SERVER.pair(), CLIENTS.pem)
        while await shown(service.port) == first:  # noqa: ASYNC110 - same
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_session_is_resumed_for_long_where_certificates_are_required_since_nobody_would_look_at_the_certificate(
    mount: Mount, version: ssl.TLSVersion
) -> None:
    context = SERVER.trusting()
    CLIENTS.show(context, "alice.example")
    context.maximum_version = version
    context.set_alpn_protocols(["h2"])

    def visit(port: int, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        ):
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            assert connection.recv(100)  # with TLS 1.3 the session comes with the first data
            return connection.session, connection.session_reused

    async with serving(tls(mount, client_ca=mount.ca)) as service:
        session, _ = await asyncio.to_thread(visit, service.port, None)
        keeper_of(service)._given_at -= 3600
        assert not await asyncio.to_thread(keeper_of(service).look)
        _, is_resumed = await asyncio.to_thread(visit, service.port, session)
        assert not is_resumed
    async with serving(tls(mount)) as service:
        session, _ = await asyncio.to_thread(visit, service.port, None)
        _, is_resumed = await asyncio.to_thread(visit, service.port, session)
        assert is_resumed


async def test_sessions_end_in_time_although_files_are_looked_at_rarely_and_written_all_the_time(mount: Mount) -> None:
    async with serving(tls(mount, client_ca=mount.ca, reload_s=86400)) as service:
        keeper = keeper_of(service)
        assert 3500 < keeper._pause_s(is_again=False) <= 3600
        assert keeper._pause_s(is_again=True) == 1
        keeper._given_at = old = keeper._given_at - 3600
        assert keeper._pause_s(is_again=False) == 1
        mount.put(*SERVER.pair(), CLIENTS.pem)
        assert await asyncio.to_thread(keeper.look)  # the files move
        assert keeper._given_at >= old + 3600
    async with serving(tls(mount, reload_s=86400)) as service:
        assert keeper_of(service)._pause_s(is_again=False) == 86400


async def test_a_keeper_that_waits_for_its_own_port_ends_with_nothing_open(mount: Mount) -> None:
    keeper = TlsKeeper(tls(mount, reload_s=0.01, handshake_s=1))
    keeper.grpc_credentials()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        keeper.listens("127.0.0.1", silent.getsockname()[1])
        keeper.start()
        thread = keeper._thread
        assert thread is not None
        mount.put(*SERVER.pair(), CLIENTS.pem)
        connection, _ = await asyncio.to_thread(silent.accept)
        keeper.leaves()
        with connection, capture_logs() as lines:
            keeper.close()
            await asyncio.to_thread(thread.join)
    assert (lines, keeper._exchange._held, keeper._handshake()) == ([], deque(), None)


async def test_nothing_is_exchanged_while_a_service_leaves(mount: Mount) -> None:
    async with serving(tls(mount, reload_s=86400), linger_s=0.2) as service:
        keeper = keeper_of(service)
        draining = asyncio.create_task(service.drain())
        while keeper._exchange._port is not None:  # noqa: ASYNC110 - at half of the time
            await asyncio.sleep(0.01)
        assert not draining.done()
        mount.put(*SERVER.pair(), CLIENTS.pem)
        with capture_logs() as lines:
            assert keeper.look()
            assert keeper.look()  # it has been read, and waits for ever
        assert not lines
        await draining


async def test_what_held_the_old_certificate_is_ended_at_a_later_look(mount: Mount) -> None:
    async with serving(tls(mount, reload_s=86400)) as service:
        keeper = keeper_of(service)
        mount.put(*SERVER.pair(), CLIENTS.pem)
        renewed(keeper)
        _, connection = keeper._exchange._held.pop()
        assert connection.fileno() >= 0
        keeper._exchange._held.append((0.0, connection))
        assert not keeper.look()
        assert connection.fileno() == -1


async def test_nothing_is_exchanged_while_a_service_stops(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    async with serving(tls(mount)) as service:
        keeper, server = keeper_of(service), service._server
        assert server is not None
        stop = server.stop

        async def watched(grace_s: float | None) -> None:
            seen.append(keeper._exchange._port)
            await stop(grace_s)

        monkeypatch.setattr(server, "stop", watched)
        assert keeper._exchange._port is not None
    assert seen == [None]


async def test_a_port_of_all_addresses_is_found_where_there_is_no_ipv6(mount: Mount) -> None:
    async with serving(tls(mount)) as service:  # at 127.0.0.1 only, as gRPC listens on [::] then
        assert await Knocking("[::]", service.port, has_tls=True).knock()
        own = OwnPort("[::]", service.port)
        (await asyncio.to_thread(own.begin, time.monotonic() + 10)).close()


async def test_a_flood_of_connections_survives_exchanges_of_the_certificate() -> None:
    """Unheld, every second run of twice as many ends with SIGABRT or SIGSEGV."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HERE / "exchanges.py"), "held", "500"),
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), "GRPC_EXPERIMENTS": OFF},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    counted, told = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, told.decode()[-2000:]
    exchanges, handshakes = map(int, counted.split())
    assert exchanges >= 500
    assert handshakes >= 3 * exchanges


async def test_a_late_renewal_and_an_expired_certificate_are_told_once(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = TlsKeeper(tls(mount))
    pair = keeper.pair
    with capture_logs() as lines:
        for moment in (
            pair.begins_at,
            pair.renewal_is_late_at,
            pair.renewal_is_late_at,
            pair.expires_at,
            pair.expires_at,
        ):
            keeper.warn(moment)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("tls certificate expires soon", "warning"),
        ("tls certificate has expired", "error"),
    ]


async def test_an_http_port_takes_the_certificate_of_the_moment_and_asks_for_none(mount: Mount) -> None:
    keeper = TlsKeeper(tls(mount, client_ca=mount.ca))

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"in\n")
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=keeper.http_context())
    port = listener.sockets[0].getsockname()[1]

    async def ask(context: ssl.SSLContext, name: str = "localhost") -> str:
        context.check_hostname = bool(name)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        try:
            assert await reader.read() == b"in\n"
            return str(writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])
        finally:
            writer.close()

    strange = SERVER.trusting()
    STRANGERS.show(strange, "alice.example")
    async with listener:
        first = await ask(SERVER.trusting())
        assert await ask(SERVER.trusting(), "") == first  # a client need not say whom it means
        assert await ask(strange) == first
        mount.put(*SERVER.pair(), CLIENTS.pem)
        renewed(keeper)
        assert await ask(SERVER.trusting()) != first


async def test_callbacks_come_by_tls_unless_an_ingress_ends_it(mount: Mount) -> None:
    context = SERVER.trusting()
    for settings, scheme in ((tls(mount), "https"), (tls(mount, callbacks=False), "http")):
        async with (
            serving(settings, callbacks_port=0) as service,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client,
        ):
            url = f"{scheme}://localhost:{service.callbacks_port}/callbacks/nobody"
            async with client.post(url, data=b"{}") as answer:
                assert answer.status == 404


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"host": "unix:/tmp/x"}, "a Unix socket has no TLS"),
        ({"tls": {"certificate": "a", "key": "b", "require_client_certificate": True}}, "needs client_ca"),
    ],
)
def test_settings_that_make_no_sense_are_refused(mount: Mount, values: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        ServiceSettings.parse(**{"tls": {"certificate": mount.certificate, "key": mount.key}, **values})


async def test_authorities_may_lie_there_without_being_asked_for(mount: Mount) -> None:
    settings = tls(mount, client_ca=mount.ca, require_client_certificate=False)
    async with serving(settings) as service, calling(service) as call:
        assert await call() == 1


async def test_a_wrong_pair_ends_the_start_with_the_setting_and_the_remedy(mount: Mount) -> None:
    mount.put(SERVER.pair()[0], SERVER.pair()[1], CLIENTS.pem)
    with pytest.raises(InvalidSettings, match=r"tls\.key is not the key of the certificate") as refused:
        async with serving(tls(mount)):
            pass
    assert refused.value.field == "service.tls.key"


async def test_an_old_protocol_and_weak_ciphers_get_nobody_in(mount: Mount) -> None:
    async with serving(tls(mount), callbacks_port=0) as service:
        assert service.callbacks_port
        for port in (service.port, service.callbacks_port):
            for version, ciphers in (
                (ssl.TLSVersion.TLSv1_1, "ALL"),
                (ssl.TLSVersion.TLSv1_2, "AES128-SHA:ECDHE-ECDSA-AES128-SHA256"),
            ):
                context = SERVER.trusting()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    context.minimum_version = ssl.TLSVersion.TLSv1
                    context.maximum_version = version
                context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await asyncio.to_thread(handshake, port, context)
            assert await shown(port)


async def test_workers_and_isolated_platforms_serve_with_tls_and_renew_it(mount: Mount, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"service: {{tls: {{reload_s: 0.05, client_ca: {mount.ca}}}}}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics = free.getsockname()[1]
    options = ("--settings", str(settings), "--tls-certificate", str(mount.certificate), "--tls-key", str(mount.key))
    shared = (
        "--processes",
        "2",
        "--metrics-port",
        str(metrics),
        "--agents",
        "hostile:Calm",
        "--isolate",
        "hostile:Calm",
    )
    async with served(*options, *shared) as service:
        port = int(service.address.rpartition(":")[2])
        certificate, key = CLIENTS.pair("alice.example")
        credentials = grpc.ssl_channel_credentials(SERVER.pem, key, certificate)
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            listed = await channel.unary_unary("/flyteidl.service.AgentMetadataService/ListAgents")(b"", timeout=30)
            assert b"calm" in listed.lower()
        first = await shown(port)
        mount.put(*SERVER.pair(), CLIENTS.pem)
        await service.until(lambda: len(service.logged("tls certificate is renewed")) == 2)
        assert {await shown(port) for _ in range(8)} != {first}
        page = await asyncio.to_thread(read, f"http://127.0.0.1:{metrics}/metrics")
        assert 'outboard_tls_reloads_total{result="taken"} 2.0' in page


async def test_a_service_whose_pair_is_wrong_does_not_come_up_with_workers_either(mount: Mount) -> None:
    mount.put(*SERVER.pair(expired=True), CLIENTS.pem)
    options = ("--tls-certificate", str(mount.certificate), "--tls-key", str(mount.key))
    for more in ((), ("--processes", "2")):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outboard", "serve", "--port", "0", "--platforms", "", *options, *more),
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 2, told
        assert b"service.tls.certificate: " in told
        assert b"; renew it" in told


def samples(keeper: TlsKeeper) -> dict[tuple[str, str], float]:
    found = [sample for family in keeper.collect() for sample in family.samples]
    return {(each.name, next(iter(each.labels.values()), "")): each.value for each in found}
