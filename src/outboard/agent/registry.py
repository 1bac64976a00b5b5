"""The registry: which agent serves which task type. An object that is built and passed, never a global.

Platforms may be deferred (see `deferred`): their agents stand in the tables as they are declared, and are loaded by the
first question that one of them must answer. What only lists reads the declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeAlias

from outboard.agent.agents import Agent, JobAgent
from outboard.agent.deferred import DeclaredAgent, DeferredPlatform
from outboard.agent.platform import Platform
from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.errors import ContractViolation, OutboardError, UnknownTaskType


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailure:
    """A platform that could not be loaded.

    Attributes:
        source: The entry point or `module:name` that was tried.
        reason: One sentence with the remedy.
    """

    source: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """An agent whose platform is not loaded."""

    platform: DeferredPlatform
    agent: DeclaredAgent


_Entry: TypeAlias = Agent | _Waiting


class Registry:
    """The agents of one host.

    Args:
        platforms: Whose agents are served.
        failures: What could not be loaded; the service names it and is not silently healthy about it.

    Attributes:
        notes: What whoever starts the service should read in its log: a sentence each.

    Raises:
        ContractViolation: Two agents share a name or a task type and version.
    """

    def __init__(self, platforms: Iterable[Platform[Any, Any]] = (), failures: Sequence[LoadFailure] = ()) -> None:
        self.failures: list[LoadFailure] = list(failures)
        self.notes: list[str] = []
        self._platforms: list[Platform[Any, Any]] = []
        self._deferred: list[DeferredPlatform] = []
        self._hear: list[Callable[[Platform[Any, Any]], None]] = []
        self._by_type: dict[TaskType, _Entry] = {}
        self._by_name: dict[str, _Entry] = {}
        self._withheld: dict[str, str] = {}
        self._readers: dict[TaskType, list[JobAgent[Any, Any, Any]]] = {}
        for platform in platforms:
            self.add(platform)

    def add(
        self,
        platform: Platform[Any, Any],
        *,
        takes: Collection[TaskType] = (),
        leaves: Collection[TaskType] = (),
    ) -> None:
        """Serve the agents of a platform too; all of them or, when one collides, none.

        Args:
            platform: Whose agents.
            takes: Task types that its agents serve from now on although others did. Those still follow their jobs.
            leaves: Task types that others serve although its agents could.
        """
        agents = _agents(platform)
        withheld = {**platform.withheld(), **self._not_served(platform, agents)}
        self._enter(platform.name, [(agent, agent) for agent in agents], withheld, takes, leaves)
        self._platforms.append(platform)
        self._note_readers(agents)
        for hear in self._hear:
            hear(platform)

    def defer(self, platform: DeferredPlatform) -> None:
        """Serve the agents of a platform too, and load it when one of them is needed."""
        withheld = {**platform.withheld, **self._not_served(platform, platform.agents)}
        self._enter(platform.name, [(each, _Waiting(platform, each)) for each in platform.agents], withheld)
        self._deferred.append(platform)

    def _enter(
        self,
        name: str,
        agents: Sequence[tuple[Agent | DeclaredAgent, _Entry]],
        withheld: Mapping[str, str],
        takes: Collection[TaskType] = (),
        leaves: Collection[TaskType] = (),
    ) -> None:
        names, types = dict(self._by_name), dict(self._by_type)
        for agent, entry in agents:
            for known_as in (agent.name, *agent.aliases):
                if known_as in names:
                    both = f"{_who(names[known_as])} and {_who(entry)}"
                    raise ContractViolation(f"two agents are called {known_as}: {both}")
                names[known_as] = entry
            for task_type in agent.task_types:
                if task_type.name in withheld or task_type in leaves:
                    continue
                if task_type in types and task_type not in takes:
                    raise ContractViolation(
                        f"two agents serve {task_type}: {_who(types[task_type])} and {_who(entry)}; disable one platform"
                    )
                types[task_type] = entry
        if name in {*(other.name for other in self._platforms), *(other.name for other in self._deferred)}:
            # They would share clients and quotas, which are kept by the platform's name.
            raise ContractViolation(f"two platforms are called {name}; disable one")
        self._by_name, self._by_type = names, types
        self._withheld.update(withheld)

    def _not_served(
        self, platform: Platform[Any, Any] | DeferredPlatform, agents: Iterable[Agent | DeclaredAgent]
    ) -> Mapping[str, str]:
        """Return what is withheld since the platform lacks a module, and note it."""
        missing = {module: remedy for module, remedy in platform.needs.items() if not _is_installed(module)}
        if not missing:
            return {}
        lacking = "; ".join(f"{module} is not installed, install {remedy}" for module, remedy in missing.items())
        note = f"platform {platform.name} is not served: {lacking}"
        if note not in self.notes:
            self.notes.append(note)
        kinds = {kind.name for agent in agents for kind in agent.task_types}
        return {kind: f"task type {kind!r} is not served here: {lacking}" for kind in kinds}

    @property
    def platforms(self) -> Sequence[Platform[Any, Any]]:
        """All platforms, loaded."""
        self._load_all()
        return self._platforms

    def each_platform(self, hear: Callable[[Platform[Any, Any]], None]) -> None:
        """Call a function with every platform that is loaded, and with every other one when it is."""
        self._hear.append(hear)
        for platform in self._platforms:
            hear(platform)

    def _load_all(self) -> None:
        for deferred in list(self._deferred):
            self._load(deferred)

    def _load(self, deferred: DeferredPlatform) -> None:
        """Put a platform's agents in the place of what was declared of them; where it cannot be loaded, nothing."""
        order = list(self._by_name)
        self._deferred.remove(deferred)
        self._by_name = {name: each for name, each in self._by_name.items() if not _is_of(each, deferred)}
        self._by_type = {kind: each for kind, each in self._by_type.items() if not _is_of(each, deferred)}
        try:
            self.add(deferred.load())
        except (OutboardError, ImportError) as error:
            reason = error.message if isinstance(error, OutboardError) else f"{error.name} cannot be imported"
            self.failures.append(LoadFailure(source=deferred.name, reason=reason))
            kinds = {kind.name for agent in deferred.agents for kind in agent.task_types}
            self._withheld.update(dict.fromkeys(kinds, f"platform {deferred.name} could not be loaded: {reason}"))
        self._by_name = {name: self._by_name[name] for name in (*order, *self._by_name) if name in self._by_name}

    def _note_readers(self, agents: Iterable[Agent]) -> None:
        for agent in agents:
            if isinstance(agent, JobAgent) and agent.native_handles:
                for task_type in agent.task_types:
                    readers = self._readers.setdefault(task_type, [])
                    readers.append(agent)
                    readers.sort(key=lambda each, kind=task_type: self._by_type.get(kind) is not each)  # type: ignore[misc]

    def __iter__(self) -> Iterator[Agent]:
        self._load_all()
        return iter(dict.fromkeys(each for each in self._by_name.values() if isinstance(each, Agent)))

    def listed(self) -> Sequence[AgentInfo]:
        """Return every agent that is asked for anything, as it is listed; nothing is loaded for it."""
        found = []
        for entry in dict.fromkeys(self._by_name.values()):
            agent = entry.agent if isinstance(entry, _Waiting) else entry
            served = tuple(task_type for task_type in agent.task_types if self._by_type.get(task_type) is entry)
            if served:
                found.append(AgentInfo(name=agent.name, task_types=served, is_sync=agent.is_sync))
        return found

    def served(self, agent: Agent) -> tuple[TaskType, ...]:
        """Return the task types that an agent is asked for; none when its platform withholds them all."""
        return tuple(task_type for task_type in agent.task_types if self._by_type.get(task_type) is agent)

    def for_type(self, task_type: TaskType) -> Agent:
        """Return the agent of a task type and version; exact, without fallback to another version."""
        self._load_for(self._by_type.get(task_type))
        agent = _agent(self._by_type.get(task_type))
        if agent is None and task_type.name in self._withheld:
            raise UnknownTaskType(self._withheld[task_type.name], field="template.type")
        if agent is None:
            versions = sorted(t.version for t in self._by_type if t.name == task_type.name)
            if versions:
                raise UnknownTaskType(
                    f"task type {task_type.name} is served in version {', '.join(map(str, versions))}, "
                    f"not in version {task_type.version}",
                    field="template.task_type_version",
                )
            served = ", ".join(sorted({t.name for t in self._by_type})) or "nothing"
            raise UnknownTaskType(
                f"no agent here serves task type {task_type.name!r}; served: {served}", field="template.type"
            )
        return agent

    def readers(self, task_type: TaskType) -> Sequence[JobAgent[Any, Any, Any]]:
        """Return the agents whose native handles requests about a task type may bring; the one that serves it first."""
        for deferred in [each for each in self._deferred if each.knows(task_type)]:
            self._load(deferred)  # also for a type that is withheld: jobs of it may live
        return self._readers.get(task_type, ())

    @property
    def natives(self) -> Sequence[TaskType]:
        """The task types that have `readers`, of platforms that are loaded."""
        return tuple(self._readers)

    def named(self, name: str) -> Agent | None:
        """Return the agent of a name or an alias."""
        self._load_for(self._by_name.get(name))
        return _agent(self._by_name.get(name))

    def _load_for(self, entry: _Entry | None) -> None:
        if isinstance(entry, _Waiting):
            self._load(entry.platform)


def _agents(platform: Platform[Any, Any]) -> list[Agent]:
    agents = list(platform.agents())
    for agent in agents:
        if not isinstance(agent, Agent):
            raise ContractViolation(f"{platform.name}.agents() returned {agent!r}, which is not an agent instance")
    return agents


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _agent(entry: _Entry | None) -> Agent | None:
    return entry if isinstance(entry, Agent) else None


def _is_of(entry: _Entry, platform: DeferredPlatform) -> bool:
    return isinstance(entry, _Waiting) and entry.platform is platform


def _who(entry: _Entry) -> str:
    if isinstance(entry, _Waiting):
        return entry.platform.source
    return f"{type(entry).__module__}.{type(entry).__qualname__}"
