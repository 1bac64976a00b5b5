"""A service with all that watches over it: TLS, callers that are known, an issuer and a store of secrets that do not answer.

The issuer and the store are addresses of this machine where nobody listens, so what is counted of them is known beforehand.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

import pytest

from certificates import Authority
from integration.service.probe import make_task
from integration.service.served import Served, served
from outboard import errors
from outboard.agent import Phase
from outboard.engine.credentials import Credentials
from outboard.engine.remote import RemoteEndpoint

CALLER: Final = "engine"
STORE: Final = "far"


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """Such a service, and what a caller of it needs."""

    service: Served
    credentials: Credentials

    def known(self) -> RemoteEndpoint:
        """Return it as the caller that may call sees it."""
        return RemoteEndpoint.at(self.service.address, timeout_s=20, credentials=self.credentials)

    def stranger(self) -> RemoteEndpoint:
        """Return it as somebody sees it who shows nothing."""
        credentials = Credentials(ca=self.credentials.ca)
        return RemoteEndpoint.at(self.service.address, timeout_s=20, credentials=credentials)

    async def busy(self) -> None:
        """Make what watches count something: a stranger calls, and a task needs a secret that is nowhere to be had."""
        async with self.stranger() as stranger, self.known() as known:
            with pytest.raises(errors.UnknownCaller):
                await stranger.create_task(make_task("needy"))
            answer = await known.execute_task(make_task("needy", config={}), timeout_s=2)
        assert answer.phase is Phase.RETRYABLE_FAILED, answer  # nothing was begun, so another attempt is worth it


@asynccontextmanager
async def guarded(folder: Path, *options: str) -> AsyncIterator[Guarded]:
    """`outboard serve` with all of it."""
    authority = Authority()
    certificate, key = authority.pair()
    for name, data in (("tls.crt", certificate), ("tls.key", key), ("ca.crt", authority.pem)):
        (folder / name).write_bytes(data)
    (folder / "token").write_text(token_urlsafe(24))
    nobody = f"http://127.0.0.1:{_silent_port()}"
    issuer = "https://issuer.example"
    settings = {
        "service": {
            "drain_s": 1,
            "tls": {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")},
            "access": {
                "callers": {
                    CALLER: {"token_file": str(folder / "token")},
                    "people": {"jwt": {"issuer": issuer, "audience": "outboard"}},
                },
                "issuers": {issuer: {"jwks_uri": f"{nobody}/keys"}},
            },
        },
        "host": {
            "secrets": {
                "stores": [
                    {"kind": "vault", "name": STORE, "address": nobody, "token_file": str(folder / "token")},
                ]
            }
        },
    }
    (folder / "settings.yaml").write_text(json.dumps(settings))
    more = ("--agents", "hostile:Needy", "--settings", str(folder / "settings.yaml"))
    async with served(*options, *more) as service:
        yield Guarded(service=service, credentials=Credentials(ca=folder / "ca.crt", token_file=folder / "token"))


def _silent_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
