"""Listings of agents to Flyte 1's `Agent` messages and back.

FlytePropeller 1.16 reads two fields. `supported_task_types` (deprecated) registers each name in version 0, so only types served
in version 0 stand there. `supported_task_categories` holds name and version. Of several versions of one type its registry keeps
only the one it reads last (`newConnectorRegistry[name] = ...`, flyteplugins/go/tasks/plugins/webapi/connector/client.go); it
sends the others to its default connector, as asynchronous tasks. So versions are listed oldest first, within an agent and
between agents: the newest survives. Where an older one must be reached too, this service has to be the default connector.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flyteidl.admin import agent_pb2

from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType


def encode_agents(agents: Iterable[AgentInfo]) -> list[agent_pb2.Agent]:
    """Return a listing, in the order in which old clients keep the newest version of a task type."""
    return [encode_agent(agent) for agent in sorted(agents, key=_newest)]


def encode_agent(agent: AgentInfo) -> agent_pb2.Agent:
    """Return one agent."""
    task_types = sorted(agent.task_types, key=lambda task_type: (task_type.version, task_type.name))
    return agent_pb2.Agent(
        name=agent.name,
        is_sync=agent.is_sync,
        supported_task_types=[task_type.name for task_type in task_types if task_type.version == 0],
        supported_task_categories=[
            agent_pb2.TaskCategory(name=task_type.name, version=task_type.version) for task_type in task_types
        ],
    )


def decode_agents(messages: Iterable[agent_pb2.Agent]) -> Sequence[AgentInfo]:
    """Return what any service lists; types of older services, without categories, are version 0."""
    return tuple(decode_agent(message) for message in messages)


def decode_agent(message: agent_pb2.Agent) -> AgentInfo:
    """Return one listed agent, each task type once."""
    listed = [TaskType(category.name, category.version) for category in message.supported_task_categories]
    listed += [TaskType(name) for name in message.supported_task_types]
    return AgentInfo(name=message.name, task_types=tuple(dict.fromkeys(listed)), is_sync=message.is_sync)


def read_task_type(
    message: agent_pb2.GetTaskRequest
    | agent_pb2.DeleteTaskRequest
    | agent_pb2.GetTaskLogsRequest
    | agent_pb2.GetTaskMetricsRequest,
) -> TaskType:
    """Return the task type that a request names; older clients fill only the deprecated field, which means version 0."""
    category = message.task_category
    return TaskType(category.name, category.version) if category.name else TaskType(message.task_type)


def write_category(task_type: TaskType) -> agent_pb2.TaskCategory:
    """Return a task type as requests name it."""
    return agent_pb2.TaskCategory(name=task_type.name, version=task_type.version)


def _newest(agent: AgentInfo) -> int:
    return max((task_type.version for task_type in agent.task_types), default=0)
