"""All children of a service: which of them serves what, and that they start and end with it.

Agents and task types stay listed while their child is down, as it said them last: an engine that loses a route fails tasks for
good, while one that keeps it asks again. An agent or task type that is served twice is the parent's, or the first child's.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.host.logs import TaskLog
from outboard.service.isolation.child import Carrier, PlatformChild
from outboard.service.isolation.metrics import expose
from outboard.service.supervision.child import ChildSpec
from outboard.service.supervision.folders import private_directory

START_PATIENCE_S: Final = 30.0
"""How long a service waits for its children before it answers: a route that is not there yet fails tasks for good."""


class Children:
    """The children of a service.

    Args:
        specs: How to start them.
        on_change: Called when one has come up or is down.
        carrier: Returns the metadata by which children go on with the present trace.

    Attributes:
        all: The children; none before `start`.
    """

    def __init__(
        self, specs: Sequence[ChildSpec], on_change: Callable[[], None], carrier: Carrier | None = None
    ) -> None:
        self._specs = tuple(specs)
        self._carrier = carrier
        self._own: Sequence[AgentInfo] = ()
        self.all: list[PlatformChild] = []
        self._by_name: dict[str, PlatformChild] = {}
        self._by_type: dict[TaskType, PlatformChild] = {}
        self._by_type_name: dict[str, PlatformChild] = {}
        self._readers: dict[TaskType, PlatformChild] = {}
        self._agents: dict[str, AgentInfo] = {}
        self._directory: Path | None = None
        self._told: set[str] = set()
        self._on_change = on_change

    @property
    def agents(self) -> Sequence[AgentInfo]:
        """What children serve, up or down."""
        return tuple(self._agents.values())

    @property
    def unseen(self) -> Sequence[str]:
        """Those that have never been up, so that nobody knows what they serve."""
        return [child.source for child in self.all if child.hello is None]

    @property
    def health(self) -> Mapping[str, bool]:
        """Whether each agent's child answers, by the agent's name."""
        return {name: self._by_name[name].is_up for name in self._agents}

    def named(self, agent: str) -> PlatformChild | None:
        """Return the child that follows this agent's handles."""
        return self._by_name.get(agent)

    def for_type(self, task_type: TaskType) -> PlatformChild | None:
        """Return the child of a task type; of one in another version too, unless the parent serves the name."""
        child = self._by_type.get(task_type)
        return child if child is not None or self.is_own(task_type) else self._by_type_name.get(task_type.name)

    def reader(self, task_type: TaskType) -> PlatformChild | None:
        """Return a child whose agent knows a task type, be it that another one serves it: it reads its own old handles."""
        return self._readers.get(task_type)

    def keeps_native(self, task_type: TaskType) -> bool:
        """Tell whether engines keep a hosted connector's own bytes for jobs of a task type."""
        return any(child.hello is not None and task_type in child.hello.natives for child in self.all)

    def is_own(self, task_type: TaskType) -> bool:
        """Tell whether the parent itself serves a task type of this name."""
        return any(own.name == task_type.name for agent in self._own for own in agent.task_types)

    async def start(self, own: Sequence[AgentInfo]) -> None:
        """Start all and wait until each is up or has failed once, at most `START_PATIENCE_S`.

        Args:
            own: What the parent itself serves.
        """
        self._own = own
        self._directory = directory = private_directory("isolate")
        self.all = [
            PlatformChild(spec, directory / str(number), self._changed, self._carrier)
            for number, spec in enumerate(self._specs)
        ]
        expose(self.all)
        for child in self.all:
            child.start()
        tried = [asyncio.ensure_future(child.tried.wait()) for child in self.all]
        if tried:
            _, late = await asyncio.wait(tried, timeout=START_PATIENCE_S)
            for each in late:
                each.cancel()

    async def stop(self, grace_s: float) -> None:
        """End all; what is left after `grace_s` is killed."""
        await asyncio.gather(*(child.stop(grace_s) for child in self.all))
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _changed(self) -> None:
        for child in self.all:
            if child.is_up:
                self._learn(child)
        self._on_change()

    def _learn(self, child: PlatformChild) -> None:
        hello = child.hello
        if hello is None:
            return
        own_names = {agent.name for agent in self._own}
        own_types = {task_type for agent in self._own for task_type in agent.task_types}
        for name in hello.names:
            if name not in own_names and self._by_name.setdefault(name, child) is child:
                continue
            self._tell(child, f"agent {name}")
        for agent in hello.agents:
            if self._by_name.get(agent.name) is not child:
                continue
            for each in agent.task_types:
                self._readers.setdefault(each, child)
            served = [each for each in agent.task_types if each not in own_types]
            served = [each for each in served if self._by_type.setdefault(each, child) is child]
            for task_type in served:
                self._by_type_name.setdefault(task_type.name, child)
            if len(served) < len(agent.task_types):
                self._tell(child, f"a task type of agent {agent.name}")
            self._agents[agent.name] = AgentInfo(name=agent.name, task_types=tuple(served), is_sync=agent.is_sync)

    def _tell(self, child: PlatformChild, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            TaskLog(isolated=child.source).error("served twice; the other one is used", what=what)
