"""SQL anywhere: what is promised, shown on real servers and on a DuckDB file.

`sections()` makes the tables of the report; the tests in tests/integration/platforms/sql assert on the same rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow.parquet as pq

import sql_servers
from integration.platforms.sql.sql_hosts import site
from outboard.domain.tasks import Inputs
from outboard.domain.types import StructuredDatasetType
from outboard.errors import OutboardError
from outboard.platforms.sql import server as following
from outboard.platforms.sql.databases import postgresql_errors
from outboard.platforms.sql.databases.port import database_of
from outboard.platforms.sql.marks import ALIVE, CLAIM, Marks
from outboard.platforms.sql.server import Server
from outboard.platforms.sql.settings import ConnectionSettings
from outboard.platforms.sql.states import STATES
from outboard.testing.cases.sql import DUCKDB, case, sql_task
from real_parts import NotToBeHad
from sql_servers import PASSWORD, DatabaseServer
from tables.sections import Section
from warehouses import sql_load
from warehouses.measures import Mapped, conformance, mapped

PATIENCE_S: Final = 60.0
SQLSTATE_CLASSES: Final = frozenset(
    [
        *("00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24"),
        *("25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54"),
        *("55", "57", "58", "F0", "HV", "P0", "XX"),
    ]
)
"""Appendix A of PostgreSQL's documentation, release 18."""
_ERRORS: Final = "https://www.postgresql.org/docs/current/errcodes-appendix.html"

# Each column: a name, its expression, and the expression by which the vendor's client gives the text that we keep.
POSTGRESQL: Final = {
    "smallints": "CASE WHEN n % 7 = 0 THEN NULL ELSE (n % 32767)::int2 END",
    "bigints": "9223372036854775807 - n",
    "decimals": "(n * 1.001)::numeric(20,5)",
    "doubles": "n / 3.0::float8",
    "truths": "n % 2 = 0",
    "texts": "'ä\"''\\' || chr(128512) || n",
    "days": "date '0001-01-01' + n * 9",
    "times": "time '23:59:59.999999'",
    "moments": "timestamp '1970-01-01 00:00:00.000001' - n * interval '1 day'",
    "instants": "timestamptz '2024-03-31 01:59:59.999999+01' + n * interval '1 hour'",
    "bytes": "decode(md5(n::text), 'hex')",
    "lists": "ARRAY[n, NULL, -n]::int8[]",
    "word_lists": "ARRAY['a,b', NULL, '\"']",
}
POSTGRESQL_TEXTS: Final = {
    "numerics": "10::numeric ^ (n % 60) / 7",
    "uuids": "md5(n::text)::uuid",
    "jsons": "json_build_object('n', n, 'x', 1.10)::jsonb",
    "spans": "n * interval '1 month 2 days 3.25 seconds'",
    "zoned_times": "timetz '01:02:03.5+02'",
    "ranges": "int8range(n, n + 5)",
    "addresses": "inet '10.0.0.0' + n",
}
MYSQL: Final = {
    "unsigneds": "CAST(18446744073709551615 - n AS UNSIGNED)",
    "signeds": "CAST(n AS SIGNED) - 9223372036854775807",
    "decimals": "CAST(n * 1.001 AS DECIMAL(30,5))",
    "doubles": "n / 3e0",
    "texts": "CONCAT('ä\"''\\\\', CHAR(0xF09F9880 USING utf8mb4), n)",
    "days": "DATE_ADD(DATE'1000-01-01', INTERVAL n * 9 DAY)",
    "moments": "DATE_ADD(TIMESTAMP'1970-01-01 00:00:00.000001', INTERVAL n DAY)",
    "bytes": "UNHEX(MD5(n))",
    "nothing": "NULLIF(n, n)",
}
DUCKDB_COLUMNS: Final = {
    "unsigned": "18446744073709551615::ubigint - n::ubigint",
    "decimals": "(n * 1.001)::decimal(38,5)",
    "texts": "'ä\"''\\' || n",
    "days": "date '0001-01-01' + n::int",
    "moments": "timestamp '1970-01-01 00:00:00.000001'",
    "bytes": "encode(md5(n::varchar))",
    "lists": "[n, NULL, -n]",
    "structs": "{'a': n, 'b': [n::varchar]}",
}
ROWS: Final = {"postgresql": "generate_series(0, 11999) AS n", "mysql": "(SELECT seq AS n FROM seq_0_to_11999) AS s"}


