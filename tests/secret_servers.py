"""Stores of secrets for tests: OpenBao in a process of its own, and stand-ins written from the documentation of the others.

Kubernetes: https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/ and the `Status` of
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/. Google:
https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access and the token address of a service
account (RFC 7523). Azure: https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret with the challenge of
https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web

ROOT_TOKEN: Final = "root-of-the-test"  # noqa: S105 - a development server's
_LISTENS: Final = re.compile(r"Api Address: (http://127\.0\.0\.1:\d+)")


def fill(path: Path, text: str) -> None:
    """Write a credential's file, as whoever rotates it does."""
    path.write_text(text)


def content(path: Path) -> str:
    """Return what a credential's file holds."""
    return path.read_text()


class Bao:
    """OpenBao in development mode: in memory, unsealed, KV version 2 at `secret`."""

    def __init__(self, python: Path, port: int) -> None:
        self._command = [str(python.parent / "bao"), "server", "-dev", "-dev-no-store-token"]
        self._command += [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it; it has forgotten everything."""
        environment = {**os.environ, "HOME": "/nonexistent"}
        process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self._process = process
        said = []
        for line in process.stdout or ():
            said.append(line)
            if found := _LISTENS.search(line):
                self.url = found[1]
            if "Development mode should NOT be used" in line:
                return
        raise RuntimeError(f"OpenBao ended before it listened: {''.join(said)[-500:]}")

    def stop(self) -> None:
        """Kill it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def ask(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return what its API answers to the root."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Vault-Token": ROOT_TOKEN, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/v1/{path}", data=data, headers=headers, method=verb)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read() or b"{}")

    def put(self, path: str, **fields: str) -> None:
        """Write a secret of KV version 2."""
        self.ask("POST", f"secret/data/{path}", {"data": fields})

    def token(self, policy: str, rules: Mapping[str, list[str]], ttl: str = "1h") -> str:
        """Return a token that may do so much, path by path."""
        text = "\n".join(f'path "{path}" {{ capabilities = {json.dumps(able)} }}' for path, able in rules.items())
        self.ask("PUT", f"sys/policies/acl/{policy}", {"policy": text})
        made = self.ask("POST", "auth/token/create", {"policies": [policy], "ttl": ttl, "no_parent": True})
        return str(made["auth"]["client_token"])


@contextlib.contextmanager
def bao(python: Path, port: int) -> Iterator[Bao]:
    """Run OpenBao for as long as the block lasts."""
    server = Bao(python, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class StandIn:
    """An HTTP server whose next answers can be chosen.

    Attributes:
        faults: Answers to give before anything else, one each: a status and headers.
        seen: Method and path of each request.
        logins: The `Authorization` of each.
    """

    def __init__(self) -> None:
        self.faults: list[tuple[int, dict[str, str]]] = []
        self.seen: list[str] = []
        self.logins: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        self.seen.append(f"{request.method} {request.path_qs}")
        self.logins.append(request.headers.get("Authorization", ""))
        if self.faults:
            status, headers = self.faults.pop(0)
            answer: web.StreamResponse = self.refusal(status, headers)
        else:
            answer = await self.served(request)
        answer.force_close()  # or connections of libraries that keep theirs would outlive the test
        return answer

    async def served(self, request: web.Request) -> web.StreamResponse:
        """Answer a request that is to be served."""
        raise NotImplementedError

    def refusal(self, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
        """Return an answer that refuses."""
        return web.json_response({"error": {"code": status, "message": "no"}}, status=status, headers=headers)

    @asynccontextmanager
    async def listening(self, tls: Any = None) -> AsyncIterator[Any]:
        """Listen on a port of the loopback for as long as the block lasts."""
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()


class KubernetesStandIn(StandIn):
    """The API server's `GET /api/v1/namespaces/{namespace}/secrets/{name}`.

    Attributes:
        secrets: Data by namespace and name.
        token: The only one that is taken.
        allowed: Namespaces in which it may read.
    """

    def __init__(self, token: str) -> None:
        super().__init__()
        self.secrets: dict[tuple[str, str], dict[str, str]] = {}
        self.token = token
        self.allowed: set[str] = set()
        self._version = 0

    async def served(self, request: web.Request) -> web.StreamResponse:
        """Answer as the API server does."""
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return self.refusal(401)
        found = re.fullmatch(r"/api/v1/namespaces/([^/]+)/secrets/([^/]+)", request.raw_path)
        if found is None or request.method != "GET":
            return self.refusal(404)
        if found[1] not in self.allowed:
            return self.refusal(403)
        data = self.secrets.get((found[1], found[2]))
        if data is None:
            return self.refusal(404)
        encoded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items()}
        metadata = {"name": found[2], "namespace": found[1], "resourceVersion": str(hash(tuple(data.items())))}
        return web.json_response({"kind": "Secret", "apiVersion": "v1", "metadata": metadata, "data": encoded})

    def refusal(self, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
        """Return a `Status`."""
        reasons = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 429: "TooManyRequests"}
        said = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": reasons.get(status, "InternalError"),
            "reason": reasons.get(status, "InternalError"),
            "code": status,
        }
        return web.json_response(said, status=status, headers=headers)


class GoogleStandIn(StandIn):
    """A service account's token address, and Secret Manager's `access`.

    Attributes:
        secrets: Versions by project and name, the newest last.
        tokens: How many were given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[tuple[str, str], list[str]] = {}
        self.tokens = 0

    @property
    def token(self) -> str:
        """The one that is taken now."""
        return f"ya29.token-number-{self.tokens}-of-the-stand-in"

    async def served(self, request: web.Request) -> web.StreamResponse:
        """Answer as Google does."""
        if request.path == "/token":
            self.tokens += 1
            return web.json_response({"access_token": self.token, "expires_in": 3600, "token_type": "Bearer"})
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return self.refusal(401)
        found = re.fullmatch(r"/v1/projects/([^/]+)/secrets/([^/]+)/versions/([^/:]+):access", request.raw_path)
        versions = self.secrets.get((found[1], found[2])) if found else None
        if found is None or versions is None:
            return self.refusal(404)
        number = len(versions) if found[3] == "latest" else int(found[3])
        data = base64.b64encode(versions[number - 1].encode()).decode()
        name = f"projects/{found[1]}/secrets/{found[2]}/versions/{number}"
        return web.json_response({"name": name, "payload": {"data": data}})


class AzureStandIn(StandIn):
    """A key vault's `GET /secrets/{name}/{version}`, with its challenge.

    Attributes:
        secrets: Value and attributes by name, in lower case as Azure compares them.
        token: The only one that is taken.
    """

    def __init__(self, token: str) -> None:
        super().__init__()
        self.secrets: dict[str, tuple[str, dict[str, Any]]] = {}
        self.token = token

    async def served(self, request: web.Request) -> web.StreamResponse:
        """Answer as Azure does."""
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            challenge = 'Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net"'
            return self.refusal(401, {"WWW-Authenticate": challenge})
        found = re.fullmatch(r"/secrets/([0-9a-zA-Z-]+)/([0-9a-f]*)", request.path)
        held = self.secrets.get(found[1].lower()) if found else None
        if found is None or held is None:
            return web.json_response({"error": {"code": "SecretNotFound", "message": "it is not there"}}, status=404)
        identity = f"{self.url}/secrets/{found[1]}/0123456789abcdef0123456789abcdef"
        return web.json_response({"value": held[0], "id": identity, "attributes": {"enabled": True, **held[1]}})
