"""Questions between processes: whoever asks gets an answer or gives up in time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outboard.service.supervision.control import Control, Unanswered, ask, ask_from_loop, in_loop


def fail(_: Any) -> Any:
    raise ZeroDivisionError


@pytest.fixture
def control(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "c")
    answering = Control(path, {"double": lambda number: number * 2, "fail": fail})
    yield path
    answering.close()


def test_a_question_is_answered_with_what_it_carries(control: str) -> None:
    assert ask(control, "double", 21, timeout_s=30) == 42
    assert ask(control, "double", "x" * 1_000_000, timeout_s=30) == "x" * 2_000_000


async def test_it_is_asked_from_an_event_loop_too(control: str) -> None:
    assert await ask_from_loop(control, "double", 21, timeout_s=30) == 42
    with pytest.raises(Unanswered):
        await ask_from_loop(control + ".gone", "double", 21, timeout_s=30)


@pytest.mark.parametrize("question", ["fail", "unheard of"])
def test_what_cannot_be_answered_is_unanswered_and_the_next_one_is_answered(control: str, question: str) -> None:
    with pytest.raises(Unanswered):
        ask(control, question, timeout_s=30)
    assert ask(control, "double", 1, timeout_s=30) == 2


@pytest.mark.parametrize("said", [b"", b"{", b'{"answer": 1', b"[1]\n", b'{"other": 1}\n'])
def test_words_that_make_no_sense_are_no_answer(tmp_path: Path, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "c"))
        listener.listen()

        def say() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(said)

        thread = threading.Thread(target=say)
        thread.start()
        with pytest.raises(Unanswered):
            ask(str(tmp_path / "c"), "double", timeout_s=30)
        thread.join()


def test_one_that_accepts_and_is_silent_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "c"))
        listener.listen()
        with pytest.raises(Unanswered):
            ask(str(tmp_path / "c"), "double", timeout_s=0.02)


async def test_a_thread_waits_for_the_loop_and_not_for_ever() -> None:
    loop = asyncio.get_running_loop()

    async def answer() -> int:
        return 5

    assert await asyncio.to_thread(in_loop, loop, answer) == 5
    blocked, tried = threading.Event(), threading.Event()

    def try_it() -> None:
        blocked.wait(20)
        with pytest.raises(concurrent.futures.TimeoutError):
            in_loop(loop, answer, 0.01)
        tried.set()

    trying = asyncio.ensure_future(asyncio.to_thread(try_it))
    await asyncio.sleep(0)
    blocked.set()
    tried.wait(20)  # the loop stands here meanwhile
    await trying


def test_a_shortage_of_file_descriptors_passes(tmp_path: Path) -> None:
    class Short(socket.socket):
        """Cannot accept the first time."""

        accepts = 0

        def accept(self) -> Any:
            self.accepts += 1
            if self.accepts == 1:
                raise OSError(errno.EMFILE, "too many open files")
            return super().accept()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", Short)
        answering = Control(str(tmp_path / "c"), {"double": lambda number: number * 2})
    assert ask(str(tmp_path / "c"), "double", 21, timeout_s=20) == 42
    answering.close()
