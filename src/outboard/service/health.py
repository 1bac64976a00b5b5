"""Health as it is: the standard `grpc.health.v1.Health`, answered from facts.

====================================  =============================================================
name                                  SERVING while
====================================  =============================================================
`""` and each of the five services    at least one agent is served, and the service is not draining
`outboard.agent/<name>`               the same, per agent that was loaded
`outboard.account/<platform>/<name>`  the account answers and takes our credentials, when asked last
`outboard.platform/<source>`          never: these are the platforms that could not be loaded
====================================  =============================================================

One broken platform among good ones does not take the service down with it, and neither does one that is down: the other
platforms' jobs would lose their poller, and restarting or unplugging our pods mends nobody's outage. So accounts never
change the names above them; but each has a name here that a probe or an alert can watch. An account that was not asked
lately, or has not said anything yet, is unknown. A blocked event loop needs no flag: nothing can answer then, the check
included, so a probe's own time limit tells (see `watchdog`).

The messages are constants, so checks cost almost nothing. A watch ends when the service drains; it would hold up the end
otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from outboard.agent.registry import LoadFailure
from outboard.host.accounts import Accounts, Reach
from outboard.service.dialects import SERVICES

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
AGENT_PREFIX: Final = "outboard.agent/"
ACCOUNT_PREFIX: Final = "outboard.account/"
PLATFORM_PREFIX: Final = "outboard.platform/"

_SERVING: Final[bytes] = health_pb2.HealthCheckResponse(status=1).SerializeToString()
_NOT_SERVING: Final[bytes] = health_pb2.HealthCheckResponse(status=2).SerializeToString()
_SERVICE_UNKNOWN: Final[bytes] = health_pb2.HealthCheckResponse(status=3).SerializeToString()
_AGED_S: Final = 60.0
"""How often the watch of an account looks whether it was forgotten, which nothing announces."""


class Health:
    """Answers health checks.

    Args:
        agents: The names of those that are served.
        failures: What could not be loaded.
        accounts: What the host knows of its accounts; without them, no account is known.
    """

    def __init__(
        self, agents: Iterable[str], failures: Iterable[LoadFailure], accounts: Accounts | None = None
    ) -> None:
        names = list(agents)
        self._serving = dict.fromkeys(("", *SERVICES, HEALTH_SERVICE), bool(names))
        self._serving.update({f"{AGENT_PREFIX}{name}": True for name in names})
        self._serving.update({f"{PLATFORM_PREFIX}{failure.source}": False for failure in failures})
        self._accounts = accounts
        self._is_draining = False
        self._watches: set[asyncio.Event] = set()

    def drain(self) -> None:
        """Answer NOT_SERVING from now on, and end the watches."""
        self._is_draining = True
        for changed in self._watches:
            changed.set()

    def tell(self, agents: Mapping[str, bool]) -> None:
        """Answer so for these agents from now on: isolated ones come, and go down and up.

        One that is down takes nobody else down with it: the overall names stay SERVING.
        """
        self._serving.update({f"{AGENT_PREFIX}{name}": is_up for name, is_up in agents.items()})
        if agents:
            self._serving.update(dict.fromkeys(("", *SERVICES, HEALTH_SERVICE), True))
        for changed in self._watches:
            changed.set()

    def by_method(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """Return gRPC's handlers by full method name."""
        return {
            f"/{HEALTH_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check),
            f"/{HEALTH_SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    def _answer(self, name: str | None) -> bytes | None:
        is_serving = None if name is None else self._serving.get(name)
        if is_serving is None and name is not None and name.startswith(ACCOUNT_PREFIX):
            is_serving = self._is_reachable(name)
        if is_serving is None:
            return None
        return _SERVING if is_serving and not self._is_draining else _NOT_SERVING

    def _is_reachable(self, name: str) -> bool | None:
        platform, _, account = name[len(ACCOUNT_PREFIX) :].partition("/")
        report = self._accounts.find(platform, account) if self._accounts is not None else None
        return None if report is None or report.reach is Reach.UNKNOWN else not report.reach.is_lost

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
        is_account = name is not None and name.startswith(ACCOUNT_PREFIX)
        told: bytes | None = None
        with self._changes(of_accounts=is_account) as changed:
            while True:
                changed.clear()
                is_last = self._is_draining
                answer = self._answer(name) or _SERVICE_UNKNOWN
                if answer != told:
                    await context.write(answer)
                    told = answer
                if is_last:
                    return
                await _set(changed, _AGED_S if is_account else None)

    @contextlib.contextmanager
    def _changes(self, *, of_accounts: bool) -> Iterator[asyncio.Event]:
        """Give an event that is set by the drain, and by changes of accounts if they matter."""
        changed = asyncio.Event()
        self._watches.add(changed)
        try:
            if self._accounts is None or not of_accounts:
                yield changed
            else:
                with self._accounts.listening(changed.set):
                    yield changed
        finally:
            self._watches.discard(changed)


async def _set(event: asyncio.Event, timeout_s: float | None) -> None:
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)


def _name(data: bytes) -> str | None:
    try:
        name: str = health_pb2.HealthCheckRequest.FromString(data).service
    except DecodeError:
        return None
    return name
