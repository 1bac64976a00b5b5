"""What a person sees while tasks run: a live table on a terminal, a line per change elsewhere, nothing when quiet.

All of it goes to standard error; standard output is for results. A view is fed with the engine's events, keeps the newest of
each task and never asks anything by itself, so it cannot slow the engine down: it draws a few times a second at most.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Protocol

from typing_extensions import Self

from outboard.domain.phases import Phase
from outboard.engine.outcomes import TaskEvent
from outboard.local.notes import one_line, write_note

_FRAMES_PER_S: Final = 8
_SHOWN: Final = 30
PHASE_STYLES: Final = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "RETRYABLE_FAILED": "red",
    "ABORTED": "yellow",
    "WAITING_FOR_RESOURCES": "yellow",
    "RUNNING": "cyan",
}
_ORDER: Final[dict[Phase | None, int]] = {Phase.RUNNING: 0, Phase.WAITING_FOR_RESOURCES: 0, Phase.INITIALIZING: 1}


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

    def show(self, name: str, event: TaskEvent) -> None:
        """Take the newest of a task."""
        ...

    def say(self, words: str) -> None:
        """Show a sentence that is not about one task."""
        ...


def open_view(*, is_quiet: bool) -> View:
    """Return the view that fits: live on a terminal, plain elsewhere."""
    if is_quiet:
        return QuietView()
    return LiveView() if sys.stderr is not None and sys.stderr.isatty() else PlainView()


class QuietView:
    """Shows sentences only."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, name: str, event: TaskEvent) -> None:
        """Show nothing."""

    def say(self, words: str) -> None:
        """Write the sentence."""
        write_note(words)


class PlainView(QuietView):
    """Writes a line whenever phase, attempt or message of a task changes, and one per new link.

    A service that cannot be reached concerns all of its tasks. It is told once, and once when any of them is answered again;
    meanwhile the tasks tell only what happens to them.
    """

    def __init__(self) -> None:
        self._told: dict[str, tuple[Phase | None, int, str]] = {}
        self._links: dict[str, set[str]] = {}
        self._silent_for: dict[str, str] = {}
        self._silent: set[str] = set()

    def show(self, name: str, event: TaskEvent) -> None:
        """Write what changed."""
        clock = _clock(event.elapsed_s)
        self._tell_service(name, event, clock)
        _, _, last = self._told.get(name, (None, 0, ""))
        is_about_service = event.unreachable and event.problem
        now = (event.phase, event.attempt, last if is_about_service else event.message)
        if self._told.get(name) != now:
            self._told[name] = now
            attempt = f" (attempt {event.attempt + 1})" if event.attempt else ""
            message = f": {one_line(event.message)}" if event.message and not is_about_service else ""
            write_note(f"{clock} {name} {_word(event)}{attempt}{message}")
        known = self._links.setdefault(name, set())
        for link in event.links:
            if link.url not in known:
                known.add(link.url)
                write_note(f"{clock} {name} {link.name}: {link.url}")

    def _tell_service(self, name: str, event: TaskEvent, clock: str) -> None:
        before = self._silent_for.get(name, "")
        self._silent_for[name] = event.unreachable
        if event.unreachable and event.problem and event.unreachable not in self._silent:
            self._silent.add(event.unreachable)
            write_note(f"{clock} {one_line(event.problem)}")
        elif before and not event.unreachable and before in self._silent:
            self._silent.remove(before)
            write_note(f"{clock} {before} answers again")


class LiveView:
    """A table that is redrawn in place; the last state stays on the screen.

    A terminal that is gone (its window was closed, the program goes on) is no reason for a task to fail: it is then not
    written to.
    """

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only for people
        from rich.live import Live  # noqa: PLC0415 - same

        self._tasks: dict[str, tuple[TaskEvent, float]] = {}
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console, get_renderable=self._draw, refresh_per_second=_FRAMES_PER_S, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._live.__exit__(kind, error, trace)

    def show(self, name: str, event: TaskEvent) -> None:
        """Take the newest of a task; it is drawn with the next frame."""
        self._tasks[name] = (event, time.monotonic() - event.elapsed_s)

    def say(self, words: str) -> None:
        """Write a sentence above the table."""
        with suppress(OSError):
            self._console.print(words, markup=False, highlight=False)

    def _draw(self) -> Any:
        from rich.table import Table  # noqa: PLC0415 - only for people
        from rich.text import Text  # noqa: PLC0415 - same

        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0), expand=True)
        for _ in range(4):
            table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        ordered = sorted(self._tasks.items(), key=lambda each: _rank(each[1][0]))
        for name, (event, began_at) in ordered[:_SHOWN]:
            words = Text(one_line(event.message))
            for link in event.links:
                words.append("  ").append(link.name, style=f"underline link {link.url}")
            phase = Text(_word(event), style=PHASE_STYLES.get(event.phase.value, "") if event.phase else "dim")
            elapsed_s = event.elapsed_s if event.is_final else time.monotonic() - began_at
            table.add_row(
                name, phase, _clock(elapsed_s), f"attempt {event.attempt + 1}" if event.attempt else "", words
            )
        hidden = len(ordered) - _SHOWN
        if hidden > 0:
            counts = Counter(_word(event) for _, (event, _began_at) in ordered)
            words = Text(", ".join(f"{count} {word}" for word, count in counts.items()))
            table.add_row(f"and {hidden} more", "", "", "", words)
        return table


def _rank(event: TaskEvent) -> int:
    """Return where a task stands in the table: what runs first, what is over last."""
    return 3 if event.is_final else _ORDER.get(event.phase, 2)


def _word(event: TaskEvent) -> str:
    return "submitting" if event.phase is None else event.phase.value.lower().replace("_", " ")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
