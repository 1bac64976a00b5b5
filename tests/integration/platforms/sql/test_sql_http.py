"""ClickHouse (the real engine behind HTTP) and Trino (the real server): rows, types, errors, cancels, deaths."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import sql_http_servers
import sql_http_witness
from integration.platforms.sql.sql_hosts import PATIENCE_S, site, task
from integration.platforms.sql.test_sql_deaths import kill_worker
from outboard.domain.phases import Phase
from outboard.errors import InvalidTask
from outboard.platforms.sql.databases.clickhouse import ClickHouse
from outboard.platforms.sql.databases.port import Database, Fate, Wish, database_of
from outboard.platforms.sql.databases.trino import Pages, Trino
from outboard.platforms.sql.settings import ConnectionSettings
from real_parts import NotToBeHad, install
from sql_http_servers import PASSWORD, HttpServer

STARTERS = {"clickhouse": sql_http_servers.clickhouse, "trino": sql_http_servers.trino}
ENDLESS = {
    "clickhouse": "SELECT sleepEachRow(1) AS n FROM numbers(90)"
    " SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0",
    "trino": "SELECT count(*) AS n FROM tpch.sf100.lineitem a, tpch.sf100.lineitem b WHERE a.comment = b.comment || 'x'",
}
CLICKHOUSE = {
    "unsigned": "18446744073709551615 - number",
    "int128": "toInt128('-170141183460469231731687303715884105728') + number",
    "uint256": "toUInt256('115792089237316195423570985008687907853269984665640564039457584007913129639935') - number",
    "decimals": "toDecimal64(number, 4) / 7",
    "decimals256": "toDecimal256('-1.5', 40) * number",
    "doubles": "number / 3",
    "truths": "number % 2 = 0",
    "texts": "concat('ä\"\\'\\\\', char(9), toString(number))",
    "fixed": "toFixedString(toString(number % 1000), 5)",
    "words": "toLowCardinality(toString(number % 5))",
    "nothing": "if(number % 3 = 0, NULL, toInt32(number))",
    "days": "toDate('2024-01-01') + number",
    "long_days": "toDate32('1900-01-01') + number",
    "seconds": "toDateTime('2024-03-31 00:59:59', 'Europe/Berlin') + number * 600",
    "micros": "toDateTime64('2024-10-27 00:30:00.123456', 6, 'Europe/Berlin') + number * 600",
    "uuids": "reinterpretAsUUID(toUInt128(number) + 1)",
    "ipv4": "toIPv4(toUInt32(number * 1000))",
    "ipv6": "toIPv6(concat('2001:db8::', hex(number)))",
    "enums": "CAST(number % 2 + 1, 'Enum8(\\'it\\\\\\'s\\' = 1, \\'b\\' = 2)')",
    "lists": "[number, number + 1]",
    "lists_of_addresses": "[toIPv4('1.2.3.4'), toIPv4(toUInt32(number))]",
    "maps": "map('k', toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0'), 'n', reinterpretAsUUID(toUInt128(number)))",
    "tuples": "CAST((number, toString(number)), 'Tuple(a UInt64, b String)')",
}
TRINO = {
    "bigints": "9223372036854775807 - n",
    "decimals": "cast(n as decimal(38, 10)) / 7",
    "doubles": "n / 3e0",
    "truths": "n % 2 = 0",
    "texts": "'ä''\"\\' || chr(9) || cast(n as varchar)",
    "nothing": "if(n % 3 = 0, null, n)",
    "days": "date '2024-01-01' + n * interval '1' day",
    "moments": "timestamp '1969-12-31 23:59:59.999999' + n * interval '1' hour",
    "instants": "timestamp '2024-06-01 00:30:00.123456 Europe/Berlin' + n * interval '1' minute",
    "bytes": "md5(to_utf8(cast(n as varchar)))",
    "uuids": "cast(md5(to_utf8(cast(n as varchar))) as uuid)",
    "addresses": "ipaddress '10.0.0.1'",
    "jsons": "cast(map(array['n'], array[n]) as json)",
    "lists": "array[n, null, -n]",
    "maps": "map(array[n], array[cast(n as varchar)])",
    "rows": "cast(row(n, cast(n as varchar)) as row(a bigint, b varchar))",
    "spans": "n * interval '1.5' second",
}
SOURCES = {"clickhouse": "numbers(3000) ORDER BY number", "trino": "UNNEST(sequence(0, 2999)) AS t(n) ORDER BY n"}
BAD: list[tuple[str, str, dict[str, Any], dict[str, Any], str, str]] = [
    ("syntax", "SELEC 1", {}, {}, "62", "SYNTAX_ERROR"),
    ("no table", "SELECT * FROM nowhere", {}, {}, "60", "TABLE_NOT_FOUND"),
    ("wrong type", "SELECT CAST(:x AS BIGINT)", {"x": "seventeen"}, {}, "6", "INVALID_CAST_ARGUMENT"),
    ("read only", "CREATE TABLE refused AS SELECT 1 AS n", {}, {"read_only": True}, "164", "READ_ONLY_VIOLATION"),
    ("too slow", "", {}, {"statement_timeout_s": 0.3}, "159", "EXCEEDED_TIME_LIMIT"),
    ("too many rows", "", {}, {"max_rows": 10}, "ResultTooLarge", "ResultTooLarge"),
    ("server away", "SELECT 1", {}, {"port": 1, "connect_s": 0.1}, "ConnectionLost", "ConnectionLost"),
]
"""Case, SQL, inputs, what is special about the connection; the codes of ClickHouse and Trino."""

LONG = {
    ("too slow", "clickhouse"): "SELECT count() FROM numbers(100000000000) WHERE number % 7 = 3",
    ("too slow", "trino"): ENDLESS["trino"],
    ("too many rows", "clickhouse"): "SELECT number FROM numbers(100000)",
    ("too many rows", "trino"): "SELECT orderkey FROM tpch.tiny.lineitem",
}


@pytest.fixture(scope="session")
def started() -> Iterator[Callable[[str], HttpServer]]:
    known: dict[str, HttpServer] = {}
    with ExitStack() as stack:

        def get(kind: str) -> HttpServer:
            if kind not in known:
                try:
                    known[kind] = stack.enter_context(STARTERS[kind]())
                except NotToBeHad as error:
                    if os.environ.get("OUTBOARD_REAL_PARTS") == "required":
                        raise
                    pytest.skip(f"a real part was not tried: {error}")
            return known[kind]

        yield get


@pytest.fixture(params=["clickhouse", "trino"])
def http_server(started: Callable[[str], HttpServer], request: pytest.FixtureRequest) -> HttpServer:
    return started(request.param)


@pytest.fixture
def clickhouse(started: Callable[[str], HttpServer]) -> HttpServer:
    return started("clickhouse")


@pytest.fixture
def trino(started: Callable[[str], HttpServer]) -> HttpServer:
    return started("trino")


def open_database(server: HttpServer, **more: Any) -> Database:
    settings = ConnectionSettings.model_validate(server.connection(**more))
    return database_of(settings.target(), PASSWORD if server.has_password else "")


def witness(server: HttpServer, sql: str, parameters: Any = ()) -> list[list[Any]]:
    asked = {
        "kind": server.kind,
        "where": {"port": server.port, "password": PASSWORD},
        "sql": sql,
        "parameters": parameters,
    }
    command = [str(install("sql_http")), sql_http_witness.__file__]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-600:]
    rows: list[list[Any]] = json.loads(done.stdout)
    return rows


def ours(value: Any) -> Any:
    """Return a value of a Parquet file as the witness tells it; a map is pairs here and a dictionary there."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return {str(key): ours(each) for key, each in value}
    if isinstance(value, list):
        return [ours(each) for each in value]
    return sql_http_witness.told(value)


