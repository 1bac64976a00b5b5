"""What a person sees while tasks run: a live table on a terminal, a line per change elsewhere, nothing when quiet.

All of it goes to standard error; standard output is for results. A view is fed with `TaskView`s, the newest of each task,
and never asks anything by itself, so it cannot slow the engine down: drawing happens ten times a second at most.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Protocol

from typing_extensions import Self

from outboard.cli.printing import write_note
from outboard.domain.phases import LIVE_PHASES, Phase
from outboard.domain.statuses import Link

_FRAMES_PER_S: Final = 8
_SHOWN: Final = 30
_ORDER: Final = {Phase.RUNNING: 0, Phase.WAITING_FOR_RESOURCES: 0, Phase.INITIALIZING: 1, Phase.QUEUED: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """How one task stands.

    Attributes:
        phase: None until anything is known.
        attempt: Counted from 0.
        began_at, ended_at: Of `time.monotonic`; filled in by the view.
    """

    name: str
    phase: Phase | None = None
    message: str = ""
    attempt: int = 0
    links: Sequence[Link] = ()
    began_at: float = 0.0
    ended_at: float | None = None

    @property
    def word(self) -> str:
        """The phase, in lower case words."""
        return "submitting" if self.phase is None else self.phase.value.lower().replace("_", " ")


class View(Protocol):
    """Shows tasks for as long as the `with` block lasts."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        ...

    def show(self, task: TaskView) -> None:
        """Take the newest of a task."""
        ...

    def say(self, words: str) -> None:
        """Show a sentence that is not about one task."""
        ...


def open_view(*, is_quiet: bool) -> View:
    """Return the view that fits: live on a terminal, plain elsewhere."""
    if is_quiet:
        return QuietView()
    return LiveView() if sys.stderr.isatty() else PlainView()


class QuietView:
    """Shows sentences only."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, task: TaskView) -> None:
        """Show nothing."""

    def say(self, words: str) -> None:
        """Write the sentence."""
        write_note(words)


class PlainView(QuietView):
    """Writes a line whenever phase, attempt or message of a task changes, and one per new link."""

    def __init__(self) -> None:
        self._last: dict[str, TaskView] = {}
        self._began = time.monotonic()

    def show(self, task: TaskView) -> None:
        """Write what changed."""
        last = self._last.get(task.name)
        self._last[task.name] = task
        if last is None or (last.phase, last.attempt, last.message) != (task.phase, task.attempt, task.message):
            attempt = f" (attempt {task.attempt + 1})" if task.attempt else ""
            message = f": {_one_line(task.message)}" if task.message else ""
            write_note(f"{_clock(time.monotonic() - self._began)} {task.name} {task.word}{attempt}{message}")
        known = {link.url for link in last.links} if last else set()
        for link in task.links:
            if link.url not in known:
                write_note(f"{_clock(time.monotonic() - self._began)} {task.name} {link.name}: {link.url}")


class LiveView:
    """A table that is redrawn in place; the last state stays on the screen."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only for people
        from rich.live import Live  # noqa: PLC0415 - same

        self._tasks: dict[str, TaskView] = {}
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console, get_renderable=self._draw, refresh_per_second=_FRAMES_PER_S, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, task: TaskView) -> None:
        """Take the newest of a task; it is drawn with the next frame."""
        now = time.monotonic()
        last = self._tasks.get(task.name)
        is_over = task.phase is not None and task.phase not in LIVE_PHASES
        self._tasks[task.name] = replace(
            task,
            began_at=last.began_at if last else now,
            ended_at=(last and last.ended_at) or (now if is_over else None),
        )

    def say(self, words: str) -> None:
        """Write a sentence above the table."""
        self._console.print(words, markup=False, highlight=False)

    def _draw(self) -> Any:
        from rich.table import Table  # noqa: PLC0415 - only for people
        from rich.text import Text  # noqa: PLC0415 - same

        from outboard.cli.tables import PHASE_STYLES  # noqa: PLC0415 - same

        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0), expand=True)
        for _ in range(4):
            table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        now = time.monotonic()
        ordered = sorted(
            self._tasks.values(), key=lambda task: 2 if task.ended_at else _ORDER.get(task.phase or Phase.QUEUED, 1)
        )
        for task in ordered[:_SHOWN]:
            style = PHASE_STYLES.get(task.phase.value, "") if task.phase else "dim"
            words = Text(_one_line(task.message))
            for link in task.links:
                words.append("  ").append(link.name, style=f"underline link {link.url}")
            attempt = f"attempt {task.attempt + 1}" if task.attempt else ""
            table.add_row(
                task.name, Text(task.word, style=style), _clock((task.ended_at or now) - task.began_at), attempt, words
            )
        hidden = len(ordered) - _SHOWN
        if hidden > 0:
            counts = ", ".join(f"{count} {word}" for word, count in self._counts().items())
            table.add_row(f"and {hidden} more", "", "", "", counts)
        return table

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for task in self._tasks.values():
            counts[task.word] = counts.get(task.word, 0) + 1
        return counts


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
