"""Athena in the report: the promise on the fake, a thousand queries, bad input, and AWS's own client on the fake and on moto."""

from __future__ import annotations

import asyncio
import csv
import io
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from integration.platforms.athena.athena_hosts import follow, host_for, sent
from integration.platforms.athena.athena_moto import ask_witness, moto, tell
from outboard.agent import Inputs, Retry
from outboard.domain.tasks import RawTask, RunAs
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType
from outboard.host import Host
from outboard.platforms.athena.errors import CATALOG, CATALOG_SOURCE, ERRORS
from outboard.platforms.athena.errors import SOURCE as ERRORS_SOURCE
from outboard.platforms.athena.platform import LIMITS
from outboard.platforms.athena.states import SOURCE as STATES_SOURCE
from outboard.platforms.athena.states import STATES
from outboard.testing.cases.athena import ATHENA, HIVE, PRESTO, athena_task, presto_task, settings_for
from outboard.testing.ledger import Course
from outboard.testing.ledger_jobs import FAILED
from outboard.testing.platforms.athena import KEY_ID, QUOTAS, REGION, SECRET, FakeAthena
from outboard.testing.platforms.athena_queries import FakeQuery, Tables, athena_type, text_of
from outboard.testing.virtual_time import run_virtually
from real_parts import NotToBeHad, install
from tables.sections import Section
from warehouses.bad_inputs import Bad, bad_inputs, no_job, one_job
from warehouses.loads import JOBS, Load, follow_all, loads
from warehouses.measures import Compared, Mapped, Proven, compared, conformance, mapped, proven
from warehouses.storms import storms

CASES: Final = {"presto": PRESTO, "hive": HIVE, "athena": ATHENA}

DOCUMENTED_STATES: Final = frozenset({"QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"})
"""`QueryExecutionState` of the API reference, as it stood on 2026-11-22."""
DOCUMENTED_TYPES: Final = frozenset(
    {
        *(*range(9), 100, *range(200, 241), *range(300, 304), *range(400, 403), *range(1000, 1015)),
        *(*range(1100, 1111), *range(1200, 1203), *range(1300, 1309), *range(1400, 1407)),
        *(1500, 1501, 1602, 1700, 1701, 9999),
    }
)
"""The first column of Athena's error catalog, as it stood on 2026-11-22."""
DOCUMENTED_EXCEPTIONS: Final = frozenset(
    {
        *("InternalServerException", "InvalidRequestException", "TooManyRequestsException", "MetadataException"),
        *("AccessDeniedException", "ExpiredTokenException", "IncompleteSignature", "InternalFailure"),
        *("MalformedHttpRequestException", "NotAuthorized", "OptInRequired", "RequestAbortedException"),
        *("RequestEntityTooLargeException", "RequestExpired", "RequestTimeoutException", "ServiceUnavailable"),
        *("ThrottlingException", "UnknownOperationException", "UnrecognizedClientException", "ValidationError"),
        "InvalidSignatureException",
    }
)
"""Those of the four operations, and "Common Errors" of the API reference, as they stood on 2026-11-22."""


def sections() -> Iterator[Section]:
    """Return all tables of Athena, one after the other."""
    yield conformance("outboard check, Athena on the fake", CASES)
    yield storms("storms: Athena", {"presto": PRESTO})
    yield states()
    yield many_jobs()
    yield bad_input()
    yield from _with_awss_client()
    yield proofs()


def states() -> Section:
    """Show how many states, error types and exceptions are known."""
    known = frozenset(
        state
        for state in DOCUMENTED_STATES
        if not STATES.read((state, "USER") if state in ("FAILED", "CANCELLED") else state).is_flagged
    )
    exceptions = frozenset(
        code for code in DOCUMENTED_EXCEPTIONS if type(ERRORS.classify(code=code, status=418)).__name__ != "AgentError"
    )
    return mapped(
        "states, error types and exceptions mapped: Athena",
        [
            Mapped(what="states of a query", documented=DOCUMENTED_STATES, mapped=known, source=STATES_SOURCE),
            Mapped(
                what="types of errors of a query",
                documented=DOCUMENTED_TYPES,
                mapped=frozenset(CATALOG),
                source=CATALOG_SOURCE,
            ),
            Mapped(
                what="exceptions of a call", documented=DOCUMENTED_EXCEPTIONS, mapped=exceptions, source=ERRORS_SOURCE
            ),
        ],
    )


# Many queries


def many_jobs(jobs: int = JOBS) -> Section:
    """Follow many queries at the documented quota, in virtual time."""
    return loads(f"{jobs:,} queries at Athena's documented quota", [run_virtually(lambda: _many(jobs))])


