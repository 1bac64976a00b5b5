"""Knowing a process beyond its id."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from outboard.detached import processes
from outboard.detached.processes import ProcessMark


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process
        process.kill()


def mark_of(pid: int) -> ProcessMark:
    started = processes._start_of(pid)
    assert started is not None
    return ProcessMark(pid=pid, started=started, machine=processes.machine_name())


def test_a_mark_survives_its_document() -> None:
    mark = ProcessMark.from_document(ProcessMark.of_this_process().to_document())
    assert mark.pid == os.getpid()
    assert mark.is_alive()


def test_a_recycled_id_is_another_process_and_gets_no_signal(sleeper: subprocess.Popen[bytes]) -> None:
    earlier = ProcessMark(pid=sleeper.pid, started="1", machine=processes.machine_name())
    assert not earlier.is_alive()
    assert not earlier.send(signal.SIGKILL)
    assert processes.session_members(earlier, proof="PATH=" + os.environ["PATH"]) == []
    assert sleeper.poll() is None


def test_a_mark_of_another_boot_or_container_is_of_a_process_that_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    here = mark_of(sleeper.pid)
    elsewhere = ProcessMark(pid=here.pid, started=here.started, machine="another boot")
    assert here.is_alive()
    assert not elsewhere.is_alive()
    assert not elsewhere.send(signal.SIGKILL)
    assert processes.session_members(elsewhere) == []


def test_a_signal_reaches_the_marked_process(sleeper: subprocess.Popen[bytes]) -> None:
    assert mark_of(sleeper.pid).send(signal.SIGTERM)
    assert sleeper.wait(30) == -signal.SIGTERM


def test_a_zombie_does_not_live() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert processes._start_of(pid) is None
    finally:
        os.waitpid(pid, 0)


@pytest.mark.parametrize("document", [{}, {"pid": "7"}, {"pid": 0}, {"pid": -1, "started": "1"}])
def test_an_unreadable_mark_never_lives(document: dict[str, object]) -> None:
    mark = ProcessMark.from_document(document)
    assert not mark.is_alive()
    assert not mark.send(0)


def test_usage_covers_the_living_and_is_none_for_the_gone() -> None:
    usage = processes.usage_of_tree(os.getpid())
    if processes.IS_LINUX:
        assert usage is not None
        assert usage[0] > 1_000_000
        assert usage[1] > 0
    assert processes.usage_of_tree(2**22 + 1) is None
