"""What Snowflake's codes mean: of a call that was refused, and of a statement that failed.

Codes of six digits come with every answer of the SQL API. Those from 390000 are about the call: login, role, request. All
others are about the statement, and come with status 422 (or 408, where its time was up), from the submission itself or
later from a look. A code that is in no table is the statement's own mistake: nearly all of them are.

Sources, read 2026-11-22: https://docs.snowflake.com/en/developer-guide/sql-api/reference and .../handling-errors for the
statuses; the constants of Snowflake's own clients for codes of the login (snowflake-connector-python 4.8.1,
snowflake-jdbc); for codes of statements what these clients and reports of their users show. Snowflake publishes no list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from outboard.agent import Cause, ErrorMap, Failure, Retry, Verdict
from outboard.errors import AgentError, Forbidden, Rejected, Sent, Throttled, Unauthorized, Unavailable
from outboard.platforms.snowflake.states import ABORTED, FAILED, INCIDENT

SOURCE: Final = "https://docs.snowflake.com/en/developer-guide/sql-api/reference"
TIMED_OUT: Final = "000630"
CANCELLED: Final = "000604"
NOT_RUNNING: Final = "000605"
GONE: Final = frozenset({"000709", "000710"})
"""There is no such statement; its result has expired."""
_QUOTA: Final = timedelta(minutes=10)


class StatementFailed(Rejected):
    """Status 422: the statement failed, and nothing is wrong with the call."""


class NoSuchStatement(AgentError):
    """Status 404: of a statement, there is none; of a submission, the account's host serves no SQL API."""


class StatementTimedOut(Unavailable):
    """Status 408: Snowflake ended the statement, since its time was up; without a code it is somebody else's 408."""


ERRORS: Final = ErrorMap(
    {
        "390100": Unauthorized,  # wrong user or password
        "390101": Unauthorized,  # no such user, or disabled
        "390102": Unauthorized,  # locked for a while
        "390104": Unauthorized,
        "390112": Unauthorized,  # session expired
        "390114": Unauthorized,
        "390144": Unauthorized,  # JWT invalid: key, account, user or clock
        "390195": Unauthorized,
        "390302": Unauthorized,
        "390303": Unauthorized,  # OAuth token invalid
        "390318": Unauthorized,  # OAuth token expired
        "394300": Unauthorized,
        "394301": Unauthorized,
        "394302": Unauthorized,
        "394303": Unauthorized,
        "394304": Unauthorized,  # not the key that the user has
        "394305": Unauthorized,
        "394306": Unauthorized,
        "394400": Unauthorized,  # programmatic access token invalid
        "390186": Forbidden,  # role blocked for this integration
        "390317": Forbidden,  # role not among those of the token
        "390422": Forbidden,  # network policy
        "390189": Rejected,  # no such role, or not the user's
        "390201": Rejected,  # no such warehouse, database or schema, or not the role's
        "390400": Rejected,
        "391918": Rejected,  # the Accept header
        400: Rejected,
        404: Verdict(NoSuchStatement, Sent.NO),
        405: Rejected,
        415: Rejected,
        408: Verdict(StatementTimedOut, Sent.MAYBE),
        422: StatementFailed,
    },
    source=SOURCE,
)
"""For calls, by code or status; 401, 403, 429 and those from 500 are as HTTP has them."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code of a statement means.

    Attributes:
        word: Where it leaves the statement.
        retry: Whether another attempt is worth it.
        cause: Whose doing it was.
        remedy: What to do, where Snowflake's words do not say it.
    """

    word: str = FAILED
    retry: Retry = Retry.NEVER
    cause: Cause = Cause.USER
    remedy: str = ""


_MISTAKE: Final = Meaning()
_INCIDENT: Final = Meaning(INCIDENT, Retry.YES, Cause.PLATFORM)
_LATER: Final = Meaning(FAILED, Retry.YES, Cause.PLATFORM)
_GRANT: Final = "grant it to the role, or name another role in the task"

