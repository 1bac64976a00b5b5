"""BigQuery in the report: the promise on the fake and on bqemulator, a thousand jobs, bad input, and Google's own client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final

from integration.platforms.bigquery import bigquery_emulator
from integration.platforms.bigquery.bigquery_emulated_case import EMULATED
from integration.platforms.bigquery.bigquery_hosts import follow, host_for, sent, settings_for
from outboard.agent import Inputs, Retry, Sql
from outboard.domain.statuses import State
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType
from outboard.host import Host
from outboard.platforms.bigquery.errors import REASONS, SOURCE
from outboard.platforms.bigquery.platform import LIMITS
from outboard.platforms.bigquery.states import OK, STATES
from outboard.platforms.bigquery.states import SOURCE as STATES_SOURCE
from outboard.testing.cases.bigquery import BIGQUERY, query_task
from outboard.testing.ledger import Course
from outboard.testing.ledger_jobs import FAILED
from outboard.testing.lifecycle_proxy import Life, LifecycleProxy, Stay
from outboard.testing.platforms.bigquery import FakeBigQuery, FakeQuery
from outboard.testing.platforms.bigquery_shape import OPERATIONS, BigQueryShape
from outboard.testing.virtual_time import run_virtually
from real_parts import NotToBeHad
from tables.sections import Section
from warehouses.bad_inputs import Bad, Seen, Wanted, bad_inputs, no_job, one_job, verdicts, what_is_seen
from warehouses.loads import JOBS, Load, follow_all, loads
from warehouses.measures import Compared, Mapped, Proven, compared, conformance, mapped, proven
from warehouses.storms import storms

QUOTA: Final = 100
DOCUMENTED_REASONS: Final = frozenset(
    {
        *("accessDenied", "backendError", "badRequest", "billingNotEnabled", "billingTierLimitExceeded"),
        *("blocked", "duplicate", "internalError", "invalid", "invalidQuery"),
        *("invalidUser", "jobBackendError", "jobInternalError", "jobRateLimitExceeded", "notFound"),
        *("notImplemented", "proxyAuthenticationRequired", "quotaExceeded", "rateLimitExceeded", "resourceInUse"),
        *("resourcesExceeded", "responseTooLarge", "stopped", "tableUnavailable", "timeout"),
    }
)
"""The first column of the error table at cloud.google.com/bigquery/docs/error-messages, as it stood on 2026-11-22."""

_PROJECT: Final = "p1"
_ORDERS: Final = "CREATE OR REPLACE TABLE shop.orders AS SELECT 1 AS id, 'EU' AS region, NUMERIC '1.5' AS amount"
_EVIL: Final = "EU'; DROP TABLE shop.orders; --"
_NOON: Final = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def sections() -> Iterator[Section]:
    """Return all tables of BigQuery, one after the other."""
    yield conformance("outboard check, BigQuery on the fake", {"bigquery": BIGQUERY})
    yield from _on_the_emulator()
    yield storms("storms: BigQuery", {"bigquery": BIGQUERY})
    yield states()
    yield many_jobs()
    yield bad_input()
    yield proofs()


def _on_the_emulator() -> Iterator[Section]:
    title = "BigQuery on bqemulator"
    try:
        with bigquery_emulator.emulator() as url:
            yield same_answers(url)
            yield injection(url)
        yield conformance("outboard check, BigQuery on bqemulator, in real time", {"bigquery": EMULATED})
    except NotToBeHad as error:
        yield Section(title=title, skipped=str(error))


def states() -> Section:
    """Show how many states and reasons are known."""
    lives: frozenset[State] = frozenset({"PENDING", "RUNNING", ("DONE", OK)})
    known_lives = frozenset(state for state in lives if not STATES.read(state).is_flagged)
    ends = frozenset(reason for reason in DOCUMENTED_REASONS if not STATES.read(("DONE", reason)).is_flagged)
    return mapped(
        "states and reasons mapped: BigQuery",
        [
            Mapped(what="states of a job", documented=lives, mapped=known_lives, source=STATES_SOURCE),
            Mapped(what="reasons of a job's end", documented=DOCUMENTED_REASONS, mapped=ends, source=SOURCE),
            Mapped(what="reasons of a refused call", documented=DOCUMENTED_REASONS, mapped=frozenset(REASONS), source=SOURCE),
        ],
    )  # fmt: skip


# Many jobs


def many_jobs(jobs: int = JOBS) -> Section:
    """Follow many jobs at the documented quota, in virtual time."""
    return loads(f"{jobs:,} jobs at BigQuery's documented quota", [run_virtually(partial(_many, jobs))])


async def _many(jobs: int) -> Load:
    queries = {f"SELECT {n}": FakeQuery(course=Course(queued_s=5.0, running_s=120.0 + n / 50)) for n in range(jobs)}
    async with FakeBigQuery(queries, quota=QUOTA) as server, host_for(settings_for(server)) as host:
        tasks = {sql: sent(query_task(sql, Location="US"), node=f"n{n}") for n, sql in enumerate(queries)}
        followed = await follow_all(
            host,
            tasks,
            server.ledger,
            lambda: {job.configuration["query"]["query"]: job.ledger_id for job in server.jobs.values()},
        )
        return Load(
            name="query jobs of 2 min",
            quotas=f"{QUOTA} calls/s of each method per user ({LIMITS})",
            followed=followed,
            calls=server.calls,
            throttled=sum(server.throttled.values()),
        )


# Bad input


_TASK: Final = query_task("statement", Location="US")
_TOKEN: Final = {"login": "token", "secret": "bq"}
_TYPED: Final = replace(
    query_task("statement", Location="US", queryParameters=[{"name": "n", "parameterType": {"type": "INT64"}}]),
    inputs=Inputs({"n": "7; DROP TABLE x"}),
    interface=Interface(inputs={"n": SimpleType.STRING}, outputs={"results": StructuredDatasetType()}),
)


def _meets(query: FakeQuery) -> Callable[[FakeBigQuery], None]:
    return lambda server: server.queries.update({"statement": query})


def _refused(status: int, reason: str, words: str) -> Callable[[FakeBigQuery], None]:
    return _meets(FakeQuery(refused=(status, reason, words)))


def _failing(reason: str, words: str) -> Callable[[FakeBigQuery], None]:
    return _meets(FakeQuery(course=Course(outcome=FAILED), error=(reason, words)))


def _expire(server: FakeBigQuery) -> None:
    server.accepted = set()


BAD: Final[Mapping[str, Bad[FakeBigQuery]]] = {
    "wrong project: not allowed here": Bad(
        task=query_task("statement", ProjectID="somebody-elses"),
        wanted=no_job(Retry.NEVER, "somebody-elses", "allowed_projects"),
        settings={"allowed_projects": ["analytics-*"]},
    ),
    "wrong project: there is none": Bad(
        task=_TASK,
        prepare=_refused(404, "notFound", "Not found: Project analytics-prod"),
        wanted=no_job(Retry.NEVER, "Not found: Project analytics-prod"),
    ),
    "no permission to start jobs": Bad(
        task=_TASK,
        prepare=_refused(
            403, "accessDenied", "Access Denied: Project p: User does not have bigquery.jobs.create permission"
        ),
        wanted=no_job(Retry.YES, "bigquery.jobs.create", "least privileges"),
    ),
    "no permission on a table": Bad(
        task=_TASK,
        prepare=_failing("accessDenied", "Access Denied: Table p:d.t: User does not have permission to query table"),
        wanted=one_job(Retry.NEVER, "Table p:d.t", "least privileges"),
    ),
    "syntax error": Bad(
        task=_TASK,
        prepare=_refused(400, "invalidQuery", 'Syntax error: Unexpected identifier "SELEC" at [1:1]'),
        wanted=no_job(Retry.NEVER, "Syntax error", "[1:1]"),
    ),
    "expired token": Bad(
        task=_TASK,
        settings=_TOKEN,
        prepare=_expire,
        wanted=no_job(Retry.YES, "invalid authentication credentials", "renew", not_words=["s3cret"]),
    ),
    "missing secret": Bad(
        task=_TASK,
        settings={"login": "google", "secret": "nowhere"},
        wanted=no_job(Retry.NEVER, "nowhere", "is not set"),
    ),
    "quota exceeded": Bad(
        task=_TASK,
        prepare=_refused(403, "quotaExceeded", "Quota exceeded: Your project exceeded quota for queries per day"),
        wanted=no_job(Retry.YES, "Quota exceeded", "certainly not running"),
    ),
    "dataset in another region": Bad(
        task=_TASK,
        prepare=_meets(FakeQuery(location="europe-west3")),
        wanted=no_job(Retry.NEVER, "not found in location US", "set the task's Location"),
    ),
    "parameter of a wrong type": Bad(task=_TYPED, wanted=no_job(Retry.NEVER, "inputs.n", "INT64", not_words=["DROP"])),
    "injection: a template in the SQL": Bad(
        task=replace(_TASK, sql=Sql(statement="SELECT * FROM t WHERE x = '{{ .inputs.x }}'")),
        wanted=no_job(Retry.NEVER, "nobody renders", "@name"),
    ),
}
"""What may be wrong with a task, and what a user should see."""


def bad_input() -> Section:
    """Show what a user sees of bad input, on the fake."""
    return bad_inputs("bad input: BigQuery (fake)", BAD, _site, sent)


@asynccontextmanager
async def _site(bad: Bad[FakeBigQuery]) -> AsyncIterator[tuple[FakeBigQuery, Host]]:
    async with (
        FakeBigQuery() as server,
        host_for(settings_for(server, **bad.settings), bad.secrets or {"bq": "s3cret-token"}) as host,
    ):
        yield server, host


# On the emulator

INPUTS: Final[Mapping[str, tuple[Any, Any]]] = {
    "n": (SimpleType.INTEGER, 7),
    "ratio": (SimpleType.FLOAT, 0.25),
    "flag": (SimpleType.BOOLEAN, True),
    "region": (SimpleType.STRING, _EVIL),
    "civil": (SimpleType.DATETIME, _NOON),
    "ids": (ListType(SimpleType.INTEGER), [3, 1]),
}
THEIRS: Final = [
    ["n", "INT64", 7],
    ["ratio", "FLOAT64", 0.25],
    ["flag", "BOOL", True],
    ["region", "STRING", _EVIL],
    ["civil", "DATETIME", "2026-03-01T12:00:00"],
    ["ids", "ARRAY:INT64", [3, 1]],
]
QUERIES: Final = {
    "numbers and texts": "SELECT n AS id, n / 4 AS quarter, CONCAT('n', n) AS name FROM UNNEST([1, 2, 3]) AS n",
    "decimals, dates, bytes": "SELECT NUMERIC '1.5' AS amount, DATE '2026-03-01' AS day, B'raw' AS raw, TRUE AS flag",
    "nulls, arrays and structs": "SELECT CAST(NULL AS INT64) AS nothing, [1, 2] AS ids, STRUCT(1 AS a, 'x' AS b) AS pair",
    "an empty result": "SELECT 1 AS n FROM UNNEST([1]) WHERE FALSE",
    "parameters of six types": f"SELECT {', '.join(f'@{name} AS {name}' for name in INPUTS)}",
}


def same_answers(url: str) -> Section:
    """Compare what our agent's jobs made with what Google's client reads."""
    bigquery_emulator.ask_witness(url, project=_PROJECT, setup=["CREATE SCHEMA IF NOT EXISTS shop", _ORDERS])
    tables = [asyncio.run(_table_of(url, sql, f"answer{n}")) for n, sql in enumerate(QUERIES.values())]
    questions = [
        *({"table": re.sub(r"^bq://|:", ".", uri).strip(".")} for uri in tables),
        *({"query": sql, "parameters": THEIRS if "@" in sql else []} for sql in QUERIES.values()),
    ]
    found = [_without_modes(each) for each in bigquery_emulator.ask_witness(url, project=_PROJECT, several=questions)]
    answers = [
        Compared(query=name, ours=ours, theirs=theirs)
        for name, ours, theirs in zip(QUERIES, found, found[len(QUERIES) :], strict=False)
    ]
    return compared(
        "same rows and types: our agent's table, and Google's client (bqemulator)",
        answers,
        versions={"bqemulator": "1.4.0", "google-cloud-bigquery": "3.47.0"},
    )


async def _table_of(url: str, sql: str, table: str) -> str:
    """Run a query by our agent and return its result's address."""
    # The emulator ignores destination tables, and its anonymous ones cannot be read: so the query makes one.
    task = query_task(f"CREATE OR REPLACE TABLE shop.{table} AS {sql}", ProjectID=_PROJECT, Location="US")
    if "@" in sql:
        types = {each: kind for each, (kind, _) in INPUTS.items()}
        values = Inputs({each: value for each, (_, value) in INPUTS.items()})
        task = replace(task, inputs=values, interface=replace(task.interface, inputs=types))
    async with _proxied(url) as host:
        status = (await follow(host, await host.create_task(sent(task), timeout_s=30), every_s=0.05))[-1]
    outputs: Any = status.outputs or {}
    return str(outputs["results"].uri) if "results" in outputs else status.message


