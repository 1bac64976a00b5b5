"""An output prefix that names a web server is no object store: nothing is asked of a host that a task chose."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outboard.errors import StoreUnavailable
from outboard.platforms.databricks.exports import Exports
from outboard.platforms.sql.marks import CLAIM, Marks, MarksUnavailable


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0)
        yield listener


def assert_nobody_came(listener: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_marks_are_neither_read_nor_written_there(listener: socket.socket) -> None:
    marks = Marks(f"http://127.0.0.1:{listener.getsockname()[1]}/out")
    with pytest.raises(MarksUnavailable, match="http:// is no object store"):
        marks.read(CLAIM)
    with pytest.raises(MarksUnavailable):
        marks.write_once(CLAIM, {})
    assert_nobody_came(listener)


async def test_results_are_not_written_there(listener: socket.socket, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    workspace: Any = None  # of a result without chunks nothing is asked
    answer = {"manifest": {"total_chunk_count": 0, "total_row_count": 0}}
    with pytest.raises(StoreUnavailable, match="no object store"):
        await Exports().write(workspace, "s", answer, f"http://127.0.0.1:{listener.getsockname()[1]}/out")
    assert_nobody_came(listener)
