"""Control: questions that a parent asks a child while it lives, and the other way round.

A Unix socket in the parent's private folder; one question per connection, a line of JSON each way. The answering side is a
thread of its own, so it answers also while the process's event loop is blocked; what must run on the loop (`alive`, above all,
which asks just that) is handed to it and waited for, with a limit. gRPC is not used, because a parent of workers has none.

Whoever asks sets a limit for the whole exchange: a process that hangs costs that and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")
Answer = Callable[[Any], Any]
ALIVE: Final = "alive"
METRICS: Final = "metrics"
HASTEN: Final = "hasten"
"""Carries who says so, an agent's name and ids of its jobs; answered with how many of these are alive there."""
LEVEL: Final = "level"
"""Carries a log level to set, or None; answered with what a process and its own children have."""
DESCRIBE: Final = "describe"
"""Answered with what is served, and which accounts answer."""
ANSWER_S: Final = 2.0
"""A child whose loop takes longer for nothing is doubted."""
_CHUNK_BYTES: Final = 256 * 1024
_LONGEST_QUESTION: Final = 4 * 1024 * 1024
_SHORTAGE_S: Final = 0.1
"""The pause after a question that could not be taken, for want of a file descriptor or a thread."""


class Unanswered(Exception):
    """A question was not answered in time, or with words that make no sense; never leaves this process."""


class Control:
    """Answers questions on a Unix socket until the process ends.

    Args:
        path: Of the socket, which must not exist.
        answers: What answers which question; called in threads, with what the question carries.
    """

    def __init__(self, path: str, answers: Mapping[str, Answer]) -> None:
        self._answers = answers
        self._closed = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen()
        threading.Thread(target=self._serve, name="outboard-control", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), name="outboard-answer", daemon=True).start()
            except (OSError, RuntimeError):  # a shortage passes; who never answered again would be ended as hanging
                self._closed.wait(_SHORTAGE_S)

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(ANSWER_S)
            with connection.makefile("rb") as questions:
                line = questions.readline(_LONGEST_QUESTION)
            connection.sendall(json.dumps(self._say(line)).encode() + b"\n")

    def _say(self, line: bytes) -> Mapping[str, Any]:
        try:
            question = json.loads(line)
            return {"answer": self._answers[question["ask"]](question["with"])}
        except Exception as error:  # noqa: BLE001 - a question that cannot be answered must not end the thread unheard
            return {"error": type(error).__name__}


def in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], Awaitable[T]], timeout_s: float = ANSWER_S) -> T:
    """Run a coroutine function on an event loop, from another thread, and return its result.

    Raises:
        TimeoutError: It did not end in time, or the loop did not come to it.
    """

    async def run() -> T:
        return await work()

    coroutine = run()
    try:
        done = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:  # the loop has ended
        coroutine.close()
        raise
    try:
        return done.result(timeout_s)
    finally:
        done.cancel()


def ask(path: str, question: str, payload: Any = None, *, timeout_s: float) -> Any:
    """Ask, from a thread, and return the answer.

    Raises:
        Unanswered: Nobody answered within `timeout_s`, or with an error.
    """
    ends_at = time.monotonic() + timeout_s
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(_question(question, payload))
            while not answer.endswith(b"\n"):
                connection.settimeout(max(ends_at - time.monotonic(), 0.001))
                chunk = connection.recv(_CHUNK_BYTES)
                if not chunk:
                    break
                answer += chunk
    except OSError:
        raise Unanswered from None
    return _answer(answer)


async def ask_from_loop(path: str, question: str, payload: Any = None, *, timeout_s: float) -> Any:
    """Ask, on an event loop, and return the answer; see `ask`."""
    try:
        line = await asyncio.wait_for(_exchange(path, _question(question, payload)), timeout_s)
    except (OSError, ValueError, asyncio.TimeoutError):
        raise Unanswered from None
    return _answer(line)


async def _exchange(path: str, question: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path, limit=_LONGEST_QUESTION)
    try:
        writer.write(question)
        return await reader.readline()
    finally:
        writer.close()


def _question(question: str, payload: Any) -> bytes:
    return json.dumps({"ask": question, "with": payload}).encode() + b"\n"


def _answer(line: bytes | bytearray) -> Any:
    try:
        return json.loads(line)["answer"]
    except (ValueError, KeyError, TypeError):
        raise Unanswered from None
