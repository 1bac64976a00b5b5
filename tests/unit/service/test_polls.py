"""What is remembered of polls never changes an answer."""

from __future__ import annotations

import asyncio
import sys

import pytest
from flyteidl.admin import agent_pb2
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.service.answers import Answers
from outboard.service.polls import Polls
from outboard.testing.virtual_time import virtually

_TEN_MINUTES_S = 600.0
_HANDLES = (b"\x01", b"\x01\x02", b"\x02", b"\x02\x01", b"handle" * 40)


class Memory:
    """What a host remembers, and what it was asked for."""

    def __init__(self) -> None:
        self.statuses: dict[bytes, TaskStatus] = {}
        self.asked: list[bytes] = []

    def recall(self, handle: bytes) -> TaskStatus | None:
        self.asked.append(handle)
        return self.statuses.get(handle)


def _request(handle: bytes, task_type: str = "noop", prefix: str = "s3://bucket/a") -> bytes:
    category = agent_pb2.TaskCategory(name=task_type)
    request = agent_pb2.GetTaskRequest(
        task_type=task_type, resource_meta=handle, task_category=category, output_prefix=prefix
    )
    data: bytes = request.SerializeToString()
    return data


def _polls(memory: Memory, limit_bytes: int = 2**20) -> Polls:
    return Polls(memory.recall, Answers(2**20).polled, limit_bytes)


def _message(answer: bytes) -> str:
    return str(agent_pb2.GetTaskResponse.FromString(answer).resource.message)


def test_a_request_that_was_never_answered_is_not_answered_from_memory() -> None:
    memory = Memory()
    memory.statuses[b"handle"] = TaskStatus(phase=Phase.RUNNING)
    assert _polls(memory).recall(_request(b"handle")) is None


def test_a_repeated_request_is_answered_and_the_host_hears_of_it() -> None:
    memory, status = Memory(), TaskStatus(phase=Phase.RUNNING, message="here")
    polls = _polls(memory)
    memory.statuses[b"handle"] = status
    first = polls.answer(_request(b"handle"), b"handle", "noop", status)
    poll = polls.recall(_request(b"handle"))
    assert poll is not None
    assert poll.answer == first
    assert poll.shape.task_type == "noop"
    assert memory.asked == [b"handle"]


def test_the_answer_changes_with_the_status() -> None:
    memory = Memory()
    polls = _polls(memory)
    for message in ("queued", "running", "done"):
        memory.statuses[b"handle"] = TaskStatus(phase=Phase.RUNNING, message=message)
        polls.answer(_request(b"handle"), b"handle", "noop", memory.statuses[b"handle"])
        for later in (f"{message} a", f"{message} b"):
            memory.statuses[b"handle"] = TaskStatus(phase=Phase.RUNNING, message=later)
            poll = polls.recall(_request(b"handle"))
            assert poll is not None
            assert _message(poll.answer) == later


def test_a_job_that_the_host_has_forgotten_is_not_answered_from_memory() -> None:
    memory, status = Memory(), TaskStatus(phase=Phase.RUNNING)
    polls = _polls(memory)
    memory.statuses[b"handle"] = status
    polls.answer(_request(b"handle"), b"handle", "noop", status)
    memory.statuses.clear()
    assert polls.recall(_request(b"handle")) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(_HANDLES),
            st.sampled_from(("noop", "sql")),
            st.sampled_from(("", "s3://a", "s3://b")),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_no_request_ever_gets_the_answer_or_the_label_of_another(
    steps: list[tuple[bytes, str, str, bool]],
) -> None:
    memory = Memory()
    polls = _polls(memory, limit_bytes=2000)
    for number, (handle, task_type, prefix, is_changed) in enumerate(steps):
        data = _request(handle, task_type, prefix)
        if is_changed or handle not in memory.statuses:
            memory.statuses[handle] = TaskStatus(phase=Phase.RUNNING, message=f"{handle.hex()} {number}")
        status = memory.statuses[handle]
        poll = polls.recall(data)
        if poll is None:
            answer = polls.answer(data, handle, task_type, status)
        else:
            answer = poll.answer
            assert poll.shape.task_type == task_type
        assert _message(answer) == status.message


