"""The directory: the endpoints by name, what they serve, and which of them takes a task.

Endpoints are asked what they serve when the first task needs it, and again in the background once the listing is older than
`interval_s`. The last good listing stays. A task whose endpoint could not be asked yet is not guessed about: sent by the
wrong method (a sync task by CreateTask) it would fail for good, so the endpoint's error is raised, which says "not now". An
endpoint that answers that it has no such method is an old service, and is routed to by the configuration alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from outboard.domain.endpoints import Endpoint
from outboard.domain.tasks import TaskType
from outboard.engine.addresses import ServiceAddress
from outboard.engine.routing import Route, Routes, served_by
from outboard.errors import EndpointUnreachable, InvalidSettings, OutboardError, UnknownTaskType, Unsupported

_CALL_LIMITS_S: Final[Mapping[str, float]] = {
    "CreateTask": 30.0,
    "GetTask": 10.0,
    "DeleteTask": 30.0,
    "ExecuteTaskSync": 90.0,
    "ListAgents": 10.0,
}
"""Deadlines for services whose configuration gives none: every call that leaves the process has one."""

_ASK_AGAIN_S: Final = 1.0


class Directory:
    """Knows who serves what.

    Args:
        endpoints: By name.
        addresses: Of the endpoints that are services elsewhere, for their deadlines.
        routes: How tasks are routed, before anything was listed.
        interval_s: When a listing is old.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        addresses: Mapping[str, ServiceAddress],
        routes: Routes,
        interval_s: float,
    ) -> None:
        self.routes = routes
        self._endpoints = endpoints
        self._addresses = addresses
        self._interval_s = interval_s
        self._errors: dict[str, OutboardError] = {}
        self._asked_at: float | None = None
        self._asking: asyncio.Task[None] | None = None

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint; `InvalidSettings` when this engine has none of that name."""
        found = self._endpoints.get(name)
        if found is None:
            known = ", ".join(self._endpoints) or "none"
            raise InvalidSettings(f"there is no endpoint '{name}' here (there are: {known}): add it", field="endpoints")
        return found

    def limit_s(self, name: str, operation: str) -> float | None:
        """Return the deadline to give a call; None leaves it to the endpoint (its configuration, or the host's)."""
        address = self._addresses.get(name)
        if address is None or address.timeout(operation) is not None:
            return None
        return _CALL_LIMITS_S[operation]

    async def route(self, task_type: TaskType) -> Route:
        """Return which endpoint takes a task, and by which method.

        Raises:
            UnknownTaskType: Nobody serves it.
            OutboardError: Who may serve it could not be asked.
        """
        if self._asked_at is None:
            await self._refresh()
        elif time.monotonic() - self._asked_at > self._interval_s:
            self._start()
        try:
            return self._route(task_type)
        except OutboardError:
            if time.monotonic() - (self._asked_at or 0.0) < _ASK_AGAIN_S:
                raise
        await self._refresh()
        return self._route(task_type)

    async def route_to(self, name: str, task_type: TaskType) -> Route:
        """Return by which method an endpoint takes a task that was sent there before."""
        self.endpoint(name)
        try:
            route = await self.route(task_type)
        except UnknownTaskType:
            return Route(endpoint=name, is_sync=False)
        return Route(endpoint=name, is_sync=route.is_sync)

    async def list_agents(self) -> Routes:
        """Ask all endpoints what they serve, now, and return the routes."""
        await self._refresh()
        return self.routes

    @property
    def errors(self) -> Mapping[str, OutboardError]:
        """Why endpoints could not be asked, by name."""
        return self._errors

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _route(self, task_type: TaskType) -> Route:
        try:
            route = self.routes.route(task_type.name, task_type.version)
        except UnknownTaskType:
            for error in self._errors.values():  # who has not answered may be the one
                raise error from None
            raise
        if route.endpoint in self._errors and route.endpoint not in self.routes.listings:
            raise self._errors[route.endpoint]
        return route

    async def _refresh(self) -> None:
        await asyncio.shield(self._start())

    def _start(self) -> asyncio.Task[None]:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask_all())
        return self._asking

    async def _ask_all(self) -> None:
        await asyncio.gather(*(self._ask(name, endpoint) for name, endpoint in self._endpoints.items()))
        self._asked_at = time.monotonic()

    async def _ask(self, name: str, endpoint: Endpoint) -> None:
        try:
            agents = await asyncio.wait_for(endpoint.list_agents(), _CALL_LIMITS_S["ListAgents"])
        except Unsupported:
            self._errors.pop(name, None)
        except (asyncio.TimeoutError, TimeoutError):
            self._errors[name] = _silent(name)
        except OutboardError as error:
            self._errors[name] = error
        else:
            self._errors.pop(name, None)
            self.routes = self.routes.with_listing(name, served_by(agents))


def _silent(name: str) -> OutboardError:
    return EndpointUnreachable(
        f"{name} did not say what it serves within {_CALL_LIMITS_S['ListAgents']:g} s: is it well?", endpoint=name
    )
