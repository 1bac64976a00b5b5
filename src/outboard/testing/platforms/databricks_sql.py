"""The SQL API of a Databricks workspace to test against: statements, results in both dispositions, and the query history.

Written from Databricks' API reference, apart from the agent. What a statement does is said by its text, without its last comment,
through `answers`; a text that is not there is a syntax error. Named markers must have parameters, whose values must be what
their types say. Links to results are addresses of this server that refuse an Authorization header, as cloud stores do.

Unlike a real warehouse it has no SQL engine; for that the tests have one of their own (minilake).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Course, LedgerRules, NoSuchJob
from outboard.testing.ledger_files import Writes
from outboard.testing.ledger_jobs import KEY_LABEL, LedgerJob
from outboard.testing.platform_clock import platform_time
from outboard.testing.platform_server import operation
from outboard.testing.platforms.databricks import RULES, DatabricksServer, number_of, refusal

_COMMENT: Final = re.compile(r"\s*/\* outboard-key: (?P<key>ob[a-z0-9-]+) \*/\s*$")
_MARKER: Final = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")
_STATES: Final = {"QUEUED": "PENDING", "CANCELLING": "RUNNING", "CANCELLED": "CANCELED", "LOST": "FAILED"}
_HISTORY: Final = {"PENDING": "QUEUED", "SUCCEEDED": "FINISHED", "CLOSED": "FINISHED"}
_CHECKS: Final = {
    "BIGINT": re.compile(r"[+-]?\d+"),
    "INT": re.compile(r"[+-]?\d+"),
    "DOUBLE": re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|inf|nan)"),
    "BOOLEAN": re.compile(r"true|false"),
    "DATE": re.compile(r"\d{4}-\d\d-\d\d"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a statement does.

    Attributes:
        course: How it goes.
        columns: Names and types of the result, as a manifest has them.
        rows: The result, in JSON_ARRAY's form: texts and None.
        chunk_rows: Rows of one chunk.
        error: Code and words of its failure.
    """

    course: Course = field(default_factory=lambda: Course(queued_s=2, running_s=3))
    columns: Sequence[tuple[str, str]] = ()
    rows: Sequence[Sequence[str | None]] = ()
    chunk_rows: int = 2
    error: tuple[str, str] = ("BAD_REQUEST", "the statement failed")


ANSWERS: Final[Mapping[str, Answer]] = {
    "SELECT 1 AS one": Answer(columns=[("one", "INT")], rows=[["1"]]),
    "SELECT forever": Answer(course=Course(running_s=None)),
}


def purpose(request: web.Request) -> str:
    """Return the operation that a look at the history serves."""
    if "filter_by.statement_ids" not in request.query:
        return "find"
    return "metrics" if "include_metrics" in request.query else "get_many"