def _without_modes(answer: Any) -> Any:
    # The emulator calls a column of a table NULLABLE or REQUIRED as it likes, but for REPEATED.
    schema = [[name, kind, mode == "REPEATED"] for name, kind, mode in answer["schema"]]
    return {**answer, "schema": schema}


@asynccontextmanager
async def _proxied(url: str) -> Any:
    async with (
        LifecycleProxy(url, OPERATIONS, BigQueryShape(), Life(running=Stay(polls=1))) as proxy,
        host_for(settings_for(proxy.url)) as host,
    ):
        yield host


def injection(url: str) -> Section:
    """Show what becomes of SQL in an input, on a real engine, and of a statement that is wrong."""
    typed = Interface(inputs={"region": SimpleType.STRING}, outputs={"results": StructuredDatasetType()})
    evil = replace(
        query_task("SELECT id FROM shop.orders WHERE region = @region", ProjectID=_PROJECT, Location="US"),
        inputs=Inputs({"region": _EVIL}),
        interface=typed,
    )
    wrong = query_task("SELEC 1", ProjectID=_PROJECT, Location="US")
    rows = [
        ("injection attempt in an input", Wanted(retry=Retry.NEVER, words=["bytes billed"]), _run(url, evil)),
        ("syntax error", Wanted(retry=Retry.NEVER, words=["Syntax error"]), _run(url, wrong)),
    ]
    left = bigquery_emulator.ask_witness(url, project=_PROJECT, query="SELECT id FROM shop.orders")["rows"]
    shown = verdicts(
        "bad input: BigQuery on bqemulator", rows, notes=[f"the table that was to be dropped has {len(left)} row"]
    )
    harm = [] if len(left) == 1 else ["an input became SQL: shop.orders is gone"]
    return replace(shown, failures=[*shown.failures, *harm])


