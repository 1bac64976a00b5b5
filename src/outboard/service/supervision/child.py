"""A child: a process of its own, kept alive.

The child gets its settings as one line of JSON on its standard input, which stays open: its end tells the child that the
parent is gone. It answers with a hello on its standard output, and questions on a Unix socket that only this user reaches; its
standard error becomes log lines here. While it lives it is asked once a second whether its event loop still turns. One that
does not answer is doubted: nobody waits for it until it answers again; after `HUNG_AFTER` checks it is killed. Whatever ends
it, it is started again, later each time (see `backoff`).

Two facts are told to whoever listens, at every change: what it serves, and whether it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from outboard.host.logs import TaskLog
from outboard.service.supervision.backoff import Backoff
from outboard.service.supervision.control import ALIVE, ANSWER_S, Unanswered, ask_from_loop
from outboard.service.supervision.hello import Hello
from outboard.service.supervision.output import pass_through

START_S: Final = 60.0
"""The longest a child may take until its hello; importing a heavy platform SDK from a cold disk takes some 20 s."""
BEAT_S: Final = 1.0
HUNG_AFTER: Final = 20
"""So many unanswered checks in a row, about a minute, are a hang: as long as a submission may take, which is lost with it. They
are counted and not timed, since a child must not die for this process having been blocked."""
END_S: Final = 5.0
_LONGEST_HELLO: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """How to start a child.

    Attributes:
        source: Its name: the entry point or `module:Platform` that it serves, or a worker's number.
        command: What to run.
        document: What it reads on its standard input; `name`, `socket`, `control` and `parent` are added. It may hold secrets.
        drain_s: How long it may take to end.
        memory_limit_bytes: Of resident memory, beyond which it is drained and started anew; None is no limit.
    """

    source: str
    command: Sequence[str]
    document: Mapping[str, Any]
    drain_s: float
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What log lines call a kind of child.

    Attributes:
        noun: As in `isolated platform is up`.
        field: Which holds the child's name.
    """

    noun: str
    field: str


