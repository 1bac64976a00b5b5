"""Snowflake in `make warehouses`: the promise, a thousand statements, bad input, and Snowflake's own connector on fakesnow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

import real_parts
from integration.platforms.snowflake.snowflake_emulator import emulator
from integration.platforms.snowflake.snowflake_hosts import sent, site
from outboard.agent import Inputs, Registry
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.errors import Retry
from outboard.host import Host, HostSettings
from outboard.host.settings import SecretSettings
from outboard.platforms.snowflake.errors import CODES
from outboard.platforms.snowflake.platform import Snowflake
from outboard.platforms.snowflake.states import SOURCE, STATES
from outboard.testing.cases.snowflake import SNOWFLAKE, settings_for, statement_task
from outboard.testing.faults import Refuse
from outboard.testing.ledger import Course
from outboard.testing.platforms.snowflake import Answer, Engine, failing
from outboard.testing.stores import MemoryStores
from outboard.testing.virtual_time import run_virtually
from tables.sections import Section
from warehouses.measures import (
    Compared,
    Load,
    Mapped,
    Proven,
    Seen,
    Wanted,
    bad_inputs,
    compared,
    conformance,
    follow_all,
    loads,
    mapped,
    proven,
    what_is_seen,
)
from warehouses.storms import storms

JOBS: Final = 1_000
RATES: Final = {"create": 100, "get": 200}
_ANSWERS: Final = {"SQL API": frozenset({200, 202, 400, 401, 403, 404, 405, 408, 415, 422, 429, 500, 503, 504})}
_ON_FAKESNOW: Final = "fakesnow 0.12.1 and snowflake-connector-python 4.8.1, through a translator of the tests"
DAY: Final = datetime(2026, 1, 1, 18, tzinfo=timezone.utc)


def sections() -> list[Section]:
    """Return the report's tables."""
    cases = {"snowflake": SNOWFLAKE}
    return [
        conformance("Snowflake: outboard check", cases),
        storms("Snowflake: storms", cases),
        states(),
        thousand(),
        bad_input(),
        witness(),
        calls(),
    ]


def states() -> Section:
    """Return what is documented, and mapped."""
    words = frozenset(map(str, STATES.documented))
    known = frozenset(word for word in words if not STATES.read(word).is_flagged)
    http = _ANSWERS["SQL API"]
    tables = [
        Mapped(what="states (QueryStatus)", documented=words, mapped=known, source=SOURCE),
        Mapped(what="HTTP statuses of the SQL API", documented=http, mapped=_understood(http), source=SOURCE),
    ]
    shown = mapped("Snowflake: states mapped / documented", tables)
    return replace(shown, notes=[f"of codes of statements no list is published; {len(CODES)} have a meaning here"])


def _understood(statuses: frozenset[int]) -> frozenset[int]:
    """Return the statuses that have a meaning of their own: an answer, or a kind of error that is not the fallback."""
    answers = {200, 202}
    errors = {
        each for each in statuses - answers if type(Snowflake.errors.classify(status=each)).__name__ != "AgentError"
    }
    return frozenset(answers | errors)


# A thousand statements


def thousand(count: int = JOBS) -> Section:
    """Return what a thousand statements cost where the account answers 429 beyond a rate."""
    return loads(f"Snowflake: {count:,} jobs", [run_virtually(_many(count), limit_s=86_400.0)])


async def _many(count: int) -> Load:
    answers = {f"SELECT {n}": Answer(course=Course(queued_s=5, running_s=30 + n / 20)) for n in range(count)}
    async with site(answers, rates=RATES) as at:
        tasks = [sent(statement_task(f"SELECT {n}"), node=f"n{n}") for n in range(count)]
        followed = await follow_all(at.host, tasks)
        number = {
            body["statement"]: job
            for body, job in zip(at.server.asked.values(), at.server.ledger.jobs.values(), strict=True)
        }
        return Load(
            name="statements",
            quotas=f"none is documented; the fake allows {RATES['create']} submissions and {RATES['get']} looks a second",
            followed=followed,
            ended_at=[number[f"SELECT {n}"].ended_at() for n in range(count)],
            jobs=len(at.server.ledger.jobs),
            calls={name: at.server.faults.calls[name] for name in ("create", "get", "find", "cancel")},
            throttled=at.server.throttled.total(),
        )


# Bad input


def bad_input() -> Section:
    """Return what users see of tasks that cannot succeed."""
    rows = [(name, wanted, run_virtually(see, limit_s=10 * 86_400.0)) for name, wanted, see in _cases()]
    return bad_inputs("Snowflake: bad input", rows)


