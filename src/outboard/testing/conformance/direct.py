"""Direct calls: an agent's methods called as the host calls them, one at a time and without its rules around them."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from typing_extensions import Self

from outboard.agent import Registry
from outboard.domain.handles import HandleCodec
from outboard.domain.tasks import RawTask
from outboard.host import HostSettings
from outboard.host.accounts import Accounts
from outboard.host.budgets.budgets import Budgets
from outboard.host.calls import Calls
from outboard.host.clients import Clients
from outboard.host.invocation import Invoker
from outboard.host.requests import Request, prepare
from outboard.host.secrets import Redactor, SecretSource
from outboard.host.words import Words


class Direct:
    """Calls agents of a registry; close it in the event loop that used it."""

    def __init__(self, registry: Registry, settings: HostSettings) -> None:
        redact = Redactor()
        self._registry = registry
        self._settings = settings
        self._codec = HandleCodec()
        self._words = Words(redact)
        self._source = SecretSource(settings.secrets, redact)
        self._invoker = Invoker(self._words)
        idle_s = settings.idle_client.total_seconds()
        accounts = Accounts(settings, self._words)
        self._clients = Clients(self._source, Budgets(), self._words, idle_s, accounts)
        self._calls = Calls(self._clients, self._invoker, accounts)

    def prepare(self, task: RawTask) -> Request:
        """Return the task as the agent gets it, with its key."""
        return prepare(
            task,
            registry=self._registry,
            source=self._source,
            words=self._words,
            installation=self._settings.installation,
            codec=self._codec,
        )

    async def call(self, request: Request, method: str, *args: Any, timeout_s: float) -> Any:
        """Call a method with `args` and the request's context; any `OutboardError`."""
        return await self._calls.about_request(request, method, *args, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._clients.close()
        self._invoker.close()
