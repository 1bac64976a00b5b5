"""A reverse proxy with faults, for platforms that have a real emulator.

The agent talks to the proxy, the proxy to the emulator. A fault before the effect is one that the emulator never hears
of; after the effect the emulator has done its work, and its reply is lost on the way back, for real.

    async with FaultProxy("http://127.0.0.1:9050", {"create": "POST /bigquery/v2/projects/*/jobs"}) as proxy:
        yield StandIn(platform=lambda: BigQuery(Settings(url=proxy.url)), faults=proxy.faults, ...)

Virtual time stands still while the emulator works, so its clock is its own. Bodies are passed on whole, up to 64 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from io import BytesIO
from typing import Any, Final

from aiohttp import ClientError, ClientSession, web
from yarl import URL

from outboard.testing.faults import FaultPlan
from outboard.testing.platform_server import PlatformServer, operation
from outboard.testing.virtual_time import real_work
from outboard.testing.wire_faults import refuse

OTHER: Final = "other"
"""The operation of requests that fit no pattern."""
_HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
        *("transfer-encoding", "upgrade", "host", "content-length"),
    }
)
"""Headers that are about one connection only (RFC 9110, 7.6.1), and those that the next one writes itself."""


class FaultProxy(PlatformServer):
    """Forwards requests to a platform, with faults.

    Args:
        target_url: Where the platform is, without a slash at the end.
        operations: By operation of the fault plan: `METHOD /path` with `*` for any text; the query counts as part of the
            path where the pattern has a `?`. The first that fits decides.
        faults: Which request meets which fault.
    """

    def __init__(self, target_url: str, operations: Mapping[str, str], faults: FaultPlan | None = None) -> None:
        super().__init__(faults=faults)
        self._target = target_url.rstrip("/")
        self._patterns = dict(operations)
        self._session: ClientSession | None = None

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the one route: everything."""

        @operation(self._operation_of)
        async def forward(request: web.Request) -> web.StreamResponse:
            return await self._forward(request)

        return (web.route("*", "/{path:.*}", forward),)

    async def start(self) -> None:
        """Start to forward, in this event loop."""
        self._session = ClientSession(auto_decompress=False)
        await super().start()

    async def stop(self) -> None:
        """Stop to forward."""
        await super().stop()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _operation_of(self, request: web.Request) -> str:
        for name, pattern in self._patterns.items():
            path = request.path_qs if "?" in pattern else request.path
            # `?` stands for itself here: it begins the query.
            if fnmatchcase(f"{request.method} {path}", pattern.replace("[", "[[]").replace("?", "[?]")):
                return name
        return OTHER

    async def _forward(self, request: web.Request, path: str | None = None) -> web.StreamResponse:
        """Return the platform's answer to a request; `path` (with the query) stands in for the request's own."""
        if self._session is None:
            raise RuntimeError("the proxy is not running; enter it with `async with` or `with`")
        headers: Any = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        body = await request.read()
        try:
            with real_work():
                async with self._session.request(
                    request.method,
                    URL(f"{self._target}{request.raw_path if path is None else path}", encoded=True),
                    headers=headers,
                    data=BytesIO(body),
                    allow_redirects=False,
                ) as answer:
                    received = await answer.read()
        except ClientError as error:
            return refuse(502, "BAD_GATEWAY", f"the platform behind the proxy does not answer: {type(error).__name__}")
        passed = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
        response = web.Response(status=answer.status, body=received)
        response.headers.clear()
        response.headers.extend(passed)
        return response
