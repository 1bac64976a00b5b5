"""Which endpoint serves a task: a pure decision from the configuration and what the endpoints list.

For a task type and version, the first of these that answers wins:

1. the configuration's own route for the type (`agentForTaskTypes`), whatever the listings say;
2. the first endpoint, in the configuration's order, that lists exactly this type and version;
3. the default endpoint, where the configuration says that it serves the type, or where it has never been able to list
   anything (an old service without the listing).

There is no fallback between versions: a job of another version is another job. An endpoint that fails to list keeps its
last good listing, because FlytePropeller's way (dropping it) makes running tasks homeless and sends sync tasks to the
wrong method. FlytePropeller leaves the choice between two endpoints that list the same type to chance; here the order
of the configuration decides, with a warning.

`Routes` is immutable: a new listing gives new routes, so a task that reads it between two awaits sees one state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from typing_extensions import Self

from outboard.domain.endpoints import AgentInfo
from outboard.engine.propeller.config import PropellerConfig
from outboard.errors import UnknownTaskType

IN_PROCESS: Final = "in-process"
"""The endpoint name of the host in this process."""


@dataclass(frozen=True, slots=True, order=True)
class Served:
    """One task type in one version that an endpoint lists, and whether it is answered by `ExecuteTaskSync`."""

    task_type: str
    version: int = 0
    is_sync: bool = False

    def __str__(self) -> str:
        return f"{self.task_type} (version {self.version})"


def served_by(agents: Iterable[AgentInfo]) -> list[Served]:
    """Return what a listing of agents says is served."""
    return [Served(each.name, each.version, agent.is_sync) for agent in agents for each in agent.task_types]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a task goes.

    Attributes:
        endpoint: The endpoint's name.
        is_sync: Whether to send `ExecuteTaskSync`. False where the endpoint does not list the task, as in FlytePropeller.
    """

    endpoint: str
    is_sync: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """What is served where.

    Attributes:
        order: All endpoints by name; of two that list the same the earlier one serves it.
        configured: Task type to endpoint, as the configuration says.
        default: The endpoint of last resort.
        default_task_types: What the default endpoint serves even when it does not list it.
        listings: The last good listing per endpoint; an endpoint that never listed anything is missing.
    """

    order: tuple[str, ...]
    configured: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None
    default_task_types: frozenset[str] = frozenset()
    listings: Mapping[str, tuple[Served, ...]] = field(default_factory=dict)
    _listed: Mapping[tuple[str, int], tuple[tuple[str, Served], ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        listed: defaultdict[tuple[str, int], list[tuple[str, Served]]] = defaultdict(list)
        for endpoint in self.order:
            for served in self.listings.get(endpoint, ()):
                listed[served.task_type, served.version].append((endpoint, served))
        object.__setattr__(self, "_listed", {key: tuple(by) for key, by in listed.items()})

    @classmethod
    def of(cls, config: PropellerConfig) -> Self:
        """Return the routes of a configuration before anything was listed."""
        return cls(
            order=tuple(config.addresses),
            configured=config.routes,
            default=config.default,
            default_task_types=config.default_task_types,
        )

    @classmethod
    def in_process(cls, served: Iterable[Served]) -> Self:
        """Return the routes of a host in this process."""
        return cls(order=(IN_PROCESS,)).with_listing(IN_PROCESS, served)

    def with_listing(self, endpoint: str, served: Iterable[Served] | None) -> Self:
        """Return the routes after an endpoint was asked what it serves; None, a failed listing, changes nothing."""
        if served is None:
            return self
        return replace(self, listings={**self.listings, endpoint: tuple(sorted(set(served)))})

    def route(self, task_type: str, version: int = 0) -> Route:
        """Return where a task of this type and version goes.

        Raises:
            UnknownTaskType: Nobody serves it; the message lists what is served and by whom.

        >>> Routes.in_process([Served("echo")]).route("echo")
        Route(endpoint='in-process', is_sync=False)
        """
        listed = self._listed.get((task_type, version), ())
        configured = self.configured.get(task_type)
        if configured is not None:
            return Route(endpoint=configured, is_sync=any(s.is_sync for name, s in listed if name == configured))
        if listed:
            endpoint, served = listed[0]
            return Route(endpoint=endpoint, is_sync=served.is_sync)
        if self.default is not None and (task_type in self.default_task_types or self.default not in self.listings):
            return Route(endpoint=self.default, is_sync=False)
        raise UnknownTaskType(self._unknown(task_type, version), field="type")

    @property
    def warnings(self) -> Sequence[str]:
        """One sentence for each task type and version that several endpoints list or that a route seems to miss."""
        return (*self._duplicates(), *self._misses())

    def _duplicates(self) -> list[str]:
        found = []
        for (task_type, version), by in sorted(self._listed.items()):
            names = list(dict.fromkeys(name for name, _ in by))
            if len(names) > 1 and task_type not in self.configured:
                named = f"{Served(task_type, version)} is listed by {', '.join(names)}"
                found.append(f"{named}: {names[0]} serves it, as the first in the configuration")
        return found

    def _misses(self) -> list[str]:
        return [
            f"{task_type} is sent to {endpoint}, which does not list it: correct the configuration or the service"
            for task_type, endpoint in self.configured.items()
            if endpoint in self.listings and all(each.task_type != task_type for each in self.listings[endpoint])
        ]

    def _unknown(self, task_type: str, version: int) -> str:
        wanted = f"nobody serves {Served(task_type, version)}"
        versions = sorted(v for name, v in self._listed if name == task_type)
        if versions:
            known = ", ".join(f"{v} (by {self._listed[task_type, v][0][0]})" for v in versions)
            return f"{wanted}, only version {known}: change the task's version or add an agent for it"
        unlisted = [name for name in self.order if name not in self.listings]
        parts = [f"{name} serves {self._types(name)}" for name in self.order if name in self.listings]
        parts += [f"{name} has not answered" for name in unlisted]
        return f"{wanted}: correct the type or add an agent for it; {'; '.join(parts) or 'no endpoint is configured'}"

    def _types(self, endpoint: str) -> str:
        versions: defaultdict[str, list[str]] = defaultdict(list)
        for served in self.listings[endpoint]:
            versions[served.task_type].append(str(served.version))
        return ", ".join(f"{name} ({', '.join(found)})" for name, found in versions.items()) or "nothing"
