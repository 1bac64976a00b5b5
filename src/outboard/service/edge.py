"""The edge: what happens around every call.

The handlers take and give bytes; parsing lies inside the same `try` as everything else, so that bytes that are no message get
INVALID_ARGUMENT and not gRPC's UNKNOWN. There are no interceptors: each would cost every poll a coroutine.

Whatever is raised becomes an error of the tree and then a status code. What is not of the tree, `SystemExit` of some agent's
library included, is an `AgentFault`: the caller sees one sentence and an id, the log line with that id holds the cause's type,
its text without secrets, and where it was raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from outboard.domain.tasks import RawTask
from outboard.errors import AgentFault, DrainingError, InvalidTask, OutboardError, Overloaded, Unavailable
from outboard.host.logs import TaskLog, handle_fields, task_fields
from outboard.service.forwarded import ForwardedError
from outboard.service.loop_metrics import count_refused, watch_calls
from outboard.service.metrics import CallMetrics
from outboard.service.polls import Poll
from outboard.service.served_host import ServedHost
from outboard.wire.codes import WireError, encode_error

if TYPE_CHECKING:
    from outboard.service.access.access import Access
    from outboard.service.access.callers import Admission
    from outboard.service.access.refusals import Refused
    from outboard.service.access.rules import Subject

MessageT = TypeVar("MessageT", bound=Message)
_CAUSE_CHARACTERS: Final = 500
_MESSAGE_CHARACTERS: Final = 2000
_FIELD_CHARACTERS: Final = 256
_READ_CHARACTERS: Final = 16_384
"""Beyond this a text is not even looked at: it may quote a name of megabytes, and removing secrets takes time with length."""
_FRAMES: Final = 4
_HALF_CLOSE_S: Final = 1.0
_METADATA: Final = frozenset({"list_agents", "get_agent"})
_TIMEOUTS: Final = (TimeoutError, asyncio.TimeoutError)  # two classes before Python 3.11


class StalledStream(TimeoutError):
    """A caller did not send the next part of its request in time; the words are for it to read."""


class Call:
    """One call: what it is about, for its metrics and log lines."""

    __slots__ = ("admission", "context", "handle", "operation", "started", "task", "task_type")

    def __init__(self, operation: str, context: Any) -> None:
        self.operation = operation
        self.context = context
        self.started = time.perf_counter()
        self.task_type = ""
        self.task: RawTask | None = None
        self.handle = b""
        self.admission: Admission | None = None

    @property
    def timeout_s(self) -> float | None:
        """What is left of the caller's time; None when it set no deadline, and 0 for a status over its caller's limits."""
        if self.admission is not None and self.admission.is_over:
            return 0.0
        left: float | None = self.context.time_remaining()
        return left

    def release(self) -> None:
        """Say that it has ended."""
        if self.admission is not None:
            self.admission.release()


Work = Callable[[bytes, Call], Awaitable[bytes]]


class Edge:
    """Puts metrics, log lines and status codes around the service's methods.

    Args:
        host: What is served.
        metrics: Counts calls.
        max_calls: How many may run at once.
        access: Who may call; None lets everybody.
    """

    def __init__(self, host: ServedHost, metrics: CallMetrics, max_calls: int, access: Access | None = None) -> None:
        self.host = host
        self.metrics = metrics
        self.access = access
        self.in_flight = 0
        self._max_calls = max_calls
        self._tracing = host.tracing
        watch_calls(self)

    def unary(self, operation: str, work: Work) -> grpc.RpcMethodHandler:
        """Return the handler of a method with one request and one answer."""

        async def handle(data: bytes, context: Any) -> bytes:
            call = Call(operation, context)
            self.in_flight += 1
            try:
                self._refuse_excess()
                if self.access is not None:
                    await self._admit(self.access, call, len(data))
                answer = await work(data, call)
            except BaseException as raised:  # noqa: BLE001 - the RPC edge
                failure = self._fail(call, raised)
            else:
                self.metrics.succeeded(operation, call.task_type, time.perf_counter() - call.started)
                if self._tracing is not None:
                    self._tracing.note(lambda: self._identity(call))
                return answer
            finally:
                self._end(call)
            await context.abort(failure.code, failure.details, failure.trailing)
            raise AssertionError  # `abort` raises

        return grpc.unary_unary_rpc_method_handler(handle)

    def recalling(self, operation: str, recall: Callable[[bytes], Poll | None], work: Work) -> grpc.RpcMethodHandler:
        """Return the handler of a `unary` method whose answer may be remembered.

        An answer from memory takes microseconds in which nothing else runs: it neither counts as a call in flight nor is
        refused for there being too many.
        """
        ask = self.unary(operation, work).unary_unary
        access = self.access

        async def handle(data: bytes, context: Any) -> bytes:
            started = time.perf_counter()
            try:
                poll = recall(data)
            except BaseException:  # noqa: BLE001 - `ask` meets it again, and answers with it
                poll = None
            if poll is None or (access is not None and not access.recalls(context, poll.shape.subject)):
                answer: bytes = await ask(data, context)
                return answer
            self.metrics.succeeded(operation, poll.shape.task_type, time.perf_counter() - started)
            if self._tracing is not None:
                self._tracing.note(lambda: {"task_type": poll.shape.task_type, "told": "memory"})
            return poll.answer

        return grpc.unary_unary_rpc_method_handler(handle)

    def answering_stream(self, operation: str, work: Callable[[bytes, Call], Awaitable[None]]) -> grpc.RpcMethodHandler:
        """Return the handler of a method with one request and a stream of answers, which `work` writes to the call."""

        async def handle(data: bytes, context: Any) -> None:
            failure = await self._run(Call(operation, context), lambda call: work(data, call), len(data))
            if failure is not None:
                end_with(context, failure)

        return grpc.unary_stream_rpc_method_handler(handle)

    def both_streams(self, operation: str, work: Callable[[Call], Awaitable[None]]) -> grpc.RpcMethodHandler:
        """Return the handler of a method with streams both ways, which `work` reads from and writes to the call."""

        async def handle(_requests: Any, context: Any) -> None:
            call = Call(operation, context)
            failure = await self._run(call, work)
            await _await_half_close(context)
            if failure is not None:
                end_with(context, failure)

        return grpc.stream_stream_rpc_method_handler(handle)

    def note_task(self, call: Call, task_type: str, inputs: Message) -> None:
        """Take down what a call asks to be started, once its request is read."""
        call.task_type = task_type
        self.metrics.took_inputs(task_type, inputs.ByteSize())

    def log(self, call: Call) -> TaskLog:
        """Return a logger with the identity of what the call is about."""
        return TaskLog(operation=call.operation, **self._identity(call))

    def judge_task(self, call: Call, request: Any, *, keeps_native: bool = False) -> None:
        """Refuse a task that its caller may not have started, or may not have written there.

        Args:
            call: The call.
            request: A request with a template, metadata and an output prefix.
            keeps_native: Its handle would be a connector's own, which does not say whose job it is.
        """
        if self.access is None:
            return
        from outboard.service.access.rules import Subject  # noqa: PLC0415 - only who has rules pays for it

        metadata = request.task_execution_metadata
        execution = metadata.task_execution_id.node_execution_id.execution_id
        subject = Subject(request.template.type, execution.project, execution.domain, metadata.namespace)
        self.access.judge_task(call, subject, request.output_prefix, keeps_native=keeps_native)

    def judge_handle(self, call: Call, *, is_status: bool = False) -> Subject | None:
        """Refuse a job that the caller may not see; return what its handle binds, where that is known."""
        if self.access is None:
            return None
        return self.access.judge_handle(call, call.handle, call.task_type, is_status=is_status)

    async def guard(self, context: Any, operation: str) -> None:
        """Refuse a call of a service that has no edge of its own, unless its caller is let in; abort it then."""
        if self.access is None or self.access.is_metadata_open:
            return
        call = Call(operation, context)
        try:
            await self._admit(self.access, call, 0)
        except BaseException as raised:  # noqa: BLE001 - the RPC edge
            failure = self._fail(call, raised)
        else:
            call.release()
            return
        await context.abort(failure.code, failure.details, failure.trailing)

    @staticmethod
    async def _admit(access: Access, call: Call, size_bytes: int) -> None:
        if not (access.is_metadata_open and call.operation in _METADATA):
            call.admission = await access.admit(call.context, call.operation, size_bytes)

    def _end(self, call: Call) -> None:
        self.in_flight -= 1
        call.release()

    async def _run(self, call: Call, work: Callable[[Call], Awaitable[Any]], size_bytes: int = 0) -> WireError | None:
        """Run a streaming call's work and return what it failed with."""
        self.in_flight += 1
        try:
            self._refuse_excess()
            if self.access is not None:
                await self._admit(self.access, call, size_bytes)
            await work(call)
        except BaseException as raised:  # noqa: BLE001 - the RPC edge
            return self._fail(call, raised)
        else:
            self.metrics.succeeded(call.operation, call.task_type, time.perf_counter() - call.started)
            if self._tracing is not None:
                self._tracing.note(lambda: self._identity(call))
            return None
        finally:
            self._end(call)

    def _refuse_excess(self) -> None:
        if self.in_flight > self._max_calls:
            count_refused("excess")
            raise Overloaded(f"{self._max_calls} calls are running already; ask again, or add a replica")

    def _fail(self, call: Call, raised: BaseException) -> WireError:
        """Count and log what a call raised and return it as gRPC carries it; a call that was given up ends here."""
        seconds = time.perf_counter() - call.started
        if isinstance(raised, grpc.aio.InternalError):  # a message could not be sent: nobody is there to receive it
            self.metrics.failed(call.operation, call.task_type, seconds, grpc.StatusCode.CANCELLED.name)
            raise asyncio.CancelledError
        if isinstance(raised, GeneratorExit) or (isinstance(raised, asyncio.CancelledError) and _is_given_up()):
            self.metrics.failed(call.operation, call.task_type, seconds, grpc.StatusCode.CANCELLED.name)
            raise raised
        if isinstance(raised, ForwardedError):  # logged by the process that raised it
            self.metrics.failed(call.operation, call.task_type, seconds, raised.wire.code.name)
            if self._tracing is not None:
                self._tracing.note(lambda: self._identity(call), code=raised.wire.code.value[0])
            return raised.wire
        if self.access is not None and (refused := _refusal(raised)) is not None:
            wire = encode_error(refused.error)
            self.metrics.failed(call.operation, call.task_type, seconds, wire.code.name)
            self.access.refused(refused, call.context, call.operation, self._identity(call))
            return wire
        error = _classify(raised)
        if isinstance(error, DrainingError):
            count_refused("draining")
        reason = self._shown(error.message, _MESSAGE_CHARACTERS)
        wire = encode_error(error, reason)
        if isinstance(raised, _TIMEOUTS):
            wire = replace(wire, code=grpc.StatusCode.DEADLINE_EXCEEDED)
        self.metrics.failed(call.operation, call.task_type, seconds, wire.code.name)
        if self._tracing is not None:
            self._tracing.note(lambda: self._identity(call), code=wire.code.value[0], error_id=error.error_id)
        log = self.log(call)
        record = log.error if wire.code is grpc.StatusCode.INTERNAL else log.warning
        record(
            "call failed",
            code=wire.code.name,
            error=error.code,
            error_id=error.error_id,
            reason=reason,
            **self._cause(error),
        )
        return wire

    def _cause(self, error: OutboardError) -> Mapping[str, str]:
        cause = error.__cause__
        if cause is None:
            return {}
        frames = traceback.extract_tb(cause.__traceback__)[-_FRAMES:]
        return {
            "cause": f"{type(cause).__name__}: {self._shown(_spell(cause), _CAUSE_CHARACTERS)}",
            "where": " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames),
        }

    def _shown(self, text: str, limit: int) -> str:
        """Return a text without secrets, cut to `limit` characters."""
        return self.host.redact(text[:_READ_CHARACTERS])[:limit]

    def _identity(self, call: Call) -> Mapping[str, Any]:
        if call.task is not None:
            return _cut(task_fields(call.task))
        try:
            return _cut(handle_fields(self.host.codec.decode(call.handle)))
        except OutboardError:
            return _cut({"task_type": call.task_type} if call.task_type else {})


