"""Pages of a job's output by line, and the cursor that says where the next one starts.

The files are read by byte offset (see `logs`), callers count lines. A cursor holds for standard output and standard
error each the offset of a page and how many of its lines were given already: `120+3,0+0`. The bytes at an offset never
change, so a cursor is good in any process and for as long as the job directory lives.
"""

from __future__ import annotations

import re
from typing import Final

from outboard.agent import LogLine, LogPage
from outboard.detached.job_directory import JobDirectory
from outboard.errors import Rejected

_STREAMS: Final = ("stdout", "stderr")
_ORIGINATOR: Final = "user"
_CURSOR: Final = re.compile(r"(\d{1,18})\+(\d{1,9}),(\d{1,18})\+(\d{1,9})")
_PAGE_BYTES: Final = 64 * 1024


def read_lines(root: JobDirectory, name: str, cursor: str | None, limit: int) -> LogPage:
    """Return up to `limit` lines of a job after a cursor, standard output first.

    Raises:
        Rejected: The cursor is none that this function gave.
        Unavailable: The log cannot be read.
    """
    places: list[str] = []
    lines: list[LogLine] = []
    is_over = True
    for stream, (offset, skipped) in zip(_STREAMS, _parse(cursor), strict=True):
        page = root.read_log(name, stream, offset, _PAGE_BYTES)
        given = page.lines[skipped : skipped + limit - len(lines)]
        lines += (LogLine(message=line, originator=_ORIGINATOR) for line in given)
        is_read = skipped + len(given) >= len(page.lines)
        is_over = is_over and is_read and page.ended
        places.append(f"{page.next_offset}+0" if is_read else f"{offset}+{skipped + len(given)}")
    return LogPage(lines=lines, next_cursor=None if is_over else ",".join(places), ended=is_over)


def _parse(cursor: str | None) -> tuple[tuple[int, int], tuple[int, int]]:
    if cursor is None:
        return (0, 0), (0, 0)
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise Rejected("this log cursor is none of a job on this machine; start again without one")
    out_offset, out_skipped, error_offset, error_skipped = map(int, found.groups())
    return (out_offset, out_skipped), (error_offset, error_skipped)