async def same_rows(kind: str, connect: Callable[[], Any], connection: Mapping[str, Any]) -> Section:
    """Compare what our agent and the vendor's client make of every type."""
    exact, texts = {
        "postgresql": (POSTGRESQL, POSTGRESQL_TEXTS),
        "mysql": (MYSQL, {}),
        "duckdb": (DUCKDB_COLUMNS, {}),
    }[kind]
    source = ROWS.get(kind, "range(12000) AS r(n)")
    order = "ORDER BY n"
    ours = ", ".join(f"{expression} AS {name}" for name, expression in {**exact, **texts}.items())
    cast = {name: f"format('%s', {expression})" for name, expression in texts.items()}
    theirs = ", ".join(f"{expression} AS {name}" for name, expression in {**exact, **cast}.items())
    with tempfile.TemporaryDirectory() as name:
        async with site(Path(name), {"checks": connection}) as at:
            task = sql_task(f"SELECT {ours} FROM {source} {order}", {"table": StructuredDatasetType()})  # noqa: S608 - our own text
            status = await at.run(task, patience_s=PATIENCE_S)
        if status.outputs is None:
            return Section(title=f"same rows: {kind}", failures=[f"{kind}: {status.message}"])
        table = pq.read_table(status.outputs["table"].uri)
    with contextlib.closing(connect()) as client:
        cursor = client.cursor()
        for setting in {"postgresql": ("SET intervalstyle = 'iso_8601'", "SET timezone = 'UTC'")}.get(kind, ()):
            cursor.execute(setting)
        cursor.execute(f"SELECT {theirs} FROM {source} {order}")  # noqa: S608 - our own text
        rows = cursor.fetchall()
    found, failures = [], []
    for index, column in enumerate({**exact, **texts}):
        field = table.schema.field(column)
        equal = sum(a == b[index] for a, b in zip(table[column].to_pylist(), rows, strict=True))
        sql_type = (field.metadata or {}).get(b"sql_type", b"").decode()
        found.append({"column": column, "SQL": sql_type, "Parquet": str(field.type), "equal": equal, "of": len(rows)})
        if equal != len(rows):
            failures.append(f"{kind}.{column}: {len(rows) - equal} of {len(rows)} values differ")
    columns = ["column", "SQL", "Parquet", "equal", "of"]
    return Section(
        title=f"same rows and types as the vendor's client: {kind}", columns=columns, rows=found, failures=failures
    )


BAD_INPUT: Final[Sequence[tuple[str, str, dict[str, Any], dict[str, Any], str, str]]] = (
    ("syntax error", "SELEC 1", {}, {}, "", "42601"),
    ("no such table", "SELECT * FROM nowhere", {}, {}, "", "42P01"),
    ("no permission", "SELECT * FROM pg_authid", {}, {"user": "trusted"}, "", "42501"),
    ("wrong password", "SELECT 1", {}, {"secret": "wrong"}, "", "Login"),
    ("missing secret", "SELECT 1", {}, {"secret": None}, "MissingSecret", ""),
    ("wrong database", "SELECT 1", {}, {"database": "elsewhere"}, "", "Login"),
    ("server is away", "SELECT 1", {}, {"port": 1, "connect_s": 0.1}, "", "ConnectionLost"),
    ("unknown connection", "SELECT 1", {}, {"connection": "nowhere"}, "InvalidTask", ""),
    ("input that nobody gave", "SELECT :nobody", {}, {}, "InvalidTask", ""),
    ("parameter of a wrong type", "SELECT * FROM orders WHERE id = :x", {"x": "seven"}, {}, "", "22P02"),
    (
        "injection as a value",
        "SELECT * FROM orders WHERE name = :x",
        {"x": "' OR 1=1; DROP TABLE orders; --"},
        {},
        "",
        "ok",
    ),
    (
        "injection by a template in quotes",
        "SELECT '{{ .inputs.x }}' FROM orders",
        {"x": "'; DROP TABLE orders; --"},
        {},
        "",
        "ok",
    ),
    (
        "template inside a text",
        "SELECT * FROM orders WHERE name LIKE '%{{ .inputs.x }}%'",
        {"x": "a"},
        {},
        "InvalidTask",
        "",
    ),
    ("transaction of its own", "DELETE FROM orders; COMMIT", {}, {}, "InvalidTask", ""),
    ("write on a read-only connection", "DELETE FROM orders", {}, {"read_only": True}, "", "25006"),
    ("too slow", "SELECT pg_sleep(30)", {}, {"statement_timeout_s": 0.2}, "", "57014"),
    ("too many rows", "SELECT generate_series(1, 100000)", {}, {"max_rows": 10}, "", "ResultTooLarge"),
    ("constraint", "INSERT INTO orders VALUES (1, 'again')", {}, {}, "", "23505"),
    ("no rows for a table", "CREATE TABLE made (n int)", {}, {"table": True}, "", "NoResult"),
)
"""Case, SQL, inputs, what is special; then the error of CreateTask or the code of the failure."""