async def _many(jobs: int) -> Load:
    queries = {
        f"SELECT {n} AS n": FakeQuery(course=Course(queued_s=5.0, running_s=120.0 + n / 50)) for n in range(jobs)
    }
    async with FakeAthena(queries, quotas=QUOTAS) as server, host_for(settings_for(server.url)) as host:
        tasks = {sql: sent(presto_task(sql), node=f"n{n}") for n, sql in enumerate(queries)}
        followed = await follow_all(
            host, tasks, server.ledger, lambda: {each.statement.sql: each.id for each in server.executions.values()}
        )
        told = ", ".join(
            f"{name} {rate:g}/s burst {burst}" for name, (rate, burst) in QUOTAS.items() if "Results" not in name
        )
        return Load(
            name="queries of 2 min",
            quotas=f"{told} ({LIMITS})",
            followed=followed,
            calls=server.calls,
            throttled=sum(server.throttled.values()),
        )


# Bad input


_TASK: Final = presto_task("statement")
_EVIL: Final = "x'; DROP TABLE orders; --"


def _given(sql: str, kind: Any, value: Any) -> RawTask:
    typed = Interface(inputs={"x": kind}, outputs={"rows": StructuredDatasetType()})
    return replace(athena_task(sql), inputs=Inputs({"x": value}), interface=typed)


def _meets(query: FakeQuery) -> Callable[[FakeAthena], None]:
    return lambda server: server.queries.update({"statement": query})


def _failing(number: int, words: str) -> Callable[[FakeAthena], None]:
    return _meets(FakeQuery(course=Course(outcome=FAILED), error=(2, number, False), reason=words))


def _deny(server: FakeAthena) -> None:
    server.keys[KEY_ID].denied.add("athena:StartQueryExecution")


def _end(server: FakeAthena) -> None:
    server.keys[KEY_ID].has_ended = True


def _fill(server: FakeAthena) -> None:
    server.at_once = 0


BAD: Final[Mapping[str, Bad[FakeAthena]]] = {
    "wrong account: a role that is not allowed here": Bad(
        task=replace(_TASK, run_as=RunAs(iam_role="arn:aws:iam::999999999999:role/admin")),
        wanted=no_job(Retry.NEVER, "999999999999", "allowed_roles"),
    ),
    "wrong workgroup: not allowed here": Bad(
        task=_TASK,
        settings={"allowed_workgroups": ["team-*"]},
        wanted=no_job(Retry.NEVER, "'etl'", "allowed_workgroups"),
    ),
    "wrong workgroup: there is none": Bad(
        task=presto_task("statement", routingGroup="nowhere"), wanted=no_job(Retry.NEVER, "WorkGroup is not found")
    ),
    "no permission to start queries": Bad(
        task=_TASK, prepare=_deny, wanted=no_job(Retry.YES, "athena:StartQueryExecution", "least privileges")
    ),
    "no permission on the data": Bad(
        task=_TASK,
        prepare=_failing(1501, "PERMISSION_DENIED: Access Denied (Service: Amazon S3; Status Code: 403)"),
        wanted=one_job(Retry.NEVER, "PERMISSION_DENIED", "Amazon S3"),
    ),
    "syntax error": Bad(
        task=_TASK,
        prepare=_meets(
            FakeQuery(
                refused=(400, "InvalidRequestException", "MALFORMED_QUERY", "line 1:1: mismatched input 'statement'")
            )
        ),
        wanted=no_job(Retry.NEVER, "line 1:1", "mismatched input"),
    ),
    "expired token": Bad(
        task=_TASK, prepare=_end, wanted=no_job(Retry.YES, "security token", "expired", not_words=[SECRET])
    ),
    "missing secret": Bad(task=_TASK, secrets={}, wanted=no_job(Retry.NEVER, "athena-key", "is not set")),
    "quota exceeded: too many queries at once": Bad(
        task=_TASK, prepare=_fill, wanted=no_job(Retry.YES, "exceeded the limit", "certainly not running")
    ),
    "results in another region": Bad(
        task=_TASK,
        prepare=_failing(1501, "The bucket must be addressed using the specified endpoint. PermanentRedirect"),
        wanted=one_job(Retry.NEVER, "PermanentRedirect", REGION, "set the task's region"),
    ),
    "a region that is not allowed here": Bad(
        task=presto_task("statement", region="ap-south-1"),
        wanted=no_job(Retry.NEVER, "ap-south-1", "allowed_regions"),
    ),
    "parameter of a wrong type": Bad(
        task=_given("SELECT '{{ .inputs.x }}'", SimpleType.BINARY, b"\x00raw"),
        wanted=no_job(Retry.NEVER, "inputs.x", "no text", not_words=["raw"]),
    ),
    "parameter that does not fit its column": Bad(
        task=_TASK,
        prepare=_failing(1002, "TYPE_MISMATCH: line 1:34: Cannot apply operator: integer = varchar(3)"),
        wanted=one_job(Retry.NEVER, "TYPE_MISMATCH", "line 1:34"),
    ),
    "parameter that is too long": Bad(
        task=_given("SELECT ?", SimpleType.STRING, "secret-ish" * 200),
        wanted=no_job(Retry.NEVER, "inputs.x", "1024", not_words=["secret-ish"]),
    ),
    "injection: an input as a table": Bad(
        task=_given("SELECT * FROM {{ .inputs.x }}", SimpleType.STRING, _EVIL),
        wanted=no_job(Retry.NEVER, "never tables", not_words=["DROP"]),
    ),
    "no place for results": Bad(
        task=presto_task("SELECT nothing"),
        settings={"output_location": ""},
        wanted=no_job(Retry.NEVER, "platforms.athena.output_location"),
    ),
}
"""What may be wrong with a task, and what a user should see."""


