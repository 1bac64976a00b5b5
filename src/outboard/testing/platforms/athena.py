"""A fake Athena: the JSON API over the ledger, with the parts that no emulator has.

Written from the API reference (https://docs.aws.amazon.com/athena/latest/APIReference/, version 2017-05-18, read 2026-11-22),
apart from the agent. It has

* signatures that are checked by computing them again, keys that end, actions that are denied, regions that do not see each
  other's queries;
* request tokens: a repeated one is answered with the first query's id; another statement, database or location is refused;
* BatchGetQueryExecution with UnprocessedQueryExecutionIds, StopQueryExecution, GetQueryResults;
* quotas as documented: so many calls of an operation a second with their bursts, and ThrottlingException beyond; a number
  of queries at once, and TooManyRequestsException with its reason beyond;
* STS: AssumeRole, AssumeRoleWithWebIdentity; and a container's address for credentials.

What a query does is said by its SQL text, in `queries`; where there are `tables`, other texts are computed.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from aiohttp import web

from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Course, Ledger
from outboard.testing.ledger_jobs import CANCELLED, CANCELLING, ENDS, FAILED, KEY_LABEL, LOST, RUNNING, SUCCEEDED
from outboard.testing.meters import Bucket
from outboard.testing.platform_clock import platform_time
from outboard.testing.platform_server import PlatformServer, Refusal, operation
from outboard.testing.platforms.athena_queries import Failed, FakeQuery, Malformed, Rows, Statement, Tables
from outboard.testing.platforms.athena_signatures import FakeKey, NotSigned, Signed, check

KEY_ID: Final = "AKIAOUTBOARDFAKE0001"
SECRET: Final = "fake-secret-access-key-of-outboard"  # noqa: S105 - of the fake
REGION: Final = "eu-west-1"
QUOTAS: Final[Mapping[str, tuple[float, int]]] = {
    "StartQueryExecution": (20, 80),
    "StopQueryExecution": (20, 80),
    "BatchGetQueryExecution": (20, 40),
    "GetQueryExecution": (100, 200),
    "GetQueryResults": (100, 200),
}
"""Calls a second, and the burst that a pause fills: https://docs.aws.amazon.com/athena/latest/ug/service-limits.html, as read
2026-11-22."""
_OPERATIONS: Final = {
    "StartQueryExecution": "create",
    "GetQueryExecution": "get",
    "BatchGetQueryExecution": "get",  # one query alone is asked for by the other call
    "StopQueryExecution": "cancel",
    "GetQueryResults": "results",
}
_COMPUTED: Final = Course(queued_s=0.1, running_s=0.2)
_TOKEN: Final = range(32, 129)
_TYPE: Final = "application/x-amz-json-1.1"


@dataclass(slots=True)
class FakeExecution:
    """A query as it was sent, beside what the ledger knows of it."""

    id: str
    body: Mapping[str, Any]
    query: FakeQuery
    statement: Statement
    region: str
    rows: Rows | None = None
    has_written: bool = False


def _target_of(request: web.Request) -> str:
    target = request.headers.get("X-Amz-Target", "")
    return target.removeprefix("AmazonAthena.") if target.startswith("AmazonAthena.") else "STS"


class FakeAthena(PlatformServer):
    """The API, for any region.

    Args:
        queries: By SQL text; any other text is a `SELECT` of ten seconds, or computed where there are tables.
        ledger: The queries.
        faults: Which call meets which fault; operations are `create`, `get` (batches too), `cancel`, `results`, `assume`,
            `keys`.
        quotas: Calls a second and bursts, by operation; `QUOTAS` are the documented ones. None is no limit.
        at_once: Queries that may live at once; None is no limit.
        tables: Where other texts are computed.

    Attributes:
        keys: Access keys that are accepted, by their ids.
        roles: Roles that may be assumed, with the external id that they ask for.
        web_tokens: Web identity tokens that are accepted.
        objects: Result files, by their address.
        bodies: What StartQueryExecution was sent, in order.
        workgroups: Those that exist.
        lifetime_s: How long keys of STS and of the container last.
    """

    def __init__(
        self,
        queries: Mapping[str, FakeQuery] | None = None,
        *,
        ledger: Ledger | None = None,
        faults: FaultPlan | None = None,
        quotas: Mapping[str, tuple[float, int]] | None = None,
        at_once: int | None = None,
        tables: Tables | None = None,
    ) -> None:
        super().__init__(ledger, faults, meter=Bucket(quotas or {}))
        self.queries = dict(queries or {})
        self.at_once = at_once
        self.tables = tables
        self.keys: dict[str, FakeKey] = {KEY_ID: FakeKey(SECRET)}
        self.roles: dict[str, str] = {}
        self.web_tokens: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.bodies: list[Mapping[str, Any]] = []
        self.workgroups = {"primary", "etl"}
        self.lifetime_s = 3600.0
        self.executions: dict[str, FakeExecution] = {}
        self._by_token: dict[tuple[str, str], FakeExecution] = {}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the one address of both APIs, and the container's."""
        return (web.post("/", self._act), web.get("/credentials", self._container))

    def admit(self, request: web.Request, method: str) -> None:  # noqa: ARG002 - of the server
        """Ask whether there is room."""
        if not self.has_room(method):
            raise refusal(400, "ThrottlingException", "Rate exceeded")

    @operation(lambda request: _OPERATIONS.get(_target_of(request), "assume"), method=_target_of)
    async def _act(self, request: web.Request) -> web.Response:
        name, body = _target_of(request), await request.read()
        headers = {key.lower(): value for key, value in request.headers.items()}
        if name not in _OPERATIONS:
            return await self._sts(headers, body)
        try:
            signed = check("POST", request.path, headers, body, service="athena", keys=self.keys)
        except NotSigned as error:
            raise refusal(400, error.code, error.words) from None
        if f"athena:{name}" in signed.key.denied:
            words = f"User: {signed.key.who} is not authorized to perform: athena:{name} on resource: workgroup/primary"
            raise refusal(400, "AccessDeniedException", words)
        try:
            asked = json.loads(body)
        except ValueError:
            raise refusal(400, "SerializationException", "could not be parsed into an object") from None
        answers = {
            "StartQueryExecution": self._start,
            "GetQueryExecution": self._show,
            "BatchGetQueryExecution": self._get_batch,
            "StopQueryExecution": self._stop,
            "GetQueryResults": self._results,
        }
        return answers[name](asked, signed)

    def _start(self, asked: Mapping[str, Any], signed: Signed) -> web.Response:
        token = asked.get("ClientRequestToken")
        if not isinstance(token, str) or len(token) not in _TOKEN:
            raise _invalid("INVALID_INPUT", "Value at 'clientRequestToken' failed to satisfy constraint: 32 to 128")
        first = self._by_token.get((signed.region, token))
        if first is not None and _compared(first.body) != _compared(asked):
            raise _invalid("IDEMPOTENT_PARAMETER_MISMATCH", "Idempotent parameters do not match")
        if first is None:
            self._judge(asked)
        statement = Statement.of(str(asked.get("QueryString", "")))
        query, rows = self.queries.get(statement.sql, FakeQuery()), None
        if query.refused is not None:
            raise refusal(*query.refused[:2], words=query.refused[3], code=query.refused[2])
        if first is None and self.tables is not None and statement.sql not in self.queries:
            try:
                rows = self.tables.run(statement.sql, asked.get("ExecutionParameters", ()))
                query = FakeQuery(course=_COMPUTED)
            except Malformed as error:
                raise _invalid("MALFORMED_QUERY", f"line 1:1: {error}") from None
            except Failed as error:
                course = Course(running_s=1.0, outcome=FAILED)
                query = FakeQuery(course=course, error=(2, error.number, False), reason=str(error))
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{signed.region}/{token}"))
        view = self.ledger.create(
            token=f"{signed.region}/{token}", name=name, labels={KEY_LABEL: token}, course=query.course
        )
        self.bodies.append(asked)
        if first is None:
            first = FakeExecution(view.id, dict(asked), query, statement, signed.region, rows)
            self.executions[view.id] = self._by_token[signed.region, token] = first
        return _json({"QueryExecutionId": view.id})

    def _judge(self, asked: Mapping[str, Any]) -> None:
        """Refuse what would not be started."""
        if asked.get("WorkGroup", "primary") not in self.workgroups:
            raise _invalid("INVALID_INPUT", "WorkGroup is not found.")
        parameters = asked.get("ExecutionParameters", ["-"])
        if not parameters or any(not 1 <= len(each) <= 1024 for each in parameters):
            raise _invalid("INVALID_INPUT", "Value at 'executionParameters' failed to satisfy constraint")
        if self.at_once is not None and len(self.ledger.live()) >= self.at_once:
            self.throttled["StartQueryExecution"] += 1
            words = "You have exceeded the limit for the number of queries you can run concurrently."
            raise refusal(400, "TooManyRequestsException", words, more={"Reason": "CONCURRENT_QUERY_LIMIT_EXCEEDED"})

    def _show(self, asked: Mapping[str, Any], signed: Signed) -> web.Response:
        return _json({"QueryExecution": self._document(self._known(asked, signed))})

    def _get_batch(self, asked: Mapping[str, Any], signed: Signed) -> web.Response:
        ids = asked.get("QueryExecutionIds", [])
        if not 1 <= len(ids) <= 50:
            raise _invalid("INVALID_INPUT", "Value at 'queryExecutionIds' failed to satisfy constraint: 1 to 50")
        found = {each: self._found(each, signed) for each in ids}
        unknown = [
            {
                "QueryExecutionId": each,
                "ErrorCode": "QUERY_EXECUTION_NOT_FOUND",
                "ErrorMessage": f"QueryExecution {each} was not found",
            }
            for each, execution in found.items()
            if execution is None
        ]
        documents = [self._document(execution) for execution in found.values() if execution is not None]
        return _json({"QueryExecutions": documents, "UnprocessedQueryExecutionIds": unknown})

    def _stop(self, asked: Mapping[str, Any], signed: Signed) -> web.Response:
        self.ledger.cancel(self._known(asked, signed).id)
        return _json({})

    def _results(self, asked: Mapping[str, Any], signed: Signed) -> web.Response:
        found = self._known(asked, signed)
        state = self._document(found)["Status"]["State"]
        if state != SUCCEEDED:
            raise _invalid("INVALID_QUERY_EXECUTION_STATE", f"Query has not yet finished. Current state: {state}")
        rows = found.rows if not found.statement.place else None
        columns = rows.columns if rows is not None else ()
        cells = [[name for name, _ in columns], *(rows.rows if rows is not None else ())]
        data = [{"Data": [{} if cell is None else {"VarCharValue": cell} for cell in row]} for row in cells if row]
        info = [{"Name": name, "Type": kind, "CatalogName": "hive"} for name, kind in columns]
        return _json({"ResultSet": {"Rows": data, "ResultSetMetadata": {"ColumnInfo": info}}, "UpdateCount": 0})

    async def _sts(self, headers: Mapping[str, str], body: bytes) -> web.Response:
        form = _form(body)
        if form.get("Action") == "AssumeRoleWithWebIdentity":
            if form.get("WebIdentityToken") not in self.web_tokens:
                raise _sts_refusal(400, "InvalidIdentityToken", "The ID Token provided is not a valid JWT.")
            return _sts_answer("AssumeRoleWithWebIdentity", self.issue(form.get("RoleArn", "")), self._ends())
        try:
            signed = check("POST", "/", headers, body, service="sts", keys=self.keys)
        except NotSigned as error:
            codes = {"InvalidSignatureException": "SignatureDoesNotMatch", "ExpiredTokenException": "ExpiredToken"}
            raise _sts_refusal(403, codes.get(error.code, "InvalidClientTokenId"), error.words) from None
        role = form.get("RoleArn", "")
        if role not in self.roles or self.roles[role] != form.get("ExternalId", ""):
            words = f"User: {signed.key.who} is not authorized to perform: sts:AssumeRole on resource: {role}"
            raise _sts_refusal(403, "AccessDenied", words)
        return _sts_answer("AssumeRole", self.issue(role), self._ends())

    @operation("keys", method="STS")
    async def _container(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's handlers get it
        key_id, key = self.issue("arn:aws:iam::123456789012:role/task")
        document = {
            "AccessKeyId": key_id,
            "SecretAccessKey": key.secret,
            "Token": key.token,
            "Expiration": self._ends(),
        }
        return web.json_response(document)

    def issue(self, who: str) -> tuple[str, FakeKey]:
        """Return new keys that end, and accept them from now on."""
        number = len(self.keys)
        key = FakeKey(f"issued-secret-{number}-{uuid.uuid4()}", f"issued-session-{number}-{uuid.uuid4()}", who)
        key_id = f"ASIAOUTBOARDFAKE{number:04d}"
        self.keys[key_id] = key
        return key_id, key

    def _ends(self) -> str:
        return (datetime.now(timezone.utc) + timedelta(seconds=self.lifetime_s)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _found(self, query_id: object, signed: Signed) -> FakeExecution | None:
        execution = self.executions.get(str(query_id))
        if execution is None or execution.region != signed.region or self.ledger.get(execution.id) is None:
            return None
        return execution

    def _known(self, asked: Mapping[str, Any], signed: Signed) -> FakeExecution:
        query_id = asked.get("QueryExecutionId")
        found = self._found(query_id, signed)
        if found is None:
            raise _invalid("QUERY_EXECUTION_NOT_FOUND", f"QueryExecution {query_id} was not found")
        return found

    def _document(self, execution: FakeExecution) -> dict[str, Any]:
        record, query, body = self.ledger.jobs[execution.id], execution.query, execution.body
        state = record.disguise or record.state(platform_time())
        shown = {CANCELLING: RUNNING, LOST: FAILED}.get(state, state)
        if state == SUCCEEDED:
            shown = self._written(execution)
        status: dict[str, Any] = {"State": shown, "SubmissionDateTime": round(record.started_at, 3)}
        ended_at = record.ended_at()
        if state in ENDS:
            status["CompletionDateTime"] = round(ended_at if math.isfinite(ended_at) else platform_time(), 3)
        status.update(_end_of(state, shown, query))
        configuration = dict(body.get("ResultConfiguration", {}))
        if query.has_location:
            place = str(configuration.get("OutputLocation", "s3://workgroup-results/"))
            configuration["OutputLocation"] = f"{place.rstrip('/')}/{_file_of(execution)}"
        return {
            "QueryExecutionId": execution.id,
            "Query": body["QueryString"],
            "StatementType": query.statement_type,
            "SubstatementType": "UNLOAD" if execution.statement.place else query.substatement_type,
            "ResultConfiguration": configuration if query.has_location else {},
            "QueryExecutionContext": body.get("QueryExecutionContext", {}),
            "Status": status,
            "Statistics": _statistics(record, query, state),
            "WorkGroup": body.get("WorkGroup", "primary"),
            "EngineVersion": {
                "SelectedEngineVersion": "AUTO",
                "EffectiveEngineVersion": "Athena engine version 3",
            },
        }

    def _written(self, execution: FakeExecution) -> str:
        """Let a query that succeeded write its files; UNLOAD wants an empty folder."""
        if execution.rows is None or execution.has_written:
            return SUCCEEDED
        place = execution.statement.place
        if place and any(each.startswith(place) for each in self.objects):
            return FAILED
        execution.has_written = True
        if place:
            self.objects[f"{place}{execution.id}-0.parquet"] = execution.rows.parquet
        else:
            folder = execution.body.get("ResultConfiguration", {}).get("OutputLocation", "s3://workgroup-results/")
            self.objects[f"{folder.rstrip('/')}/{execution.id}.csv"] = execution.rows.csv()
        return SUCCEEDED


def refusal(status: int, kind: str, words: str, *, code: str = "", more: Mapping[str, Any] | None = None) -> Refusal:
    """Return an error as AWS's JSON protocol writes it."""
    told = {"__type": kind, "Message": words, **(more or {})}
    if code:
        told.update({"AthenaErrorCode": code, "ErrorCode": code})
    return Refusal(_json(told, status))


def _end_of(state: str, shown: str, query: FakeQuery) -> dict[str, Any]:
    if state == LOST:
        words = "GENERIC_INTERNAL_ERROR: the engine lost a worker"
        error = {"ErrorCategory": 1, "ErrorType": 200, "Retryable": True, "ErrorMessage": words}
        return {"StateChangeReason": words, "AthenaError": error}
    if state == CANCELLED:
        return {"StateChangeReason": query.reason if "limit" in query.reason else "Query cancelled by user"}
    if shown == FAILED:
        told: dict[str, Any] = {"StateChangeReason": query.reason}
        if query.error is not None:
            category, number, retryable = query.error
            told["AthenaError"] = {"ErrorCategory": category, "ErrorType": number, "ErrorMessage": query.reason}
            if retryable is not None:
                told["AthenaError"]["Retryable"] = retryable
        return told
    return {}


def _statistics(record: Any, query: FakeQuery, state: str) -> dict[str, Any]:
    if state not in ENDS:
        return {}
    ended_at = record.ended_at()
    age_ms = round(1000 * ((ended_at if math.isfinite(ended_at) else platform_time()) - record.started_at))
    queued_ms = min(age_ms, round(1000 * record.course.queued_s))
    told: dict[str, Any] = {
        "DataScannedInBytes": query.bytes_scanned if state in (SUCCEEDED, CANCELLED) else 0,
        "QueryQueueTimeInMillis": queued_ms,
        "EngineExecutionTimeInMillis": age_ms - queued_ms,
        "TotalExecutionTimeInMillis": age_ms,
        "QueryPlanningTimeInMillis": min(50, age_ms),
        "ResultReuseInformation": {"ReusedPreviousResult": query.is_reused},
    }
    return {**told, "DpuCount": query.dpu_count} if query.dpu_count else told


def _file_of(execution: FakeExecution) -> str:
    query = execution.query
    if execution.statement.place:
        return execution.id
    if query.substatement_type == "CREATE_TABLE_AS_SELECT":
        return f"tables/{execution.id}"
    return f"{execution.id}.csv" if query.statement_type == "DML" else f"{execution.id}.txt"


def _compared(body: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what Athena compares of requests with one token, as was measured on 2026-09-17."""
    context, configuration = body.get("QueryExecutionContext", {}), body.get("ResultConfiguration", {})
    return body.get("QueryString"), context.get("Database"), configuration.get("OutputLocation")


def _invalid(code: str, words: str) -> Refusal:
    return refusal(400, "InvalidRequestException", words, code=code)


def _json(content: Mapping[str, Any], status: int = 200) -> web.Response:
    headers = {"x-amzn-RequestId": str(uuid.uuid4()), "Content-Type": _TYPE}
    return web.Response(body=json.dumps(content).encode(), status=status, headers=headers)


def _form(body: bytes) -> dict[str, str]:
    from urllib.parse import parse_qsl  # noqa: PLC0415 - beside its only use

    return dict(parse_qsl(body.decode()))


def _sts_answer(action: str, issued: tuple[str, FakeKey], ends: str) -> web.Response:
    key_id, key = issued
    text = (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>'
        f"<AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{key.secret}</SecretAccessKey>"
        f"<SessionToken>{key.token}</SessionToken><Expiration>{ends}</Expiration></Credentials>"
        f"</{action}Result></{action}Response>"
    )
    return web.Response(text=text, content_type="text/xml")


def _sts_refusal(status: int, code: str, words: str) -> Refusal:
    text = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{words}</Message></Error></ErrorResponse>"
    )
    return Refusal(web.Response(text=text, status=status, content_type="text/xml"))
