"""One child, started by hand: what becomes of a process that hangs, says nothing, or cannot be started."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outboard.agent.registry import LoadFailure
from outboard.service.isolation.child import PlatformChild
from outboard.service.supervision import child as children
from outboard.service.supervision.child import ChildSpec
from outboard.service.supervision.hello import Hello

HELLO = Hello(target="unix:/nowhere/at/all", agents=[], names=["deeds"], failures=[]).encode()
GOODBYE = Hello(target="", agents=[], names=[], failures=[LoadFailure(source="hostile", reason="install it")]).encode()
SAYS_HELLO = f"import sys, time; print({HELLO.decode()!r}, flush=True); time.sleep(600)"


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "BEAT_S", 0.01)
    monkeypatch.setattr(children, "HUNG_AFTER", 3)


class Watched:
    """A child and the changes that it tells."""

    def __init__(self, folder: Path, *command: str) -> None:
        spec = ChildSpec(source="hostile", command=command, document={"secret": "x"}, drain_s=1)
        self.changed = asyncio.Event()
        self.pids: list[int] = []
        self.child = PlatformChild(spec, folder / "0", self._note)

    def _note(self) -> None:
        if self.child.is_up and self.child.pid is not None:
            self.pids.append(self.child.pid)
        self.changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 30)


async def test_one_that_does_not_answer_is_ended_and_started_anew(tmp_path: Path) -> None:
    watched = Watched(tmp_path, sys.executable, "-c", SAYS_HELLO)
    watched.child.start()
    try:
        await watched.until(lambda: len(watched.pids) == 2)
        with pytest.raises(ProcessLookupError):
            os.kill(watched.pids[0], 0)
        assert watched.child.restarts == 1
    finally:
        await watched.child.stop(1)
    with pytest.raises(ProcessLookupError):
        os.kill(watched.pids[1], 0)


@pytest.mark.parametrize(
    "command",
    [
        ("/nowhere/at/all",),
        (sys.executable, "-c", "print('no hello')"),
        (sys.executable, "-c", "pass"),
        (sys.executable, "-c", f"print({GOODBYE.decode()!r})"),
    ],
)
async def test_one_that_never_serves_is_never_up_and_can_be_ended(tmp_path: Path, command: tuple[str, ...]) -> None:
    watched = Watched(tmp_path, *command)
    watched.child.start()
    await asyncio.wait_for(watched.child.tried.wait(), 30)
    assert not await watched.child.wait_until_up(0.01)
    assert watched.child.hello is None
    await watched.child.stop(1)
    assert watched.pids == []


async def test_one_that_cannot_serve_ends_by_itself_and_its_exit_code_is_told(tmp_path: Path) -> None:
    hello = Hello.refusing("set a key").encode().decode()
    refusing = f"import sys; print({hello!r}, flush=True); sys.stdin.readline(); sys.exit(2)"
    watched = Watched(tmp_path, sys.executable, "-c", refusing)
    watched.child.start()
    await asyncio.wait_for(watched.child.tried.wait(), 30)
    await watched.child.stop(1)
    assert (watched.child.exit_code, watched.child.refusal) == (2, "set a key")


async def test_nothing_is_left_of_the_sockets_of_one_that_was_killed(tmp_path: Path) -> None:
    listens = (
        "import json, socket, sys, time; told = json.loads(sys.stdin.readline());"
        "held = [socket.socket(socket.AF_UNIX) for _ in range(2)];"
        "held[0].bind(told['socket'].removeprefix('unix:')); held[1].bind(told['control']);"
    )
    watched = Watched(tmp_path, sys.executable, "-c", listens + SAYS_HELLO)
    watched.child.start()
    try:
        await watched.until(lambda: bool(watched.pids))
        assert len(os.listdir(tmp_path)) == 2  # noqa: PTH208 - names are enough
    finally:
        await watched.child.stop(0)
    assert not os.listdir(tmp_path)  # noqa: PTH208 - names are enough


async def test_one_that_is_told_to_end_while_it_is_being_started_never_comes_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    start = asyncio.create_subprocess_exec

    async def slow(*command: str, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*command, **options)
        begun.set()
        await go.wait()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    watched = Watched(tmp_path, sys.executable, "-c", SAYS_HELLO)
    watched.child.start()
    await begun.wait()
    stopping = asyncio.ensure_future(watched.child.stop(20))
    await asyncio.sleep(0)
    go.set()
    await stopping
    assert watched.pids == []
    assert watched.child.exit_code is not None