async def bad_input(server: DatabaseServer) -> Section:
    """Show what users read where something is wrong, on PostgreSQL."""
    with contextlib.closing(server.connect()) as client:
        client.execute("DROP TABLE IF EXISTS orders")
        client.execute("CREATE TABLE orders (id int PRIMARY KEY, name text)")
        client.execute("INSERT INTO orders VALUES (1, 'one')")
        client.execute("GRANT ALL ON orders TO trusted")
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    for name, sql, inputs, special, refused, code in BAD_INPUT:
        row = {"case": name, **await _try(server, sql, inputs, dict(special))}
        rows.append(row)
        wanted = refused or code
        if row["code"] != wanted:
            failures.append(f"{name}: {row['code']} in place of {wanted}: {row['message']}")
        if PASSWORD in str(row) or any(
            str(value) in row["message"] for value in inputs.values() if len(str(value)) > 6
        ):
            failures.append(f"{name}: the message gives a secret or an input away")
    with contextlib.closing(server.connect()) as client:
        if client.execute("SELECT count(*) FROM orders").fetchone() != (1,):
            failures.append("the table of the injection attempts was changed")
    columns = ["case", "told by", "phase", "code", "retry", "message"]
    return Section(title="bad input (PostgreSQL)", columns=columns, rows=rows, failures=failures)


async def _try(server: DatabaseServer, sql: str, inputs: Mapping[str, Any], special: dict[str, Any]) -> dict[str, Any]:
    secret = special.pop("secret", PASSWORD)
    outputs = {"table": StructuredDatasetType()} if special.pop("table", False) else None
    config = {"connection": special.pop("connection")} if "connection" in special else {}
    task = replace(sql_task(sql, outputs, **config), inputs=Inputs(dict(inputs)))
    with tempfile.TemporaryDirectory() as name:
        async with site(Path(name), {"checks": server.connection(**special)}, secret=secret) as at:
            try:
                status = await at.run(task, patience_s=PATIENCE_S)
            except OutboardError as refusal:
                told = {"told by": "CreateTask", "phase": "", "retry": refusal.retry.value}
                return {**told, "code": type(refusal).__name__, "message": refusal.message}
    error = status.error
    return {
        "told by": "GetTask",
        "phase": status.phase.value,
        "retry": error.retry.value if error else "",
        "code": error.code if error else "ok",
        "message": status.message,
    }


