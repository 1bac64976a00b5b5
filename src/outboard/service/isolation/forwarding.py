"""Forwarding: calls about isolated agents go to their child as bytes and come back as bytes.

A handle says which agent it belongs to, and wins over the task type; what it says is remembered, so a poll costs one look-up
before it is passed on. Bytes that are no handle of ours go by the task type: to this process where it serves the type and reads
them, else to a child that knows it, as hosted connectors know their own bytes.

The rules while a child is down or does not answer:

* GetTask never fails for a handle of ours: it answers what the child answered last for it, or, where nothing is remembered,
  what this process says of a handle whose agent it does not have (the fallback phase). Nobody waits for a child in doubt.
* CreateTask, DeleteTask and ExecuteTaskSync wait a little, since a child is usually back within two seconds and an error
  costs one of the user's retries; then they are UNAVAILABLE with the time to ask again. A call whose connection breaks puts
  the child in doubt: a process may take a while to die, and the next call is not to be sent after it.
* A child's own errors pass as they are: code, sentence and metadata. It has logged them, and its lines come by here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any, Final

import grpc

from outboard.domain.handles import HandleCodec
from outboard.domain.tasks import TaskType
from outboard.errors import HandleError, Sent, Unavailable
from outboard.host.metrics import ABSORBED
from outboard.service.forwarded import ForwardedError
from outboard.service.isolation.child import PlatformChild
from outboard.service.isolation.children import Children
from outboard.service.isolation.memory import Memory
from outboard.wire.codes import ERROR, PUSHBACK, WireError

POLL_PATIENCE_S: Final = 3.0
"""How long a poll waits for a child. The child itself answers within `host.status_limit` (2 s); FlytePropeller has ten poll
workers for all agents together."""
RETURN_PATIENCE_S: Final = 5.0
"""How long other calls wait for a child that is down: its first restart takes about two seconds."""
_SHARE: Final = 0.5
_MEMORY_BYTES: Final = 32 * 1024 * 1024
_OURS: Final = "outboard-"


class Forwarder:
    """Passes calls on to children.

    Args:
        children: Those of this service.
        codec: Reads handles.
        reads: Tells whether this process reads bytes that are no handle of ours.
    """

    def __init__(self, children: Children, codec: HandleCodec, reads: Callable[[bytes, TaskType], bool]) -> None:
        self.children = children
        self._codec = codec
        self._reads = reads
        self._memory = Memory(_MEMORY_BYTES)

    async def polled(
        self, path: str, data: bytes, handle: bytes, task_type: TaskType, timeout_s: float | None
    ) -> bytes | None:
        """Return the answer to a poll; None when this process must answer, because no child can.

        Raises:
            ForwardedError: The handle is none that this process reads, and the child of the task type refused it.
        """
        known = self._memory.find(handle)
        if known is None:
            agent = self._agent_of(handle)
            if agent is None:  # nothing is remembered of bytes that anybody may have made up
                child = self._reader(handle, task_type)
                return await self._asked(child, path, data, timeout_s) if child is not None else None
            known = self._memory.add(handle, agent)
        child = self.children.named(known.agent)
        if child is None:
            return None
        with contextlib.suppress(ForwardedError):
            answer = await self._asked(child, path, data, timeout_s)
            if answer is not None:
                if answer != known.answer:
                    self._memory.keep(known, answer)
                return answer
        ABSORBED.labels(known.agent, "IsolatedDown").inc()
        return known.answer

    async def _asked(self, child: PlatformChild, path: str, data: bytes, timeout_s: float | None) -> bytes | None:
        """Return a child's answer to a poll; None when it gives none in time."""
        if not child.is_up:
            return None
        patience_s = POLL_PATIENCE_S if timeout_s is None else min(POLL_PATIENCE_S, timeout_s * 0.8)
        life = child.life
        try:
            answer: bytes = await child.method(path)(data, timeout=patience_s, metadata=child.carried())
        except grpc.aio.AioRpcError as error:
            wire = _own_words(error)
            if wire is not None:
                raise ForwardedError(wire) from None
            if error.code() is grpc.StatusCode.UNAVAILABLE or patience_s == POLL_PATIENCE_S:
                child.doubt(life)  # a caller in a hurry proves nothing, unless the connection broke
            return None
        return answer

    async def about_job(
        self, path: str, data: bytes, handle: bytes, task_type: TaskType, timeout_s: float | None
    ) -> bytes | None:
        """Return the answer of the child that follows a handle's job; None when that is none's.

        Raises:
            ForwardedError: What the child answered instead.
            Unavailable: It is down, or ended meanwhile.
            TimeoutError: The caller's time is over.
        """
        child = self._child_of(handle, task_type)
        return None if child is None else await _unary(child, path, data, timeout_s)

    async def about_task(
        self, path: str, data: bytes | tuple[bytes, ...], task_type: TaskType, timeout_s: float | None
    ) -> bytes | None:
        """Return the answer of the child of a task type; None when it is none's. Raises what `about_job` does.

        Args:
            path: The method.
            data: The request; several messages are a stream, of which one answer is read.
            task_type: What the request names.
            timeout_s: What is left of the caller's time.
        """
        child = self.children.for_type(task_type)
        if child is not None:
            if isinstance(data, tuple):
                return await _conversation(child, path, data, timeout_s)
            return await _unary(child, path, data, timeout_s)
        unseen = () if self.children.is_own(task_type) else self.children.unseen
        if unseen:
            raise Unavailable(
                f"no agent here serves task type {task_type.name!r} yet; isolated and not up so far: {', '.join(unseen)}",
                sent=Sent.NO,
                retry_after=timedelta(seconds=RETURN_PATIENCE_S),
            )
        return None

    def logs(
        self, path: str, data: bytes, handle: bytes, task_type: TaskType, timeout_s: float | None
    ) -> AsyncGenerator[bytes, None] | None:
        """Return the messages of the child that follows a handle's job; None when that is none's."""
        child = self._child_of(handle, task_type)
        return None if child is None else _stream(child, path, data, timeout_s)

    def _child_of(self, handle: bytes, task_type: TaskType) -> PlatformChild | None:
        """Return the child that follows a handle's job; the handle wins over the task type."""
        known = self._memory.find(handle)
        agent = self._agent_of(handle) if known is None else known.agent
        return self._reader(handle, task_type) if agent is None else self.children.named(agent)

    def _reader(self, handle: bytes, task_type: TaskType) -> PlatformChild | None:
        """Return the child for bytes that are no handle of ours; None where this process answers."""
        child = self.children.for_type(task_type)
        if child is None and (reader := self.children.reader(task_type)) is not None:
            return None if self._reads(handle, task_type) else reader
        return child

    def _agent_of(self, handle: bytes) -> str | None:
        try:
            return self._codec.decode(handle).agent
        except HandleError:
            return None


