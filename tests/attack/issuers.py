"""A real identity provider (nanoidp) in a process of its own, and tokens that it, or somebody else, signed."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import real_parts

AUDIENCE: Final = "outboard"
_USER: Final = {"Authorization": "Basic " + base64.b64encode(b"demo-client:demo-secret").decode()}


class Issuer:
    """An issuer of tokens that can be stopped and started again under its name."""

    def __init__(self, program: Path, folder: Path, port: int) -> None:
        self.name = f"http://127.0.0.1:{port}"
        self._program = program
        self._folder = folder
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Answer from now on."""
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._program), "--port", str(self._port), "--config", str(self._folder),
                stdout=log, stderr=log, cwd=self._folder,
            )  # fmt: skip
        for _ in range(300):
            with suppress(aiohttp.ClientError, OSError):
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"{self.name}/.well-known/jwks.json") as answer,
                ):
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
        raise AssertionError("the issuer does not come up")

    async def stop(self) -> None:
        """Answer nobody."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            await process.wait()

    async def token(self) -> str:
        """Return a token that it issues."""
        async with (
            aiohttp.ClientSession(headers=_USER) as session,
            session.post(f"{self.name}/token", data={"grant_type": "client_credentials"}) as answer,
        ):
            return str((await answer.json())["access_token"])

    async def rotate(self) -> None:
        """Sign with another key from now on."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.name}/api/keys/rotate") as answer:
            assert answer.status == 200, await answer.text()

    def asked(self) -> int:
        """Return how often its keys were asked for."""
        return (self._folder / "log").read_text().count("/.well-known/jwks.json")

    @property
    def private_key(self) -> str:
        """The key that it signs with, for tokens that it would not issue."""
        return (self._folder / "keys" / "rsa_private.pem").read_text()

    @property
    def public_key(self) -> str:
        """What everybody may know of it."""
        return (self._folder / "keys" / "rsa_public.pem").read_text()

    @property
    def kid(self) -> str:
        """The key's id."""
        return (self._folder / "keys" / "kid.txt").read_text().strip()

    def signed(
        self, *, key: rsa.RSAPrivateKey | None = None, headers: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Return a token with its key, or another one, and the claims of a good one but for those that are given."""
        now = int(time.time())
        body = {"iss": self.name, "sub": "demo-client", "aud": AUDIENCE, "iat": now, "nbf": now - 5, "exp": now + 600}
        body.update(claims)
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(
            body, key or _loaded(self.private_key), algorithm="RS256", headers={"kid": self.kid, **(headers or {})}
        )


@lru_cache
def _loaded(pem: str) -> Any:
    return serialization.load_pem_private_key(pem.encode(), None)


def strangers_key() -> rsa.RSAPrivateKey:
    """Return a key of nobody."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """An issuer, started.

    Raises:
        NotToBeHad: It cannot be installed here.
    """
    program = real_parts.install("oidc").with_name("nanoidp")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = await asyncio.create_subprocess_exec(
            str(program), "init", str(folder), stdout=asyncio.subprocess.DEVNULL, env={**os.environ}
        )
        await made.wait()
        settings = folder / "settings.yaml"
        text = settings.read_text()
        text = text.replace("http://localhost:8000", f"http://127.0.0.1:{port}").replace("my-app", AUDIENCE)
        settings.write_text(text)
        issuer = Issuer(program, folder, port)
        await issuer.start()
        try:
            yield issuer
        finally:
            await issuer.stop()
