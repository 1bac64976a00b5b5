"""DuckDB jobs from SQL to a Parquet file, as real processes."""

import csv
import json
import os
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from embedded_jobs import members_of, wait_for_end, wait_until
from outboard.detached import job_files
from outboard.detached.job_directory import JobDirectory
from outboard.detached.states import JobState
from outboard.domain.types import Column, ListType, SimpleType
from outboard.domain.values import Blob, StructuredDataset
from outboard.platforms.embedded.queries import (
    EXIT_SYSTEM,
    EXIT_USER,
    Query,
    QueryFailure,
    QueryResult,
    read_failure,
    read_result,
)

duckdb = pytest.importorskip("duckdb")

FOREVER = "SELECT sum(sqrt(a.range * b.range)) FROM range(1000000) a, range(1000000) b"


@pytest.fixture
def flights(tmp_path: Path) -> StructuredDataset:
    """Ten rows in a directory as Flyte writes it: one Parquet file without an extension."""
    folder = tmp_path / "flights"
    folder.mkdir()
    with duckdb.connect() as connection:
        target = folder / "00000"
        connection.execute(
            f"COPY (SELECT range AS number, range % 3 AS day FROM range(10)) TO '{target}' (FORMAT parquet)"  # noqa: S608 - our own path
        )
    return StructuredDataset(str(folder), "parquet")


def run(jobs: JobDirectory, query: Query) -> QueryResult:
    jobs.create("q", query.to_spec())
    ended = wait_for_end(jobs, "q")
    assert ended.state is JobState.SUCCEEDED, jobs.read_log("q", "stderr").lines
    result = read_result(jobs.read_document("q", job_files.RESULT))
    assert result is not None
    return result


def fail(jobs: JobDirectory, query: Query) -> tuple[int | None, QueryFailure]:
    jobs.create("q", query.to_spec())
    ended = wait_for_end(jobs, "q")
    assert ended.state is JobState.FAILED
    failure = read_failure(jobs.read_document("q", job_files.ERROR))
    assert failure is not None
    return ended.exit_code, failure


def rows_of(result: QueryResult) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        found = connection.execute("SELECT * FROM read_parquet($1)", [result.uri]).fetchall()
    assert isinstance(found, list)
    return found


def test_sql_over_parquet_csv_and_json_gives_one_typed_parquet_file(
    jobs: JobDirectory, flights: StructuredDataset, tmp_path: Path
) -> None:
    with (tmp_path / "days.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("day", "name"), (0, "mon"), (1, "tue"), (2, "wed")])
    lines = [json.dumps({"name": name, "tags": [name.upper()]}) for name in ("mon", "tue")]
    (tmp_path / "tags.ndjson").write_text("\n".join(lines))
    result = run(
        jobs,
        Query(
            sql="""SELECT name, count(*) AS flights, avg(number) AS mean, any_value(tags) AS tags
                   FROM flights JOIN days USING (day) JOIN tags USING (name)
                   WHERE number >= $first GROUP BY name ORDER BY name""",
            inputs={
                "flights": flights,
                "days": Blob(str(tmp_path / "days.csv"), "csv"),
                "tags": Blob(f"file://{tmp_path}/tags.ndjson"),
                "first": 3,
                "unused": "x",
            },
            output_uri=str(tmp_path / "made" / "here" / "result.parquet"),
        ),
    )
    assert rows_of(result) == [("mon", 3, 6.0, ["MON"]), ("tue", 2, 5.5, ["TUE"])]
    assert result.dataset == StructuredDataset(
        str(tmp_path / "made" / "here" / "result.parquet"),
        "parquet",
        (
            Column("name", SimpleType.STRING),
            Column("flights", SimpleType.INTEGER),
            Column("mean", SimpleType.FLOAT),
            Column("tags", ListType(SimpleType.STRING)),
        ),
    )
    assert result.rows == 2
    assert result.size_bytes == Path(result.uri or "").stat().st_size
    assert [path.name for path in (tmp_path / "made" / "here").iterdir()] == ["result.parquet"]
    assert not (jobs.root / "q" / "spill").exists()


def test_every_kind_of_parameter_is_bound_with_its_type(jobs: JobDirectory, tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    inputs = {"i": 1, "f": 1.5, "s": "x", "b": True, "t": moment, "d": timedelta(hours=36), "l": [1, 2], "m": {"k": 1}}
    sql = "SELECT " + ", ".join(f"${name} AS {name}" for name in inputs)
    result = run(jobs, Query(sql=sql, inputs=inputs, output_uri=str(tmp_path / "result")))
    kinds = {column.name: str(column.type) for column in result.columns}
    assert kinds == {
        "i": "int",
        "f": "float",
        "s": "str",
        "b": "bool",
        "t": "datetime",
        "d": "timedelta",
        "l": "list[int]",
        "m": "dict",
    }


def test_sql_in_a_parameter_stays_a_value(jobs: JobDirectory, flights: StructuredDataset, tmp_path: Path) -> None:
    attack = "x'; DROP VIEW flights; SELECT '"
    query = Query(
        sql="SELECT count(*) AS n, $label AS label FROM flights",
        inputs={"flights": flights, "label": attack},
        output_uri=str(tmp_path / "result"),
    )
    assert rows_of(run(jobs, query)) == [(10, attack)]


def test_a_script_gives_the_rows_of_its_last_select(jobs: JobDirectory, tmp_path: Path) -> None:
    sql = "CREATE TABLE t AS SELECT 1 AS a; SELECT 'first'; INSERT INTO t VALUES (2); FROM t ORDER BY a; DROP TABLE t -- end"
    result = run(jobs, Query(sql=sql, output_uri=str(tmp_path / "result")))
    assert rows_of(result) == [(1,), (2,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SUMMARIZE flights",
        "PIVOT flights ON day USING count(*)",
        "SHOW TABLES",
        "SELECT 1; PIVOT flights ON day USING sum(number); -- é",
    ],
)
def test_statements_that_act_like_a_select_give_rows(
    jobs: JobDirectory, flights: StructuredDataset, tmp_path: Path, sql: str
) -> None:
    query = Query(sql=sql, inputs={"flights": flights}, output_uri=str(tmp_path / "result"))
    assert run(jobs, query).rows > 0


def test_a_script_without_a_select_gives_no_dataset(jobs: JobDirectory, tmp_path: Path) -> None:
    result = run(jobs, Query(sql="CREATE TABLE t (a INTEGER)", output_uri=str(tmp_path / "result")))
    assert (result.dataset, result.rows) == (None, 0)
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELEC 1", "ParserException"),
        ("SELECT * FROM nowhere", "CatalogException"),
        ("SELECT $missing", "InvalidInputException"),
        ("SELECT 'x'::INTEGER", "ConversionException"),
        ("SELECT * FROM read_text('/etc/hostname')", "PermissionException"),
        ("COPY (SELECT 1) TO '/tmp/never-written.csv'", "PermissionException"),
        ("SET enable_external_access = true", "InvalidInputException"),
        ("SET memory_limit = '1TB'", "InvalidInputException"),
    ],
)
def test_a_mistake_or_a_trespass_in_sql_is_the_users(jobs: JobDirectory, tmp_path: Path, sql: str, code: str) -> None:
    exit_code, failure = fail(jobs, Query(sql=sql, output_uri=str(tmp_path / "result")))
    assert (exit_code, failure.is_user_error, failure.code) == (EXIT_USER, True, code)
    assert "\n" not in failure.message
    assert list(tmp_path.iterdir()) == [jobs.root]