async def _arrive(child: PlatformChild, timeout_s: float | None) -> float | None:
    """Wait for a child and return what is left of the caller's time."""
    if child.is_up:
        return timeout_s
    begun_at = time.monotonic()
    if not await child.wait_until_up(
        RETURN_PATIENCE_S if timeout_s is None else min(RETURN_PATIENCE_S, timeout_s * _SHARE)
    ):
        raise _ended(child, Sent.NO)
    return None if timeout_s is None else max(0.0, timeout_s - (time.monotonic() - begun_at))


async def _unary(child: PlatformChild, path: str, data: bytes, timeout_s: float | None) -> bytes:
    left_s, life = await _arrive(child, timeout_s), child.life
    try:
        answer: bytes = await child.method(path)(data, timeout=left_s, metadata=child.carried())
    except grpc.aio.AioRpcError as error:
        raise _translated(child, error, life) from None
    return answer


async def _conversation(child: PlatformChild, path: str, parts: tuple[bytes, ...], timeout_s: float | None) -> bytes:
    left_s, life = await _arrive(child, timeout_s), child.life
    call = child.method(path, "stream_stream")(timeout=left_s, metadata=child.carried())
    try:
        with contextlib.suppress(asyncio.InvalidStateError):  # it is answered before all was sent
            for part in parts:
                await call.write(part)
            await call.done_writing()
        answer = await call.read()
    except grpc.aio.AioRpcError as error:
        raise _translated(child, error, life) from None
    finally:
        call.cancel()
    if answer is grpc.aio.EOF:
        raise _ended(child, Sent.MAYBE)
    return bytes(answer)


async def _stream(child: PlatformChild, path: str, data: bytes, timeout_s: float | None) -> AsyncGenerator[bytes, None]:
    left_s, life = await _arrive(child, timeout_s), child.life
    call = child.method(path, "unary_stream")(data, timeout=left_s, metadata=child.carried())
    try:
        async for answer in call:
            yield answer
    except grpc.aio.AioRpcError as error:
        raise _translated(child, error, life) from None
    finally:
        call.cancel()


def _ended(child: PlatformChild, sent: Sent) -> Unavailable:
    wait_s = max(1.0, child.next_start_at - time.monotonic())
    words = "ended while it worked on this" if sent is Sent.MAYBE else "is not up"
    return Unavailable(
        f"the process of isolated platform {child.source} {words}; ask again in {wait_s:.0f} s, and see its log lines",
        sent=sent,
        retry_after=timedelta(seconds=wait_s),
    )


def _own_words(error: grpc.aio.AioRpcError) -> WireError | None:
    """Return what a child answered; None where nothing of it came."""
    pairs: Any = error.trailing_metadata() or ()
    trailing = {str(key): value for key, value in pairs if isinstance(value, str)}
    if ERROR not in trailing:
        return None
    ours = tuple((name, value) for name, value in trailing.items() if name.startswith(_OURS) or name == PUSHBACK)
    return WireError(code=error.code(), details=error.details() or "", trailing=ours)


def _translated(child: PlatformChild, error: grpc.aio.AioRpcError, life: int) -> Exception:
    wire = _own_words(error)
    if wire is not None:
        return ForwardedError(wire)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimeoutError()
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        child.doubt(life)
    return _ended(child, Sent.MAYBE)