def _cut(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return log fields with texts of a bounded length: names come from callers, who may send megabytes."""
    return {name: value[:_FIELD_CHARACTERS] if isinstance(value, str) else value for name, value in fields.items()}


def _spell(cause: BaseException) -> str:
    try:
        return str(cause)
    except Exception:  # noqa: BLE001 - an agent's exception that cannot even be shown
        return "it cannot be shown"


def _is_given_up() -> bool:
    """Tell whether somebody cancelled this call, rather than agent code having raised `CancelledError` by itself.

    The latter must be answered, or its caller waits for ever. Python 3.10 cannot tell and takes every one for the former.
    """
    cancelling: Callable[[], int] | None = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is None or cancelling() > 0


async def _await_half_close(context: Any) -> None:
    """Read what is left of a request, for at most a second.

    A client whose stream ends while it is still writing reports that instead of the answer's code; grpc.aio's does.
    """
    with contextlib.suppress(*_TIMEOUTS, grpc.aio.BaseError):
        await asyncio.wait_for(_read_to_end(context), _HALF_CLOSE_S)


async def _read_to_end(context: Any) -> None:
    while await context.read() is not grpc.aio.EOF:
        pass


def end_with(context: Any, failure: WireError) -> None:
    """Say how a stream ends once its handler returns. What `abort` raises gRPC would keep, and with it what the handler holds."""
    context.set_code(failure.code)
    context.set_details(failure.details)
    context.set_trailing_metadata(failure.trailing)


def parse(kind: type[MessageT], data: bytes) -> MessageT:
    """Return the message in these bytes; `InvalidTask` when they hold none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        name = kind.DESCRIPTOR.full_name
        raise InvalidTask(f"the request is not a {name}; send one as {name.partition('.')[0]} defines it") from None


def _refusal(raised: BaseException) -> Refused | None:
    from outboard.service.access.refusals import Refused  # noqa: PLC0415 - only who has rules pays for it

    return raised if isinstance(raised, Refused) else None


def _classify(raised: BaseException) -> OutboardError:
    if isinstance(raised, OutboardError):
        return raised
    if isinstance(raised, _TIMEOUTS):
        is_stalled = isinstance(raised, StalledStream)
        error: OutboardError = Unavailable(str(raised) if is_stalled else "the call took longer than it may; ask again")
    else:
        error = AgentFault("an unexpected error ended this call; the log has its cause under the error id")
    error.__cause__ = raised
    return error