def alike(kind: str, column: str, mine: Any, theirs: Any) -> bool:
    if kind == "trino" and column == "rows":
        return bool(list(mine.values()) == theirs)
    if kind == "clickhouse" and column == "fixed":
        return bool(bytes.fromhex(mine) == bytes.fromhex(theirs).ljust(5, b"\0"))
    if kind == "trino" and column == "spans":  # theirs is a Python timedelta
        days, _, clock = mine.partition(" ")
        return theirs in (clock.removesuffix(".000").lstrip("0"), f"{days} day, {clock}") or _seconds(mine) == _seconds(
            theirs
        )
    if column.startswith("decimals"):
        return float(mine) == pytest.approx(float(theirs), rel=0, abs=0) and str(mine).rstrip("0") == str(
            theirs
        ).rstrip("0")
    return bool(mine == theirs)


def _seconds(text: str) -> float:
    days, _, clock = text.replace(" days,", "").replace(" day,", "").rpartition(" ")
    hours, minutes, seconds = clock.split(":")
    return int(days or 0) * 86_400 + int(hours) * 3_600 + int(minutes) * 60 + float(seconds)


async def test_each_type_comes_as_the_vendors_own_client_gives_it(http_server: HttpServer, tmp_path: Path) -> None:
    columns = {"clickhouse": CLICKHOUSE, "trino": TRINO}[http_server.kind]
    named = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    sql = f"SELECT {named} FROM {SOURCES[http_server.kind]}"  # noqa: S608 - ours
    async with site(tmp_path, {"checks": http_server.connection(read_only=True)}) as where:
        status = await where.run(task(sql, table=True))
    assert status.phase is Phase.SUCCEEDED, status
    assert status.outputs is not None
    table = pq.read_table(status.outputs["table"].uri)
    rows = witness(http_server, sql)
    for index, name in enumerate(columns):
        mine = [ours(value) for value in table[name].to_pylist()]
        differing = [
            (one, other[index])
            for one, other in zip(mine, rows, strict=True)
            if not alike(http_server.kind, name, one, other[index])
        ]
        assert (name, differing[:2]) == (name, [])


