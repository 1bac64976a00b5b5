"""The seven methods that both versions of Flyte have, over a host; `dialects` says what differs between them.

The operations' short names (`create`, `get`, `delete`) are those of flytekit's metrics. Protobuf to values and back is the
wire's work, rules are the host's. GetTaskLogs writes lines as they come, and at the end one header with the token to go on from.

What an engine provides with a request (Flyte 2's connection) goes to the host each time it comes, since it may be another one
than before. So such a poll is not remembered here; the host answers it from its own memory.

Where platforms are isolated, calls about their agents are read only as far as it takes to see whose they are, and passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import grpc
from flyteidl.admin import agent_pb2

from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.errors import InvalidTask, UnknownTaskType
from outboard.service.answers import Answers
from outboard.service.dialects import FLYTE1, Dialect, written
from outboard.service.edge import Call, Edge, parse
from outboard.service.polls import Polls
from outboard.service.settings import ServiceSettings
from outboard.wire.logs import encode_lines, encode_token
from outboard.wire.metrics import encode_metrics, read_time

if TYPE_CHECKING:
    from outboard.service.isolation.forwarding import Forwarder

_DELETED: Final = written(agent_pb2.DeleteTaskResponse())
_SHOWN_NAME: Final = 100


class Handlers:
    """Answers the calls of one version of Flyte.

    Args:
        edge: What happens around every call.
        settings: What the operator decided.
        forwarder: Passes calls on to isolated platforms; None where there are none.
        dialect: Of which version.
    """

    def __init__(
        self, edge: Edge, settings: ServiceSettings, forwarder: Forwarder | None = None, dialect: Dialect = FLYTE1
    ) -> None:
        self._edge = edge
        self._forwarder = forwarder
        self._dialect = dialect
        self._messages = dialect.messages
        self._host = edge.host
        self._answers = Answers(settings.max_answer_bytes, dialect.write_status)
        self._polls = Polls(self._host.recall_task, self._answers.polled)
        self._limit_bytes = settings.max_answer_bytes
        self._get = f"/{dialect.jobs}/GetTask"
        self._create = f"/{dialect.jobs}/CreateTask"
        self._delete = f"/{dialect.jobs}/DeleteTask"
        self._metrics = f"/{dialect.jobs}/GetTaskMetrics"
        self._logs = f"/{dialect.jobs}/GetTaskLogs"

    def by_method(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """Return gRPC's handlers by full method name."""
        edge = self._edge
        return {
            self._get: edge.recalling("get", self._polls.recall, self._get_task),
            self._create: edge.unary("create", self._create_task),
            self._delete: edge.unary("delete", self._delete_task),
            self._metrics: edge.unary("metrics", self._get_task_metrics),
            self._logs: edge.answering_stream("logs", self._get_task_logs),
            self._dialect.list_agents: edge.unary("list_agents", self._list_agents),
            self._dialect.get_agent: edge.unary("get_agent", self._get_agent),
        }

    async def _get_task(self, data: bytes, call: Call) -> bytes:
        request = parse(self._messages.GetTaskRequest, data)
        task_type = self._dialect.read_task_type(request)
        call.task_type = task_type.name
        call.handle = request.resource_meta
        subject = self._edge.judge_handle(call, is_status=True)
        provided = self._dialect.read_provided(request)
        status = None if provided else self._host.recall_task(call.handle)
        if status is None and self._forwarder is not None:
            answer = await self._forwarder.polled(self._get, data, call.handle, task_type, call.timeout_s)
            if answer is not None:
                return answer
        if status is None:
            status = await self._host.get_task(
                call.handle,
                task_type=task_type,
                output_prefix=request.output_prefix,
                timeout_s=call.timeout_s,
                provided=provided,
            )
        return (
            self._answers.polled(status)
            if provided
            else self._polls.answer(data, call.handle, task_type.name, status, subject)
        )

    async def _create_task(self, data: bytes, call: Call) -> bytes:
        request = parse(self._messages.CreateTaskRequest, data)
        self._edge.note_task(call, request.template.type, request.inputs)
        self._judge_task(call, request)
        if self._forwarder is not None:
            task_type = TaskType(request.template.type, request.template.task_type_version)
            passed = await self._forwarder.about_task(self._create, data, task_type, call.timeout_s)
            if passed is not None:
                return passed
        call.task = self._dialect.read_task(request, data)
        handle = await self._host.create_task(call.task, timeout_s=call.timeout_s)
        return written(agent_pb2.CreateTaskResponse(resource_meta=handle))

    async def _delete_task(self, data: bytes, call: Call) -> bytes:
        request = parse(self._messages.DeleteTaskRequest, data)
        task_type = self._dialect.read_task_type(request)
        call.task_type = task_type.name
        call.handle = request.resource_meta
        self._edge.judge_handle(call)
        if self._forwarder is not None:
            passed = await self._forwarder.about_job(self._delete, data, call.handle, task_type, call.timeout_s)
            if passed is not None:
                return passed
        await self._host.delete_task(
            call.handle,
            task_type=task_type,
            timeout_s=call.timeout_s,
            provided=self._dialect.read_provided(request),
            collects_garbage=self._dialect.collects_garbage,
        )
        return _DELETED

    async def _get_task_metrics(self, data: bytes, call: Call) -> bytes:
        request = parse(self._messages.GetTaskMetricsRequest, data)
        task_type = self._dialect.read_task_type(request)
        call.task_type = task_type.name
        call.handle = request.resource_meta
        self._edge.judge_handle(call)
        if self._forwarder is not None:
            passed = await self._forwarder.about_job(self._metrics, data, call.handle, task_type, call.timeout_s)
            if passed is not None:
                return passed
        series = await self._host.task_metrics(
            call.handle,
            task_type=task_type,
            names=tuple(request.queries),
            start=read_time(request.start_time, "start_time") if request.HasField("start_time") else None,
            end=read_time(request.end_time, "end_time") if request.HasField("end_time") else None,
        )
        answer = written(agent_pb2.GetTaskMetricsResponse(results=encode_metrics(series)))
        if len(answer) > self._limit_bytes:
            raise InvalidTask(
                f"the metrics take {len(answer)} bytes of at most {self._limit_bytes}; ask for fewer or a shorter time",
                field="queries",
            )
        return answer

    async def _get_task_logs(self, data: bytes, call: Call) -> None:
        request = parse(self._messages.GetTaskLogsRequest, data)
        task_type = self._dialect.read_task_type(request)
        call.task_type = task_type.name
        call.handle = request.resource_meta
        self._edge.judge_handle(call)
        if self._forwarder is not None:
            messages = self._forwarder.logs(self._logs, data, call.handle, task_type, call.timeout_s)
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

    def _judge_task(self, call: Call, request: Any) -> None:
        if self._edge.access is None:
            return
        task_type = TaskType(request.template.type, request.template.task_type_version)
        is_isolated = self._forwarder is not None and self._forwarder.children.keeps_native(task_type)
        self._edge.judge_task(call, request, keeps_native=is_isolated or self._host.keeps_native(task_type))

    async def _list_agents(self, data: bytes, _call: Call) -> bytes:
        parse(self._dialect.list_request, data)
        return self._dialect.write_agents(await self._listed())

    async def _get_agent(self, data: bytes, _call: Call) -> bytes:
        wanted = parse(self._dialect.get_request, data).name
        agents = {agent.name: agent for agent in await self._listed()}
        found = agents.get(wanted)
        if found is None:
            served = ", ".join(sorted(agents)) or "none"
            raise UnknownTaskType(f"no agent is called {wanted[:_SHOWN_NAME]!r}; served here: {served}", field="name")
        return self._dialect.write_agent(found)

    async def _listed(self) -> Sequence[AgentInfo]:
        own = await self._host.list_agents()
        return own if self._forwarder is None else (*own, *self._forwarder.children.agents)
