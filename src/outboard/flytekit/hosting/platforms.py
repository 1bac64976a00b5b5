"""Platforms made of connectors: `flytekit` for those of flytekit, `flyte` for those of Flyte 2's SDK.

What their clients raise nobody has listed. What certainly did not arrive can still be told: a connection that was refused, and a
request that an HTTP server answered with a refusal. All else counts as "maybe", as everywhere.
"""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from outboard.agent.agents import Agent
from outboard.agent.error_map import ErrorKey, ErrorMap, Verdict
from outboard.agent.jobs import Connection
from outboard.agent.platform import Platform, Settings
from outboard.domain.tasks import TaskType
from outboard.errors import AgentError, Sent, Unavailable
from outboard.flytekit.hosting.agents import Caller, HostedAgent, HostedSyncAgent, make_agent
from outboard.flytekit.hosting.dialects import Dialect, Flyte2, Flytekit
from outboard.flytekit.hosting.settings import HostingSettings

_REFUSED: Final = Verdict(AgentError, Sent.NO)
_UNREACHED: Final = Verdict(Unavailable, Sent.NO)
_ERRORS: Final[dict[ErrorKey, Verdict | type[AgentError]]] = {
    **dict.fromkeys((400, 404, 405, 406, 410, 411, 413, 414, 415, 416, 422, 431, 451), _REFUSED),
    503: Unavailable,
    ConnectionRefusedError: _UNREACHED,
    socket.gaierror: _UNREACHED,
}
_UNREACHED_BY_MODULE: Final = {"aiohttp": "ClientConnectorError", "httpx": "ConnectError"}


class HostedPlatform(Platform[Connection, None]):
    """The connectors of one SDK.

    Args:
        connectors: As they are registered.
        dialect: How they are called.
        settings: The operator's.
        taken: Names of other agents.
    """

    name = "flytekit"

    def __init__(
        self, connectors: Iterable[Any], dialect: Dialect, settings: HostingSettings, taken: Collection[str] = ()
    ) -> None:
        super().__init__(Settings())
        callers = [(Caller(connector, dialect, settings), type_of(connector)) for connector in connectors]
        names = Counter(caller.name for caller, _ in callers)
        self._agents: list[HostedAgent | HostedSyncAgent] = []
        for caller, task_type in callers:
            # Several connectors may share a name; agents do not.
            is_free = names[caller.name] == 1 and caller.name not in taken
            name = caller.name if is_free else f"{caller.name} ({self.name}: {task_type.name} {task_type.version})"
            self._agents.append(make_agent(caller, name, task_type, self, settings))
        self.errors = _error_map()  # type: ignore[misc]  # which SDKs are loaded is known only now

    def agents(self) -> Sequence[Agent]:
        """See `Platform.agents`."""
        return self._agents

    def account(self, connection: Connection) -> str:  # noqa: ARG002 - there is one
        """Return the one account: connectors find their credentials by themselves."""
        return self.name


class FlytekitConnectors(HostedPlatform):
    """flytekit's."""

    name = "flytekit"

    def __init__(self, connectors: Iterable[Any], settings: HostingSettings, taken: Collection[str] = ()) -> None:
        super().__init__(connectors, Flytekit(), settings, taken)

    def hear_secrets(self, learn: Callable[[str], None]) -> None:
        """See `Platform.hear_secrets`."""
        from outboard.flytekit.hosting.secrets import tell_secrets  # noqa: PLC0415 - it changes flytekit

        tell_secrets(learn)


class FlyteConnectors(HostedPlatform):
    """Those of Flyte 2's SDK."""

    name = "flyte"

    def __init__(self, connectors: Iterable[Any], settings: HostingSettings, taken: Collection[str] = ()) -> None:
        super().__init__(connectors, Flyte2(), settings, taken)


def type_of(connector: Any) -> TaskType:
    """Return the task type that a connector is registered for."""
    category = getattr(connector, "task_category", None)
    if category is not None:
        return TaskType(str(category.name), int(category.version))
    return TaskType(str(connector.task_type_name), int(connector.task_type_version))


def _error_map() -> ErrorMap:
    table = dict(_ERRORS)
    for module, name in _UNREACHED_BY_MODULE.items():
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type):
            table[kind] = _UNREACHED
    return ErrorMap(table, source="https://www.rfc-editor.org/rfc/rfc9110#name-status-codes")