def _cases() -> list[tuple[str, Wanted, Callable[[], Coroutine[Any, Any, Seen]]]]:
    never, later = Retry.NEVER, Retry.YES
    listed = "platforms.snowflake.allowed_accounts"
    sql = "SELECT * FROM t WHERE id = CAST(%(a)s AS INTEGER)"
    return [
        ("account that is not allowed", Wanted(retry=never, words=[listed], jobs=0),
         lambda: _seen(statement_task("SELECT quick", account="theirs-x"), settings={"allowed_accounts": ("myorg-*",)})),
        ("account that is none", Wanted(retry=never, words=["account identifier"], jobs=0),
         lambda: _seen(statement_task("SELECT quick", account="evil.example/x"))),
        ("account that does not exist", Wanted(retry=later, words=["check the account identifier"], jobs=0),
         lambda: _seen(statement_task("SELECT quick"), refuse=Refuse(status=404, code="", words="Not Found"))),
        ("role that is not there", Wanted(retry=never, words=["Role 'NOBODY'"], jobs=0),
         lambda: _seen(statement_task("SELECT quick", role="nobody"), roles={"LOADER"})),
        ("warehouse that is not there", Wanted(retry=never, words=["requested warehouse"], jobs=0),
         lambda: _seen(statement_task("SELECT quick", warehouse="nowhere"), warehouses={"LOADING"})),
        ("no permission", Wanted(retry=never, words=["Insufficient privileges", "grant it"], jobs=1),
         lambda: _seen(statement_task("SELECT 2"), answer=failing("003001", "42501", "Insufficient privileges to operate on t"))),
        ("syntax error", Wanted(retry=never, words=["syntax error"], jobs=1), lambda: _seen(statement_task("SELEC 1"))),
        ("expired OAuth token", Wanted(retry=later, words=["expired"], not_words=["t0p"], jobs=0),
         lambda: _seen(statement_task("SELECT quick"), settings={"auth": "oauth"}, secrets={"snowflake_token": "t0p"})),
        ("key that is not the user's", Wanted(retry=later, words=["JWT token is invalid"], jobs=0),
         lambda: _seen(statement_task("SELECT quick", user="SOMEBODY"))),
        ("secret that is no key", Wanted(retry=later, words=["RSA key in PEM"], not_words=["no key"], jobs=0),
         lambda: _seen(statement_task("SELECT quick"), secrets={"snowflake_private_key": "no key"})),
        ("missing secret", Wanted(retry=never, words=["snowflake_private_key"], jobs=0),
         lambda: _seen(statement_task("SELECT quick"), secrets={"other": "x"})),
        ("password in the task", Wanted(retry=never, words=["clear text"], not_words=["hunter2"], jobs=0),
         lambda: _seen(replace(statement_task("SELECT quick"), config={"connection_kwargs": {"password": "hunter2"}}))),
        ("quota exceeded", Wanted(retry=later, words=["resource monitor"], jobs=1),
         lambda: _seen(statement_task("SELECT 2"), answer=failing(
             "090073", "22000", "Warehouse 'LOADING' cannot be resumed because resource monitor 'M' has exceeded its quota."))),
        ("input of a wrong type", Wanted(retry=never, words=["inputs.a", "seconds as a float"], jobs=0),
         lambda: _seen(_asking("SELECT %(a)s", a=timedelta(days=3)))),
        ("text for a number", Wanted(retry=never, words=["not recognized"], not_words=["soon"], jobs=1),
         lambda: _seen(_asking(sql, a="soon"), engine=_table())),
        ("injection by an input", Wanted(retry=never, words=["not recognized"], not_words=["DROP"], jobs=1),
         lambda: _seen(_asking(sql, a="1; DROP TABLE t"), engine=_table())),
        ("input within quotes", Wanted(retry=never, words=["within quotes"], jobs=0),
         lambda: _seen(_asking("SELECT * FROM t WHERE name = '%(a)s'", a="x' OR '1'='1"))),
        ("time that is up", Wanted(retry=never, words=["timeout of 30 second(s)"], jobs=1),
         lambda: _seen(statement_task("SELECT long", statement_timeout_s="30"))),
    ]  # fmt: skip


async def _seen(
    task: RawTask,
    *,
    answer: Answer | None = None,
    refuse: Refuse | None = None,
    roles: set[str] | None = None,
    warehouses: set[str] | None = None,
    **options: Any,
) -> Seen:
    async with site({"SELECT 2": answer} if answer is not None else None, **options) as at:
        at.server.roles, at.server.warehouses = roles, warehouses
        at.server.access.expired.add("t0p")
        if refuse is not None:
            at.server.faults.add(refuse, "create")
        return replace(await what_is_seen(at.host, at.sent(task)), jobs=len(at.server.ledger.jobs))


def _asking(sql: str, **inputs: Any) -> RawTask:
    return replace(statement_task(sql), inputs=Inputs(inputs))


def _table() -> Engine:
    engine = Engine()
    engine.run("CREATE TABLE t AS SELECT 1 AS id, 'x' AS name", {})
    return engine


# Snowflake's own connector

