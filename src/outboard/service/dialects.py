"""Dialects: what differs between Flyte 1 and Flyte 2 in the methods that both have.

Both have a service of jobs with five methods and one that lists agents with two, and their requests have the same fields by
the same names. So there is one set of handlers (`handlers`), which reads requests with its dialect's messages and asks the
dialect for the rest. Answers that are the same bytes in both are written in Flyte 1's words.
Flyte 2's dialect is in `flyte2`, which nothing loads before the first call of Flyte 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flyteidl.admin import agent_pb2

from outboard.domain.endpoints import AgentInfo
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask, TaskType
from outboard.wire.listings import encode_agent, encode_agents, read_task_type
from outboard.wire.statuses import encode_status
from outboard.wire.tasks import decode_create_request

FLYTE1_JOBS: Final = "flyteidl.service.AsyncAgentService"
FLYTE1_SYNC: Final = "flyteidl.service.SyncAgentService"
FLYTE1_AGENTS: Final = "flyteidl.service.AgentMetadataService"
FLYTE2_JOBS: Final = "flyteidl2.connector.AsyncConnectorService"
FLYTE2_AGENTS: Final = "flyteidl2.connector.ConnectorMetadataService"
SERVICES: Final = (FLYTE1_JOBS, FLYTE1_SYNC, FLYTE1_AGENTS, FLYTE2_JOBS, FLYTE2_AGENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A version of the agent protocol, as the handlers need it.

    Attributes:
        jobs: The service of CreateTask, GetTask, DeleteTask, GetTaskMetrics and GetTaskLogs.
        list_agents, get_agent: The methods that list agents, by their full names.
        messages: The messages of the service of jobs: `GetTaskRequest` and the like.
        list_request, get_request: The requests of `list_agents` and `get_agent`.
        collects_garbage: DeleteTask comes for jobs that succeeded too, and again until it is answered OK.
        read_task: The task in a CreateTask request and its bytes; `InvalidTask` where it cannot be understood.
        read_task_type: The task type that a request about a job names.
        read_provided: What the engine provided with a GetTask or DeleteTask request.
        write_status: The answer of GetTask; `InvalidOutputs` where an output cannot be written.
        write_agents, write_agent: The answers of `list_agents` and `get_agent`.
    """

    jobs: str
    list_agents: str
    get_agent: str
    messages: Any
    list_request: Any
    get_request: Any
    collects_garbage: bool
    read_task: Callable[[Any, bytes], RawTask]
    read_task_type: Callable[[Any], TaskType]
    read_provided: Callable[[Any], Provided]
    write_status: Callable[[TaskStatus], bytes]
    write_agents: Callable[[Sequence[AgentInfo]], bytes]
    write_agent: Callable[[AgentInfo], bytes]


def written(message: Any) -> bytes:
    """Return a message as bytes."""
    data: bytes = message.SerializeToString()
    return data


def _write_status(status: TaskStatus) -> bytes:
    answer = agent_pb2.GetTaskResponse()
    encode_status(status, answer.resource)
    return written(answer)


FLYTE1: Final = Dialect(
    jobs=FLYTE1_JOBS,
    list_agents=f"/{FLYTE1_AGENTS}/ListAgents",
    get_agent=f"/{FLYTE1_AGENTS}/GetAgent",
    messages=agent_pb2,
    list_request=agent_pb2.ListAgentsRequest,
    get_request=agent_pb2.GetAgentRequest,
    collects_garbage=False,
    read_task=lambda request, _: decode_create_request(request),
    read_task_type=read_task_type,
    read_provided=lambda _: NOTHING,
    write_status=_write_status,
    write_agents=lambda agents: written(agent_pb2.ListAgentsResponse(agents=encode_agents(agents))),
    write_agent=lambda agent: written(agent_pb2.GetAgentResponse(agent=encode_agent(agent))),
)