async def test_parameters_are_values_whatever_they_hold(http_server: HttpServer, tmp_path: Path) -> None:
    nasty = "o'x\\';--\t\n{p1:String} ? U&'' \" ä😀"
    inputs = {"a": nasty, "b": 9_223_372_036_854_775_807, "c": 0.1, "d": True, "e": None, "f": [1, None, 3]}
    sql = (
        "SELECT :a AS a, :b AS b, :c AS c, :d AS d, :e AS e, :f AS f, '{{ .inputs.a }}' AS g /* :a '{{ .inputs.a }}' */"
    )
    async with site(tmp_path, {"checks": http_server.connection()}) as where:
        status = await where.run(task(sql, inputs, table=True))
    assert status.phase is Phase.SUCCEEDED, status
    assert status.outputs is not None
    assert pq.read_table(status.outputs["table"].uri).to_pylist() == [{**inputs, "g": nasty}]


@pytest.mark.parametrize("asked", BAD, ids=[each[0] for each in BAD])
async def test_bad_input_is_told_with_the_databases_own_code(
    http_server: HttpServer, tmp_path: Path, asked: Any
) -> None:
    name, sql, inputs, special, *codes = asked
    kind = http_server.kind
    async with site(tmp_path, {"checks": http_server.connection(**special)}) as where:
        status = await where.run(task(sql or LONG[name, kind], inputs, table=True))
    is_away = name == "server away"
    assert status.error is not None, status
    assert status.error.code == codes[kind == "trino"], status
    assert (status.phase is Phase.RETRYABLE_FAILED, status.error.cause.value == "user") == (is_away, not is_away), (
        status
    )
    assert all(str(value) not in status.message for value in inputs.values())


async def test_what_a_statement_writes_is_there_and_counted(http_server: HttpServer, tmp_path: Path) -> None:
    make = "CREATE TABLE made (n BIGINT)" + (" ENGINE = Memory" if http_server.kind == "clickhouse" else "")
    async with site(tmp_path, {"checks": http_server.connection()}) as where:
        assert (await where.run(task(make))).phase is Phase.SUCCEEDED
        written = await where.run(task("INSERT INTO made VALUES (1), (2)"))
        read = await where.run(task("SELECT count(*) AS n FROM made", table=True))
    assert (written.phase, written.outputs) == (Phase.SUCCEEDED, {"rows": 2}), written
    assert read.outputs is not None
    assert pq.read_table(read.outputs["table"].uri).to_pylist() == [{"n": 2}]


async def test_two_statements_in_one_task_are_refused(http_server: HttpServer, tmp_path: Path) -> None:
    async with site(tmp_path, {"checks": http_server.connection()}) as where:
        with pytest.raises(InvalidTask, match="give each its task"):
            await where.start(task("SELECT 1; SELECT 2"))


async def seen(server: HttpServer) -> str:
    """Wait until the server lists the one statement that runs, and return its key."""
    database: Any = open_database(server)
    query = {
        "clickhouse": "SELECT query_id FROM system.processes WHERE query_id LIKE 'ob-%'",
        "trino": "SELECT source FROM system.runtime.queries WHERE source LIKE 'ob-%' AND state = 'RUNNING'",
    }[server.kind]
    give_up = time.monotonic() + PATIENCE_S
    while not (found := database.ask(query)):
        assert time.monotonic() < give_up
        await asyncio.sleep(0.05)
    return str(found[0][0])