def test_the_operator_may_allow_any_file(jobs: JobDirectory, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    sql = f"SELECT content FROM read_text('{tmp_path}/note.txt')"  # noqa: S608 - our own path
    query = Query(sql=sql, output_uri=str(tmp_path / "result"), allows_external_access=True)
    assert rows_of(run(jobs, query)) == [("hello",)]


def test_an_input_without_files_is_the_users_and_names_it(jobs: JobDirectory, tmp_path: Path) -> None:
    inputs = {"flights": Blob(str(tmp_path / "nowhere"))}
    exit_code, failure = fail(jobs, Query(sql="FROM flights", inputs=inputs, output_uri=str(tmp_path / "result")))
    assert exit_code == EXIT_USER
    assert "input flights" in failure.message


def test_too_little_memory_is_not_the_users(jobs: JobDirectory, tmp_path: Path) -> None:
    sql = "SELECT list(range) AS all FROM range(20000000)"
    query = Query(sql=sql, memory_limit="20MB", threads=1, output_uri=str(tmp_path / "result"))
    exit_code, failure = fail(jobs, query)
    assert (exit_code, failure.is_user_error, failure.code) == (EXIT_SYSTEM, False, "OutOfMemoryException")


def test_a_result_that_cannot_be_written_is_not_the_users(jobs: JobDirectory, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    exit_code, failure = fail(jobs, Query(sql="SELECT 1", output_uri=str(tmp_path / "file" / "result")))
    assert (exit_code, failure.is_user_error) == (EXIT_SYSTEM, False)


def test_a_long_query_tells_its_progress_and_ends_when_cancelled(jobs: JobDirectory, tmp_path: Path) -> None:
    jobs.create("q", Query(sql=f"SELECT 1; {FOREVER}", threads=1, output_uri=str(tmp_path / "result")).to_spec())

    def tells() -> bool:
        snapshot = jobs.snapshot("q")
        return snapshot is not None and snapshot.progress is not None and "2 of 2" in snapshot.progress.message

    wait_until(tells)
    jobs.cancel("q")
    ended = wait_for_end(jobs, "q")
    assert (ended.state, ended.exit_code) == (JobState.CANCELLED, 128 + signal.SIGTERM)
    assert list(tmp_path.iterdir()) == [jobs.root]
    assert jobs.read_document("q", job_files.ERROR) is None


def test_a_query_killed_with_its_runner_leaves_no_result_under_its_name(jobs: JobDirectory, tmp_path: Path) -> None:
    jobs.create("q", Query(sql=FOREVER, threads=1, output_uri=str(tmp_path / "result")).to_spec())
    wait_until((jobs.root / "q" / job_files.PROGRESS).exists)
    for pid in members_of(jobs, "q"):
        os.kill(pid, signal.SIGKILL)
    assert wait_for_end(jobs, "q").state is JobState.VANISHED
    assert not (tmp_path / "result").exists()