def _run(url: str, task: RawTask) -> Seen:
    async def run() -> Seen:
        async with _proxied(url) as host:
            return await what_is_seen(host, sent(task), poll_s=0.05, limit_s=30.0)

    return asyncio.run(run())


def proofs() -> Section:
    """Show what each call was tried on."""
    emulator, proxy = "bqemulator 1.4.0", "behind the life-cycle proxy"
    return proven(
        "calls to BigQuery, and what they were proven on",
        [
            Proven(call="jobs.insert", real=f"{emulator}; seen by google-cloud-bigquery", fake="yes"),
            Proven(call="jobs.insert, a second one of an id (409)", fake=f"yes, and {proxy}"),
            Proven(call="jobs.insert, dryRun", fake="yes: the emulator counts no bytes"),
            Proven(call="query parameters", real=f"{emulator}; spelled as google-cloud-bigquery does", fake="yes"),
            Proven(call="jobs.get", real=emulator, fake=f"states: {proxy}"),
            Proven(call="jobs.list", real=emulator, fake="filters and pages"),
            Proven(call="jobs.list, children of scripts", fake="yes"),
            Proven(call="jobs.cancel", fake=f"yes, and {proxy}: the emulator's does nothing"),
            Proven(call="token exchange of a service account's key", real="google-auth sends it", fake="answers it"),
            Proven(call="sts.googleapis.com token exchange", real="google-auth sends it", fake="answers it"),
            Proven(call="generateAccessToken", fake="yes"),
        ],
        notes=["never tried on BigQuery itself"],
    )