CODES: Final[Mapping[str, Meaning]] = {
    "000008": Meaning(remedy="set statement_count, or 0 for any number"),  # actual statement count did not match
    "000603": _INCIDENT,  # SQL execution internal error
    CANCELLED: Meaning(ABORTED, Retry.NEVER, Cause.CANCELLED_OUTSIDE),
    NOT_RUNNING: Meaning(ABORTED, Retry.NEVER, Cause.CANCELLED_OUTSIDE),
    "000606": Meaning(remedy="name a warehouse in the task, or give the user a default one"),
    "000625": _LATER,  # waited too long for a lock, or in a deadlock
    TIMED_OUT: Meaning(ABORTED, remedy="raise the task's timeout or the account's STATEMENT_TIMEOUT_IN_SECONDS"),
    "000904": _MISTAKE,  # invalid identifier
    "001003": _MISTAKE,  # syntax error
    "001044": _MISTAKE,  # wrong types of a function's arguments
    "002003": _MISTAKE,  # object does not exist or not authorized
    "002043": _MISTAKE,
    "002049": _MISTAKE,  # bind variable not set
    "003001": Meaning(remedy=_GRANT),  # insufficient privileges
    "090073": Meaning(
        FAILED, Retry.YES, Cause.PLATFORM, "raise the resource monitor's quota, or use another warehouse"
    ),
    "090105": Meaning(remedy="name a database in the task"),
    "090106": Meaning(remedy="name a schema in the task"),
    "100035": _MISTAKE,  # a value that is no timestamp
    "100037": _MISTAKE,  # a value that is no boolean
    "100038": _MISTAKE,  # a value that is no number
    "100040": _MISTAKE,  # a value that is no date
    "100051": _MISTAKE,  # division by zero
    "100072": _MISTAKE,  # NULL in a column that has none
    "100078": _MISTAKE,  # a text that is too long
    "100090": _MISTAKE,  # a row that MERGE would change twice
    "300002": _INCIDENT,
    "300005": _INCIDENT,
    "300010": _INCIDENT,
    "370001": _INCIDENT,
}
"""By code of a statement."""

_CODE: Final = re.compile(r"[0-9]{6}")
_QUEUED: Final = re.compile(r"queued (?:statement )?timeout|timed? ?out while queued", re.IGNORECASE)
_CONFLICT: Final = re.compile(r"\bdeadlock|number of waiters for this lock exceeds", re.IGNORECASE)
_BROKEN: Final = re.compile(r"\bincident\b|internal error", re.IGNORECASE)
_QUEUE_REMEDY: Final = "the warehouse is too busy: raise STATEMENT_QUEUED_TIMEOUT_IN_SECONDS, or its size"


def is_snowflakes(error: AgentError) -> bool:
    """Tell whether an answer came from Snowflake itself, which gives a code of six digits, and from nobody on the way there."""
    return bool(_CODE.fullmatch(error.platform_code or ""))


def meaning_of(code: str, words: str) -> Meaning:
    """Return what a statement's code means; its words tell where the code alone does not."""
    if _QUEUED.search(words):
        return Meaning(ABORTED, Retry.YES, Cause.PLATFORM, _QUEUE_REMEDY)
    known = CODES.get(code)
    if known is not None:
        return known
    if _BROKEN.search(words):
        return _INCIDENT
    return _LATER if _CONFLICT.search(words) else _MISTAKE


def failure_of(error: AgentError) -> tuple[str, Failure]:
    """Return in which word a statement ended, and why.

    Args:
        error: `StatementFailed` or `StatementTimedOut`, as the call brought it.
    """
    code = error.platform_code or ""
    meaning = meaning_of(code, error.message)
    message = f"{error.message} ({meaning.remedy})" if meaning.remedy else error.message
    return meaning.word, Failure(code=code or meaning.word, message=message, retry=meaning.retry, cause=meaning.cause)


def refusal_of(error: AgentError) -> AgentError:
    """Return what it means for a submission that its statement failed at once."""
    _, failure = failure_of(error)
    kind: type[AgentError] = Rejected
    if failure.retry is Retry.YES:
        kind = Throttled if error.platform_code == "090073" else Unavailable
    wait = _QUOTA if kind is Throttled else None
    return kind(failure.message, code=failure.code, sent=Sent.NO, retry_after=wait)