class Child:
    """One child and who starts it again. Subclasses say what it is, and open what they talk to it through.

    Args:
        spec: How to start it.
        socket: What its sockets' paths begin with, in a private folder.
        on_change: Called after `hello` or `is_up` changed.
    """

    role: ClassVar[Role]

    def __init__(self, spec: ChildSpec, socket: Path, on_change: Callable[[], None]) -> None:
        self.spec = spec
        self.source = spec.source
        self.hello: Hello | None = None
        self.refusal = ""
        self.restarts = 0
        self.life = 0
        self.pid: int | None = None
        self.control: str | None = None
        self.exit_code: int | None = None
        self.next_start_at = time.monotonic()
        self.tried = asyncio.Event()
        self._up = asyncio.Event()
        self._socket = socket
        self._address = ""
        self._on_change = on_change
        self._backoff = Backoff()
        self._process: asyncio.subprocess.Process | None = None
        self._ending = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._whose = {self.role.field: spec.source}
        self._log = TaskLog(**self._whose)

    @property
    def is_up(self) -> bool:
        """Whether it answered when it was asked last."""
        return self._up.is_set()

    @property
    def rss_bytes(self) -> int:
        """The memory that its process holds; 0 where that cannot be read."""
        return _rss_bytes(self.pid)

    def start(self) -> None:
        """Start it, and again whenever it ends."""
        self._keeper = asyncio.ensure_future(self._keep())

    async def wait_until_up(self, timeout_s: float) -> bool:
        """Wait for it to answer; tell whether it does."""
        if not self.is_up and timeout_s > 0:
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._up.wait(), timeout_s)
        return self.is_up

    def doubt(self, life: int | None = None) -> None:
        """Note that it did not answer: nobody waits for it until its health has been seen again.

        Args:
            life: Whose silence it was; one that has been followed by another says nothing of that.
        """
        was_up = self.is_up
        if life not in (None, self.life):
            return
        self._set_up(is_up=False)
        if was_up:  # told when it is so: who reads the line may ask at once
            self._log.warning(f"{self.role.noun} does not answer", pid=self.pid)

    async def stop(self, grace_s: float) -> None:
        """Tell it to end, wait for that, and kill what is left after `grace_s`."""
        self._ending.set()
        await self._end(grace_s)
        if self._keeper is not None:
            await asyncio.wait({self._keeper}, timeout=END_S)
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    def connect(self, hello: Hello) -> None:
        """Open what it is talked to through; it is up, and nobody was told yet."""

    def disconnect(self) -> None:
        """Let go of what `connect` opened, if it did: the process is gone."""

    async def _keep(self) -> None:
        while not self._ending.is_set():
            healthy_s = 0.0
            try:
                healthy_s = await self._live()
            except OSError as error:
                self._log.error(f"{self.role.noun} cannot be started", reason=error.strerror)
            self.tried.set()
            if not self._ending.is_set():
                await self._rest(self._backoff.after(healthy_s))
                self.restarts += 1

    async def _rest(self, delay_s: float) -> None:
        """Wait before the next start, or for the end."""
        self.next_start_at = time.monotonic() + delay_s
        self._log.warning(f"{self.role.noun} is started again", delay_s=delay_s, restarts=self.restarts)
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._ending.wait(), delay_s)

    async def _live(self) -> float:
        """Start a process, look after it to its end, and return how long it was healthy."""
        self.life += 1
        self._address = address = f"{self._socket}.{self.life}"
        process = await asyncio.create_subprocess_exec(
            *self.spec.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LONGEST_HELLO,
            start_new_session=True,  # Ctrl-C is for the parent, which drains the child when it is time
        )
        self._process, self.pid, self.control = process, process.pid, f"{address}.q"
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise OSError
        output = asyncio.ensure_future(pass_through(process.stderr, **self._whose))
        try:
            if self._ending.is_set():  # it came too late to be told
                return 0.0
            places = {"socket": f"unix:{address}", "control": self.control, "parent": os.getpid()}
            with contextlib.suppress(ConnectionError):  # it ended already, and its output says why
                document = {**self.spec.document, "name": self.source, **places}
                process.stdin.write(json.dumps(document).encode() + b"\n")
                await process.stdin.drain()
            if not await self._greet(process.stdout):
                return 0.0
            born_at = time.monotonic()
            await self._look_after(process)
            return time.monotonic() - born_at
        finally:
            self._set_up(is_up=False)
            self.disconnect()
            if process.returncode is None:
                process.kill()
            self.exit_code = await process.wait()
            self._forget()
            await asyncio.wait({output}, timeout=END_S)
            output.cancel()
            self._tell_end(self.exit_code)

    async def _greet(self, stdout: asyncio.StreamReader) -> bool:
        """Read the hello and connect; tell whether there is somebody to talk to."""
        line = b""
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError, ValueError):
            line = await asyncio.wait_for(stdout.readline(), START_S)
        try:
            hello = Hello.decode(line)
        except ValueError:
            return False
        for failure in hello.failures:
            self._log.warning("platform not loaded", source=failure.source, reason=failure.reason)
        self.refusal = hello.refusal
        if hello.refusal:
            self._log.error(f"{self.role.noun} cannot serve", reason=hello.refusal)
        if not hello.target:
            await self._left_alone()
            return False
        self.hello = hello
        self.connect(hello)
        self._set_up(is_up=True)
        self.tried.set()
        self._log.info(f"{self.role.noun} is up", pid=self.pid, agents=", ".join(hello.names))
        return True

    async def _left_alone(self) -> None:
        """Wait for a child that does not serve to end by itself, so that its exit code tells why."""
        if self._process is not None:
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._process.wait(), END_S)

    async def _look_after(self, process: asyncio.subprocess.Process) -> None:
        """Ask for its health until it ends; kill it when it hangs, drain it when it grows too large."""
        ended = asyncio.ensure_future(process.wait())
        unanswered = 0
        try:
            while not (await asyncio.wait({ended}, timeout=BEAT_S))[0]:
                if await self._answers():
                    unanswered = 0
                    self._set_up(is_up=not self._ending.is_set())
                else:
                    unanswered += 1
                    self.doubt()
                if not self._ending.is_set():
                    await self._judge(unanswered)
        finally:
            ended.cancel()

    async def _judge(self, unanswered: int) -> None:
        """End it when it hangs or has grown too large."""
        limit, rss = self.spec.memory_limit_bytes, self.rss_bytes
        if unanswered >= HUNG_AFTER:
            self._log.error(f"{self.role.noun} hangs and is ended", pid=self.pid)
            await self._end(END_S)
        elif limit is not None and rss > limit:
            self._log.error(f"{self.role.noun} grew beyond its limit and is drained", rss=rss, limit=limit)
            await self._end(self.spec.drain_s)

    async def _answers(self) -> bool:
        try:
            await ask_from_loop(self.control or "", ALIVE, timeout_s=ANSWER_S)
        except Unanswered:
            return False
        return True

    async def _end(self, grace_s: float) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._set_up(is_up=False)
        for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, END_S)):
            if number is signal.SIGTERM and not grace_s:
                continue
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(process.wait(), patience_s)
                return

    def _forget(self) -> None:
        self.control = self.pid = None
        for path in (self._address, f"{self._address}.q"):
            with contextlib.suppress(OSError):
                Path(path).unlink()

    def _set_up(self, *, is_up: bool) -> None:
        if is_up == self.is_up:
            return
        if is_up:
            self._up.set()
        else:
            self._up.clear()
        self._on_change()

    def _tell_end(self, code: int) -> None:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        record = self._log.info if self._ending.is_set() else self._log.error
        record(f"{self.role.noun} ended", how=how)


def _rss_bytes(pid: int | None) -> int:
    if pid is None:
        return 0
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
