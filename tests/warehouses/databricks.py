"""Databricks in the report: runs and SQL statements on the kit's workspace and on two emulators, beside Databricks' own SDK."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from pyarrow import parquet

from integration.platforms.databricks.databricks_emulators import ask_witness, known_words, minilake, warehouse_at
from integration.platforms.databricks.databricks_hosts import as_sent, host_at, site
from outboard.agent import Sql, Task
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, SimpleType, StructuredDatasetType
from outboard.host import Host
from outboard.platforms.databricks.quotas import LIMITS
from outboard.platforms.databricks.statement_states import SOURCE as STATEMENT_SOURCE
from outboard.platforms.databricks.statement_states import STATEMENT_STATES
from outboard.platforms.databricks.states import RUN_STATES, SOURCE, TERMINATIONS
from outboard.testing.cases.databricks import NOTEBOOKS, RUNS, STATEMENTS, function_task, sql_task
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks_sql import Answer, DatabricksSqlServer
from outboard.testing.virtual_time import run_virtually
from real_parts import NotToBeHad
from tables.sections import Section
from warehouses.bad_inputs import Bad, bad_inputs, what_is_seen
from warehouses.databricks_inputs import BAD_RUNS, BAD_STATEMENTS, EVIL
from warehouses.loads import JOBS, Followed, Load, follow_all, loads
from warehouses.measures import Compared, Mapped, Proven, compared, conformance, mapped, proven
from warehouses.storms import storms

RATES: Final = {"create": 35, "get": 100, "get_many": 30, "find": 30}
"""Calls a second that the kit's workspace allows: the two that are published, and listings held to 30."""
_CASES: Final = {"runs": RUNS, "notebooks": NOTEBOOKS, "statements": STATEMENTS}
_SEED: Final = 7


def sections() -> Iterator[Section]:
    """Return all tables of Databricks, one after the other."""
    yield conformance("outboard check, Databricks on the fake", _CASES)
    yield storms("storms: Databricks", _CASES)
    yield from _of_the_real_parts()
    yield many_jobs()
    yield bad_runs()
    yield bad_statements()
    yield proofs()


def _of_the_real_parts() -> Iterator[Section]:
    try:
        yield states()
        yield same_answers()
    except NotToBeHad as error:
        yield Section(title="Databricks' SDK and minilake", skipped=str(error))


def states() -> Section:
    """Show how many of the words that Databricks' SDK knows are mapped."""
    words = known_words()
    lives = frozenset(words["life"] | words["newer life"])
    ended = frozenset(("TERMINATED", result) for result in words["results"])
    codes = frozenset(words["terminations"])
    statements = frozenset(words["statements"])
    # A life-cycle state that is an end comes with a result, so it is looked up with one.
    known = frozenset(
        life
        for life in lives
        if any(not RUN_STATES.read(each).is_flagged for each in (life, (life, ""), (life, "SUCCESS")))
    )
    return mapped(
        "states mapped: Databricks (documented: the enums of databricks-sdk 0.156)",
        [
            Mapped(what="life-cycle states of a run", documented=lives, mapped=known, source=SOURCE),
            Mapped(
                what="results of a run",
                documented=ended,
                mapped=frozenset(each for each in ended if not RUN_STATES.read(each).is_flagged),
                source=SOURCE,
            ),
            Mapped(
                what="termination codes",
                documented=codes,
                mapped=frozenset(TERMINATIONS) | {"SUCCESS", "SUCCESS_WITH_FAILURES"},
                source=SOURCE,
            ),
            Mapped(
                what="states of a statement",
                documented=statements,
                mapped=frozenset(each for each in statements if not STATEMENT_STATES.read(each).is_flagged),
                source=STATEMENT_SOURCE,
            ),
        ],
    )


# Many jobs


def many_jobs(jobs: int = JOBS) -> Section:
    """Follow many runs and as many statements, in virtual time."""
    measured = [run_virtually(partial(_runs, jobs)), run_virtually(partial(_statements, jobs))]
    return loads(f"{jobs:,} jobs at Databricks' documented quotas", measured)


def _courses(kind: str, jobs: int) -> dict[str, Course]:
    dice = random.Random(_SEED)  # noqa: S311 - no secret
    return {f"{kind}{n}": Course(queued_s=dice.uniform(5, 30), running_s=dice.uniform(60, 300)) for n in range(jobs)}


async def _runs(jobs: int) -> Load:
    courses = _courses("r", jobs)
    async with site(server=DatabricksSqlServer(courses, rates=RATES)) as at:
        followed = await follow_all(
            at.host,
            {name: at.sent(function_task(name)) for name in courses},
            at.server.ledger,
            lambda: {
                str(body["run_name"]).partition(" ")[0]: f"job-{run_id}" for run_id, body in at.server.bodies.items()
            },
        )
        quotas = f"35 submissions, 100 look-ups/s per workspace ({LIMITS}); listings held to 30/s"
        return _load("runs of 1 to 5 min", quotas, followed, at.server)


