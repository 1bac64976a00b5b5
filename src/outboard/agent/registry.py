"""The registry: which agent serves which task type. An object that is built and passed, never a global."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from outboard.agent.agents import Agent, JobAgent
from outboard.agent.platform import Platform
from outboard.domain.tasks import TaskType
from outboard.errors import ContractViolation, UnknownTaskType


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailure:
    """A platform that could not be loaded.

    Attributes:
        source: The entry point or `module:name` that was tried.
        reason: One sentence with the remedy.
    """

    source: str
    reason: str


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
        self.platforms: list[Platform[Any, Any]] = []
        self._by_type: dict[TaskType, Agent] = {}
        self._by_name: dict[str, Agent] = {}
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
        names = dict(self._by_name)
        types = dict(self._by_type)
        lacking = _lacking(platform)
        withheld = {**platform.withheld(), **_not_served(agents, lacking)}
        for agent in agents:
            for name in (agent.name, *agent.aliases):
                if name in names:
                    raise ContractViolation(f"two agents are called {name}: {_who(names[name])} and {_who(agent)}")
                names[name] = agent
            for task_type in agent.task_types:
                if task_type.name in withheld or task_type in leaves:
                    continue
                if task_type in types and task_type not in takes:
                    raise ContractViolation(
                        f"two agents serve {task_type}: {_who(types[task_type])} and {_who(agent)}; disable one platform"
                    )
                types[task_type] = agent
        if any(other.name == platform.name for other in self.platforms):
            # They would share clients and quotas, which are kept by the platform's name.
            raise ContractViolation(f"two platforms are called {platform.name}; disable one")
        self.platforms.append(platform)
        self._by_name, self._by_type = names, types
        self._withheld.update(withheld)
        if lacking:
            self.notes.append(f"platform {platform.name} is not served: {lacking}")
        self._note_readers(agents)

    def _note_readers(self, agents: Iterable[Agent]) -> None:
        for agent in agents:
            if isinstance(agent, JobAgent) and agent.native_handles:
                for task_type in agent.task_types:
                    readers = self._readers.setdefault(task_type, [])
                    readers.append(agent)
                    readers.sort(key=lambda each, kind=task_type: self._by_type.get(kind) is not each)  # type: ignore[misc]

    def __iter__(self) -> Iterator[Agent]:
        return iter(dict.fromkeys(self._by_name.values()))

    def served(self, agent: Agent) -> tuple[TaskType, ...]:
        """Return the task types that an agent is asked for; none when its platform withholds them all."""
        return tuple(task_type for task_type in agent.task_types if self._by_type.get(task_type) is agent)

    def for_type(self, task_type: TaskType) -> Agent:
        """Return the agent of a task type and version; exact, without fallback to another version."""
        agent = self._by_type.get(task_type)
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
        return self._readers.get(task_type, ())

    def named(self, name: str) -> Agent | None:
        """Return the agent of a name or an alias."""
        return self._by_name.get(name)


def _agents(platform: Platform[Any, Any]) -> list[Agent]:
    agents = list(platform.agents())
    for agent in agents:
        if not isinstance(agent, Agent):
            raise ContractViolation(f"{platform.name}.agents() returned {agent!r}, which is not an agent instance")
    return agents


def _lacking(platform: Platform[Any, Any]) -> str:
    """Say what must be installed for a platform; nothing where all is there."""
    missing = {module: remedy for module, remedy in platform.needs.items() if not _is_installed(module)}
    return "; ".join(f"{module} is not installed, install {remedy}" for module, remedy in missing.items())


def _not_served(agents: Iterable[Agent], lacking: str) -> dict[str, str]:
    if not lacking:
        return {}
    return {
        kind.name: f"task type {kind.name!r} is not served here: {lacking}"
        for agent in agents
        for kind in agent.task_types
    }


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _who(agent: Agent) -> str:
    return f"{type(agent).__module__}.{type(agent).__qualname__}"
