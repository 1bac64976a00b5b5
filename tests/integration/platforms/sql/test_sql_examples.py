"""The examples of docs/platforms/sql.md, made by the SDKs' own classes, sent as engines send them, and run on PostgreSQL."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import tasks_pb2
from flyteidl2.connector import connector_pb2
from google.protobuf.json_format import Parse

from integration.platforms.sql.sql_hosts import Site, site, task
from integration.platforms.sql.test_sql_deaths import execute
from outboard.domain.phases import Phase
from outboard.domain.tasks import Inputs, RawTask
from outboard.wire.flyte2 import tasks as flyte2_tasks
from outboard.wire.tasks import decode_create_request
from sql_servers import PASSWORD, DatabaseServer
from unit.platforms.sql.sql_sdk_tasks import CORPUS, examples, executed, flyte2_template, flytekit_template

DAY = datetime(2026, 2, 3, tzinfo=timezone.utc)


@pytest.fixture
def orders(postgresql: DatabaseServer) -> DatabaseServer:
    execute(postgresql, "DROP TABLE IF EXISTS orders", "CREATE TABLE orders (id int PRIMARY KEY, day timestamptz)")
    execute(
        postgresql,
        "INSERT INTO orders SELECT n, '2026-02-01Z'::timestamptz + n * interval '1 day' FROM generate_series(0, 4) n",
    )
    return postgresql


def sent(template: Any) -> RawTask:
    return decode_create_request(agent_pb2.CreateTaskRequest(template=template))


async def rows_of(where: Site, asked: RawTask, **inputs: Any) -> list[int]:
    status = await where.run(replace(asked, inputs=Inputs(inputs)))
    assert status.phase is Phase.SUCCEEDED, status
    ((value),) = (status.outputs or {}).values()
    return sorted(pq.read_table(value.uri)["id"].to_pylist())


async def test_flytekits_sqlalchemy_task_runs_as_it_is(orders: DatabaseServer, tmp_path: Path) -> None:
    template = Parse(CORPUS.read_text(), tasks_pb2.TaskTemplate())
    assert json.loads(CORPUS.read_text())["custom"]["secret_connect_args"]["password"]["key"] == "sql_reader"
    template.container.args[:] = [re.sub(r"\{\{.*?\}\}", "rendered", each) for each in template.container.args]
    asked = sent(template)  # with arguments as FlytePropeller renders them
    assert (asked.type, asked.config["uri"]) == ("sqlalchemy", "postgresql://reader@pg.internal/sales")
    uri = f"postgresql://checks@127.0.0.1:{orders.port}/checks"
    secret = {"password": {**asked.config["secret_connect_args"]["password"], "group": None, "key": "sql_checks"}}
    here = replace(asked, config={**asked.config, "uri": uri, "secret_connect_args": secret})
    async with site(tmp_path, {"warehouse": orders.connection()}, uri_hosts=["127.0.0.1"], uri_tls="disable") as where:
        assert await rows_of(where, here, since=DAY) == [2, 3, 4]
        named = replace(asked, config={**asked.config, "uri": "warehouse", "secret_connect_args": None})
        assert await rows_of(where, named, since=DAY) == [2, 3, 4]


def test_the_recorded_template_is_what_the_plugin_makes_today() -> None:
    pytest.importorskip("flytekitplugins.sqlalchemy", reason="a real part was not tried: flytekitplugins-sqlalchemy")
    made = flytekit_template(executed(examples()[0])["orders"])
    kept = Parse(CORPUS.read_text(), tasks_pb2.TaskTemplate())
    assert (made.type, made.custom, made.interface) == (kept.type, kept.custom, kept.interface)


async def test_the_plain_task_of_each_sdk_runs_as_it_is_written(orders: DatabaseServer, tmp_path: Path) -> None:
    first = sent(flytekit_template(executed(examples()[1])["daily"]))
    second = connector_pb2.CreateTaskRequest(template=flyte2_template(executed(examples()[2])["daily"]))
    assert not second.template.HasField("container")
    both = [first, flyte2_tasks.decode_create_request(second, second.SerializeToString())]
    async with site(tmp_path, {"warehouse": orders.connection()}) as where:
        for asked in both:
            assert list(asked.interface.outputs) == ["orders"]
            assert await rows_of(where, asked, day=DAY) == [2]


async def test_a_list_of_dictionaries_is_a_list_of_json(orders: DatabaseServer, tmp_path: Path) -> None:
    found = {"n": 1, "s": "it's"}
    async with site(tmp_path, {"checks": orders.connection()}) as where:
        status = await where.run(
            task("SELECT x->>'s' AS s FROM unnest(:found::jsonb[]) AS x", {"found": [found, found]}, table=True)
        )
    assert status.outputs is not None, status
    assert pq.read_table(status.outputs["table"].uri)["s"].to_pylist() == ["it's", "it's"]


async def test_a_time_limit_holds_on_duckdb_which_has_none(tmp_path: Path) -> None:
    path = str(tmp_path / "limit.duckdb")
    duckdb.connect(path).close()
    sql = "SELECT count(*) FROM range(10000000000) a, range(1000) b WHERE a.range % 7 = b.range % 3"
    connection = {"kind": "duckdb", "database": path, "read_only": True, "statement_timeout_s": 0.2}
    async with site(tmp_path, {"checks": connection}, secret=PASSWORD) as where:
        status = await where.run(task(sql))
    assert (status.phase, "time limit of 0.2 s" in status.message) == (Phase.FAILED, True), status
