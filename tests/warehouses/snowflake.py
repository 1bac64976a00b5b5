"""Snowflake in `make warehouses`: the promise, a thousand statements, bad input, and Snowflake's own connector on fakesnow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
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
from outboard.testing.platforms.snowflake import Answer, Engine, FakeSnowflake, failing
from outboard.testing.stores import MemoryStores
from outboard.testing.virtual_time import run_virtually
from tables.sections import Section
from warehouses.bad_inputs import Bad, bad_inputs, no_job, one_job
from warehouses.loads import JOBS, Load, follow_all, loads
from warehouses.measures import Compared, Mapped, Proven, compared, conformance, mapped, proven
from warehouses.storms import storms

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
        tasks = {sql: sent(statement_task(sql), node=f"n{n}") for n, sql in enumerate(answers)}
        followed = await follow_all(
            at.host,
            tasks,
            at.server.ledger,
            lambda: {
                body["statement"]: job
                for body, job in zip(at.server.asked.values(), at.server.ledger.jobs, strict=True)
            },
        )
        return Load(
            name="statements",
            quotas=f"none is documented; the fake allows {RATES['create']} submissions and {RATES['get']} looks a second",
            followed=followed,
            calls={name: at.server.faults.calls[name] for name in ("create", "get", "find", "cancel")},
            throttled=at.server.throttled.total(),
        )


# Bad input


_TASK: Final = statement_task("SELECT quick")
_NUMBER: Final = "SELECT * FROM t WHERE id = CAST(%(a)s AS INTEGER)"


def _asking(sql: str, **inputs: Any) -> RawTask:
    return replace(statement_task(sql), inputs=Inputs(inputs))


def _failing(code: str, sql_state: str, words: str) -> Callable[[FakeSnowflake], None]:
    return lambda server: server.answers.update({"SELECT 2": failing(code, sql_state, words)})


def _not_found(server: FakeSnowflake) -> None:
    server.faults.add(Refuse(status=404, code="", words="Not Found"), "create")


def _has_one_role(server: FakeSnowflake) -> None:
    server.roles = {"LOADER"}


def _has_one_warehouse(server: FakeSnowflake) -> None:
    server.warehouses = {"LOADING"}


def _expire(server: FakeSnowflake) -> None:
    server.access.expired.add("t0p")


def _has_a_table(server: FakeSnowflake) -> None:
    server._engine = engine = Engine()
    engine.run("CREATE TABLE t AS SELECT 1 AS id, 'x' AS name", {})


BAD: Final[Mapping[str, Bad[FakeSnowflake]]] = {
    "account that is not allowed": Bad(
        task=statement_task("SELECT quick", account="theirs-x"),
        settings={"allowed_accounts": ("myorg-*",)},
        wanted=no_job(Retry.NEVER, "platforms.snowflake.allowed_accounts"),
    ),
    "account that is none": Bad(
        task=statement_task("SELECT quick", account="evil.example/x"),
        wanted=no_job(Retry.NEVER, "account identifier"),
    ),
    "account that does not exist": Bad(
        task=_TASK, prepare=_not_found, wanted=no_job(Retry.YES, "check the account identifier")
    ),
    "role that is not there": Bad(
        task=statement_task("SELECT quick", role="nobody"),
        prepare=_has_one_role,
        wanted=no_job(Retry.NEVER, "Role 'NOBODY'"),
    ),
    "warehouse that is not there": Bad(
        task=statement_task("SELECT quick", warehouse="nowhere"),
        prepare=_has_one_warehouse,
        wanted=no_job(Retry.NEVER, "requested warehouse"),
    ),
    "no permission": Bad(
        task=statement_task("SELECT 2"),
        prepare=_failing("003001", "42501", "Insufficient privileges to operate on t"),
        wanted=one_job(Retry.NEVER, "Insufficient privileges", "grant it"),
    ),
    "syntax error": Bad(task=statement_task("SELEC 1"), wanted=one_job(Retry.NEVER, "syntax error")),
    "expired OAuth token": Bad(
        task=_TASK,
        prepare=_expire,
        settings={"auth": "oauth"},
        secrets={"snowflake_token": "t0p"},
        wanted=no_job(Retry.YES, "expired", not_words=["t0p"]),
    ),
    "key that is not the user's": Bad(
        task=statement_task("SELECT quick", user="SOMEBODY"), wanted=no_job(Retry.YES, "JWT token is invalid")
    ),
    "secret that is no key": Bad(
        task=_TASK,
        secrets={"snowflake_private_key": "no key"},
        wanted=no_job(Retry.YES, "RSA key in PEM", not_words=["no key"]),
    ),
    "missing secret": Bad(task=_TASK, secrets={"other": "x"}, wanted=no_job(Retry.NEVER, "snowflake_private_key")),
    "password in the task": Bad(
        task=replace(_TASK, config={"connection_kwargs": {"password": "hunter2"}}),
        wanted=no_job(Retry.NEVER, "clear text", not_words=["hunter2"]),
    ),
    "quota exceeded": Bad(
        task=statement_task("SELECT 2"),
        prepare=_failing(
            "090073",
            "22000",
            "Warehouse 'LOADING' cannot be resumed because resource monitor 'M' has exceeded its quota.",
        ),
        wanted=one_job(Retry.YES, "resource monitor"),
    ),
    "input of a wrong type": Bad(
        task=_asking("SELECT %(a)s", a=timedelta(days=3)),
        wanted=no_job(Retry.NEVER, "inputs.a", "seconds as a float"),
    ),
    "text for a number": Bad(
        task=_asking(_NUMBER, a="soon"),
        prepare=_has_a_table,
        wanted=one_job(Retry.NEVER, "not recognized", not_words=["soon"]),
    ),
    "injection by an input": Bad(
        task=_asking(_NUMBER, a="1; DROP TABLE t"),
        prepare=_has_a_table,
        wanted=one_job(Retry.NEVER, "not recognized", not_words=["DROP"]),
    ),
    "input within quotes": Bad(
        task=_asking("SELECT * FROM t WHERE name = '%(a)s'", a="x' OR '1'='1"),
        wanted=no_job(Retry.NEVER, "within quotes"),
    ),
    "time that is up": Bad(
        task=statement_task("SELECT long", statement_timeout_s="30"),
        wanted=one_job(Retry.NEVER, "timeout of 30 second(s)"),
    ),
}
"""What may be wrong with a task, and what a user should see."""


def bad_input() -> Section:
    """Return what users see of tasks that cannot succeed."""
    return bad_inputs("Snowflake: bad input", BAD, _site, sent)


@asynccontextmanager
async def _site(bad: Bad[FakeSnowflake]) -> AsyncIterator[tuple[FakeSnowflake, Host]]:
    async with site(settings=bad.settings, secrets=bad.secrets) as at:
        yield at.server, at.host


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