def bad_input() -> Section:
    """Show what a user sees of bad input, on the fake."""
    return bad_inputs("bad input: Athena (fake)", BAD, _site, sent)


@asynccontextmanager
async def _site(bad: Bad[FakeAthena]) -> AsyncIterator[tuple[FakeAthena, Host]]:
    async with FakeAthena() as server, host_for(settings_for(server.url, **bad.settings), bad.secrets) as host:
        yield server, host


# AWS's own client

_TABLE: Final = (
    "CREATE TABLE orders AS SELECT * FROM (VALUES (1, 'it''s', 1.5::DOUBLE, DATE '2026-01-02', TRUE), "
    "(2, 'plain', NULL, DATE '2026-01-03', FALSE), (3, NULL, 2.5::DOUBLE, DATE '2026-01-04', NULL)) "
    "t(id, word, amount, day, ok)"
)
INPUTS: Final[Mapping[str, tuple[Any, Any, str]]] = {
    "n": (SimpleType.INTEGER, 7, "7"),
    "ratio": (SimpleType.FLOAT, 0.25, "0.25E0"),
    "flag": (SimpleType.BOOLEAN, True, "true"),
    "text": (SimpleType.STRING, _EVIL, "'x''; DROP TABLE orders; --'"),
    "at": (SimpleType.DATETIME, datetime(2026, 3, 1, 12, tzinfo=timezone.utc), "TIMESTAMP '2026-03-01 12:00:00'"),
    "ids": (ListType(SimpleType.INTEGER), [3, 1], "ARRAY[3,1]"),
}
QUERIES: Final = {
    "numbers and texts": "SELECT id, word, amount * 2 AS twice FROM orders ORDER BY id",
    "dates, flags and nulls": "SELECT day, ok, CAST(NULL AS INTEGER) AS nothing FROM orders ORDER BY day",
    "an aggregate": "SELECT ok, COUNT(*) AS n, SUM(amount) AS total FROM orders GROUP BY ok ORDER BY ok",
    "an empty result": "SELECT id, day FROM orders WHERE id > 10",
    "parameters of six types": f"SELECT {', '.join(f'? AS {name}' for name in INPUTS)}",
}


def _with_awss_client() -> Iterator[Section]:
    try:
        python = install("athena")
    except NotToBeHad as error:
        yield Section(title="Athena beside boto3", skipped=str(error))
        return
    yield same_answers(python)


def same_answers(python: Path) -> Section:
    """Compare the files that our agent hands over with the rows that boto3 gets for queries of its own."""

    async def compare() -> list[Compared]:
        with moto(python) as url:
            return [*await _on_the_fake(python), await _on_moto(python, url)]

    versions = {"moto": "5.2.5", "boto3": "1.44.5"}
    return compared(
        "same rows and types: our agent's file, and boto3's GetQueryResults", asyncio.run(compare()), versions=versions
    )


async def _on_the_fake(python: Path) -> list[Compared]:
    async with FakeAthena(tables=Tables([_TABLE])) as server:
        async with host_for(settings_for(server.url)) as host:
            ours = await asyncio.gather(*(_ours(host, server, sql, f"n{n}") for n, sql in enumerate(QUERIES.values())))
        theirs = await ask_witness(
            python, server.url, *({"name": "run", "options": _asked(sql)} for sql in QUERIES.values())
        )
    return [
        Compared(query=f"{name} (fake, Parquet)", ours=mine, theirs=_rows(other))
        for name, mine, other in zip(QUERIES, ours, theirs, strict=True)
    ]


