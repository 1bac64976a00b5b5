"""Marks and results in a real S3 bucket: conditional writes decide, a large result arrives whole, deaths are told from it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import obstore
import pyarrow.parquet as pq
import pytest
from obstore.store import from_url

from integration.platforms.sql.sql_hosts import Site, site, task
from integration.platforms.sql.test_sql_deaths import execute
from integration.platforms.sql.test_sql_kills import deadly
from integration.stores.seaweed import BUCKET, running_seaweed
from outboard.domain.tasks import RawTask
from outboard.platforms.sql.marks import DECISION, END, Marks, MarksUnavailable, place_of
from sql_servers import DatabaseServer

__all__ = ["deadly"]  # a fixture
ROWS = 400_000


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with running_seaweed(tmp_path_factory.mktemp("sql-seaweed")) as found:
        yield found


@pytest.fixture
def bucket(variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


def below(bucket: str, sent: RawTask) -> RawTask:
    identity = sent.identity
    return replace(sent, output_prefix=f"{bucket}/{identity.node}/{identity.attempt}")


def test_of_many_writers_to_a_bucket_one_wins_each_mark(bucket: str) -> None:
    for round_number in range(2):
        place = place_of(f"{bucket}/{round_number}", "ob-k")
        answers: list[Any] = []
        start = threading.Barrier(5)

        def write(name: int, place: str = place, start: Any = start, answers: Any = answers) -> None:
            own = Marks(place)
            own.read(DECISION)
            start.wait()
            answers.append((name, own.write_once(DECISION, {"who": name})))

        writers = [threading.Thread(target=write, args=(number,)) for number in range(5)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        (winner,) = [name for name, other in answers if other is None]
        assert {other["who"] for _, other in answers if other is not None} == {winner}
        assert (Marks(place).read(DECISION) or {})["who"] == winner
    assert Marks(place).read(END) is None


def test_a_bucket_that_is_not_there_or_not_ours_says_so(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MarksUnavailable):
        Marks("s3://nobodys-bucket/out").write_once(END, {})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(MarksUnavailable) as refused:
        Marks(f"{bucket}/x").read(END)
    assert "wrong" not in str(refused.value)


async def test_a_large_result_arrives_whole_and_leaves_nothing_on_the_machine(bucket: str, tmp_path: Path) -> None:
    path = str(tmp_path / "large.duckdb")
    duckdb.connect(path).close()
    sql = f"SELECT n, sha256(n::varchar) AS a, sha256((n + 1)::varchar) AS b FROM range({ROWS}) AS r(n)"  # noqa: S608 - our own
    async with site(tmp_path, {"checks": {"kind": "duckdb", "database": path, "read_only": True}}) as where:
        status = await where.end(await where.host.create_task(below(bucket, where.sent(task(sql, table=True)))))
    assert status.outputs is not None, status
    uri = status.outputs["table"].uri
    content = obstore.get(from_url(f"s3://{BUCKET}"), uri.removeprefix(f"s3://{BUCKET}/")).bytes()
    (tmp_path / "fetched.parquet").write_bytes(content)
    found = pq.ParquetFile(tmp_path / "fetched.parquet")
    assert (found.metadata.num_rows, found.metadata.num_row_groups, len(content) > 25 << 20) == (ROWS, 4, True)
    assert found.read(["n"])["n"].to_pylist() == list(range(ROWS))
    assert list(where.jobs.rglob("*.parquet")) == []


async def test_two_machines_over_one_bucket_run_a_task_once(
    postgresql: DatabaseServer, bucket: str, tmp_path: Path
) -> None:
    execute(postgresql, "DROP TABLE IF EXISTS bucketed", "CREATE TABLE bucketed (n int)")
    async with site(tmp_path, {"checks": postgresql.connection()}) as one, one.elsewhere() as other:
        asked = [below(bucket, one.sent(task("INSERT INTO bucketed VALUES (1)"))) for _ in range(4)]
        sends = [where.host.create_task(each) for each in asked for where in (one, other)]
        handles = await asyncio.gather(*sends)
        ends = await asyncio.gather(*(where.end(handle) for handle in handles for where in (one, other)))
    assert {status.state for status in ends} == {"SUCCEEDED"}, ends
    assert execute(postgresql, "SELECT count(*) FROM bucketed") == [(len(asked),)]


async def test_deaths_around_the_decision_are_told_from_the_bucket_by_another_machine(
    postgresql: DatabaseServer, bucket: str, tmp_path: Path, deadly: Any
) -> None:
    execute(postgresql, "DROP TABLE IF EXISTS far", "CREATE TABLE far (name text)")

    async def die(where: Site, when: str, mark: str) -> bytes:
        deadly(when, mark, with_runner=True)
        return await where.host.create_task(
            below(bucket, where.sent(task("INSERT INTO far VALUES (:name)", {"name": f"{when} {mark}"})))
        )

    moments = (("after", "start"), ("before", "decision"), ("after", "decision"), ("before", "end"), ("after", "end"))
    async with site(tmp_path, {"checks": postgresql.connection()}) as one:
        handles = [await die(one, *moment) for moment in moments]
        ends = [await one.end(handle) for handle in handles]
        async with one.elsewhere() as other:
            told = [await other.end(handle) for handle in handles]
    assert [each.state for each in ends] == ["LOST", "LOST", "LOST", "SUCCEEDED", "SUCCEEDED"]
    assert [each.state for each in told] == [each.state for each in ends]
    assert sorted(execute(postgresql, "SELECT name FROM far")) == [("after end",), ("before end",)]
