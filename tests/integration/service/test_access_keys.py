"""Keys of an issuer come over TLS that is checked, with the pod's own token, and from nowhere else."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from outboard.service.access.keys import IssuerKeys, KeysUnknown
from outboard.service.access.settings import IssuerSettings

KEY = json.loads(
    jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())
)
JWKS = {"keys": [{**KEY, "kid": "k1"}]}


@contextlib.asynccontextmanager
async def api_server(ca: trustme.CA, answer: Any) -> AsyncIterator[str]:
    """A cluster's API server, as far as keys go."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    app = web.Application()
    app.router.add_get("/openid/v1/jwks", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"https://localhost:{port}/openid/v1/jwks"
    finally:
        await runner.cleanup()


def issuer(tmp_path: Path, ca: trustme.CA, uri: str) -> IssuerKeys:
    (tmp_path / "ca.crt").write_bytes(ca.cert_pem.bytes())
    (tmp_path / "token").write_text("the-pods-own-token\n")
    settings = IssuerSettings(jwks_uri=uri, ca_file=tmp_path / "ca.crt", token_file=tmp_path / "token")
    return IssuerKeys("https://kubernetes.default.svc.cluster.local", settings)


async def test_an_api_server_is_asked_with_the_pods_token_over_tls_that_its_ca_vouches_for(tmp_path: Path) -> None:
    ca, tokens = trustme.CA(), list[str]()

    async def answer(request: web.Request) -> web.Response:
        tokens.append(request.headers["Authorization"])
        return web.json_response(JWKS, content_type="application/jwk-set+json")

    async with api_server(ca, answer) as uri:
        keys = issuer(tmp_path, ca, uri)
        assert [key["kid"] for key in await keys.ask("k1", 5)] == ["k1"]
        assert tokens == ["Bearer the-pods-own-token"]
        with pytest.raises(KeysUnknown):
            await issuer(tmp_path, trustme.CA(), uri).ask("k1", 5)
        assert len(tokens) == 1


async def test_an_api_server_is_not_asked_by_way_of_the_proxy_for_the_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    ca = trustme.CA()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(JWKS)

    async with api_server(ca, answer) as uri:
        assert await issuer(tmp_path, ca, uri).ask("k1", 5)
        (tmp_path / "ca.crt").write_bytes(ca.cert_pem.bytes())
        public = IssuerKeys("https://login.example.com", IssuerSettings(jwks_uri=uri, ca_file=tmp_path / "ca.crt"))
        with pytest.raises(KeysUnknown):  # an issuer out in the world is
            await public.ask("k1", 5)


@pytest.mark.parametrize("answer", ["elsewhere", "refused", "endless", "no keys", "no JSON"])
async def test_an_answer_that_is_no_set_of_keys_leaves_them_unknown(tmp_path: Path, answer: str) -> None:
    ca = trustme.CA()

    async def told(request: web.Request) -> web.Response:
        match answer:
            case "elsewhere":
                if request.query:  # whoever follows gets what it wants
                    return web.json_response(JWKS)
                raise web.HTTPFound(f"{request.url.origin()}/openid/v1/jwks?again")
            case "refused":
                return web.json_response(JWKS, status=401)
            case "endless":
                return web.json_response({**JWKS, "more": "x" * 2_000_000})
            case "no keys":
                return web.json_response({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]})
        return web.Response(text="<html>")

    async with api_server(ca, told) as uri:
        with pytest.raises(KeysUnknown):
            await issuer(tmp_path, ca, uri).ask("k1", 5)
