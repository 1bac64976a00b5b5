"""The embedded platform's agents in the real host: what a task declares is what it gets, and why it failed is said."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from embedded_jobs import PATIENCE_S, members_of, wait_for_end, wait_until
from ledgers import until
from outboard.agent import Blob, Registry, Retry, StructuredDataset, Task
from outboard.detached import job_files
from outboard.detached.job_directory import JobDirectory
from outboard.detached.states import JobState
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.phases import Phase
from outboard.domain.statuses import LogLine, TaskStatus
from outboard.domain.tasks import Container, Inputs, Sql
from outboard.domain.types import BlobType, Interface, ListType, SimpleType, StructuredDatasetType, ValueType
from outboard.errors import InvalidTask, Unavailable, UnknownTaskType
from outboard.host import Host, HostSettings
from outboard.platforms.embedded.duckdb_job import QUERY_FILE
from outboard.platforms.embedded.duckdb_rows import read_rows
from outboard.platforms.embedded.job_agent import STATES
from outboard.platforms.embedded.platform import Embedded
from outboard.platforms.embedded.queries import Query
from outboard.platforms.embedded.settings import EmbeddedSettings

TABLE = StructuredDatasetType()
PATIENT = HostSettings(status_limit=timedelta(seconds=PATIENCE_S), status_wait=timedelta(seconds=PATIENCE_S))


@asynccontextmanager
async def serving(root: Path, **settings: Any) -> AsyncIterator[Host]:
    platform = Embedded(EmbeddedSettings(root=root, allow_process=True, **settings))
    async with Host(Registry([platform]), PATIENT) as host:
        yield host


@pytest.fixture
async def host(jobs: JobDirectory) -> AsyncIterator[Host]:
    async with serving(jobs.root) as host:
        yield host


def query(
    sql: str, *, outputs: Mapping[str, ValueType] | None = None, inputs: Mapping[str, Any] | None = None, **fields: Any
) -> Task[Any]:
    declared = {"table": TABLE} if outputs is None else outputs
    return task("duckdb", {"sql": sql}, outputs=declared, inputs=inputs, **fields)


def task(
    kind: str,
    config: Mapping[str, Any],
    *,
    outputs: Mapping[str, ValueType] | None = None,
    inputs: Mapping[str, Any] | None = None,
    node: str = "n0",
    **fields: Any,
) -> Task[Any]:
    return Task(
        type=kind,
        config=config,
        identity=ExecutionIdentity(project="p", domain="d", execution="e", node=node),
        inputs=Inputs(inputs or {}),
        interface=Interface(outputs=outputs or {}),
        **fields,
    )


async def finish(host: Host, handle: bytes) -> TaskStatus:
    deadline = time.monotonic() + PATIENCE_S
    while not (status := await host.get_task(handle)).phase.is_terminal:
        assert time.monotonic() < deadline, status
        await asyncio.sleep(0.02)
    return status


async def run(host: Host, asked: Task[Any]) -> TaskStatus:
    return await finish(host, await host.create_task(asked))


def test_every_state_of_a_job_directory_has_a_phase() -> None:
    unread = [state for state in JobState if STATES.read(state.value).is_flagged]
    ended = {state for state in JobState if STATES.read(state.value).phase.is_terminal}
    assert (unread, ended) == ([], {state for state in JobState if state.has_ended})


async def test_a_query_gives_the_declared_table_and_its_number_of_rows(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "flights.csv"
    source.write_text("carrier,delay\nUA,3\nUA,5\nAA,-1\n")
    status = await run(
        host,
        query(
            "SELECT carrier, avg(delay) AS mean FROM flights WHERE delay > $floor GROUP BY ALL ORDER BY ALL",
            inputs={"flights": Blob(str(source), "csv"), "floor": -5},
            outputs={"by_carrier": TABLE, "rows": SimpleType.INTEGER},
            output_prefix=str(tmp_path / "out"),
        ),
    )
    assert status.phase is Phase.SUCCEEDED, status
    assert status.outputs is not None
    table = status.outputs["by_carrier"]
    assert (table.uri, table.format) == (f"{tmp_path}/out/by_carrier", "parquet")
    assert {column.name: column.type for column in table.columns} == {
        "carrier": SimpleType.STRING,
        "mean": SimpleType.FLOAT,
    }
    assert status.outputs["rows"] == 2
    assert pq.read_table(table.uri).to_pylist() == [{"carrier": "AA", "mean": -1.0}, {"carrier": "UA", "mean": 4.0}]
    assert status.custom_info is not None
    assert status.custom_info["rows"] == 2
    assert status.custom_info["columns"] == {"carrier": "str", "mean": "float"}
    assert status.custom_info["usage"]["duration_s"] > 0


async def test_a_table_made_by_one_query_is_the_input_of_another(host: Host) -> None:
    first = await run(host, query("SELECT 7 AS n", node="first"))
    assert first.outputs is not None
    second = await run(host, query("SELECT n + 1 AS n FROM one", inputs={"one": first.outputs["table"]}, node="second"))
    assert second.outputs is not None
    assert pq.read_table(second.outputs["table"].uri).to_pylist() == [{"n": 8}]


async def test_without_an_output_prefix_the_result_lies_in_the_job_directory(host: Host, jobs: JobDirectory) -> None:
    status = await run(host, query("SELECT 1 AS n"))
    assert status.outputs is not None
    assert Path(status.outputs["table"].uri).is_relative_to(jobs.root)
    assert pq.read_table(status.outputs["table"].uri).num_rows == 1


async def test_a_declared_file_is_a_blob(host: Host) -> None:
    status = await run(host, query("SELECT 1 AS n", outputs={"file": BlobType("parquet")}))
    assert status.outputs is not None
    assert isinstance(status.outputs["file"], Blob)


async def test_the_templates_own_statement_is_run(host: Host) -> None:
    status = await run(host, task("duckdb", {}, outputs={"table": TABLE}, sql=Sql(statement="SELECT 2 AS n")))
    assert status.phase is Phase.SUCCEEDED


async def test_wrong_sql_fails_with_duckdbs_words_and_is_not_tried_again(host: Host) -> None:
    status = await run(host, query("SELECT missing FROM (SELECT 1 AS n)"))
    assert status.phase is Phase.FAILED
    assert status.error is not None
    assert status.error.code == "BinderException"
    assert '"missing"' in status.message


async def test_too_little_memory_is_worth_a_retry(host: Host) -> None:
    asked = query("SELECT list(range) AS l FROM range(20000000)")
    status = await run(host, asked.with_config({**asked.config, "memory_limit": "16MB", "threads": 1}))
    assert status.phase is Phase.RETRYABLE_FAILED, status
    assert status.error is not None
    assert status.error.code == "OutOfMemoryException"


async def test_statements_without_a_result_fail_where_a_table_is_declared(host: Host) -> None:
    status = await run(host, query("CREATE TABLE t (n INTEGER)"))
    assert status.phase is Phase.FAILED
    assert "SELECT" in status.message


async def test_a_result_that_is_gone_is_worth_a_retry(host: Host, jobs: JobDirectory) -> None:
    handle = await host.create_task(query("SELECT 1 AS n"))
    name = jobs.jobs()[0].name
    wait_for_end(jobs, name)
    (jobs.root / name / job_files.RESULT).unlink()
    assert (await host.get_task(handle)).phase is Phase.RETRYABLE_FAILED


async def test_statements_without_a_result_succeed_where_none_is_declared(host: Host) -> None:
    assert (await run(host, query("CREATE TABLE t (n INTEGER)", outputs={}))).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (query(""), "no SQL"),
        (query("SELECT {{ .inputs.n }}"), r"\$name"),
        (task("duckdb", {"sql": "SELECT 1"}, sql=Sql(statement="SELECT 2")), "keep one"),
        (query("SELECT 1", outputs={"a": TABLE, "b": TABLE}), "outputs.b"),
        (query("SELECT 1", outputs={"n": SimpleType.INTEGER}), "outputs.n"),
        (query("SELECT 1", output_prefix="memory://bucket/out"), "memory"),
        (task("duckdb", {"sql": "SELECT 1", "memory_limit": "lots"}), "memory_limit"),
        (task("process", {}), "no command"),
        (task("process", {"command": ["ls"]}, container=Container(args=["ls"])), "keep one"),
        (task("process", {"command": ["ls"], "cwd": "here"}), "cwd"),
    ],
)
async def test_a_task_that_cannot_run_is_refused_before_a_job_starts(
    host: Host, jobs: JobDirectory, asked: Task[Any], words: str
) -> None:
    assert re.search(words, await refusal(host, asked))
    assert jobs.jobs() == []


async def test_an_input_that_sql_cannot_take_is_refused(host: Host, jobs: JobDirectory) -> None:
    assert "inputs.raw" in await refusal(host, query("SELECT 1", inputs={"raw": b"\0"}))
    assert jobs.jobs() == []


async def refusal(host: Host, asked: Task[Any]) -> str:
    """What the user is told: by CreateTask where the host finds it, by GetTask where the agent does."""
    try:
        handle = await host.create_task(asked)
    except InvalidTask as error:
        return error.message
    status = await host.get_task(handle)
    assert status.phase is Phase.FAILED
    return status.message


async def test_asking_again_finds_the_job_even_in_another_host(jobs: JobDirectory) -> None:
    asked = query("SELECT 1 AS n", output_prefix=str(jobs.root.parent / "out"))
    async with serving(jobs.root) as host:
        await run(host, asked)
    async with serving(jobs.root) as host:
        assert (await run(host, asked)).phase is Phase.SUCCEEDED
    assert len(jobs.jobs()) == 1


async def test_a_handle_finds_its_job_after_the_root_has_changed(jobs: JobDirectory, tmp_path: Path) -> None:
    async with serving(jobs.root) as host:
        handle = await host.create_task(query("SELECT 1 AS n"))
    async with serving(tmp_path / "elsewhere") as host:
        assert (await finish(host, handle)).phase is Phase.SUCCEEDED


async def test_a_cancelled_job_ends_and_says_so(host: Host, jobs: JobDirectory) -> None:
    handle = await host.create_task(task("process", {"command": ["sleep", "600"]}))
    await host.delete_task(handle)
    status = await finish(host, handle)
    assert (status.phase, status.state) == (Phase.FAILED, "CANCELLED")
    await until(lambda: members_of(jobs, jobs.jobs()[0].name) == [])  # the runner itself ends last


async def test_a_job_killed_from_outside_is_worth_a_retry(host: Host, jobs: JobDirectory) -> None:
    handle = await host.create_task(task("process", {"command": ["sh", "-c", "kill -KILL $$"]}))
    status = await finish(host, handle)
    assert (status.phase, status.state) == (Phase.RETRYABLE_FAILED, "KILLED")
    assert status.custom_info is not None
    assert status.custom_info["signal"] == 9


async def test_a_program_that_crashes_is_its_authors_to_mend(host: Host) -> None:
    status = await run(host, task("process", {"command": ["sh", "-c", "kill -SEGV $$"]}))
    assert status.phase is Phase.FAILED
    assert "SIGSEGV" in status.message


async def test_a_job_whose_processes_are_gone_is_worth_a_retry(host: Host, jobs: JobDirectory) -> None:
    handle = await host.create_task(task("process", {"command": ["sleep", "600"]}))
    name = jobs.jobs()[0].name
    wait_until(lambda: len(members_of(jobs, name)) == 2)
    for pid in members_of(jobs, name):
        os.kill(pid, signal.SIGKILL)
    status = await finish(host, handle)
    assert (status.phase, status.state) in {
        (Phase.RETRYABLE_FAILED, "VANISHED"),
        (Phase.RETRYABLE_FAILED, "KILLED"),
    }


async def test_a_process_reads_its_inputs_and_leaves_typed_outputs(host: Host, tmp_path: Path) -> None:
    program = """