def thousand(server: DatabaseServer, count: int = 1_000) -> Section:
    """Count what a thousand polls cost where workers are elsewhere, with signs of life and without."""
    keys = [f"ob-show-{number:04}" for number in range(count)]
    rows: list[dict[str, Any]] = []
    failures = []
    with tempfile.TemporaryDirectory() as name:
        use = ConnectionSettings.model_validate(server.connection(port=server.port))
        made = Server(Path(name), use, use.target(), PASSWORD)
        counted = _Counted(made)
        for key in keys:
            marks = Marks(made.place(key, name))
            marks.write_once(CLAIM, {"declared": {}})
            marks.write_latest(ALIVE, {"message": "running"})
        for what, stale_s, wanted in (
            ("sign of life in the marks", following.STALE_S, 0),
            ("no sign of life", 0.0, -(-count // 200)),
        ):
            before, kept = counted.questions, following.STALE_S
            following.STALE_S = stale_s  # type: ignore[misc]
            began = time.monotonic()
            try:
                for start in range(0, len(keys), 200):
                    made.looks([(key, name) for key in keys[start : start + 200]])
            finally:
                following.STALE_S = kept  # type: ignore[misc]
            took = time.monotonic() - began
            questions = counted.questions - before
            rows.append(
                {
                    "statements": len(keys),
                    "with": what,
                    "questions": questions,
                    "ms each": round(took / len(keys) * 1_000, 2),
                }
            )
            if questions != wanted:
                failures.append(f"{what}: {questions} questions to the database in place of {wanted}")
    return Section(
        title=f"{count:,} statements on other machines, looked at once (PostgreSQL)",
        columns=["statements", "with", "questions", "ms each"],
        rows=rows,
        failures=failures,
    )


class _Counted:
    """Counts a server's questions to its database."""

    def __init__(self, made: Server) -> None:
        self.questions = 0
        database: Any = database_of(made.target, made.password)
        asked = database.sightings

        def sightings(keys: Sequence[str]) -> Any:
            self.questions += 1
            return asked(keys)

        database.sightings = sightings
        made._database = database


async def crowd(server: DatabaseServer, count: int = 40, limit: int = 6) -> Section:
    """Send many statements at once to a connection with a limit, and watch how many sessions the server has."""
    most = 0
    with tempfile.TemporaryDirectory() as name, contextlib.closing(server.connect()) as watcher:
        began = time.monotonic()
        async with site(Path(name), {"checks": server.connection(limit=limit)}) as at:
            task = sql_task("SELECT 1 FROM (SELECT pg_sleep(0.2)) AS z")
            runs = [asyncio.ensure_future(at.run(task, patience_s=PATIENCE_S)) for _ in range(count)]
            while not all(each.done() for each in runs):
                query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'ob-%'"
                most = max(most, watcher.execute(query).fetchone()[0])
                await asyncio.sleep(0.02)
            phases = {(await each).phase.value for each in runs}
        took = time.monotonic() - began
    failures = [] if phases == {"SUCCEEDED"} and 0 < most <= limit else [f"{phases}, {most} sessions at most"]
    row = {
        "statements": count,
        "limit": limit,
        "most sessions": most,
        "seconds": round(took, 1),
        "ends": ", ".join(phases),
    }
    return Section(title="many at once (PostgreSQL)", columns=list(row), rows=[row], failures=failures)


def meanings() -> Section:
    """Compare what is mapped with what is documented."""
    return mapped(
        "states and errors mapped, of those that are documented",
        [
            Mapped(
                what="classes of SQLSTATE",
                documented=SQLSTATE_CLASSES,
                mapped=frozenset(postgresql_errors.CLASSES),
                source=_ERRORS,
            ),
            Mapped(
                what="states of a statement",
                documented=STATES.documented,
                mapped=frozenset(state for state in STATES.documented if not STATES.read(state).is_flagged),
                source=STATES.source,
            ),
        ],
    )


def proven() -> Section:
    """Return which calls were made on what."""
    real = {"real part": "yes", "fake": "no"}
    calls = (
        "connect, statements with bound parameters, rows in chunks, commit, rollback",
        "PostgreSQL: pg_stat_activity, pg_cancel_backend, cancel request, txid_status",
        "MariaDB: GET_LOCK, IS_USED_LOCK, KILL QUERY, PREPARE and EXECUTE",
        "DuckDB: interrupt, the file's lock, transactions",
        "PostgreSQL over TLS: certificate and name verified, and what is refused",
        "S3 (SeaweedFS): conditional writes of marks, a large result in parts",
    )
    columns = ["call", "real part", "fake"]
    return Section(title="calls proven", columns=columns, rows=[{"call": call, **real} for call in calls])


@contextlib.contextmanager
def duckdb_file() -> Any:
    """Yield a maker of clients of a new file, and the settings of a connection to it."""
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name) / "show.duckdb")
        duckdb.connect(path).close()
        yield lambda: duckdb.connect(path), {"kind": "duckdb", "database": path}


def sections() -> list[Section]:
    """Run everything; a server that cannot be had is told as skipped."""
    found = [meanings(), proven()]
    cases = {"DuckDB": DUCKDB}
    with ExitStack() as stack:
        servers: dict[str, DatabaseServer] = {}
        for kind, start in (("postgresql", sql_servers.postgresql), ("mysql", sql_servers.mariadb)):
            try:
                servers[kind] = stack.enter_context(start())
            except NotToBeHad as error:
                found.append(Section(title=f"SQL on {kind}", skipped=str(error)))
        endless = {"postgresql": "SELECT pg_sleep(600)", "mysql": "SELECT SLEEP(600)"}
        for kind, server in servers.items():
            cases[kind] = case(lambda _folder, server=server: server.trusting(), endless[kind])  # type: ignore[misc]
            found.append(asyncio.run(same_rows(kind, server.connect, server.connection())))
        with duckdb_file() as (connect, connection):
            found.append(asyncio.run(same_rows("duckdb", connect, connection)))
            large = {kind: server.connection() for kind, server in servers.items()}
            found.append(sql_load.memory({**large, "duckdb": connection}))
        if "postgresql" in servers:
            found.append(asyncio.run(bad_input(servers["postgresql"])))
            found.append(asyncio.run(crowd(servers["postgresql"])))
            found.append(thousand(servers["postgresql"]))
            found.append(sql_load.thousand_jobs(servers["postgresql"]))
        found.append(conformance("outboard check: checks passed", cases))
    return found