class DatabricksSqlServer(DatabricksServer):
    """A workspace with SQL warehouses.

    Attributes:
        answers: What statements do, by their texts.
        asked: The bodies of statements, by statement id.
        links_followed: How often a link to a result was read.
    """

    def __init__(
        self,
        courses: Mapping[str, Course] | None = None,
        faults: FaultPlan | None = None,
        *,
        stores: Writes | None = None,
        rates: Mapping[str, int] | None = None,
        rules: LedgerRules = RULES,
    ) -> None:
        super().__init__(courses, faults, stores=stores, rates=rates, rules=rules)
        self.answers: dict[str, Answer] = dict(ANSWERS)
        self.asked: dict[str, Mapping[str, Any]] = {}
        self.links_followed = 0

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the SQL API beside the Jobs API."""
        statement = "/api/2.0/sql/statements/{id}"
        return (
            *super().routes(),
            web.post("/api/2.0/sql/statements", self.execute),
            web.get(statement, self.show_statement),
            web.post(f"{statement}/cancel", self.cancel_statement),
            web.get(f"{statement}/result/chunks/{{index}}", self.show_chunk),
            web.get("/api/2.0/sql/history/queries", self.history),
            web.get("/links/{id}/{index}", self.follow_link),
        )

    async def follow_link(self, request: web.Request) -> web.StreamResponse:
        """Read a chunk as a cloud store serves it."""
        if "Authorization" in request.headers:
            return web.Response(status=400, text="<Error><Code>InvalidArgument</Code></Error>")
        self.links_followed += 1
        answer = self._answer(request.match_info["id"])
        return web.Response(body=_arrow(answer, int(request.match_info["index"])))

    @operation("create")
    async def execute(self, request: web.Request) -> web.Response:
        """Execute a statement."""
        body = await request.json()
        statement, warehouse = body.get("statement"), body.get("warehouse_id")
        if not isinstance(statement, str) or not statement or not warehouse:
            raise refusal(400, "INVALID_PARAMETER_VALUE", "statement and warehouse_id are required")
        if body.get("wait_timeout") != "0s" and not re.fullmatch(r"\d+s", str(body.get("wait_timeout", "10s"))):
            raise refusal(400, "INVALID_PARAMETER_VALUE", "wait_timeout must be 0s or between 5s and 50s")
        if body.get("format") == "ARROW_STREAM" and body.get("disposition") != "EXTERNAL_LINKS":
            raise refusal(400, "INVALID_PARAMETER_VALUE", "ARROW_STREAM needs the disposition EXTERNAL_LINKS")
        told = _COMMENT.search(statement)
        text = _COMMENT.sub("", statement)
        answer = self._judged(text, body.get("parameters") or [])
        view = self.ledger.create(labels={KEY_LABEL: told["key"]} if told else {}, course=answer.course)
        statement_id = _statement_id(number_of(view.id))
        self.asked[statement_id] = {**body, "answer": answer}
        return web.json_response({"statement_id": statement_id, "status": {"state": "PENDING"}})

    def _judged(self, text: str, parameters: Sequence[Mapping[str, Any]]) -> Answer:
        """Return what a statement does, given its parameters."""
        given = {str(each["name"]): each for each in parameters}
        unbound = [name for name in _MARKER.findall(text) if name not in given]
        failed = Course(queued_s=2, running_s=1, outcome="FAILED")
        if unbound:
            return Answer(
                course=failed,
                error=("BAD_REQUEST", f"[UNBOUND_SQL_PARAMETER] Found the unbound parameter: {unbound[0]}."),
            )
        for each in parameters:
            check, value = _CHECKS.get(str(each.get("type", "STRING"))), each.get("value")
            if check is not None and value is not None and not check.fullmatch(value):
                return Answer(course=failed, error=("BAD_REQUEST", "[CAST_INVALID_INPUT] The value cannot be cast."))
        if text not in self.answers:
            words = f"[PARSE_SYNTAX_ERROR] Syntax error at or near 'x'. SQLSTATE: 42601\n\n== SQL (line 1) ==\n{text}"
            return Answer(course=failed, error=("BAD_REQUEST", words))
        return self.answers[text]

    @operation("get")
    async def show_statement(self, request: web.Request) -> web.Response:
        """Get a statement."""
        statement_id = request.match_info["id"]
        job = self._job(statement_id)
        view = self.ledger.get(job.id)
        if view is None:
            raise refusal(404, "NOT_FOUND", f"The statement {statement_id} was not found.")
        state = _STATES.get(view.state, view.state)
        answer, body = self._answer(statement_id), self.asked[statement_id]
        told: dict[str, Any] = {"statement_id": statement_id, "status": {"state": state}}
        if state == "FAILED":
            code, words = answer.error if view.state != "LOST" else ("INTERNAL_ERROR", "the warehouse was lost")
            told["status"].update(error={"error_code": code, "message": words}, sql_state="42601")
        if state == "SUCCEEDED":
            told["manifest"] = _manifest(answer, body)
            told["result"] = self._chunk(statement_id, 0)
        return web.json_response(told)

    @operation("fetch")
    async def show_chunk(self, request: web.Request) -> web.Response:
        """Get a chunk of a result."""
        statement_id = request.match_info["id"]
        self._job(statement_id)
        return web.json_response(self._chunk(statement_id, int(request.match_info["index"])))

    @operation("cancel")
    async def cancel_statement(self, request: web.Request) -> web.Response:
        """Cancel a statement."""
        try:
            self.ledger.cancel(self._job(request.match_info["id"]).id)
        except NoSuchJob:
            raise refusal(404, "NOT_FOUND", "The statement was not found.") from None
        return web.json_response({})

    @operation(purpose, method="find")
    async def history(self, request: web.Request) -> web.Response:
        """List queries."""
        query = request.query
        ids = query.getall("filter_by.statement_ids", [])
        warehouses = query.getall("filter_by.warehouse_ids", [])
        since_ms = int(query.get("filter_by.query_start_time_range.start_time_ms", "0"))
        now, late_s = platform_time(), self.ledger.rules.visible_after.total_seconds()
        found = []
        for statement_id, body in reversed(list(self.asked.items())):
            job = self._job(statement_id)
            if (ids and statement_id not in ids) or (warehouses and body["warehouse_id"] not in warehouses):
                continue
            if job.started_at * 1000 >= since_ms and job.started_at + late_s <= now:
                found.append(self._entry(statement_id, job, query.get("include_metrics") == "true"))
        begin, limit = int(query.get("page_token", "0")), int(query.get("max_results", "100"))
        has_more = begin + limit < len(found)
        page: dict[str, Any] = {"res": found[begin : begin + limit], "has_next_page": has_more}
        if has_more:
            page["next_page_token"] = str(begin + limit)
        return web.json_response(page)

    def _entry(self, statement_id: str, job: LedgerJob, has_metrics: bool) -> dict[str, Any]:
        body = self.asked[statement_id]
        real = job.disguise or job.state(platform_time())
        state = _STATES.get(real, real)
        entry: dict[str, Any] = {
            "query_id": statement_id,
            "status": _HISTORY.get(state, state),
            "query_text": body["statement"],
            "query_start_time_ms": int(job.started_at * 1000),
            "warehouse_id": body["warehouse_id"],
            "query_tags": body.get("query_tags", []),
        }
        if has_metrics:
            entry["metrics"] = {"total_time_ms": 4_200, "task_total_time_ms": 8_000, "read_bytes": 1_048_576}
        return entry

    def _chunk(self, statement_id: str, index: int) -> dict[str, Any]:
        answer, body = self._answer(statement_id), self.asked[statement_id]
        chunks = _chunks(answer)
        last = index + 1 >= len(chunks)
        rows = chunks[index] if index < len(chunks) else []
        chunk: dict[str, Any] = {"chunk_index": index, "row_count": len(rows)}
        if not last:
            chunk["next_chunk_index"] = index + 1
        if body.get("disposition") != "EXTERNAL_LINKS":
            return {**chunk, "data_array": [list(row) for row in rows]}
        link = {
            **chunk,
            "external_link": f"{self.url}/links/{statement_id}/{index}",
            "expiration": "2099-01-01T00:00:00Z",
        }
        return {"external_links": [link]} if chunks else {}

    def _job(self, statement_id: str) -> LedgerJob:
        if statement_id not in self.asked:
            raise refusal(404, "NOT_FOUND", f"The statement {statement_id} was not found.")
        return self.ledger.jobs[f"job-{int(statement_id.rpartition('-')[2])}"]

    def _answer(self, statement_id: str) -> Answer:
        answer = self.asked[statement_id]["answer"]
        if not isinstance(answer, Answer):
            raise TypeError("an answer is expected")
        return answer


def _statement_id(number: int) -> str:
    return f"01f0a1b2-c3d4-1e5f-a6b7-{number:012}"


def _chunks(answer: Answer) -> list[Sequence[Sequence[str | None]]]:
    return [answer.rows[n : n + answer.chunk_rows] for n in range(0, len(answer.rows), answer.chunk_rows)]


def _manifest(answer: Answer, body: Mapping[str, Any]) -> dict[str, Any]:
    columns = [
        {"name": name, "type_name": kind.partition("(")[0], "type_text": kind, "position": position}
        for position, (name, kind) in enumerate(answer.columns)
    ]
    return {
        "format": body.get("format", "JSON_ARRAY"),
        "schema": {"column_count": len(columns), "columns": columns},
        "total_chunk_count": len(_chunks(answer)),
        "total_row_count": len(answer.rows),
        "truncated": False,
    }


def _arrow(answer: Answer, index: int) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - only results as tables need it
    from pyarrow import ipc  # noqa: PLC0415 - same

    kinds = {"INT": pa.int32(), "LONG": pa.int64(), "DOUBLE": pa.float64(), "STRING": pa.string()}
    rows = _chunks(answer)[index]
    schema = pa.schema([(name, kinds.get(kind, pa.string())) for name, kind in answer.columns])
    arrays = [
        pa.array([row[position] for row in rows], pa.string()).cast(schema.field(position).type)
        for position in range(len(schema))
    ]
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    found: bytes = sink.getvalue().to_pybytes()
    return found
