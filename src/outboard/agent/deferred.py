"""Deferred platforms: what a registry must know of a platform before anybody asks for it.

A service has more platforms installed than it is asked for, and each costs its start some thirty milliseconds and half a
megabyte: models to build, an error map, a client. So an entry point of `outboard.platforms` may name a `DeferredPlatform`
in place of the class: its agents' names and task types as data, and where the class is. The registry lists them, routes
by them, and loads the platform with the first task, handle or callback that is meant for it, or when all is asked for.

A platform that the operator has settings for is loaded at once: what is wrong in them is told at the start.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outboard.agent.platform import Platform
from outboard.domain.tasks import TaskType


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredAgent:
    """What is known of an agent that is not loaded: the same that its class says.

    Attributes:
        name: See `Agent`; so are the others.
    """

    name: str
    task_types: tuple[TaskType, ...]
    aliases: tuple[str, ...] = ()
    is_sync: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredPlatform:
    """A platform that is loaded when it is needed.

    Attributes:
        name: The platform's name.
        source: Its class, as `module:Class`.
        agents: What its `agents()` returns.
        withheld: What its `withheld()` returns where the operator has set nothing.
        needs: Modules that it cannot work without, as its class says.
        settings: What it is configured with where the operator has set nothing.
    """

    name: str
    source: str
    agents: Sequence[DeclaredAgent]
    withheld: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def knows(self, task_type: TaskType) -> bool:
        """Tell whether one of its agents is declared to serve a task type, withheld or not."""
        return any(task_type in agent.task_types for agent in self.agents)

    def load(self, settings: Mapping[str, Any] | None = None) -> Platform[Any, Any]:
        """Import the class and return the platform with the operator's settings.

        Raises:
            InvalidSettings: A setting does not fit.
        """
        module, _, name = self.source.partition(":")
        loaded: type[Platform[Any, Any]] = getattr(importlib.import_module(module), name)
        return loaded.configure(settings or self.settings)
