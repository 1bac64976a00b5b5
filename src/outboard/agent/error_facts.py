"""Error facts: what a platform's refusal tells, in the forms that most platforms and their SDKs write it.

======================================  ===================================================================================
an error body                           `{"error": {"code", "message"}}`, `{"error_code", "message"}`, problem details
Google's                                `error.errors[0].reason` and `error.details[].reason` beside `error.status`
AWS's                                   `__type`, as `prefix#Code`, or the header `x-amzn-errortype`; Athena's `AthenaErrorCode`
an exception of `requests`              `.response.status_code`, `.response.headers`
of botocore                             `.response["Error"]["Code"]`, `.response["ResponseMetadata"]`
of `google.api_core`                    `.code` (a number), `.errors`, `.response`
======================================  ===================================================================================

An error may carry several codes, from the particular to the general; an `ErrorMap` takes the first that it lists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final

_WORDS_LIMIT: Final = 500
_CODE_LIMIT: Final = 200
_LONGEST_S: Final = 365 * 86_400.0
_NO_HEADERS: Final[Mapping[str, str]] = {}
_CODE_NAMES: Final = ("error_code", "code", "status", "type", "Code")
_WORD_NAMES: Final = ("message", "error", "detail", "title", "Message")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFacts:
    """What a refusal tells.

    Attributes:
        status: The HTTP status; None where there is none.
        codes: The platform's own codes, the most particular first.
        words: What it says; empty where it says nothing.
        retry_after: When to come back.
    """

    status: int | None = None
    codes: tuple[str, ...] = ()
    words: str = ""
    retry_after: timedelta | None = field(default=None)


def facts_of_answer(status: int, headers: Mapping[str, str], body: bytes) -> ErrorFacts:
    """Return what an HTTP answer tells; header names are lower case."""
    codes, words = _read(body)
    return ErrorFacts(
        status=status,
        codes=tuple(dict.fromkeys((*codes, *_codes_in_headers(headers)))),
        words=words,
        retry_after=retry_after(headers.get("retry-after"), datetime.now(timezone.utc)),
    )


def facts_of_error(error: BaseException | None) -> ErrorFacts:
    """Return what an exception of a client tells; a library's properties may do anything, and then they tell nothing."""
    try:
        return ErrorFacts() if error is None else _facts(error)
    except Exception:  # noqa: BLE001 - see above
        return ErrorFacts()


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Return what a Retry-After header asks for: seconds or a date (RFC 9110, 10.2.3); None when it says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return timedelta(seconds=min(max(0.0, seconds), _LONGEST_S)) if math.isfinite(seconds) else None
    try:
        return max(timedelta(0), parsedate_to_datetime(value) - now)
    except (ValueError, TypeError):
        return None


def _facts(error: BaseException) -> ErrorFacts:
    response: Any = getattr(error, "response", None)
    code = getattr(error, "code", None)
    status = _first_int(getattr(error, "status", None), code, getattr(error, "status_code", None))
    headers: Any = getattr(error, "headers", None)
    codes = [code] if isinstance(code, str) else []
    if isinstance(response, Mapping):
        meta = response.get("ResponseMetadata") or {}
        status = _first_int(status, meta.get("HTTPStatusCode"))
        headers = meta.get("HTTPHeaders")
        codes += list(_codes_in(response.get("Error") or {}))
    elif response is not None:
        status = _first_int(status, getattr(response, "status_code", None), getattr(response, "status", None))
        headers = getattr(response, "headers", headers)
        body = getattr(response, "content", b"")
        codes += _read(body)[0] if isinstance(body, bytes) else []
    codes += list(_reasons(getattr(error, "errors", None)))
    names = _lower(headers)
    wait = retry_after(names.get("retry-after"), datetime.now(timezone.utc))
    told = (*codes, *_codes_in_headers(names))
    return ErrorFacts(status=status, codes=tuple(dict.fromkeys(told)), retry_after=wait)


def _lower(headers: object) -> Mapping[str, str]:
    if not isinstance(headers, Mapping):
        return _NO_HEADERS
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _first_int(*values: object) -> int | None:
    # `HTTPStatus` is an int too; a bool is none here.
    return next((int(value) for value in values if isinstance(value, int) and not isinstance(value, bool)), None)


def _read(body: bytes) -> tuple[list[str], str]:
    """Return codes and message of an error body."""
    try:
        content = json.loads(body)
    except ValueError:
        return [], body.decode("utf-8", "replace").strip()[:_WORDS_LIMIT]
    if isinstance(content, list) and len(content) == 1:
        content = content[0]  # some of Google's endpoints that stream wrap their error so
    if isinstance(content, dict) and isinstance(content.get("error"), dict):
        content = content["error"]
    if not isinstance(content, dict):
        return [], str(content)[:_WORDS_LIMIT]
    words = next((content[name] for name in _WORD_NAMES if isinstance(content.get(name), str)), "")
    return list(_codes_in(content)), words[:_WORDS_LIMIT]


def _codes_in(content: Mapping[str, Any]) -> Iterator[str]:
    yield from _reasons(content.get("errors"))
    yield from _reasons(content.get("details"))
    if isinstance(content.get("AthenaErrorCode"), str):
        yield content["AthenaErrorCode"][:_CODE_LIMIT]
    kind = content.get("__type")
    if isinstance(kind, str):
        yield kind.rpartition("#")[2][:_CODE_LIMIT]
    for name in _CODE_NAMES:
        if isinstance(content.get(name), str):
            yield content[name][:_CODE_LIMIT]


def _reasons(listed: object) -> Iterator[str]:
    for each in listed if isinstance(listed, (list, tuple)) else ():
        if isinstance(each, Mapping) and isinstance(each.get("reason"), str):
            yield each["reason"][:_CODE_LIMIT]


def _codes_in_headers(headers: Mapping[str, str]) -> Iterator[str]:
    kind = headers.get("x-amzn-errortype")
    if kind:
        yield kind.partition(":")[0].rpartition("#")[2][:_CODE_LIMIT]
