"""Flyte 2's executor as a process: the driver's requests and replies as coroutines."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from typing_extensions import Self

_LARGEST_REPLY: Final = 64 << 20
_START_LIMIT_S: Final = 60.0
_END_LIMIT_S: Final = 10.0
PATIENCE_S: Final = 45.0


class ExecutorFailed(Exception):
    """The executor did not do what it was asked; the message has its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an action stands, as the cluster and Flyte's log have it.

    Attributes:
        exists: Whether it is still in the cluster; an aborted one goes once its finalizer is off.
        is_over: Whether it succeeded or failed.
        phase: The plugin's phase, e.g. `PhaseRunning`.
        phases: What the action's conditions went through, each once in a row.
        attempts: Which attempt it is at, from 1.
        code, message: Of the failure.
        handle: The connector's, out of the state that the plugin keeps.
        events: What users see, in order: phases, attempts, links.
        counts: What Flyte's log says of it: creates, polls, poll_errors, abort_errors, refused_aborts, failed_rounds.
    """

    exists: bool = False
    is_over: bool = False
    phase: str = ""
    phases: Sequence[str] = ()
    attempts: int = 0
    system_failures: int = 0
    code: str = ""
    message: str = ""
    handle: bytes = b""
    output_prefix: str = ""
    events: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


class Executor:
    """The driver; `async with` starts it and ends it.

    Args:
        binary: The built driver.
        settings: What it is started with, as `settings.go` reads it.
        folder: Its settings and its log go there.

    Attributes:
        log: Flyte's own log, which tells everything at debug level.
    """

    def __init__(self, binary: Path, settings: Mapping[str, Any], folder: Path) -> None:
        self.log = folder / "executor.log"
        self._binary = binary
        self._settings = folder / "executor.json"
        self._settings.write_text(json.dumps(settings), encoding="utf-8")
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._binary),
                str(self._settings),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LARGEST_REPLY,
            )
        ready = self._expect(0)
        self._reading = asyncio.get_running_loop().create_task(self._read())
        await asyncio.wait_for(ready, _START_LIMIT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_LIMIT_S)
        except asyncio.TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    async def create(self, name: str, template: Any, inputs: Any, base: str) -> None:
        """Apply an action that runs a task; its run and its files are called by its name."""
        await self._ask(
            "create",
            Name=name,
            Project=template.id.project,
            Domain=template.id.domain,
            TaskType=template.type,
            Template=_text(template.SerializeToString()),
            Inputs=_text(inputs.SerializeToString()),
            Base=base,
        )

    async def abort(self, name: str) -> None:
        """Delete an action, as a user who aborts it does; it goes once its job is given up."""
        await self._ask("abort", Name=name)

    async def wait(self, name: str, *until: str, count: int = 0, patience_s: float = PATIENCE_S) -> Standing:
        """Wait for phases of the plugin, `over`, `gone`, or as many `creates`, `polls` or `refused_aborts` as `count`."""
        return _standing(await self._ask("wait", Name=name, Until=until, Count=count, Seconds=patience_s))

    async def stand(self, name: str) -> Standing:
        """Return where an action stands."""
        return _standing(await self._ask("stand", Name=name))

    async def outputs(self, name: str) -> bytes | None:
        """Return `outputs.pb` of an action's current attempt; None where there is none."""
        content = await self._ask("outputs", Name=name)
        return None if content is None else base64.b64decode(content)

    async def lose_rounds(self, name: str, count: int) -> None:
        """Let the next rounds that created a job for this action be lost, with all that they changed."""
        await self._ask("lose_rounds", Name=name, Count=count)

    async def collect_garbage(self) -> None:
        """Run Flyte's garbage collector once; whatever is over is old enough for it."""
        await self._ask("collect_garbage")

    async def metrics(self) -> dict[str, float]:
        """Return the counters of Flyte's plugin, its cache and its gRPC client."""
        return dict(await self._ask("metrics"))

    async def _ask(self, operation: str, **fields: Any) -> Any:
        number = next(self._ids)
        reply = self._expect(number)
        if self._process.stdin is None or self._reading.done():
            raise ExecutorFailed(f"the executor is gone: {self._last_words()}")
        self._process.stdin.write(json.dumps({"id": number, "do": operation, **fields}).encode() + b"\n")
        await self._process.stdin.drain()
        return await reply

    def _expect(self, number: int) -> asyncio.Future[Any]:
        self._waiting[number] = asyncio.get_running_loop().create_future()
        return self._waiting[number]

    async def _read(self) -> None:
        while self._process.stdout is not None and (line := await self._process.stdout.readline()):
            reply = json.loads(line)
            waiting = self._waiting.pop(reply["id"])
            if waiting.done():
                continue
            if "error" in reply:
                waiting.set_exception(ExecutorFailed(reply["error"]))
            else:
                waiting.set_result(reply["result"])
        for each in self._waiting.values():
            if not each.done():
                each.set_exception(ExecutorFailed(f"the executor is gone: {self._last_words()}"))

    def _last_words(self) -> str:
        return self.log.read_text("utf-8", "replace")[-1000:]


def _standing(value: Mapping[str, Any]) -> Standing:
    known = {name: each for name, each in value.items() if each is not None}
    return Standing(**{**known, "handle": base64.b64decode(known.get("handle", ""))})


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