def test_requests_whose_hashes_collide_are_told_apart_by_their_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["outboard.service.polls"], "hash", lambda _: 1, raising=False)
    memory = Memory()
    polls = _polls(memory)
    for name in (b"one", b"two"):
        memory.statuses[name] = TaskStatus(phase=Phase.RUNNING, message=name.decode())
        polls.answer(_request(name), name, "noop", memory.statuses[name])
    for name in (b"one", b"two", b"one"):
        poll = polls.recall(_request(name))
        assert poll is not None
        assert _message(poll.answer) == name.decode()


def test_memory_is_bounded_by_bytes_and_what_is_polled_stays() -> None:
    memory, limit_bytes = Memory(), 100_000
    polls = _polls(memory, limit_bytes)
    lasting = memory.statuses[b"lasting"] = TaskStatus(phase=Phase.RUNNING)
    polls.answer(_request(b"lasting"), b"lasting", "noop", lasting)
    for number in range(5000):
        handle = b"%06d" % number
        polls.answer(_request(handle), handle, "noop", TaskStatus(phase=Phase.RUNNING, message="m" * 100))
        if polls.recall(_request(b"lasting")) is None:  # then the request is read, and answered the long way
            polls.answer(_request(b"lasting"), b"lasting", "noop", lasting)
        assert len(polls) * 330 <= limit_bytes * 1.01
    assert len(polls) > 100
    assert polls.recall(_request(b"lasting")) is not None


def test_task_types_that_callers_make_up_take_no_memory_beyond_the_bound() -> None:
    memory = Memory()
    polls = _polls(memory)
    status = memory.statuses[b"handle"] = TaskStatus(phase=Phase.RUNNING)
    for number in range(200):
        name = f"{number}" * 500
        assert polls.answer(_request(b"handle", name), b"handle", name, status)
        assert polls.recall(_request(b"handle", name)) is None
    assert len(polls) == 0
    names: dict[int, str] = {}
    for number in range(10_000):
        polls.answer(_request(b"handle", f"type {number}"), b"handle", f"type {number}", status)
        kept = {**polls._old, **polls._young}.values()
        names = {id(poll.shape): poll.shape.task_type for poll in kept} if number % 1000 == 0 else names
        assert len(names) <= 4096
    assert polls.recall(_request(b"handle", "type 9999")) is not None


def test_a_status_that_changes_often_takes_the_place_of_its_predecessor() -> None:
    memory = Memory()
    polls = _polls(memory, 20_000)
    quiet = memory.statuses[b"quiet"] = TaskStatus(phase=Phase.RUNNING)
    polls.answer(_request(b"quiet"), b"quiet", "noop", quiet)
    for number in range(1000):
        memory.statuses[b"busy"] = TaskStatus(phase=Phase.RUNNING, message=str(number))
        polls.answer(_request(b"busy"), b"busy", "noop", memory.statuses[b"busy"])
    assert len(polls) == 2
    assert polls.recall(_request(b"quiet")) is not None


def test_an_answer_that_is_large_is_not_kept() -> None:
    memory = Memory()
    polls = _polls(memory)
    small, large = (TaskStatus(phase=Phase.RUNNING, message="m" * size) for size in (10, 5000))
    for first, second in ((large, large), (small, large)):
        polls.answer(_request(b"handle"), b"handle", "noop", first)
        memory.statuses[b"handle"] = second
        poll = polls.recall(_request(b"handle"))
        assert poll is None or _message(poll.answer) == second.message
        assert len(polls) == 0


@virtually
async def test_what_nobody_polls_for_twenty_minutes_is_forgotten() -> None:
    memory = Memory()
    polls = _polls(memory)
    status = memory.statuses[b"handle"] = TaskStatus(phase=Phase.RUNNING)
    polls.answer(_request(b"handle"), b"handle", "noop", status)
    for number in range(2):
        await asyncio.sleep(_TEN_MINUTES_S + 1)
        polls.answer(_request(b"other%d" % number), b"other%d" % number, "noop", status)
    assert polls.recall(_request(b"handle")) is None
    assert len(polls) == 1
