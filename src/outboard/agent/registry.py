"""The registry: which agent serves which task type. An object that is built and passed, never a global."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from outboard.agent.agents import Agent
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

    Raises:
        ContractViolation: Two agents share a name or a task type and version.
    """

    def __init__(self, platforms: Iterable[Platform[Any, Any]] = (), failures: Sequence[LoadFailure] = ()) -> None:
        self.failures: list[LoadFailure] = list(failures)
        self.platforms: list[Platform[Any, Any]] = []
        self._by_type: dict[TaskType, Agent] = {}
        self._by_name: dict[str, Agent] = {}
        self._withheld: dict[str, str] = {}
        for platform in platforms:
            self.add(platform)

    def add(self, platform: Platform[Any, Any]) -> None:
        """Serve the agents of a platform too; all of them or, when one collides, none."""
        agents = list(platform.agents())
        names = dict(self._by_name)
        types = dict(self._by_type)
        withheld = platform.withheld()
        for agent in agents:
            if not isinstance(agent, Agent):
                raise ContractViolation(f"{platform.name}.agents() returned {agent!r}, which is not an agent instance")
            for name in (agent.name, *agent.aliases):
                if name in names:
                    raise ContractViolation(f"two agents are called {name}: {_who(names[name])} and {_who(agent)}")
                names[name] = agent
            for task_type in agent.task_types:
                if task_type.name in withheld:
                    continue
                if task_type in types:
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

    def named(self, name: str) -> Agent | None:
        """Return the agent of a name or an alias."""
        return self._by_name.get(name)


def _who(agent: Agent) -> str:
    return f"{type(agent).__module__}.{type(agent).__qualname__}"