QUERIES: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "all types of a table": ("SELECT * FROM orders ORDER BY id", {}),
    "inputs in the result": ("SELECT %(n)s AS n, %(t)s AS t FROM orders WHERE id = 1", {"n": 5, "t": "it's 'x'; --"}),
    "inputs in conditions": ("SELECT id FROM orders WHERE region = %(r)s AND amount > %(m)s", {"r": "EU", "m": 7}),
    "a list": ("SELECT id FROM orders WHERE id IN (%(ids)s)", {"ids": [1, 3]}),
    "a boolean": ("SELECT id FROM orders WHERE paid = %(b)s", {"b": True}),
    "a moment": ("SELECT id FROM orders WHERE day < CAST(%(d)s AS TIMESTAMP_NTZ)", {"d": DAY}),
    "a percent sign": ("SELECT id FROM orders WHERE region LIKE 'E%%' AND id >= %(n)s", {"n": 1}),
    "NULL": ("SELECT id FROM orders WHERE region = COALESCE(%(x)s, 'US')", {"x": None}),
    "no rows": ("SELECT id FROM orders WHERE id = %(n)s", {"n": 99}),
}
"""Statements with inputs, as both ways execute them."""
WRONG: Final = ("SELECT * FROM nowhere", "SELEC 1", "SELECT nothing FROM orders")
_NAME: Final = "Snowflake: the same query by our agent and by Snowflake's connector"


def witness() -> Section:
    """Compare results and error codes with what flytekit's way of executing the same statement gives."""
    try:
        python = real_parts.install("snowflake")
    except real_parts.NotToBeHad as error:
        return Section(title=_NAME, skipped=str(error))
    return asyncio.run(_witness(python))


async def _witness(python: Path) -> Section:
    with emulator(python) as served:
        secrets = SecretSettings(overrides={"snowflake_token": SecretStr("t0p")})
        known = HostSettings(installation="tests", secrets=secrets)
        async with Host(Registry([Snowflake(settings_for(served.url))]), known, stores=MemoryStores()) as host:
            tasks = [replace(statement_task(sql), inputs=Inputs(inputs)) for sql, inputs in QUERIES.values()]
            ended = await asyncio.gather(*(_ended(host, task) for task in [*tasks, *map(statement_task, WRONG)]))
        ours = served.ask([_reading(status) for status in ended[: len(tasks)]])
        theirs = served.ask([{"sql": sql, "inputs": _plain(inputs)} for sql, inputs in QUERIES.values()])
        wrong = served.ask([{"sql": sql, "inputs": {}} for sql in WRONG])
    codes = [status.error.code if status.error is not None else status.phase.value for status in ended[len(tasks) :]]
    answers = [
        Compared(query=name, ours=own, theirs=other) for name, own, other in zip(QUERIES, ours, theirs, strict=True)
    ]
    answers += [
        Compared(query=f"error: {sql}", ours=code, theirs=other["code"])
        for sql, code, other in zip(WRONG, codes, wrong, strict=True)
    ]
    return compared(_NAME, answers, versions={"fakesnow": "0.12.1", "snowflake-connector-python": "4.8.1"})


def _reading(status: TaskStatus) -> dict[str, Any]:
    """Return the question that a reader of a task's output asks."""
    uri = status.outputs["results"].uri if status.outputs else ""
    return {"query_id": uri.rpartition("/")[2]}


def _plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"at": value.isoformat()} if isinstance(value, datetime) else value for name, value in inputs.items()}


async def _ended(host: Host, task: RawTask) -> TaskStatus:
    handle = await host.create_task(sent(task), timeout_s=10)
    while True:
        status = await host.get_task(handle, timeout_s=10)
        if status.phase.is_terminal:
            return status
        await asyncio.sleep(0.05)


# Where each call was proven


def calls() -> Section:
    """Return on what each call was tried."""
    table = [
        Proven(
            call="text and bind variables of POST /api/v2/statements", real=_ON_FAKESNOW, fake="DuckDB executes them"
        ),
        Proven(call="POST /api/v2/statements: requestId, retry, async, timeout, parameters", fake="all"),
        Proven(call="GET /api/v2/statements/{handle}: 200, 202, 408, 422, 404", fake="all"),
        Proven(call="POST /api/v2/statements/{handle}/cancel", fake="all"),
        Proven(call="codes of statements that fail", real=f"{_ON_FAKESNOW} (001003, 002003, 002043)", fake="all"),
        Proven(call="KEYPAIR_JWT", real="PyJWT reads it", fake="signature, fingerprint, claims and times are checked"),
        Proven(call="OAUTH and PROGRAMMATIC_ACCESS_TOKEN", fake="kinds and tokens are checked"),
        Proven(call="the result's address", real="snowflake-connector-python 4.8.1 reads it on fakesnow"),
        Proven(call="INFORMATION_SCHEMA.QUERY_HISTORY_BY_USER", fake="by tag and by id; its SQL is not executed"),
    ]
    return proven("Snowflake: calls proven", table, notes=["no call was ever made of Snowflake itself"])
