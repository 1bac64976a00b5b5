"""Callers that are known by their client certificates, over real TLS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import trustme
from pydantic import SecretStr

from access_rig import KEY, Tenant, bearing
from client_certificates import client_certificate
from integration.service.probe import ProbePlatform
from outboard.agent import Registry
from outboard.host import Host, HostSettings
from outboard.service import ServiceSettings
from outboard.service.access import AccessSettings
from outboard.service.access.access import Access
from outboard.service.edge import Edge
from outboard.service.handlers import Handlers
from outboard.service.metrics import CallMetrics

WRONG, OTHER = "wrong-token-of-thirty-characters", "b-token-of-some-thirty-characters"
SPIFFE = "spiffe://cluster.local/ns/flyte/sa/propeller"


@contextlib.asynccontextmanager
async def secured(access: dict[str, Any], ca: trustme.CA) -> AsyncIterator[int]:
    """The service's handlers behind a port that asks for a client certificate."""
    own = ca.issue_cert("localhost")
    pair = (own.private_key_pem.bytes(), b"".join(each.bytes() for each in own.cert_chain_pems))
    async with Host(Registry([ProbePlatform()]), HostSettings(service_keys=(SecretStr(KEY),))) as host:
        edge = Edge(host, CallMetrics(()), 100, Access(AccessSettings.model_validate(access), host.codec))
        table = Handlers(edge, ServiceSettings()).by_method()

        server = grpc.aio.server()
        server.add_generic_rpc_handlers((SimpleNamespace(service=lambda details: table.get(details.method)),))
        port = server.add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials([pair], ca.cert_pem.bytes(), require_client_auth=True)
        )
        await server.start()
        try:
            yield port
        finally:
            await server.stop(0)


async def code(
    port: int, ca: trustme.CA, certificate: tuple[bytes, bytes] | None, *, project: str = "a", token: str = ""
) -> str:
    key, chain = certificate or (None, None)
    credentials = grpc.ssl_channel_credentials(ca.cert_pem.bytes(), key, chain)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        return (await Tenant(channel, project, bearing(token) if token else (), timeout_s=5).create()).code


@pytest.mark.parametrize(
    ("pattern", "is_theirs"),
    [
        (SPIFFE, True),
        ("spiffe://cluster.local/ns/flyte/sa/*", True),
        ("spiffe://cluster.local/ns/other/sa/*", False),
        ("propeller.flyte", True),
        ("dns:propeller.other", False),
        ("cn:propeller", True),
        ("subject:CN=propeller", True),
        ("cn:prop", False),
        ("propeller", False),  # a bare name is a DNS name, not what stands in the subject
    ],
)
async def test_a_certificate_is_known_by_its_names(pattern: str, is_theirs: bool) -> None:
    ca = trustme.CA()
    certificate = client_certificate(ca, uri=SPIFFE, dns="propeller.flyte", name="propeller")
    async with secured({"callers": {"propeller": {"certificate": pattern, "projects": "a"}}}, ca) as port:
        assert await code(port, ca, certificate) == ("OK" if is_theirs else "UNAUTHENTICATED")
        if is_theirs:
            assert await code(port, ca, certificate, project="b") == "PERMISSION_DENIED"


async def test_a_certificate_of_nobody_or_of_somebody_elses_ca_does_not_get_in() -> None:
    ca, other = trustme.CA(), trustme.CA()
    async with secured({"callers": {"propeller": {"certificate": SPIFFE}}}, ca) as port:
        assert await code(port, ca, None) == "UNAVAILABLE"
        assert await code(port, ca, client_certificate(other, uri=SPIFFE)) == "UNAVAILABLE"
        assert await code(port, ca, client_certificate(ca, uri=SPIFFE, is_expired=True)) == "UNAVAILABLE"
        assert await code(port, ca, client_certificate(ca, uri=SPIFFE + "2")) == "UNAUTHENTICATED"
        assert await code(port, ca, client_certificate(ca, uri=SPIFFE)) == "OK"


async def test_a_bad_token_is_not_made_good_by_a_certificate(tmp_path: Any) -> None:
    ca = trustme.CA()
    certificate = client_certificate(ca, uri=SPIFFE)
    path = tmp_path / "tokens"
    path.write_text(OTHER + "\n")
    callers = {"a": {"certificate": SPIFFE, "projects": "a"}, "b": {"token_file": str(path), "projects": "b"}}
    async with secured({"callers": callers}, ca) as port:
        assert await code(port, ca, certificate) == "OK"
        assert await code(port, ca, certificate, token=WRONG) == "UNAUTHENTICATED"
        assert await code(port, ca, certificate, token=OTHER) == "PERMISSION_DENIED"
        assert await code(port, ca, certificate, token=OTHER, project="b") == "OK"
