r"""What a log line may hold, and how many there may be: names and messages come from callers, platforms and agents.

**Legible.** A line shows what it holds and nothing else: line ends, escape sequences, NUL and other control characters, and
the characters that turn the direction of writing around stand there as Python spells them (`\n`, `\x1b`, `\u202e`), in JSON as
well, since whoever reads JSON prints what it decodes. Texts are cut, and say so; keys are treated as values are.

**Few.** Warnings and errors of one event may come at ten per second, after a hundred at once; what is beyond that is left out,
counted in `outboard_log_lines_left_out_total`, and the next line of that event says how many there were (`left_out`). A caller
who sends nonsense thousands of times a second fills no disk.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

import structlog
from prometheus_client import Counter

LEFT_OUT: Final = Counter(
    "outboard_log_lines_left_out_total", "Log lines that were left out because too many were alike.", ["level"]
)
LONGEST_TEXT: Final = 4_096
LONGEST_LINE: Final = 8_192
"""Of all texts of a line together, as JSON spells them; a child's line beyond 16 KiB would not be read as one."""
_SURELY_SHORT: Final = LONGEST_LINE // len("\\ud83d\\ude00")
_READ_CHARACTERS: Final = 65_536
"""Beyond this a text is not even looked at: redaction takes time in proportion."""
_LONGEST_KEY: Final = 100
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""C0, DEL and C1; separators of lines and paragraphs; what turns directions, is not seen, or tags; lone surrogates."""
_LIMITED: Final = ("warning", "error", "critical")
_AT_ONCE: Final = 100.0
_PER_SECOND: Final = 10.0
_MOST_EVENTS: Final = 1_000
_RENDERERS: Final = "exc_info"
_PLAIN: Final = (bool, int, float, type(None))

Event = MutableMapping[str, Any]
Processor = Callable[[Any, str, Event], Mapping[str, Any]]


def legible(text: str) -> str:
    r"""Return a text as one line without anything that a terminal or reader would act on.

    >>> legible("one\r\nlevel=error \x1b[31mtwo")
    'one\\r\\nlevel=error \\x1b[31mtwo'
    """
    return _UNSAFE.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


class Legible:
    """A processor that makes every text of a line legible, without secrets, and of a bounded length.

    Args:
        redact: Removes secrets from a text.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def __call__(self, _logger: Any, _method: str, event: Event) -> Mapping[str, Any]:
        """Return the line to write."""
        if all(isinstance(value, (str, *_PLAIN)) for value in event.values()):
            whole = " ".join(text for item in event.items() for text in item if isinstance(text, str))
            is_short = len(whole) <= (LONGEST_TEXT if whole.isascii() else _SURELY_SHORT)
            is_fine = is_short and not _UNSAFE.search(whole)
            if is_fine and self._redact(whole) == whole:  # one look at the line, and most lines need no more
                return event
        return _Line(self._redact).cleaned(event)


class _Line:
    """One line that is being cleaned: it has room for so many characters."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._left = LONGEST_LINE

    def cleaned(self, event: Event) -> dict[str, Any]:
        # What happened goes first, and so is never what is cut away.
        first = {"event": self._value(event["event"], 0)} if "event" in event else {}
        rest = {
            self._key(key): value if key == _RENDERERS else self._value(value, 0)
            for key, value in event.items()
            if key != "event"
        }
        return {**first, **rest}

    def _key(self, key: Any) -> str:
        return legible(self._redact(str(key)[:_READ_CHARACTERS]))[:_LONGEST_KEY]

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, Mapping) and depth < 4:
            return {self._key(key): self._value(each, depth + 1) for key, each in value.items() if self._left > 0}
        if isinstance(value, (list, tuple)) and depth < 4:
            return [self._value(each, depth + 1) for each in value if self._left > 0]
        return self._text(value if isinstance(value, str) else _shown(value))

    def _text(self, text: str) -> str:
        clean = legible(self._redact(text[:_READ_CHARACTERS]))
        room = max(0, min(LONGEST_TEXT, self._left))
        shown = clean[:room]
        while len(spelled := json.dumps(shown)) - 2 > room:
            shown = shown[: len(shown) * room // len(spelled)]
        self._left -= len(spelled) - 2
        return clean if shown == clean else f"{shown}... ({len(text)} characters)"


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - an agent's object that cannot even be shown
        return f"<{type(value).__name__}>"


def adding(fields: Callable[[], Mapping[str, str]]) -> Processor:
    """Return a processor that adds fields to every line: those of the trace that it is written in."""

    def process(_logger: Any, _method: str, event: Event) -> Mapping[str, Any]:
        event.update(fields())
        return event

    return process


class Storms:
    """A processor that leaves lines out where too many are alike.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # agents log from threads
        self._events: dict[str, _Allowance] = {}

    def __call__(self, _logger: Any, method: str, event: Event) -> Mapping[str, Any]:
        """Return the line, or drop it."""
        level = str(event.get("level", method))
        if level not in _LIMITED:
            return event
        with self._lock:
            allowance = self._of(str(event.get("event", ""))[:_LONGEST_KEY])
            left_out = allowance.take(self._clock())
        if left_out is None:
            LEFT_OUT.labels(level).inc()
            raise structlog.DropEvent
        if left_out:
            event["left_out"] = left_out + int(event.get("left_out", 0) or 0)
        return event

    def _of(self, name: str) -> _Allowance:
        allowance = self._events.get(name)
        if allowance is None:
            if len(self._events) >= _MOST_EVENTS:  # agents and libraries make up events
                name = ""
            allowance = self._events.setdefault(name, _Allowance(self._clock()))
        return allowance


class _Allowance:
    """How many lines of one event may still be written."""

    __slots__ = ("_at", "_left", "_left_out")

    def __init__(self, now: float) -> None:
        self._at = now
        self._left = _AT_ONCE
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """Take one; return how many were left out before it, None where this one is left out too."""
        self._left = min(_AT_ONCE, self._left + (now - self._at) * _PER_SECOND)
        self._at = now
        if self._left < 1:
            self._left_out += 1
            return None
        self._left -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out
