"""ExecuteTaskSync, which only Flyte 1 has: a stream both ways for what is one question and one answer.

It reads a header, then inputs, and answers as soon as it has both: a client that never half-closes must not hold a handler. It
answers with exactly one header message, because FlytePropeller reads no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import grpc
from flyteidl.admin import agent_pb2

from outboard.domain.tasks import TaskType
from outboard.errors import InvalidTask
from outboard.service.answers import Answers
from outboard.service.dialects import FLYTE1, FLYTE1_SYNC
from outboard.service.edge import Call, Edge, StalledStream, parse
from outboard.service.settings import ServiceSettings
from outboard.wire.tasks import decode_sync_request

if TYPE_CHECKING:
    from outboard.service.isolation.forwarding import Forwarder

_EXECUTE: Final = f"/{FLYTE1_SYNC}/ExecuteTaskSync"


class SyncCalls:
    """Answers the calls of sync tasks.

    Args:
        edge: What happens around every call.
        settings: What the operator decided.
        forwarder: Passes calls on to isolated platforms; None where there are none.
    """

    def __init__(self, edge: Edge, settings: ServiceSettings, forwarder: Forwarder | None = None) -> None:
        self._edge = edge
        self._forwarder = forwarder
        self._answers = Answers(settings.max_answer_bytes, FLYTE1.write_status)
        self._patience_s = settings.stream_patience_s

    def by_method(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """Return gRPC's handlers by full method name."""
        return {_EXECUTE: self._edge.both_streams("do", self._execute_task_sync)}

    async def _execute_task_sync(self, call: Call) -> None:
        header, header_data = await self._next_part(call, "header")
        call.task_type = header.template.type
        self._edge.judge_task(call, header)
        inputs, inputs_data = await self._next_part(call, "inputs")
        if self._edge.access is not None:
            self._edge.access.check_size(call, len(header_data) + len(inputs_data))
        template = header.template
        self._edge.note_task(call, template.type, inputs)
        if self._forwarder is not None:
            task_type = TaskType(template.type, template.task_type_version)
            parts = (header_data, inputs_data)
            passed = await self._forwarder.about_task(_EXECUTE, parts, task_type, call.timeout_s)
            if passed is not None:
                await call.context.write(passed)
                return
        call.task = decode_sync_request(header, inputs)
        status = await self._edge.host.execute_task(call.task, timeout_s=call.timeout_s)
        await call.context.write(self._answers.answered(status, self._edge.log(call)))

    async def _next_part(self, call: Call, wanted: str) -> tuple[Any, bytes]:
        """Return the next part of a request, and the message that it came in."""
        try:
            data = await asyncio.wait_for(call.context.read(), self._patience_s)
        except (TimeoutError, asyncio.TimeoutError):
            raise StalledStream(
                f"the stream's {wanted} did not come within {self._patience_s:g} s; send a header, then inputs"
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