async def test_a_statement_is_followed_and_cancelled_from_another_machine(
    http_server: HttpServer, tmp_path: Path
) -> None:
    connections = {"checks": http_server.connection()}
    async with site(tmp_path, connections) as one, one.elsewhere() as other:
        handle = await one.start(task(ENDLESS[http_server.kind]))
        key = await seen(http_server)
        running = await other.host.get_task(handle)
        await other.host.delete_task(handle)
        ended = await other.end(handle)
    assert (running.phase.is_terminal, ended.state) == (False, "CANCELLED"), ended
    assert open_database(http_server).sightings([key]) == {}


async def test_a_reading_statement_whose_worker_is_killed_is_ended_and_worth_another_attempt(
    http_server: HttpServer, tmp_path: Path
) -> None:
    async with site(tmp_path, {"checks": http_server.connection(read_only=True)}) as where:
        handle = await where.start(task(ENDLESS[http_server.kind]))
        key = await seen(http_server)
        kill_worker(where)
        status = await where.end(handle)
    assert (status.phase, status.state) == (Phase.RETRYABLE_FAILED, "LOST"), status
    assert open_database(http_server).sightings([key]) == {}


async def test_a_worker_that_is_killed_after_its_decision_has_succeeded(http_server: HttpServer) -> None:
    fate = open_database(http_server).fate("ob-nobody", Wish(), {"verdict": "commit"})
    assert fate is Fate.DONE


async def test_the_servers_memory_tells_what_became_of_a_statement(http_server: HttpServer) -> None:
    database = open_database(http_server)
    key = f"ob-memory-{time.time_ns()}"
    make = "CREATE TABLE remembered (n BIGINT)" + (" ENGINE = Memory" if http_server.kind == "clickhouse" else "")
    database.connect(key, Wish()).run(make, [])
    assert database.fate(key, Wish(), {"verdict": "lost"}) is Fate.DONE
    long_ago = {"verdict": "lost", "at": time.time() - 3_600}
    assert database.fate("ob-nobody", Wish(), long_ago) is Fate.UNKNOWN


def test_trino_begins_nothing_before_its_first_page_is_fetched(trino: HttpServer) -> None:
    database: Any = open_database(trino)
    assert isinstance(database, Trino)
    Pages(database, "CREATE TABLE memory.default.never AS SELECT 1 AS n", database.headers("ob-never"), ())
    assert database.ask("SELECT count(*) FROM system.runtime.queries WHERE source = 'ob-never'") == [[0]]


def test_clickhouse_runs_a_key_once_at_a_time(clickhouse: HttpServer) -> None:
    database: Any = open_database(clickhouse)
    assert isinstance(database, ClickHouse)
    first = database.send(ENDLESS["clickhouse"].replace("(90)", "(1)"), [], {"query_id": "ob-twice"}, answer_s=None)
    first.close()
    thread = threading.Thread(target=lambda: _swallow(database))
    thread.start()
    give_up = time.monotonic() + PATIENCE_S
    while not database.sightings(["ob-twice"]):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    with pytest.raises(Exception, match="already running") as caught:
        database.send("SELECT 1", [], {"query_id": "ob-twice"})
    complaint = database.complain(caught.value)
    database.cancel("ob-twice")
    thread.join(PATIENCE_S)
    assert complaint is not None
    assert (complaint.code, complaint.is_retryable) == ("216", True)


def _swallow(database: Any) -> None:
    with contextlib.suppress(Exception):
        database.send(ENDLESS["clickhouse"], [], {"query_id": "ob-twice"}, answer_s=None)


@pytest.mark.parametrize(
    ("fault", "code", "is_broken"),
    [("cut", "ConnectionLost", True), ("exception", "395", False)],
    ids=["cut", "exception"],
)
def test_an_answer_that_fails_after_its_status_is_no_result(
    clickhouse: HttpServer, fault: str, code: str, is_broken: bool
) -> None:
    database = open_database(clickhouse)
    rows = database.connect(f"ob-{fault}", Wish()).run(f"SELECT number FROM numbers(300000) /* fault: {fault} */", [])  # noqa: S608 - ours
    with pytest.raises(Exception, match=r".") as caught:
        for _ in rows.batches():
            pass
    complaint = database.complain(caught.value)
    assert complaint is not None
    assert (complaint.code, complaint.is_broken) == (code, is_broken), caught.value


def test_a_wrong_password_is_the_operators(clickhouse: HttpServer) -> None:
    database = database_of(ConnectionSettings.model_validate(clickhouse.connection()).target(), "wrong")
    with pytest.raises(Exception, match="Authentication failed") as caught:
        database.connect("ob-wrong", Wish())
    complaint = database.complain(caught.value)
    assert complaint is not None
    assert (complaint.code, complaint.actor, complaint.is_retryable) == ("516", "operator", False)
