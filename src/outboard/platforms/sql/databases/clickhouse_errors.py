"""ClickHouse's errors: whose they are, and whether the same statement may pass later, by code.

Codes and names are the server's own (`errorCodeToName`, release 26.9; src/Common/ErrorCodes.cpp of
https://github.com/ClickHouse/ClickHouse). A code that is not listed is a wrong statement: most of the six hundred are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from outboard.platforms.sql.databases.meanings import BROKEN, CANCELLED, OPERATOR, PLATFORM, USER, Meaning
from outboard.platforms.sql.databases.port import Complaint, first_line, without_values

CODES: dict[int, Meaning] = {
    **dict.fromkeys((394, 735), CANCELLED),  # QUERY_WAS_CANCELLED, ..._BY_CLIENT
    **dict.fromkeys((81, 180, 192, 193, 194, 195, 291, 472, 481, 482, 492, 497, 511, 512, 516), OPERATOR),
    **dict.fromkeys((669, 673, 711, 720, 763, 767), OPERATOR),  # collections, refused sessions, expired users
    **dict.fromkeys(
        (202, 203, 216, 290, 364, 373, 574, 692, 700, 745, 749, 762, 776, 1019, 1020), PLATFORM
    ),  # too many
    201: PLATFORM,  # QUOTA_EXCEEDED: its interval passes
    **dict.fromkeys((173, 241, 243, 439, 777, 778), PLATFORM),  # memory, disk, threads
    **dict.fromkeys((86, 95, 96, 198, 209, 210, 279, 410, 425, 519), PLATFORM),  # network
    **dict.fromkeys((225, 242, 244, 254, 265, 285, 289, 297, 369, 999), PLATFORM),  # Keeper and replicas
    **dict.fromkeys((252, 255, 384, 473, 529, 571, 650, 733, 738, 1017, 1018), PLATFORM),  # parts, locks, leaders
    **dict.fromkeys((74, 75, 76, 87, 204, 274, 275, 294, 499, 500), PLATFORM),  # files, object stores
    **dict.fromkeys((660, 693, 707, 737, 1009, 1015), PLATFORM),
    **dict.fromkeys((236, 286, 319, 659, 677, 1005, 900, 901, 903, 904, 905), PLATFORM),  # aborted, unknown status
    **dict.fromkeys(
        (40, 49, 226, 228, 246, 305, 415, 668, 1000, 1001, 1002), BROKEN
    ),  # the server's own bugs and damage
}
_TOLD: Final = re.compile(r"Code: (\d+)\. DB::Exception: (.*?)(?:\n|$)", re.DOTALL)
_BEHIND: Final = re.compile(
    r"(?::? In scope |:? While (?:executing|processing) |: while |\. Expected one of| \(line \d+, col \d+\)"
    r"|: *(?:SELECT|INSERT) )"
)
_HAPPENS: Final = {401: 516, 403: 516, 404: 60, 429: 202, 503: 745, 504: 209, 502: 210}
_UNSURE: Final = (319, 659, 209, 210)


class ClickHouseError(Exception):
    """What the server answered.

    Attributes:
        code: Its code; 0 where it told none.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


def error_of(content: bytes, status: int, code: str | None, values: Sequence[Any]) -> ClickHouseError:
    """Return the error that an answer tells: in its headers, or at the end of its body.

    Args:
        content: The body, or its end.
        status: The answer's.
        code: The header's code, if there is one.
        values: The parameters; their texts are left out of the words.
    """
    text = content.decode("utf-8", "replace")
    found = list(_TOLD.finditer(text))
    number = int(code) if code and code.isdigit() else int(found[-1].group(1)) if found else 0
    if not number and status != 200:
        return ClickHouseError(_HAPPENS.get(status, 1002), f"HTTP {status}")
    words = first_line(_BEHIND.split(found[-1].group(2))[0] if found else f"code {number}")
    return ClickHouseError(number, without_values(words, values))


def meaning_of(error: BaseException) -> Complaint | None:
    """Return what an error means; None for one that is neither the server's nor the transport's."""
    if isinstance(error, ClickHouseError):
        actor, is_retryable = CODES.get(error.code, USER)
        return Complaint(
            code=str(error.code),
            words=first_line(error),
            actor=actor,
            is_retryable=is_retryable,
            is_broken=error.code in _UNSURE,
        )
    from outboard.platforms.sql.databases.pools import transport_complaint  # noqa: PLC0415 - the table is read without it

    return transport_complaint(error)
