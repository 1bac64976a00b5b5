"""Polls: a GetTask that is answered from memory is not even read.

An engine polls a job with the same bytes each time. So it is remembered by a request's hash where in it the handle lies, and what
was answered last. The next poll asks the host for the status of exactly the bytes that lie there (which also tells the host that
the job is still followed), and while that is the very same object, its bytes are the answer: no protobuf, no new objects, no
coroutine. This is the service's hottest code, and most of what it costs is memory that the processor has to fetch: the fewer
objects it touches, the better.

A hash is not trusted with an answer: requests that collide hold different bytes where the handle lies, and the host is asked
about these. Nothing here is needed to answer; what is missing is read, asked for and encoded as if there were no memory.

One entry takes about 180 bytes and its answer, so 100,000 live jobs take 25 to 40 MB. They are kept in two generations: what is
polled moves into the young one, and when that is full or ten minutes old, the old one is forgotten, with the jobs that nobody
polls any more. Statuses are held with their bytes, so their identity is never reused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from outboard.domain.statuses import TaskStatus

if TYPE_CHECKING:
    from outboard.service.access.rules import Subject

_LIMIT_BYTES: Final = 128 * 1024 * 1024
_LARGEST_ANSWER_BYTES: Final = 4096
"""Larger ones end their job, and are asked for once or twice."""
_ENTRY_BYTES: Final = 230
"""What Python's objects for one entry take at most, besides the answer itself: measured."""
_GENERATION_S: Final = 600.0
_SHAPES: Final = 4096
_LONGEST_NAME: Final = 200
"""Of a task type. Nobody serves a longer one, and its caller may make up as many as it likes."""


class _Shape(NamedTuple):
    """What requests about many jobs have in common: where the handle lies, and what rules go by (see `service.access`)."""

    span: slice
    task_type: str
    subject: Subject | None = None


class Poll:
    """A request that was answered: where its handle lies, its status, and the status as bytes."""

    __slots__ = ("answer", "shape", "status")

    def __init__(self, shape: _Shape, status: TaskStatus, answer: bytes) -> None:
        self.shape = shape
        self.status = status
        self.answer = answer

    @property
    def size_bytes(self) -> int:
        """What remembering it takes."""
        return _ENTRY_BYTES + len(self.answer)


class Polls:
    """Requests that were answered lately.

    Args:
        recall: Returns the status of a handle where the host need not ask for it, or None.
        encode: Makes a status an answer.
        limit_bytes: Of both generations.
    """

    __slots__ = ("_encode", "_half_bytes", "_old", "_recall", "_shapes", "_turned_at", "_young", "_young_bytes")

    def __init__(
        self,
        recall: Callable[[bytes], TaskStatus | None],
        encode: Callable[[TaskStatus], bytes],
        limit_bytes: int = _LIMIT_BYTES,
    ) -> None:
        self._recall = recall
        self._encode = encode
        self._half_bytes = limit_bytes // 2
        self._shapes: dict[tuple[int, int, str, Subject | None], _Shape] = {}
        self._young: dict[int, Poll] = {}
        self._old: dict[int, Poll] = {}
        self._young_bytes = 0
        self._turned_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def recall(self, data: bytes) -> Poll | None:
        """Return the answer to a request; None when it must be read, or the host asked."""
        poll = self._young.get(hash(data))
        if poll is None:
            return None
        status = self._recall(data[poll.shape.span])
        if status is poll.status:
            return poll
        return None if status is None else self._keep(hash(data), Poll(poll.shape, status, self._encode(status)))

    def answer(
        self, data: bytes, handle: bytes, task_type: str, status: TaskStatus, subject: Subject | None = None
    ) -> bytes:
        """Return a status as the answer to a request, and remember it.

        Args:
            data: The request.
            handle: The handle in it.
            task_type: What the request names.
            status: What the host says of the handle.
            subject: What the handle binds, where there are rules that go by it.
        """
        key = hash(data)
        poll = self._young.get(key) or self._old.pop(key, None)
        if poll is None or poll.status is not status:
            answer = self._encode(status)
            if len(task_type) > _LONGEST_NAME:
                return answer
            poll = Poll(self._shape(data, handle, task_type, subject), status, answer)
        return self._keep(key, poll).answer

    def _keep(self, key: int, poll: Poll) -> Poll:
        before = self._young.pop(key, None)
        if before is not None:
            self._young_bytes -= before.size_bytes
        if len(poll.answer) <= _LARGEST_ANSWER_BYTES:
            self._young[key] = poll
            self._young_bytes += poll.size_bytes
            self._age()
        return poll

    def _age(self) -> None:
        now = time.monotonic()
        if self._young_bytes > self._half_bytes or now - self._turned_at > _GENERATION_S:
            self._old, self._young, self._young_bytes, self._turned_at = self._young, {}, 0, now

    def _shape(self, data: bytes, handle: bytes, task_type: str, subject: Subject | None) -> _Shape:
        start = data.find(handle)
        key = (start, start + len(handle), task_type, subject)
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= _SHAPES:  # callers make up task types, and what is remembered of polls holds shapes
                self._shapes, self._young, self._old, self._young_bytes = {}, {}, {}, 0
            shape = self._shapes[key] = _Shape(slice(start, start + len(handle)), task_type, subject)
        return shape