async def _ours(host: Host, server: FakeAthena, sql: str, node: str) -> dict[str, Any]:
    """Return what lies where our agent says that a query's rows lie."""
    task = athena_task(sql)
    if "?" in sql:
        typed = {each: kind for each, (kind, _, _) in INPUTS.items()}
        values = Inputs({each: value for each, (_, value, _) in INPUTS.items()})
        task = athena_task(sql, parameters=list(INPUTS))
        task = replace(task, inputs=values, interface=replace(task.interface, inputs=typed))
    whole = sent(task, node=node)
    status = (await follow(host, await host.create_task(whole, timeout_s=10), whole, every_s=0.2))[-1]
    outputs: Any = status.outputs or {}
    place = outputs["rows"].uri if "rows" in outputs else status.message
    return _parquet(next((content for name, content in server.objects.items() if name.startswith(place)), b""))


def _asked(sql: str) -> dict[str, Any]:
    parameters = {"ExecutionParameters": [text for _, _, text in INPUTS.values()]} if "?" in sql else {}
    return {"QueryString": sql, "ClientRequestToken": uuid.uuid4().hex, **parameters}


async def _on_moto(python: Path, url: str) -> Compared:
    sql, cells = "SELECT region, total FROM sales", [["region", "total"], ["EU", "12"], ["US", "7"]]
    rows = [{"Data": [{"VarCharValue": cell} for cell in row]} for row in cells]
    info = [{"Name": name, "Type": "varchar", "CatalogName": "hive"} for name in cells[0]]
    tell(url, "static/athena/query-results", {"results": [{"rows": rows, "column_info": info}] * 2, "region": REGION})
    await ask_witness(python, url, {"name": "create_bucket", "options": {"Bucket": "results"}})
    async with host_for(settings_for(url)) as host:
        task = sent(athena_task(sql, resultFormat="csv", workgroup="primary"))
        status = (await follow(host, await host.create_task(task, timeout_s=10), task, every_s=0.2))[-1]
    outputs: Any = status.outputs
    bucket, _, key = outputs["rows"].uri.removeprefix("s3://").partition("/")
    text, theirs = await ask_witness(
        python,
        url,
        {"name": "object", "options": {"Bucket": bucket, "Key": key}},
        {"name": "run", "options": {"QueryString": sql, "ClientRequestToken": uuid.uuid4().hex}},
    )
    header, *found = csv.reader(io.StringIO(text))
    ours = {"columns": [[name, "varchar"] for name in header], "rows": found}
    return Compared(query="canned rows (moto, CSV)", ours=ours, theirs=_rows(theirs))


def _rows(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in ("columns", "rows", "error", "words") if name in answer}


_ARROW: Final = {
    "int32": "integer",
    "int64": "bigint",
    "double": "double",
    "bool": "boolean",
    "string": "varchar",
    "date32[day]": "date",
    "timestamp[us]": "timestamp",
}


def _parquet(content: bytes) -> dict[str, Any]:
    """Return a Parquet file's columns with Athena's types, and its rows as Athena's text."""
    import pyarrow.parquet as pq

    table: Any = pq.read_table(io.BytesIO(content))
    columns = [
        [
            each.name,
            "array" if str(each.type).startswith("list") else _ARROW.get(str(each.type), athena_type(str(each.type))),
        ]
        for each in table.schema
    ]
    return {"columns": columns, "rows": [[text_of(cell) for cell in row.values()] for row in table.to_pylist()]}


def proofs() -> Section:
    """Show what each call was tried on."""
    real, proxy = "moto 5.2.5", "behind the life-cycle proxy"
    return proven(
        "calls to Athena, and what they were proven on",
        [
            Proven(call="StartQueryExecution", real=f"{real}; seen by boto3", fake="driven by boto3 too"),
            Proven(
                call="StartQueryExecution, a token again", fake=f"driven by boto3 too; {proxy}: {real} starts another"
            ),
            Proven(call="ExecutionParameters", fake="computed by DuckDB, compared with boto3"),
            Proven(call="GetQueryExecution", real=f"{real}, through its own states", fake="driven by boto3 too"),
            Proven(call="BatchGetQueryExecution", fake=f"driven by boto3 too; {proxy}: {real} has none"),
            Proven(call="StopQueryExecution", real=real, fake="driven by boto3 too"),
            Proven(call="result as CSV", real=f"{real}'s file, compared with boto3's rows", fake="yes"),
            Proven(call="result as Parquet (UNLOAD)", fake="computed by DuckDB, compared with boto3's rows"),
            Proven(call="Signature Version 4", fake="computed again; boto3's are accepted too"),
            Proven(call="AssumeRole", real="botocore sends it", fake="answers it, checks its signature"),
            Proven(call="AssumeRoleWithWebIdentity", real="botocore sends it", fake="answers it"),
            Proven(call="container credentials", real="botocore asks for them", fake="answers it"),
        ],
        notes=["never tried on Athena itself"],
    )