async def _statements(jobs: int) -> Load:
    courses = _courses("SELECT ", jobs)
    async with site(server=DatabricksSqlServer(rates=RATES)) as at:
        at.server.answers.update(
            {sql: Answer(course=course, columns=[("one", "INT")], rows=[["1"]]) for sql, course in courses.items()}
        )
        followed = await follow_all(
            at.host,
            {sql: at.sent(sql_task(sql)) for sql in courses},
            at.server.ledger,
            lambda: {
                str(body["statement"]).partition("\n")[0]: list(at.server.ledger.jobs)[n]
                for n, body in enumerate(at.server.asked.values())
            },
        )
        return _load("statements of 1 to 5 min", "none published; held to the same", followed, at.server)


def _load(name: str, quotas: str, followed: Followed, server: DatabricksSqlServer) -> Load:
    names = ("create", "get", "get_many", "find", "metrics", "output", "cancel")
    calls = {name: server.faults.calls[name] for name in names}
    return Load(name=name, quotas=quotas, followed=followed, calls=calls, throttled=server.throttled.total())


# Bad input


def bad_runs() -> Section:
    """Show what a user sees of a run that is not as it should be, on the fake."""
    return _bad("bad input: runs on Databricks (fake)", BAD_RUNS)


def bad_statements() -> Section:
    """Show the same of statements; one that holds SQL in an input succeeds, since it stays a value."""
    return _bad("bad input: SQL statements on Databricks (fake)", BAD_STATEMENTS)


def _bad(title: str, table: Mapping[str, Bad[DatabricksSqlServer]]) -> Section:
    return bad_inputs(title, table, _site, as_sent, harm=_spliced)


@asynccontextmanager
async def _site(bad: Bad[DatabricksSqlServer]) -> AsyncIterator[tuple[DatabricksSqlServer, Host]]:
    async with site(settings=bad.settings, secrets=bad.secrets) as at:
        yield at.server, at.host


def _spliced(server: DatabricksSqlServer) -> list[str]:
    texts = [str(body["statement"]) for body in server.asked.values()]
    return ["an input is in the text of the statement" for text in texts if EVIL in text]


# Databricks' own SDK

QUERIES: Final = {
    "numbers and texts": "SELECT i AS id, CAST(i AS DOUBLE) / 2 AS half, 'n' || i AS name FROM range(3) t(i)",
    "nulls and truth": "SELECT CAST(NULL AS VARCHAR) AS nothing, i = 1 AS flag FROM range(2) t(i)",
    "quotes and letters": "SELECT 'it''s' AS word, 'größer' AS other",
}


def same_answers() -> Section:
    """Compare the Parquet files that our agent writes with what Databricks' SDK reads, on minilake."""
    with tempfile.TemporaryDirectory(prefix="outboard-minilake-") as name, minilake(folder := Path(name)) as url:
        warehouse = warehouse_at(url)
        answers = [
            Compared(
                query=query,
                ours=asyncio.run(_parquet_of(url, warehouse, sql, folder / f"out{n}")),
                theirs=ask_witness("rows", url=url, warehouse=warehouse, sql=sql),
            )
            for n, (query, sql) in enumerate(QUERIES.items())
        ]
    return compared(
        "same rows and types: our agent's Parquet, and Databricks' SDK (minilake)",
        answers,
        versions={"minilake": "1.9.0", "databricks-sdk": "0.156.0"},
    )


async def _parquet_of(url: str, warehouse: str, sql: str, folder: Path) -> Any:
    outputs = Interface(outputs={"t": StructuredDatasetType(), "n": SimpleType.INTEGER})
    task: RawTask = Task(
        type="databricks_sql", config={"warehouseId": warehouse}, sql=Sql(statement=sql), interface=outputs
    )
    async with host_at(url) as host:
        seen = await what_is_seen(host, replace(as_sent(task), output_prefix=str(folder)), poll_s=0.1, limit_s=30)
    if not (folder / "t").exists():
        return seen.message
    table = parquet.read_table(folder / "t")
    columns = [[field.name, str(field.type)] for field in table.schema]
    return {"columns": columns, "rows": [[str(value) for value in row.values()] for row in table.to_pylist()]}


def proofs() -> Section:
    """Show what each call was tried on."""
    semblance, lake, sdk = "semblance-databricks 0.1.2", "minilake 1.9.0", "databricks-sdk 0.156"
    return proven(
        "calls to Databricks, and what they were proven on",
        [
            Proven(call="runs/submit", real=f"{semblance}, {lake}; its form by {sdk}'s classes", fake="yes"),
            Proven(call="runs/submit, the same idempotency_token again", real=lake, fake="yes, also by databricks-sdk"),
            Proven(call="runs/get", real=f"{semblance} (PENDING), {lake} (FAILED)", fake="all states"),
            Proven(call="runs/list", fake="yes, also by databricks-sdk"),
            Proven(call="runs/get-output", real=lake, fake="notebooks, logs; also by databricks-sdk"),
            Proven(call="runs/cancel", real=semblance, fake="yes, also by databricks-sdk"),
            Proven(call="oidc/v1/token", fake="yes"),
            Proven(call="sql/statements, results in Arrow and JSON", real=lake, fake="yes"),
            Proven(call="sql/statements, parameters, errors, cancel", fake="yes, also by databricks-sdk"),
            Proven(call="sql/history/queries", real=lake, fake="yes, also by databricks-sdk"),
            Proven(call="TLS", real="a certificate of a test's own authority", fake="yes"),
        ],
        notes=["never tried on a workspace of Databricks"],
    )