import json, os
inputs = json.load(open(os.environ["OUTBOARD_INPUTS"]))
path = os.environ["OUTBOARD_OUTPUT_PREFIX"] + "/table.parquet"
for line in ({"doubled": inputs["n"] * 2, "ratio": 3}, {"since": inputs["since"]}, {"table": path}, {"words": ["a"]}):
    print(json.dumps(line), file=open(os.environ["OUTBOARD_OUTPUTS"], "a"))
"""
    noon = datetime(2024, 1, 31, 12, tzinfo=timezone.utc)
    outputs: dict[str, ValueType] = {
        "doubled": SimpleType.INTEGER,
        "ratio": SimpleType.FLOAT,
        "since": SimpleType.DATETIME,
        "table": StructuredDatasetType(format="parquet"),
        "words": ListType(SimpleType.STRING),
    }
    prefix = str(tmp_path / "out")
    asked = task(
        "process",
        {"command": [sys.executable, "-c", program]},
        inputs={"n": 21, "since": noon},
        outputs=outputs,
        output_prefix=prefix,
    )
    status = await run(host, asked)
    assert status.phase is Phase.SUCCEEDED, status
    assert status.outputs == {
        "doubled": 42,
        "ratio": 3.0,
        "since": noon,
        "table": StructuredDataset(f"{prefix}/table.parquet", "parquet"),
        "words": ["a"],
    }


async def test_outputs_that_do_not_match_the_interface_fail_the_task(host: Host) -> None:
    command = ["sh", "-c", """echo '{"n": "many"}' > "$OUTBOARD_OUTPUTS" """]
    status = await run(host, task("process", {"command": command}, outputs={"n": SimpleType.INTEGER}))
    assert status.phase is Phase.FAILED
    assert "outputs.n" in status.message


async def test_an_exit_code_is_told_with_the_last_words_and_retried_where_that_was_asked(host: Host) -> None:
    command = ["sh", "-c", "echo 'disk on fire' >&2; exit 75"]
    status = await run(host, task("process", {"command": command}, node="plain"))
    assert (status.phase, status.message) == (Phase.FAILED, "exit code 75: disk on fire")
    config = {"command": command, "retryable_exit_codes": [75]}
    again = await run(host, task("process", config, node="retryable"))
    assert again.phase is Phase.RETRYABLE_FAILED
    assert again.error is not None
    assert again.error.retry is Retry.YES


async def test_a_process_gets_the_tasks_environment_unless_told_not_to(host: Host) -> None:
    command = ["sh", "-c", """printf '{"said": "%s"}' "$GREETING$FROM_CONTAINER" > "$OUTBOARD_OUTPUTS" """]
    container = Container(command=command, env={"FROM_CONTAINER": "b"})
    outputs: dict[str, ValueType] = {"said": SimpleType.STRING}
    common: dict[str, Any] = {"outputs": outputs, "container": container, "environment": {"GREETING": "a"}}
    told = await run(host, task("process", {}, node="with", **common))
    untold = await run(host, task("process", {"env_from_task": False}, node="without", **common))
    assert (told.outputs, untold.outputs) == ({"said": "ab"}, {"said": "b"})


async def test_process_is_neither_listed_nor_served_until_the_operator_allows_it(tmp_path: Path) -> None:
    platform = Embedded(EmbeddedSettings(root=tmp_path / "jobs"))
    async with Host(Registry([platform])) as host:
        assert "process" not in {agent.name for agent in await host.list_agents()}
        with pytest.raises(UnknownTaskType, match=r"platforms\.embedded\.allow_process: true"):
            await host.create_task(task("process", {"command": ["touch", str(tmp_path / "ran")]}))
    assert not (tmp_path / "jobs").exists()


async def test_jobs_are_followed_and_cancelled_although_process_is_no_longer_allowed(tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    async with Host(Registry([Embedded(EmbeddedSettings(root=root, allow_process=True))])) as host:
        handle = await host.create_task(task("process", {"command": ["sleep", "60"]}))
    async with Host(Registry([Embedded(EmbeddedSettings(root=root))])) as host:
        assert (await host.get_task(handle)).phase in (Phase.RUNNING, Phase.INITIALIZING, Phase.QUEUED)
        await host.delete_task(handle)
        assert (await host.get_task(handle)).phase is Phase.FAILED


async def test_logs_come_whole_and_in_order_however_small_the_pages(host: Host) -> None:
    command = ["sh", "-c", "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done"]
    handle = await host.create_task(task("process", {"command": command}))
    await finish(host, handle)
    lines: list[LogLine] = []
    cursor: str | None = None
    is_over = False
    while not is_over:
        async for page in host.task_logs(handle, cursor=cursor, limit=2):
            lines += page.lines
            cursor, is_over = page.next_cursor, page.ended
    assert sorted(line.message for line in lines) == sorted(f"{s} {n}" for s in ("out", "err") for n in range(1, 6))
    assert [line.message for line in lines if line.message.startswith("out")] == [f"out {n}" for n in range(1, 6)]


async def test_metrics_show_memory_and_time(host: Host, jobs: JobDirectory) -> None:
    handle = await host.create_task(task("process", {"command": ["sleep", "600"]}))
    wait_until(lambda: jobs.metrics(jobs.jobs()[0].name))
    series = {each.name: each for each in await host.task_metrics(handle)}
    assert set(series) == {"memory", "cpu_time"}
    assert series["memory"].points[0][1] > 0
    assert [each.name for each in await host.task_metrics(handle, names=["memory"])] == ["memory"]
    await host.delete_task(handle)


ROWS = ListType(SimpleType.STRUCT)


def ask(sql: str, *, config: Mapping[str, Any] | None = None, outputs: Any = None, inputs: Any = None) -> Task[Any]:
    return task("duckdb_rows", {"sql": sql, **(config or {})}, outputs=outputs or {"rows": ROWS}, inputs=inputs)


async def test_a_small_query_is_answered_with_rows_at_once(host: Host, jobs: JobDirectory) -> None:
    table = (await run(host, query("SELECT range AS n, DATE '2024-01-31' AS d FROM range(3)"))).outputs
    assert table is not None
    asked = ask("SELECT n, d, n / 2.0 AS half FROM t WHERE n > $least", inputs={"t": table["table"], "least": 1})
    status = await host.execute_task(asked)
    assert status.phase is Phase.SUCCEEDED, status
    assert status.outputs == {"rows": [{"n": 2, "d": "2024-01-31", "half": 1.0}]}
    assert len(jobs.jobs()) == 1


async def test_a_dictionary_may_be_declared_instead(host: Host) -> None:
    status = await host.execute_task(ask("SELECT 1 AS n", outputs={"answer": SimpleType.STRUCT}))
    assert status.outputs == {"answer": {"rows": [{"n": 1}]}}


@pytest.mark.parametrize(
    ("sql", "config", "words"),
    [
        ("SELEC 1", {}, "syntax error"),
        ("SELECT range FROM range(11)", {"row_limit": 10}, "more than 10 rows"),
        ("SELECT * FROM read_csv('/etc/passwd')", {}, "disabled"),
        ("SELECT $unknown", {}, "unknown"),
    ],
)
async def test_a_query_that_cannot_be_answered_fails_for_good(
    host: Host, sql: str, config: Mapping[str, Any], words: str
) -> None:
    status = await host.execute_task(ask(sql, config=config))
    assert status.phase is Phase.FAILED
    assert words in status.message


@pytest.mark.parametrize("sql", ["CREATE TABLE t (n INTEGER)", "SELECT 1; SELECT 2", "COPY (SELECT 1) TO 'x.csv'"])
async def test_only_one_select_is_answered(host: Host, sql: str) -> None:
    with pytest.raises(InvalidTask, match="one SELECT"):
        await host.execute_task(ask(sql))


async def test_a_query_that_takes_too_long_is_interrupted() -> None:
    endless = Query(
        sql="SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range > b.range", output_uri=""
    )
    document = json.loads(endless.to_spec().files[QUERY_FILE])
    with pytest.raises(Unavailable, match="use task type duckdb"):
        await asyncio.to_thread(read_rows, document, row_limit=1, timeout_s=0.2)
