"""Pure methods: `connection`, `links` and `judge` are called on the event loop, at any time and any number of times.

What a method does to the world is seen by Python's audit hook, which tells of files, sockets and processes that are
opened. Each is called once before that, so that what is imported on the first call does not count.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from outboard.agent import Failure, Status
from outboard.agent.agents import JobAgent
from outboard.testing.conformance.checks import Check, Kind
from outboard.testing.conformance.findings import Broken
from outboard.testing.conformance.stages import Stage

_EVENTS: Final = frozenset(
    {"open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.posix_spawn", "os.listdir"}
)
_heard: list[str] | None = None
_is_listening = False


async def are_pure(stage: Stage) -> None:
    """They do no input or output, answer the same twice, and leave the task alone."""
    agent, request = stage.agent, stage.direct.prepare(stage.task(stage.stand_in.quick))
    task = request.task
    before = task.config.model_dump()
    first = _twice("connection", lambda: agent.connection(task))
    if task.config.model_dump() != before:
        raise Broken("`connection` changed the task", "make it a pure function of the task and the platform's settings")
    hash(first)
    if not isinstance(agent, JobAgent):
        return
    for state in sorted(agent.states.documented, key=str):
        verdict = _twice("judge", lambda state=state: agent.judge(Status(state=state)))  # type: ignore[misc]  # as above
        if verdict is not None and not isinstance(verdict, Failure):
            raise Broken(f"`judge` returned {type(verdict).__name__}", "return a Failure or None")
    job = await stage.direct.call(request, "create", task, timeout_s=stage.pace.end_s)
    stage.evidence.see("a link", _twice("links", lambda: agent.links(job, first)))


def _twice(name: str, call: Callable[[], Any]) -> Any:
    """Call a pure method twice; raise `Broken` for what it does, or when it does not answer the same."""
    try:
        first = call()
        second, heard = _listening(call)
    except Exception as error:  # noqa: BLE001 - whatever an author's method raises is a finding
        raise Broken(f"`{name}` raised {type(error).__name__}: {error}", f"let `{name}` answer for every job") from None
    if heard:
        raise Broken(
            f"`{name}` does input or output ({', '.join(sorted(set(heard)))})",
            f"make `{name}` a pure function: move what calls the world into `create`, `get` or the platform's `open`",
        )
    if first != second:
        raise Broken(f"`{name}` answered differently when asked again", f"make `{name}` a pure function")
    return first


def _listening(call: Callable[[], Any]) -> tuple[Any, list[str]]:
    global _heard, _is_listening  # noqa: PLW0603 - audit hooks are the process's, and cannot be taken back
    if not _is_listening:
        sys.addaudithook(_hear)
        _is_listening = True
    heard: list[str] = []
    _heard = heard
    try:
        return call(), heard
    finally:
        _heard = None


def _hear(event: str, _arguments: tuple[Any, ...]) -> None:
    heard = _heard
    if heard is not None and event in _EVENTS:
        heard.append(event)


PURITY: Final = (Check(name="declared/pure-methods", run=are_pure, kinds=Kind.ALL),)
"""The checks of this module."""
