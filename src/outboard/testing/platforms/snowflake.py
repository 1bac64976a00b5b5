"""A Snowflake account to test against: the SQL API, version 2, over a ledger.

Written from Snowflake's reference of the SQL API, apart from the agent. A submission with `retry=true` whose request id is
known is answered with the first one's handle; without it, the statement is executed again. A statement is looked at,
cancelled, fails with 422, and with 408 where its time was up. What it does is said by its text, through `answers`; what is
not there runs in DuckDB where an engine is given, and is a syntax error otherwise. The one question to the query history
that it understands is the agent's kind: which statements have a tag that contains a text, and what one of an id consumed;
either takes a warehouse, as the real one does.

What Snowflake does not document, and is a guess here: a request id of a statement that still runs is answered with its handle;
a role or warehouse that is not there is told by 422 and its code at the submission.

Source: https://docs.snowflake.com/en/developer-guide/sql-api/reference (read 2026-11-22).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Course, Ledger, LedgerRules
from outboard.testing.ledger_jobs import ENDS, KEY_LABEL, LedgerJob
from outboard.testing.meters import Window
from outboard.testing.platform_clock import platform_time
from outboard.testing.platform_server import PlatformServer, operation
from outboard.testing.platforms.snowflake_access import Access, refusal
from outboard.testing.platforms.snowflake_sql import Answer, Engine, failing

RULES: Final = LedgerRules(retained_for=timedelta(days=7), valid_for=timedelta(hours=24))
HISTORY: Final = "INFORMATION_SCHEMA.QUERY_HISTORY_BY_USER("
_FIELDS: Final = frozenset(
    {"statement", "timeout", "database", "schema", "warehouse", "role", "bindings", "parameters", "resultSetMetaData"}
)
_LONGEST_TAG: Final = 2_000
_PLACES: Final = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|/\*.*?\*/|--[^\n]*|(\?)", re.DOTALL)
_CONSUMED: Final = {
    "TOTAL_ELAPSED_TIME": "4200",
    "EXECUTION_TIME": "3600",
    "COMPILATION_TIME": "100",
    "QUEUED_OVERLOAD_TIME": "500",
    "QUEUED_PROVISIONING_TIME": "0",
    "BYTES_SCANNED": "1048576",
    "ROWS_PRODUCED": "1",
    "CREDITS_USED_CLOUD_SERVICES": "0.000041",
    "WAREHOUSE_SIZE": "Medium",
}


class FakeSnowflake(PlatformServer):
    """An account.

    Args:
        answers: What statements do, by their texts.
        faults: Which call meets which fault. Operations: `create`, `get`, `cancel`, `find`.
        rates: Calls per second that are allowed, by method (`create`, `get`, `cancel`); more are answered 429. Snowflake
            publishes no such number.
        engine: Executes what is not in `answers`.
        rules: The ledger's.

    Attributes:
        access: Who may call.
        asked: The bodies of statements, by handle.
        request_ids: The request ids of submissions, in order.
        roles, warehouses: Which there are; None is any.
        woken: How often a question to the history needed a warehouse.
        partition_rows: Rows of a partition of a result.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer] | None = None,
        faults: FaultPlan | None = None,
        *,
        rates: Mapping[str, int] | None = None,
        engine: Engine | None = None,
        rules: LedgerRules = RULES,
    ) -> None:
        super().__init__(Ledger(rules), faults, meter=Window(rates or {}))
        self.answers: dict[str, Answer] = dict(answers or {})
        self.access = Access()
        self.asked: dict[str, dict[str, Any]] = {}
        self.request_ids: list[str] = []
        self.roles: set[str] | None = None
        self.warehouses: set[str] | None = None
        self.woken = 0
        self.partition_rows = 2
        self._engine = engine

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the SQL API."""
        return (
            web.post("/api/v2/statements", self.submit),
            web.get("/api/v2/statements/{handle}", self.look),
            web.post("/api/v2/statements/{handle}/cancel", self.stop_statement),
        )

    def admit(self, request: web.Request, method: str) -> None:
        """Ask who it is, whether there is room, and for the headers that the API wants."""
        self.access.check(request)
        if not self.has_room(method):
            raise refusal(429, "390420", "Too many requests.", headers={"Retry-After": "1"})
        _check_headers(request)

    @operation(lambda request: "create" if request.query.get("async") == "true" else "find", method="create")
    async def submit(self, request: web.Request) -> web.Response:
        """Submit a statement."""
        body = await _body(request)
        statement = str(body["statement"])
        if HISTORY in statement:
            return self._history(body, statement)
        self._check_place(body)
        request_id = request.query.get("requestId") or str(uuid.uuid4())
        self.request_ids.append(_uuid(request_id))
        is_again = request.query.get("retry") == "true"
        known = self.ledger.jobs.get(f"job-{self._by_request(request_id)}") if is_again else None
        answer = self._answer(known.id) if known is not None else self._judged(statement, body)
        if answer.is_at_once:
            code, sql_state, words = answer.error
            raise refusal(422, code, words, sql_state=sql_state, handle=_handle(0))
        tag = body.get("parameters", {}).get("QUERY_TAG", "")
        view = self.ledger.create(
            token=request_id if is_again else "", labels={KEY_LABEL: _key_in(tag)}, course=answer.course
        )
        self.asked.setdefault(_handle(_number(view.id)), {**body, "request": request_id, "answer": answer})
        if request.query.get("async") != "true":
            self.ledger.settle(view.id, "FAILED" if answer.course.outcome == "FAILED" else "SUCCEEDED")
            return self._shown(_handle(_number(view.id)), 0)
        return self._running(_handle(_number(view.id)))

    @operation("get")
    async def look(self, request: web.Request) -> web.Response:
        """Look at a statement."""
        handle = request.match_info["handle"]
        self._job(handle)
        return self._shown(handle, int(request.query.get("partition", "0")))

    @operation("cancel")
    async def stop_statement(self, request: web.Request) -> web.Response:
        """Cancel a statement."""
        handle = request.match_info["handle"]
        job = self._job(handle)
        if job.state(platform_time()) in ENDS or self._is_timed_out(handle, job):
            raise refusal(
                422, "000605", "Identified SQL statement is not currently executing.", sql_state="02000", handle=handle
            )
        self.ledger.cancel(job.id)
        return web.json_response(
            {"code": "000604", "sqlState": "57014", "message": "SQL execution canceled", "statementHandle": handle}
        )

    def _shown(self, handle: str, partition: int) -> web.Response:
        job, answer = self._job(handle), self._answer(self._job(handle).id)
        state = job.disguise or job.state(platform_time())
        if self._is_timed_out(handle, job):
            limit = self.asked[handle]["timeout"]
            words = f"Statement reached its statement or warehouse timeout of {limit} second(s) and was canceled."
            raise refusal(408, "000630", words, sql_state="57014", handle=handle)
        if state == "CANCELLED":
            raise refusal(422, "000604", "SQL execution canceled", sql_state="57014", handle=handle)
        if state == "LOST":
            words = "SQL execution internal error:\nProcessing aborted by error 300010:391167117; incident 9224622."
            raise refusal(422, "000603", words, sql_state="XX000", handle=handle)
        if state == "FAILED":
            code, sql_state, words = answer.error
            raise refusal(422, code, words, sql_state=sql_state, handle=handle)
        if state != "SUCCEEDED":
            return self._running(handle)
        return web.json_response(self._result(handle, answer, partition, job))

    def _result(self, handle: str, answer: Answer, partition: int, job: LedgerJob) -> dict[str, Any]:
        parts = [answer.rows[n : n + self.partition_rows] for n in range(0, len(answer.rows), self.partition_rows)] or [
            []
        ]
        if partition >= len(parts):
            raise refusal(400, "391907", "The partition does not exist.", handle=handle)
        data = [list(row) for row in parts[partition]]
        if partition:
            return {"data": data}
        info = [{"rowCount": len(part), "uncompressedSize": 100 * len(part)} for part in parts]
        shown: dict[str, Any] = {
            "resultSetMetaData": {
                "numRows": len(answer.rows),
                "format": "jsonv2",
                "partitionInfo": info,
                "rowType": [{"name": name, "type": kind, "nullable": True} for name, kind in answer.columns],
            },
            "data": data,
            "code": "090001",
            "statementStatusUrl": f"/api/v2/statements/{handle}",
            "sqlState": "00000",
            "statementHandle": handle,
            "message": "Statement executed successfully.",
            "createdOn": int(job.started_at * 1000),
        }
        if answer.stats:
            shown["stats"] = dict(answer.stats)
        if answer.children:
            shown["statementHandles"] = [_child(handle, n) for n in range(answer.children)]
        return shown

    def _running(self, handle: str) -> web.Response:
        return web.json_response(
            {
                "code": "333334",
                "message": "Asynchronous execution in progress. Use provided query id to monitor and manage it.",
                "statementHandle": handle,
                "statementStatusUrl": f"/api/v2/statements/{handle}",
            },
            status=202,
        )

    def _judged(self, statement: str, body: Mapping[str, Any]) -> Answer:
        bindings = body.get("bindings") or {}
        count = body.get("parameters", {}).get("MULTI_STATEMENT_COUNT", "1")
        answer = self.answers.get(statement)
        if answer is None and self._engine is not None and count == "1":
            return self._engine.run(statement, bindings)
        if answer is None:
            return failing(
                "001003", "42000", "SQL compilation error:\nsyntax error line 1 at position 0 unexpected 'X'."
            )
        places = sum(1 for match in _PLACES.finditer(statement) if match.group(1))
        if count != "1" and bindings:
            return failing("000002", "0A000", "Unsupported feature 'bind variables in multi-statement requests'.")
        if count not in ("0", str(answer.children or 1)):
            words = (
                f"Actual statement count {max(answer.children, 1)} did not match the desired statement count {count}."
            )
            return failing("000008", "0A000", words)
        if places != len(bindings):
            return failing("002049", "42601", "SQL compilation error: error line 1\nBind variable ? not set.")
        return answer

    def _history(self, body: Mapping[str, Any], statement: str) -> web.Response:
        if not body.get("warehouse"):
            raise refusal(422, "000606", "No active warehouse selected in the current session.", sql_state="57P03")
        self.woken += 1
        wanted, now = str(body["bindings"]["1"]["value"]), platform_time()
        late_s = self.ledger.rules.visible_after.total_seconds()
        seen = {handle: asked for handle, asked in self.asked.items() if self._job(handle).started_at + late_s <= now}
        if "query_tag" in statement:
            found = [h for h, asked in seen.items() if wanted in asked.get("parameters", {}).get("QUERY_TAG", "")]
            columns, rows = ["QUERY_ID"], [[handle] for handle in found]
        else:
            columns, rows = list(_CONSUMED), [list(_CONSUMED.values())] if wanted in seen else []
        info = {"numRows": len(rows), "rowType": [{"name": name, "type": "text"} for name in columns]}
        return web.json_response(
            {"resultSetMetaData": info, "data": rows, "code": "090001", "statementHandle": _handle(0)}
        )

    def _check_place(self, body: Mapping[str, Any]) -> None:
        if self.roles is not None and body.get("role") not in (None, *self.roles):
            words = f"Role '{body['role']}' specified in the connect string does not exist or not authorized."
            raise refusal(422, "390189", words)
        if self.warehouses is not None and body.get("warehouse") not in (None, *self.warehouses):
            raise refusal(422, "390201", "The requested warehouse does not exist or not authorized.")

    def _by_request(self, request_id: str) -> int:
        return next((_number_of(handle) for handle, asked in self.asked.items() if asked["request"] == request_id), 0)

    def _is_timed_out(self, handle: str, job: LedgerJob) -> bool:
        limit = self.asked[handle].get("timeout") or 0
        if not limit or job.state(job.started_at + limit) in ENDS or platform_time() < job.started_at + limit:
            return bool(self.asked[handle].get("is_over"))
        if not self.asked[handle].get("is_over"):
            self.asked[handle]["is_over"] = True
            self.ledger.settle(job.id, "FAILED")
        return True

    def _job(self, handle: str) -> LedgerJob:
        if handle not in self.asked or self.ledger.get(f"job-{_number_of(handle)}") is None:
            raise refusal(404, "000709", f"Statement {handle} not found", sql_state="02000", handle=handle)
        return self.ledger.jobs[f"job-{_number_of(handle)}"]

    def _answer(self, job_id: str) -> Answer:
        answer: Answer = self.asked[_handle(_number(job_id))]["answer"]
        return answer


def _check_headers(request: web.Request) -> None:
    if request.headers.get("Accept", "*/*") not in ("application/json", "*/*"):
        raise refusal(400, "391918", "Unsupported Accept header is specified.")
    if "User-Agent" not in request.headers:
        raise refusal(400, "391917", "The header User-Agent is missing.")


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("statement"), str) or set(body) - _FIELDS:
        raise refusal(400, "390400", "Bad request: the body is no statement.")
    parameters = body.get("parameters", {})
    if any(not isinstance(value, str) for value in parameters.values()):
        raise refusal(400, "390400", "Bad request: parameters must be strings.")
    if len(parameters.get("QUERY_TAG", "")) > _LONGEST_TAG:
        raise refusal(400, "001007", "The query tag is too long.")
    return body


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise refusal(400, "390400", "Bad request: requestId must be a UUID.") from None


def _key_in(tag: str) -> str:
    try:
        told = json.loads(tag)
    except ValueError:
        return ""
    return str(told.get(KEY_LABEL, "")) if isinstance(told, dict) else ""


def _number(job_id: str) -> int:
    return int(job_id.removeprefix("job-"))


def _handle(number: int) -> str:
    return f"01b2c3d4-0000-1e5f-0000-{number:012}"


def _child(handle: str, number: int) -> str:
    return f"{handle[:9]}{number + 1:04}{handle[13:]}"


def _number_of(handle: str) -> int:
    tail = handle.rpartition("-")[2]
    return int(tail) if tail.isascii() and tail.isdigit() else 0


__all__ = ["HISTORY", "RULES", "Access", "Answer", "Course", "Engine", "FakeSnowflake", "failing"]
