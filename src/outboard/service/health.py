"""Health as it is: the standard `grpc.health.v1.Health`, answered from facts.

====================================  =============================================================
name                                  SERVING while
====================================  =============================================================
`""` and each of the three services   at least one agent is served, and the service is not draining
`outboard.agent/<name>`               the same, per agent that was loaded
`outboard.platform/<source>`          never: these are the platforms that could not be loaded
====================================  =============================================================

One broken platform among good ones does not take the service down with it, or all other platforms' jobs would lose their
poller; but it has a name here that a probe or an alert can watch, and it is logged and listed at the start. A blocked event
loop needs no flag: nothing can answer then, the check included, so a probe's own time limit tells (see `watchdog`).

The messages are two constants, so checks cost almost nothing. A watch ends when the service drains; it would hold up the end
otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from outboard.agent.registry import LoadFailure
from outboard.service.handlers import SERVICES

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
AGENT_PREFIX: Final = "outboard.agent/"
PLATFORM_PREFIX: Final = "outboard.platform/"

_SERVING: Final[bytes] = health_pb2.HealthCheckResponse(status=1).SerializeToString()
_NOT_SERVING: Final[bytes] = health_pb2.HealthCheckResponse(status=2).SerializeToString()
_SERVICE_UNKNOWN: Final[bytes] = health_pb2.HealthCheckResponse(status=3).SerializeToString()


class Health:
    """Answers health checks."""

    def __init__(self, agents: Iterable[str], failures: Iterable[LoadFailure]) -> None:
        names = list(agents)
        self._serving = dict.fromkeys(("", *SERVICES, HEALTH_SERVICE), bool(names))
        self._serving.update({f"{AGENT_PREFIX}{name}": True for name in names})
        self._serving.update({f"{PLATFORM_PREFIX}{failure.source}": False for failure in failures})
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Answer NOT_SERVING from now on, and end the watches."""
        self._draining.set()

    def by_method(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """Return gRPC's handlers by full method name."""
        return {
            f"/{HEALTH_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check),
            f"/{HEALTH_SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    def _answer(self, name: str | None) -> bytes | None:
        is_serving = None if name is None else self._serving.get(name)
        if is_serving is None:
            return None
        return _SERVING if is_serving and not self._draining.is_set() else _NOT_SERVING

    async def _check(self, data: bytes, context: Any) -> bytes:
        name = _name(data)
        answer = self._answer(name)
        if answer is None:
            code = grpc.StatusCode.INVALID_ARGUMENT if name is None else grpc.StatusCode.NOT_FOUND
            await context.abort(code, "no service of this name is known here; ask for an empty name")
            raise AssertionError  # `abort` raises
        return answer

    async def _watch(self, data: bytes, context: Any) -> None:
        name = _name(data)
        answer = self._answer(name) or _SERVICE_UNKNOWN
        await context.write(answer)
        await self._draining.wait()
        if answer == _SERVING:
            await context.write(_NOT_SERVING)


def _name(data: bytes) -> str | None:
    try:
        name: str = health_pb2.HealthCheckRequest.FromString(data).service
    except DecodeError:
        return None
    return name
