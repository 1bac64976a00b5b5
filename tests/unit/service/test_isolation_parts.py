"""The parts of isolation that need no process: what is remembered, when a child is started again, what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from outboard.agent.registry import LoadFailure
from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.service.isolation.child import PlatformChild
from outboard.service.isolation.memory import Memory
from outboard.service.supervision.backoff import FIRST_S, HEALTHY_AFTER_S, LONGEST_S, Backoff
from outboard.service.supervision.child import ChildSpec
from outboard.service.supervision.hello import Hello
from outboard.service.supervision.output import pass_through


@given(st.lists(st.floats(0, HEALTHY_AFTER_S, exclude_max=True), min_size=8))
def test_a_child_that_keeps_dying_is_started_once_a_minute(lives: list[float]) -> None:
    backoff = Backoff()
    delays = [backoff.after(life) for life in lives]
    assert delays == [min(FIRST_S * 2**n, LONGEST_S) for n in range(len(lives))]
    assert backoff.after(HEALTHY_AFTER_S) == FIRST_S


def test_the_last_answer_of_every_handle_is_remembered_until_memory_is_full() -> None:
    memory = Memory(100_000)
    for number in range(50):
        memory.keep(memory.add(b"handle %d" % number, "a"), b"answer %d" % number)
    for number in range(50):
        known = memory.find(b"handle %d" % number)
        assert known is not None
        assert (known.agent, known.answer) == ("a", b"answer %d" % number)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3000)), max_size=300))
def test_memory_is_bounded_and_what_was_kept_last_is_there(kept: list[tuple[int, int]]) -> None:
    limit, largest = 20_000, 3_400
    memory = Memory(limit)
    for number, size in kept:
        handle = b"%d" % number
        memory.keep(memory.find(handle) or memory.add(handle, "a"), b"x" * size)
        known = memory.find(handle)
        assert known is not None
        assert known.answer == b"x" * size
        entries = {**memory._old, **memory._young}.values()
        assert sum(len(each.answer or b"") for each in entries) <= limit + 2 * largest


def test_a_hello_is_read_as_it_was_said() -> None:
    hello = Hello(
        target="unix:/tmp/x",
        agents=[AgentInfo(name="a", task_types=(TaskType("t", 2),), is_sync=True)],
        names=["a", "old a"],
        failures=[LoadFailure(source="b", reason="install it")],
        natives=(TaskType("t", 2),),
    )
    assert Hello.decode(hello.encode()) == hello
    assert Hello.decode(Hello.refusing("set a key").encode()).refusal == "set a key"


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_what_is_no_hello_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a hello"):
        Hello.decode(line)


@pytest.fixture
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    lines: list[MutableMapping[str, Any]] = []

    def record(_logger: object, level: str, fields: MutableMapping[str, Any]) -> str:
        lines.append({**fields, "level": level})
        raise structlog.DropEvent

    structlog.configure(processors=[record])
    yield lines
    structlog.reset_defaults()


async def test_log_lines_of_a_child_keep_their_level_and_fields_and_all_else_is_a_line(
    lines: list[MutableMapping[str, Any]],
) -> None:
    stream = asyncio.StreamReader()
    own = {"event": "call failed", "level": "warning", "platform": "p", "timestamp": "then", "isolated": "forged"}
    stream.feed_data(json.dumps(own).encode() + b"\n\n{broken\nFatal Python error\n" + b"x" * 100_000 + b"\nno end")
    stream.feed_eof()
    await pass_through(stream, isolated="child")
    assert lines[0] == {"event": "call failed", "level": "warning", "platform": "p", "isolated": "child"}
    assert [line["line"][:20] for line in lines[1:]] == ["{broken", "Fatal Python error", "x" * 20, "no end"]
    assert len(lines[3]["line"]) <= 20_000


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "x", "self": 1}',
        '{"event": "x", "method_name": "get"}',
        '{"event": "x", "exception": [{"exc_type": "KeyError"}]}',
        '{"event": ' + "[" * 10_000,
    ],
)
async def test_a_line_that_loggers_stumble_over_is_a_line_and_the_next_one_is_read(
    lines: list[MutableMapping[str, Any]], line: str
) -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(f'{line}\n{{"event": "next"}}\n'.encode())
    stream.feed_eof()
    await pass_through(stream, isolated="child")
    assert [each["event"] for each in lines] == ["output", "next"]
    assert lines[0]["line"] == line


async def test_a_childs_output_is_read_to_its_end_although_nothing_can_be_written_here() -> None:
    def break_off(_logger: object, _level: str, fields: MutableMapping[str, Any]) -> str:
        tried.append(fields["event"])
        raise BrokenPipeError

    tried: list[str] = []
    structlog.configure(processors=[break_off])
    stream = asyncio.StreamReader()
    stream.feed_data(b'{"event": "one"}\n{"event": "two"}\n')
    stream.feed_eof()
    try:
        await pass_through(stream, isolated="child")
    finally:
        structlog.reset_defaults()
    assert tried == ["one", "two"]


async def test_a_child_is_doubted_for_its_own_silence_and_not_for_that_of_the_one_before(tmp_path: Path) -> None:
    spec = ChildSpec(source="calm:Platform", command=("true",), document={}, drain_s=1)
    child = PlatformChild(spec, tmp_path / "child", lambda: None)
    child._set_up(is_up=True)
    child.life = 2
    child.doubt(1)
    assert child.is_up
    child.doubt(2)
    assert not child.is_up
