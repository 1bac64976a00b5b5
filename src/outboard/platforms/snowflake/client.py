"""The calls that the agent makes of an account: submit, look, cancel, and a short query that is waited for.

Every submission says `async=true`, so that it is answered as soon as Snowflake has the statement, and `retry=true` with the
request id, so that a statement that is there already is not executed again. A look at a statement that is over brings the
first part of its result with it, which cannot be declined; it is not kept.

Source: https://docs.snowflake.com/en/developer-guide/sql-api/reference (read 2026-11-22).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard
from urllib.parse import quote

from outboard import __version__
from outboard.agent import Http, Response
from outboard.errors import Forbidden, Sent, Unauthorized, Unavailable
from outboard.platforms.snowflake.errors import (
    CANCELLED,
    GONE,
    NOT_RUNNING,
    NoSuchStatement,
    StatementFailed,
    StatementTimedOut,
    is_snowflakes,
)
from outboard.platforms.snowflake.logins import Login

SUBMIT: Final = "statements"
LOOK: Final = "statements/get"
CANCEL: Final = "statements/cancel"
QUERY: Final = "statements/query"
"""The names of the calls, as quotas and metrics count them."""

_PATH: Final = "/api/v2/statements"
_RUNNING: Final = 202
_IN_PROGRESS: Final = frozenset({"333333", "333334"})
_DONE: Final = frozenset({"090001", "391908"})
"""Executed successfully; the same with a result that is too large to come along."""
_HANDLE: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_FIXED: Final = {"Accept": "application/json", "User-Agent": f"outboard/{__version__}"}
_QUERY_S: Final = 20

Json = Mapping[str, Any]


class SnowflakeClient:
    """An account's SQL API over the host's HTTP session.

    Args:
        http: The session.
        url: The account's address, without a slash at the end.
        login: Who we are.
    """

    def __init__(self, http: Http, url: str, login: Login) -> None:
        self._http = http
        self._url = url
        self._login = login

    async def submit(self, body: Json, request_id: uuid.UUID) -> str:
        """Start a statement, or learn of the one that the request id has started; return its handle."""
        query = {"requestId": str(request_id), "retry": "true", "async": "true"}
        try:
            answer = await self._ask("POST", _PATH, SUBMIT, params=query, json_body=body)
        except (NoSuchStatement, Forbidden) as error:
            if is_snowflakes(error):
                raise
            # An account that is not there has a host all the same, which answers so for everything.
            words = (
                f"no SQL API answers at {self._url.partition('://')[2]}; check the account identifier ({error.message})"
            )
            raise Forbidden(words, sent=Sent.NO) from None
        except (StatementFailed, StatementTimedOut) as error:
            if is_snowflakes(error):
                raise
            # Whoever stands in between cannot tell what Snowflake made of it.
            raise Unavailable(f"the submission was refused on its way: {error.message}") from None
        return handle_of(_object(answer))

    async def look(self, handle: str) -> Json | None:
        """Return what a statement that succeeded tells, None while it runs.

        Raises:
            StatementFailed: It failed.
            StatementTimedOut: Snowflake ended it, since its time was up.
            NoSuchStatement: There is none.
        """
        try:
            answer = await self._ask("GET", f"{_PATH}/{quote(handle, safe='')}", LOOK)
        except StatementTimedOut as error:
            if not is_snowflakes(error):
                raise Unavailable(error.message) from None
            raise
        except StatementFailed as error:
            if not is_snowflakes(error):
                raise Unavailable(f"a look at the statement was refused: {error.message}") from None
            if error.platform_code in GONE:
                raise NoSuchStatement(error.message, code=error.platform_code) from None
            raise
        except NoSuchStatement as error:
            if not is_snowflakes(error):
                raise Unavailable("no SQL API answers at the account's address", sent=Sent.NO) from None
            raise
        content = _object(answer)
        code = str(content.get("code"))
        if answer.status == _RUNNING or code in _IN_PROGRESS:
            return None
        is_done = code in _DONE or isinstance(content.get("resultSetMetaData"), dict)
        if not is_done or str(content.get("statementHandle", handle)).lower() != handle.lower():
            raise Unavailable("Snowflake answered something that is no answer to the question")
        return content

    async def ping(self) -> None:
        """Look at a statement that was never, which an account that takes our login says; raises as `look` does otherwise."""
        try:
            await self.look(str(uuid.UUID(int=0)))
        except NoSuchStatement:
            return

    async def cancel(self, handle: str) -> None:
        """Ask for the end of a statement; one that is over, or is not there, is left alone."""
        try:
            _object(await self._ask("POST", f"{_PATH}/{quote(handle, safe='')}/cancel", CANCEL))
        except NoSuchStatement as error:
            if not is_snowflakes(error):
                raise Unavailable("no SQL API answers at the account's address", sent=Sent.NO) from None
        except StatementFailed as error:
            if error.platform_code not in {CANCELLED, NOT_RUNNING, *GONE}:
                raise

    async def query(self, statement: str, values: Sequence[str], where: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the rows of a short query by column names in small letters; NULLs are left out.

        Args:
            statement: SQL with `?`.
            values: Texts to bind.
            where: Warehouse, role and the like.
        """
        body = {
            "statement": statement,
            "timeout": _QUERY_S,
            "bindings": {str(n): {"type": "TEXT", "value": value} for n, value in enumerate(values, 1)},
            **{name: value for name, value in where.items() if value},
        }
        answer = await self._ask("POST", _PATH, QUERY, params={"requestId": str(uuid.uuid4())}, json_body=body)
        content = _object(answer)
        told, data = content.get("resultSetMetaData"), content.get("data")
        if answer.status == _RUNNING:
            raise Unavailable("the query history takes too long")
        columns = told.get("rowType") if isinstance(told, dict) else None
        if not _is_table(columns, dict) or not _is_table(data, list):
            raise Unavailable("the query history answered something that is no table")
        names = [str(column.get("name", "")).lower() for column in columns]
        return [
            {name: str(value) for name, value in zip(names, row, strict=False) if value is not None} for row in data
        ]

    async def _ask(self, verb: str, path: str, method: str, **options: Any) -> Response:
        headers = {**_FIXED, **await self._login.headers()}
        try:
            return await self._http.request(verb, f"{self._url}{path}", method=method, headers=headers, **options)
        except Unauthorized:
            self._login.forget()
            raise


def handle_of(answer: Json) -> str:
    """Return a statement's handle; `Unavailable` where there is none, and then one may have been started."""
    handle = answer.get("statementHandle")
    if not isinstance(handle, str) or not _HANDLE.fullmatch(handle):
        raise Unavailable("Snowflake answered without a statementHandle")
    return handle


def _is_table(rows: object, kind: type[Any]) -> TypeGuard[list[Any]]:
    return isinstance(rows, list) and all(isinstance(row, kind) for row in rows)


def _object(answer: Response) -> Json:
    content = answer.json()
    if not isinstance(content, dict):
        raise Unavailable("Snowflake answered something that is no answer to the question")
    return content
