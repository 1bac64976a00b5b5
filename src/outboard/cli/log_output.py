"""Log lines: JSON for machines, colours for people, and no secret in either.

Every text of a line goes through the host's redactor, which knows the secrets that this process resolved, and is made
legible; storms of lines that are alike are cut short (see `log_lines`). What other libraries log through the standard library
takes the same way; of an exception they hand along only the type and the text are kept, since tracebacks may show values.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog

from outboard.cli.log_lines import Legible, Processor, Storms, adding
from outboard.cli.standard_streams import result_stream
from outboard.errors import InvalidSettings
from outboard.host.logs import LEVELS

FORMATS: Final = ("auto", "json", "pretty")
_BELOW: Final = ("buffer", "raw")


def configure_logs(
    redact: Callable[[str], str], *, level: str = "info", form: str = "auto", extra: Sequence[Processor] = ()
) -> None:
    """Send the log lines of this process to standard error.

    Args:
        redact: Removes secrets from a text.
        level: One of `LEVELS`; lower ones are dropped.
        form: One of `FORMATS`; `auto` is `pretty` on a terminal and `json` elsewhere.
        extra: What adds fields to every line.

    Raises:
        InvalidSettings: There is no such level or form.
    """
    for name, value, known in (("level", level, LEVELS), ("format", form, FORMATS)):
        if value not in known:
            raise InvalidSettings(
                f"there is no log {name} '{value}': choose one of {', '.join(known)}", field=f"log_{name}"
            )
    is_pretty = form == "pretty" or (form == "auto" and sys.stderr.isatty())
    threshold = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            Storms(),
            *extra,
            Legible(redact),
            _pretty() if is_pretty else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]  # it needs `write` and `flush` only
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Forward()], level=max(threshold, logging.WARNING), force=True)


def trace_fields(tracing: Any) -> Sequence[Processor]:
    """Return what adds the ids of trace and span to lines that are written in a traced call; nothing where tracing is off."""
    return () if tracing is None else (adding(tracing.fields),)


def redact_prints(redact: Callable[[str], str]) -> None:
    """Remove secrets from what agents' code prints, in this process and from now on.

    Each text is looked at as it is written: one that is written in two parts is two texts. Called again, it is the same streams
    that use another redactor: a library that took hold of one when it was imported (a logging handler) prints through it too.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _Redacted):
            stream.redact = redact
            if isinstance(stream.results, _Redacted):
                stream.results.redact = redact
        elif stream is not None:
            setattr(sys, name, _Redacted(stream, redact))


@contextmanager
def prints_aside(redact: Callable[[str], str]) -> Iterator[None]:
    """Do as `redact_prints` does for as long as the block lasts, and have agents' code print to standard error.

    What it prints is no part of a command's answer, which `write_result` writes to standard output all the same.
    """
    streams = sys.stdout, sys.stderr
    results = _Redacted(result_stream(), redact)
    sys.stderr = _Redacted(sys.stderr, redact)
    sys.stdout = _Redacted(streams[1], redact, results)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def tell_notes(notes: Iterable[str]) -> None:
    """Log what an operator should read when a service starts."""
    for note in notes:
        structlog.get_logger("outboard").info(note)


class _Stderr:
    """Standard error as it is when something is written, since a live view puts itself in its place."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Redacted:
    """A stream of text or bytes that secrets are removed from; in all else it is the stream that it stands for.

    The streams of bytes below one of text are such streams as well. What goes to the descriptor itself goes past it.
    """

    def __init__(self, stream: Any, redact: Callable[[str], str], results: Any = None) -> None:
        self._stream = stream
        self.redact = redact
        self.results = results

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        return _Redacted(found, self._clean) if name in _BELOW else found

    def _clean(self, text: str) -> str:
        return self.redact(text)

    def write(self, given: Any) -> int:
        """Write a text, or bytes, without secrets; the length is that of what was given, as callers expect."""
        if isinstance(given, str):
            self._stream.write(self.redact(given))
            return len(given)
        data = bytes(given)
        text = data.decode("utf-8", "surrogateescape")  # what is no text comes out as it was
        self._stream.write(self.redact(text).encode("utf-8", "surrogateescape"))
        return len(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write several."""
        for line in lines:
            self.write(line)


class _Forward(logging.Handler):
    """Takes the standard library's records into structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields["cause"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        structlog.get_logger("outboard").log(record.levelno, _message(record), **fields)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # wrong arguments of somebody's logging call
        return str(record.msg)


def _pretty() -> Any:
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
