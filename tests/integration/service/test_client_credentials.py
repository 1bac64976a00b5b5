"""Clients' certificates and tokens against real servers: who gets in, what is renewed, and what is said when nothing works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2

from certificates import Authority, Mount
from outboard import errors
from outboard.domain.tasks import TaskType
from outboard.engine.addresses import ServiceAddress
from outboard.engine.credentials import ClientSettings, Credentials
from outboard.engine.remote import RemoteEndpoint

SERVER, CLIENTS, STRANGERS = Authority("server"), Authority("clients"), Authority("strangers")
TASK_TYPE = TaskType("any")


@dataclass
class Seen:
    """What a service saw of its callers."""

    port: int
    names: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def recording(
    pair: tuple[bytes, bytes] | None, client_ca: bytes | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Seen]:
    """A service that takes down who calls; its logs come when its gate is open."""
    seen = Seen(0)

    async def listed(_: bytes, context: Any) -> bytes:
        note(context)
        return bytes(agent_pb2.ListAgentsResponse().SerializeToString())

    async def logs(_: bytes, context: Any) -> None:
        note(context)
        await seen.gate.wait()

    def note(context: Any) -> None:
        seen.names.append(b"".join(context.auth_context().get("x509_common_name", ())).decode())
        seen.tokens.append(dict(context.invocation_metadata()).get("authorization"))
        seen.peers.append(context.peer())

    server = grpc.aio.server()
    one = {"ListAgents": grpc.unary_unary_rpc_method_handler(listed)}
    other = {"GetTaskLogs": grpc.unary_stream_rpc_method_handler(logs)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("flyteidl.service.AgentMetadataService", one),
            grpc.method_handlers_generic_handler("flyteidl.service.AsyncAgentService", other),
        )
    )
    if pair is None:
        seen.port = server.add_insecure_port(f"{host}:0")
    else:
        credentials = grpc.ssl_server_credentials([(pair[1], pair[0])], client_ca, client_ca is not None)
        seen.port = server.add_secure_port(f"{host}:0", credentials)
    await server.start()
    try:
        yield seen
    finally:
        await server.stop(0)


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "client", *CLIENTS.pair("a.example", common_name="alice"), SERVER.pem)


def certified(mount: Mount, **values: Any) -> Credentials:
    return Credentials(ca=mount.ca, certificate=mount.certificate, key=mount.key, **values)


def remote(seen: Seen, credentials: Credentials, host: str = "localhost", **values: Any) -> RemoteEndpoint:
    return RemoteEndpoint.at(f"{host}:{seen.port}", credentials=credentials, timeout_s=10, **values)


async def test_a_client_shows_its_certificate_and_its_token(mount: Mount, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc.def\n")
    async with recording(SERVER.pair(), CLIENTS.pem) as seen:
        async with remote(
            seen, certified(mount, token_file=token)
        ) as service:  # on loopback too, since it has certificates
            await service.list_agents()
        assert (seen.names, seen.tokens) == (["alice"], ["Bearer abc.def"])


async def test_a_renewed_certificate_is_shown_from_the_next_call_on_and_calls_in_flight_go_on(mount: Mount) -> None:
    async with recording(SERVER.pair(), CLIENTS.pem) as seen, remote(seen, certified(mount)) as service:
        await service.list_agents()
        first = service._connections._current.channel
        following = service.task_logs(b"x", task_type=TASK_TYPE)
        page = asyncio.ensure_future(anext(following))
        while len(seen.names) < 2:  # noqa: ASYNC110 - it has arrived
            await asyncio.sleep(0.01)
        mount.put(*CLIENTS.pair("a.example", common_name="bob"), SERVER.pem)
        await service.list_agents()
        await service.list_agents()
        assert seen.names == ["alice", "alice", "bob", "bob"]
        assert len(set(seen.peers)) == 2
        seen.gate.set()
        assert (await page).ended  # over the connection that it began on
        assert not [each async for each in following]
        assert not service._connections._used
        await asyncio.gather(*service._connections._closing)
        assert first.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_a_connection_that_nobody_uses_is_closed_when_its_certificate_is_renewed(mount: Mount) -> None:
    async with recording(SERVER.pair(), CLIENTS.pem) as seen, remote(seen, certified(mount)) as service:
        await service.list_agents()
        first = service._connections._current.channel
        mount.put(*CLIENTS.pair("a.example", common_name="bob"), SERVER.pem)
        await service.list_agents()
        await asyncio.gather(*service._connections._closing)
        assert first.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_the_systems_authorities_are_read_anew_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(SERVER.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    async with recording(SERVER.pair()) as seen, remote(seen, Credentials(), insecure=False) as service:
        await service.list_agents()
        bundle.write_bytes(SERVER.pem + STRANGERS.pem)
        await service.list_agents()
        bundle.write_bytes(STRANGERS.pem)
        with pytest.raises(errors.EndpointUnreachable, match="is of no authority that the system knows"):
            await service.list_agents()
        assert len(set(seen.peers)) == 2


async def test_a_users_proxy_is_not_asked_for_what_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    async with recording(None) as seen, remote(seen, Credentials()) as service:
        await service.list_agents()
        assert len(seen.peers) == 1


@pytest.mark.parametrize("values", [{"ca": "/ca"}, {"certificate": "/own", "key": "/own"}, {"server_name": "x"}])
def test_certificates_for_a_service_in_plain_text_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(errors.InvalidSettings, match="certificates are given for it; use TLS") as refused:
        RemoteEndpoint.at("localhost:1", insecure=True, credentials=Credentials.model_validate(values))
    assert refused.value.field == "client"


async def test_files_that_are_not_in_order_change_nothing_and_are_named_when_nothing_goes_any_more(
    mount: Mount,
) -> None:
    certificate, key = CLIENTS.pair("a.example", common_name="bob")
    async with recording(SERVER.pair(), CLIENTS.pem) as seen, remote(seen, certified(mount)) as service:
        await service.list_agents()
        mount.put(certificate, CLIENTS.pair()[1], SERVER.pem)
        await service.list_agents()
        assert seen.names == ["alice", "alice"]
    mount.put(certificate, key, SERVER.pem)
    async with recording(SERVER.pair(), STRANGERS.pem) as seen, remote(seen, certified(mount)) as service:
        mount.put(certificate, CLIENTS.pair()[1], SERVER.pem)
        with pytest.raises(errors.EndpointUnreachable, match=r"; and client\.key: .*tls\.key is not the key of"):
            await service.list_agents()


async def test_a_token_is_read_anew_and_the_last_good_one_outlives_its_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one")
    async with recording(None) as seen, remote(seen, Credentials(token_file=token)) as service:
        for text in ("one", "second", "", "two words", None, "third"):
            token.unlink() if text is None else token.write_text(text)
            await service.list_agents()
    assert seen.tokens == [f"Bearer {word}" for word in ("one", "second", "second", "second", "second", "third")]


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("a b", "holds more than a token"), ("x" * 20_000, "more than a token")]
)
async def test_a_file_without_a_token_is_refused_before_anything_is_called(
    tmp_path: Path, text: str, words: str
) -> None:
    token = tmp_path / "token"
    token.write_text(text)
    with pytest.raises(errors.InvalidSettings, match=words) as refused:
        RemoteEndpoint.at("localhost:1", credentials=Credentials(token_file=token))
    assert refused.value.field == "client.token_file"


async def test_a_token_travels_in_plain_text_on_this_machine_only_unless_that_is_said(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc")
    with pytest.raises(errors.InvalidSettings, match=r"would go to agents\.example:8000 in plain text; use TLS"):
        RemoteEndpoint.at("agents.example:8000", insecure=True, credentials=Credentials(token_file=token))
    for address, values in (
        ("agents.example:8000", {"credentials": Credentials(token_file=token)}),
        ("unix:/tmp/x", {"insecure": True, "credentials": Credentials(token_file=token)}),
        ("agents.example:8000", {"insecure": True, "credentials": Credentials(token_file=token, token_in_clear=True)}),
    ):
        await RemoteEndpoint.at(address, **values).close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong authority", r"is of no authority that .*ca\.crt holds: give that authority's file as client\.ca"),
        ("no authority", r"is of no authority that the system knows: .*\(--tls-ca\)"),
        ("another name", r"has another name: .*client\.server_name \(--tls-server-name\)"),
        ("expired", "its certificate has expired: renew it there"),
        ("no certificate", r"may require a client certificate: give client\.certificate and client\.key"),
        ("strange certificate", r"the certificate in .*tls\.crt must be valid, and of an authority that it knows"),
        ("plain service", r"it speaks plain text: set `insecure: true` \(--insecure\)"),
        ("plain client", r"if it speaks TLS, set `insecure: false` \(--tls\)"),
    ],
)
async def test_a_connection_that_does_not_come_to_stand_says_what_to_do(mount: Mount, name: str, words: str) -> None:
    pair = SERVER.pair("other.example") if name == "another name" else SERVER.pair(expired=name == "expired")
    asked = CLIENTS.pem if name.endswith(" certificate") else None
    own: Mapping[str, Any] = {"ca": mount.ca}
    if name == "wrong authority":
        mount.put(*CLIENTS.pair(), STRANGERS.pem)
    elif name == "no authority":
        own = {}
    elif name == "strange certificate":
        mount.put(*STRANGERS.pair(), SERVER.pem)
        own = {"ca": mount.ca, "certificate": mount.certificate, "key": mount.key}
    elif name == "plain client":
        own = {}
    async with recording(None if name == "plain service" else pair, asked) as seen:
        is_plain = name == "plain client"
        async with remote(seen, Credentials(**own), insecure=is_plain) as service:
            with pytest.raises(errors.EndpointUnreachable, match=words):
                await service.list_agents()


async def test_the_name_in_the_certificate_may_be_another_than_the_address(mount: Mount) -> None:
    async with recording(SERVER.pair("agents.example")) as seen:
        async with remote(seen, Credentials(ca=mount.ca, server_name="agents.example"), host="127.0.0.1") as service:
            await service.list_agents()
        assert seen.peers


@pytest.mark.parametrize(
    ("values", "words"),
    [({"certificate": "a"}, "key is missing beside certificate"), ({"key": "a"}, "certificate is missing beside key")],
)
def test_half_of_a_pair_is_refused(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Credentials.model_validate(values)


CLIENT = ClientSettings.model_validate(
    {
        "ca": "/ca",
        "certificate": "/own",
        "key": "/own",
        "token_file": "/token",
        "services": {"warehouse": {"token_file": "/other"}, "lake:8000": {"certificate": "/lake", "key": "/lake"}},
    }
)


@pytest.mark.parametrize(
    ("names", "is_only", "is_plain", "expected"),
    [
        (["h:1"], True, False, ["/ca", "/own", "/token"]),
        (["h:1"], False, False, ["/ca", "/own", None]),
        (["h:1"], True, True, [None, None, "/token"]),
        (["warehouse", "w:1"], False, False, ["/ca", "/own", "/other"]),
        (["lake", "lake:8000"], True, False, ["/ca", "/lake", "/token"]),
    ],
)
def test_what_holds_for_all_services_and_for_some(
    names: Sequence[str], is_only: bool, is_plain: bool, expected: Sequence[str | None]
) -> None:
    own = CLIENT.of(*names, is_only=is_only, is_plain=is_plain)
    assert [None if each is None else str(each) for each in (own.ca, own.certificate, own.token_file)] == expected


def test_an_address_without_credentials_is_plain_on_this_machine_as_before() -> None:
    assert ServiceAddress.at("localhost:1").insecure
    assert not ServiceAddress.at("localhost:1", credentials=Credentials(ca=Path("/ca"))).insecure
    assert ServiceAddress.at("localhost:1", insecure=True, credentials=Credentials(ca=Path("/ca"))).insecure
