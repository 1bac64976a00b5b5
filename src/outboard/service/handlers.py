"""The eight methods of Flyte 1's three services, over a host.

The operations' short names (`create`, `get`, `delete`, `do`) are those of flytekit's metrics. Protobuf to values and back is
the wire's work, rules are the host's; what is decided here is the shape of the two streams:

* ExecuteTaskSync reads a header, then inputs, and answers as soon as it has both: a client that never half-closes must not
  hold a handler. It answers with exactly one header message, because FlytePropeller reads no more.
* GetTaskLogs writes lines as they come, and at the end one header with the token to go on from.

Where platforms are isolated, calls about their agents are read only as far as it takes to see whose they are, and passed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2

from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.errors import InvalidTask, UnknownTaskType
from outboard.service.answers import Answers
from outboard.service.edge import Call, Edge, StalledStream, parse
from outboard.service.polls import Polls
from outboard.service.settings import ServiceSettings
from outboard.wire.listings import encode_agent, encode_agents, read_task_type
from outboard.wire.logs import encode_lines, encode_token
from outboard.wire.metrics import encode_metrics, read_time
from outboard.wire.tasks import decode_create_request, decode_sync_request

if TYPE_CHECKING:
    from outboard.service.isolation.forwarding import Forwarder

ASYNC_SERVICE: Final = "flyteidl.service.AsyncAgentService"
SYNC_SERVICE: Final = "flyteidl.service.SyncAgentService"
METADATA_SERVICE: Final = "flyteidl.service.AgentMetadataService"
SERVICES: Final = (ASYNC_SERVICE, SYNC_SERVICE, METADATA_SERVICE)

_GET: Final = f"/{ASYNC_SERVICE}/GetTask"
_CREATE: Final = f"/{ASYNC_SERVICE}/CreateTask"
_DELETE: Final = f"/{ASYNC_SERVICE}/DeleteTask"
_METRICS: Final = f"/{ASYNC_SERVICE}/GetTaskMetrics"
_LOGS: Final = f"/{ASYNC_SERVICE}/GetTaskLogs"
_EXECUTE: Final = f"/{SYNC_SERVICE}/ExecuteTaskSync"
_DELETED: Final[bytes] = agent_pb2.DeleteTaskResponse().SerializeToString()
_SHOWN_NAME: Final = 100


class Handlers:
    """Answers the calls of Flyte 1.

    Args:
        edge: What happens around every call.
        settings: What the operator decided.
        forwarder: Passes calls on to isolated platforms; None where there are none.
    """

    def __init__(self, edge: Edge, settings: ServiceSettings, forwarder: Forwarder | None = None) -> None:
        self._edge = edge
        self._forwarder = forwarder
        self._host = edge.host
        self._answers = Answers(settings.max_answer_bytes)
        self._polls = Polls(self._host.recall_task, self._answers.polled)
        self._limit_bytes = settings.max_answer_bytes
        self._stream_patience_s = settings.stream_patience_s

    def by_method(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """Return gRPC's handlers by full method name."""
        edge = self._edge
        return {
            _GET: edge.recalling("get", self._polls.recall, self._get_task),
            _CREATE: edge.unary("create", self._create_task),
            _DELETE: edge.unary("delete", self._delete_task),
            _METRICS: edge.unary("metrics", self._get_task_metrics),
            _LOGS: edge.answering_stream("logs", self._get_task_logs),
            _EXECUTE: edge.both_streams("do", self._execute_task_sync),
            f"/{METADATA_SERVICE}/ListAgents": edge.unary("list_agents", self._list_agents),
            f"/{METADATA_SERVICE}/GetAgent": edge.unary("get_agent", self._get_agent),
        }

    async def _get_task(self, data: bytes, call: Call) -> bytes:
        request = parse(agent_pb2.GetTaskRequest, data)
        task_type = read_task_type(request)
        call.task_type = task_type.name
        call.handle = request.resource_meta
        status = self._host.recall_task(call.handle)
        if status is None and self._forwarder is not None:
            answer = await self._forwarder.polled(_GET, data, call.handle, task_type, call.timeout_s)
            if answer is not None:
                return answer
        if status is None:
            status = await self._host.get_task(
                call.handle, task_type=task_type, output_prefix=request.output_prefix, timeout_s=call.timeout_s
            )
        return self._polls.answer(data, call.handle, task_type.name, status)

    async def _create_task(self, data: bytes, call: Call) -> bytes:
        request = parse(agent_pb2.CreateTaskRequest, data)
        self._note_task_type(call, request.template.type, request.inputs)
        if self._forwarder is not None:
            task_type = TaskType(request.template.type, request.template.task_type_version)
            passed = await self._forwarder.about_task(_CREATE, data, task_type, call.timeout_s)
            if passed is not None:
                return passed
        call.task = decode_create_request(request)
        handle = await self._host.create_task(call.task, timeout_s=call.timeout_s)
        answer: bytes = agent_pb2.CreateTaskResponse(resource_meta=handle).SerializeToString()
        return answer

    async def _delete_task(self, data: bytes, call: Call) -> bytes:
        request = parse(agent_pb2.DeleteTaskRequest, data)
        task_type = read_task_type(request)
        call.task_type = task_type.name
        call.handle = request.resource_meta
        if self._forwarder is not None:
            passed = await self._forwarder.about_job(_DELETE, data, call.handle, task_type, call.timeout_s)
            if passed is not None:
                return passed
        await self._host.delete_task(call.handle, task_type=task_type, timeout_s=call.timeout_s)
        return _DELETED

    async def _get_task_metrics(self, data: bytes, call: Call) -> bytes:
        request = parse(agent_pb2.GetTaskMetricsRequest, data)
        task_type = read_task_type(request)
        call.task_type = task_type.name
        call.handle = request.resource_meta
        if self._forwarder is not None:
            passed = await self._forwarder.about_job(_METRICS, data, call.handle, task_type, call.timeout_s)
            if passed is not None:
                return passed
        series = await self._host.task_metrics(
            call.handle,
            task_type=task_type,
            names=tuple(request.queries),
            start=read_time(request.start_time, "start_time") if request.HasField("start_time") else None,
            end=read_time(request.end_time, "end_time") if request.HasField("end_time") else None,
        )
        answer: bytes = agent_pb2.GetTaskMetricsResponse(results=encode_metrics(series)).SerializeToString()
        if len(answer) > self._limit_bytes:
            raise InvalidTask(
                f"the metrics take {len(answer)} bytes of at most {self._limit_bytes}; ask for fewer or a shorter time",
                field="queries",
            )
        return answer

    async def _get_task_logs(self, data: bytes, call: Call) -> None:
        request = parse(agent_pb2.GetTaskLogsRequest, data)
        task_type = read_task_type(request)
        call.task_type = task_type.name
        call.handle = request.resource_meta
        if self._forwarder is not None:
            messages = self._forwarder.logs(_LOGS, data, call.handle, task_type, call.timeout_s)
            if messages is not None:
                async with aclosing(messages):
                    async for passed in messages:
                        await call.context.write(passed)
                return
        cursor = request.token or None
        pages = self._host.task_logs(call.handle, task_type=task_type, cursor=cursor, limit=request.lines)
        # The host's stream is an async generator; left open, it would hold the platform's client.
        async with aclosing(pages):  # type: ignore[type-var]
            async for page in pages:
                for message in encode_lines(page.lines):
                    await call.context.write(message.SerializeToString())
                cursor = None if page.ended else page.next_cursor or cursor
        await call.context.write(encode_token(cursor).SerializeToString())

    async def _execute_task_sync(self, call: Call) -> None:
        header, header_data = await self._next_part(call, "header")
        inputs, inputs_data = await self._next_part(call, "inputs")
        template = header.template
        self._note_task_type(call, template.type, inputs)
        if self._forwarder is not None:
            task_type = TaskType(template.type, template.task_type_version)
            parts = (header_data, inputs_data)
            passed = await self._forwarder.about_task(_EXECUTE, parts, task_type, call.timeout_s)
            if passed is not None:
                await call.context.write(passed)
                return
        call.task = decode_sync_request(header, inputs)
        status = await self._host.execute_task(call.task, timeout_s=call.timeout_s)
        await call.context.write(self._answers.answered(status, self._edge.log(call)))

    async def _next_part(self, call: Call, wanted: str) -> tuple[Any, bytes]:
        """Return the next part of a request, and the message that it came in."""
        try:
            data = await asyncio.wait_for(call.context.read(), self._stream_patience_s)
        except (TimeoutError, asyncio.TimeoutError):
            raise StalledStream(
                f"the stream's {wanted} did not come within {self._stream_patience_s:g} s; send a header, then inputs"
            ) from None
        if data is grpc.aio.EOF:
            raise InvalidTask(f"the stream ended before its {wanted}; send a header, then inputs", field=wanted)
        message = parse(agent_pb2.ExecuteTaskSyncRequest, data)
        part = message.WhichOneof("part")
        if part != wanted:
            raise InvalidTask(
                f"the stream holds {part or 'an empty message'} where its {wanted} belongs; send a header, then inputs",
                field=wanted,
            )
        return getattr(message, wanted), data

    async def _list_agents(self, data: bytes, _call: Call) -> bytes:
        parse(agent_pb2.ListAgentsRequest, data)
        agents = await self._listed()
        answer: bytes = agent_pb2.ListAgentsResponse(agents=encode_agents(agents)).SerializeToString()
        return answer

    async def _get_agent(self, data: bytes, _call: Call) -> bytes:
        wanted = parse(agent_pb2.GetAgentRequest, data).name
        agents = {agent.name: agent for agent in await self._listed()}
        found = agents.get(wanted)
        if found is None:
            served = ", ".join(sorted(agents)) or "none"
            raise UnknownTaskType(f"no agent is called {wanted[:_SHOWN_NAME]!r}; served here: {served}", field="name")
        answer: bytes = agent_pb2.GetAgentResponse(agent=encode_agent(found)).SerializeToString()
        return answer

    async def _listed(self) -> Sequence[AgentInfo]:
        own = await self._host.list_agents()
        return own if self._forwarder is None else (*own, *self._forwarder.children.agents)

    def _note_task_type(self, call: Call, task_type: str, inputs: literals_pb2.LiteralMap) -> None:
        call.task_type = task_type
        self._edge.metrics.took_inputs(task_type, inputs.ByteSize())
