"""The end of a process, bounded in all circumstances.

====================  ==============================================================================================
from SIGTERM on       what happens
====================  ==============================================================================================
at once               health and readiness say no; calls are still taken, for `linger_s`
`linger_s`            no call is taken any more; those in flight have `drain_s`
`+ drain_s`           the host and isolated platforms close: in what calls left of `drain_s`, at least `CLOSING_S`
`+ SERVICE_MARGIN_S`  the process ends where it stands, with 1, and says where that was
`+ MARGIN_S`          the same for a parent of workers; who ends us from outside should wait this long (`grace_s`)
====================  ==============================================================================================

An orderly end awaits what others wrote: an agent that swallows its cancellation, a client's `close` that hangs, a thread that
Python joins before it lets a process go, an event loop that somebody blocks, so that it does not even hear the signal. So the
bound is not kept by the loop, but by a thread that hears signals itself: Python's C code writes their numbers to a descriptor
(`signal.set_wakeup_fd`), which goes to this thread first and from it to whom it went before.

There is one such descriptor in a process, and agents' code may take it: `set_wakeup_fd(-1)`, or a loop of a library's own. So the
signal's handler in Python takes it back, and tells this thread what it missed. That one needs the main thread, at the next
instruction of Python: an idle loop comes to one within a second (`watchdog`), and a call that waits in C is interrupted for it.
Only code that takes both, descriptor and handler, takes the signal away, as it would from any program.

What it needs is the interpreter's lock. Code in C that never gives it back is beyond any thread; then Kubernetes kills the
process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Final

from outboard.host.logs import TaskLog

if TYPE_CHECKING:
    from outboard.service.settings import ServiceSettings

CLOSING_S: Final = 5.0
"""What closing may take at least, also where calls have used up `drain_s`."""
SERVICE_MARGIN_S: Final = 10.0
WORKER_MARGIN_S: Final = 12.0
"""When a parent kills a worker; by then it has ended itself."""
MARGIN_S: Final = 20.0
_EXIT_S: Final = 3.0
"""How long Python may take to end once all is done: it joins threads that agents' libraries have started."""
_CUT_OFF: Final = 1
_TELLING_S: Final = 1.0
_FRAMES: Final = 4
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def grace_s(settings: ServiceSettings) -> float:
    """Return how long a process may take to end after SIGTERM: Kubernetes' `terminationGracePeriodSeconds`.

    >>> from outboard.service.settings import ServiceSettings
    >>> grace_s(ServiceSettings(linger_s=20, drain_s=60))
    100.0
    """
    return settings.linger_s + settings.drain_s + MARGIN_S


class LastResort:
    """Ends this process when its end takes too long.

    Args:
        allowed_s: How long the end may take, from the first signal on.
    """

    def __init__(self, allowed_s: float) -> None:
        self._allowed_s = allowed_s
        self._heard, self._told = socket.socketpair()
        self._told.setblocking(False)  # noqa: FBT003 - as `set_wakeup_fd` needs it
        self._ends_at: float | None = None
        self._code = _CUT_OFF
        self._passed_on_to = -1
        self._main = threading.main_thread().ident or 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals inside the block, before whoever hears them now; in the main thread, inside the running loop."""
        self._passed_on_to = self._claim()
        before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.siginterrupt(number, False)  # noqa: FBT003 - as loops have it
        threading.Thread(target=self._run, name="outboard-ending", daemon=True).start()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._passed_on_to, warn_on_full_buffer=False)

    def begin(self) -> None:
        """Note that the end begins, in case the loop heard of it alone: some loops claim all signals whenever they run again."""
        if self._ends_at is None:
            self._ends_at = time.monotonic() + self._allowed_s
            self._wake()

    def finished(self, code: int) -> None:
        """Note that all is done and Python is about to end with this code; if it does not in time, it is ended with it."""
        ends_at = time.monotonic() + _EXIT_S
        self._code = code
        self._ends_at = ends_at if self._ends_at is None else min(ends_at, self._ends_at)
        self._wake()

    def _claim(self) -> int:
        """Have C code write signals' numbers to us; return where they went until now."""
        return signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)

    def _receive(self, number: int, _: FrameType | None) -> None:
        """Note a signal whose number went elsewhere, and see to it that the next one's comes here again."""
        written_to = self._claim()
        if written_to == self._passed_on_to:  # the loop, which claims all signals when it runs again, has heard of it
            self.begin()
        elif written_to != self._told.fileno():
            self._wake(number)

    def _wake(self, number: int = 0) -> None:
        with contextlib.suppress(OSError):
            self._told.send(bytes([number]))

    def _run(self) -> None:
        while True:
            left_s = None if self._ends_at is None else self._ends_at - time.monotonic()
            if left_s is not None and left_s <= 0:
                self._cut_off()
            self._heard.settimeout(left_s)
            try:
                numbers = self._heard.recv(64)
            except TimeoutError:
                continue
            except OSError:
                return
            for number in numbers:
                self._hear(number)

    def _hear(self, number: int) -> None:
        if number in _SIGNALS and self._ends_at is not None:
            os._exit(128 + number)
        if number in _SIGNALS:
            self._ends_at = time.monotonic() + self._allowed_s
        if number and self._passed_on_to != -1:
            with contextlib.suppress(OSError):
                os.write(self._passed_on_to, bytes([number]))

    def _cut_off(self) -> None:
        teller = threading.Thread(target=self._tell, daemon=True)  # standard error may be a pipe that nobody reads
        teller.start()
        teller.join(_TELLING_S)
        os._exit(self._code)

    def _tell(self) -> None:
        frame = sys._current_frames().get(self._main)  # noqa: SLF001 - the documented way to another thread's frames
        innermost = traceback.extract_stack(frame)[-_FRAMES:] if frame is not None else []
        TaskLog().error(
            "process did not end in time and is cut off",
            code=self._code,
            where=" > ".join(f"{each.filename}:{each.lineno} {each.name}" for each in innermost),
            threads=", ".join(sorted(each.name for each in threading.enumerate() if not each.daemon)),
        )
        sys.stderr.flush()
