"""Listings of agents to Flyte 2's `Connector` messages.

Flyte 2 knows no sync agents: it creates every task and asks for it, and the host answers for sync agents so too.
Its registry goes by name and version; the order of the listing means nothing to it, and is the one of Flyte 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flyteidl2.connector import connector_pb2

from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.wire import listings


def encode_connectors(agents: Iterable[AgentInfo]) -> list[connector_pb2.Connector]:
    """Return a listing."""
    return [_connector(message) for message in listings.encode_agents(agents)]


def encode_connector(agent: AgentInfo) -> connector_pb2.Connector:
    """Return one agent."""
    return _connector(listings.encode_agent(agent))


def read_task_type(message: Any) -> TaskType:
    """Return the task type that a request about a job names."""
    return TaskType(message.task_category.name, message.task_category.version)


def _connector(agent: Any) -> connector_pb2.Connector:
    categories = agent.supported_task_categories
    return connector_pb2.Connector(
        name=agent.name,
        supported_task_categories=[
            connector_pb2.TaskCategory(name=category.name, version=category.version) for category in categories
        ],
    )
