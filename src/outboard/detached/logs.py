"""Pages of a job's output, by byte offset.

A page holds whole lines only while the job may still write, so that a reader who follows a job never sees half a line.
A line longer than `LONGEST_LINE_BYTES` comes in pieces of at most that size, cut between characters. Bytes that are
no UTF-8 are replaced. Reading a page again at the same offset gives the same lines and possibly more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LONGEST_LINE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChunk:
    """Some lines of a job's output.

    Attributes:
        lines: The lines without their ends.
        next_offset: Where the next page starts, in bytes.
        ended: Nothing will ever follow: the job has ended and this was the last of its output.
    """

    lines: tuple[str, ...]
    next_offset: int
    ended: bool


def read_page(path: Path, offset: int, limit_bytes: int, *, is_final: bool) -> LogChunk:
    """Read lines from a byte offset on.

    Args:
        path: The log; a missing one is empty.
        offset: Where the last page stopped.
        limit_bytes: About how much to read; at least one full line is always read.
        is_final: Nobody writes any more, so an unfinished line is a line. Find out before you call.

    Raises:
        OSError: The log is there and cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(offset, 0))
            content = file.read(max(limit_bytes, LONGEST_LINE_BYTES + 1))
            is_everything = not file.read(1)
    except FileNotFoundError:
        content, is_everything = b"", True
    at_end = is_final and is_everything
    pieces, used = _cut(content, takes_rest=at_end)
    return LogChunk(lines=tuple(pieces), next_offset=max(offset, 0) + used, ended=at_end)


def _cut(content: bytes, *, takes_rest: bool) -> tuple[list[str], int]:
    """The lines of some bytes, and how many bytes they are."""
    pieces: list[str] = []
    start = 0
    while start < len(content):
        newline = content.find(b"\n", start, start + LONGEST_LINE_BYTES + 1)
        if newline >= 0:
            stop, following = newline, newline + 1
        elif len(content) - start > LONGEST_LINE_BYTES:
            stop = following = _between_characters(content, start + LONGEST_LINE_BYTES)
        elif takes_rest:
            stop = following = len(content)
        else:
            break
        pieces.append(content[start:stop].decode("utf-8", errors="replace").removesuffix("\r"))
        start = following
    return pieces, start


def _between_characters(content: bytes, position: int) -> int:
    """The nearest place at or before a position where no UTF-8 character is cut; such a character has four bytes at most."""
    for place in range(position, position - 4, -1):
        if content[place] & 0xC0 != 0x80:
            return place
    return position
