"""Answers that no documentation has: whatever comes, no job is started twice, none is taken for ended, no result is cut."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from integration.platforms.databricks.databricks_hosts import site
from integration.platforms.strange_answers import ANYWHERE, HTML, Strange, Told, followed
from outboard.agent import Inputs, Task
from outboard.domain.phases import Phase
from outboard.domain.types import EnumType, Interface, ListType, SimpleType, StructuredDatasetType, UnionType
from outboard.errors import OutboardError
from outboard.testing.cases.databricks import function_task, notebook_task, sql_task
from outboard.testing.faults import REPLY_LOST, Refuse
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks import number_of
from outboard.testing.platforms.databricks_sql import Answer, DatabricksSqlServer
from outboard.testing.virtual_time import virtually

STRANGE: dict[str, Told] = {
    **ANYWHERE,
    "another job": (
        200,
        {
            "run_id": 4040,
            "statement_id": "s",
            "state": {"life_cycle_state": "TERMINATED", "result_state": "FAILED"},
            "status": {"state": "FAILED"},
        },
    ),
    "a refusal with status 200": (200, {"error_code": "INTERNAL_ERROR", "message": "x"}),
    "an end without its result": (200, {"run_id": "%id", "state": {"life_cycle_state": "TERMINATED"}}),
    "states that are no words": (200, {"run_id": "%id", "statement_id": "%id", "state": {"life_cycle_state": 7}}),
    "an unknown state": (
        200,
        {
            "run_id": "%id",
            "statement_id": "%id",
            "state": {"life_cycle_state": "HIBERNATING"},
            "status": {"state": "HIBERNATING"},
        },
    ),
    "a refusal of the question": (403, {"error_code": "PERMISSION_DENIED", "message": "not you"}),
}


TRUE_OF_A_CREATE = ("a refusal of the question", "another job", "states that are no words", "an unknown state")
"""A create would have to believe these: they refuse it, or tell an id."""


class StrangeWorkspace(Strange, DatabricksSqlServer):
    """A workspace that answers otherwise."""

    def job_id(self, request: web.Request, body: Any) -> str:
        return request.query.get("run_id") or super().job_id(request, body)


@pytest.mark.parametrize("name", list(STRANGE))
@pytest.mark.parametrize("kind", ["run", "statement"])
def test_a_strange_answer_ends_nothing_and_starts_nothing_twice(kind: str, name: str) -> None:
    is_run = kind == "run"
    task = notebook_task("exits") if is_run else sql_task("SELECT 9")

    @virtually
    async def check() -> None:
        server = StrangeWorkspace()
        async with site(server=server) as at:
            course = Course(running_s=300, outputs={"exit": "done"})
            at.server.courses["exits"] = course
            at.server.answers["SELECT 9"] = Answer(course=course, columns=[("n", "INT")], rows=[["9"]])
            if name not in TRUE_OF_A_CREATE:
                server.instead = {"create": STRANGE[name]}
            handle = await at.host.create_task(at.sent(task), timeout_s=10)
            await asyncio.sleep(5)
            server.instead = dict.fromkeys(("get", "get_many", "find"), STRANGE[name])
            status = await followed(at.host, handle, 200)
            assert not status.phase.is_terminal, status
            assert server.told > 0
            server.instead = {}
            status = await followed(at.host, handle, 1200)
            assert (status.phase, len(at.server.ledger.jobs)) == (Phase.SUCCEEDED, 1), status
            assert status.outputs == ({"o0": "done"} if is_run else {"rows": [{"n": 9}]})

    check()


@pytest.mark.parametrize(
    "task",
    [function_task("long"), replace(sql_task("SELECT forever"), interface=Interface())],
    ids=["run", "statement"],
)
@pytest.mark.parametrize(
    "told", [(200, {"next_page_token": "a", "has_next_page": True}), (403, {"error_code": "PERMISSION_DENIED"})]
)
def test_listings_that_go_round_or_are_forbidden_keep_nobody_waiting(task: Task[Any], told: Told) -> None:
    @virtually
    async def check() -> None:
        server = StrangeWorkspace()
        async with site(server=server) as at:
            handles = [await at.host.create_task(at.sent(task), timeout_s=10) for _ in range(8)]
            server.instead = {"get_many": told, "find": told}
            for _ in range(6):
                await asyncio.sleep(10)
                statuses = await asyncio.gather(*(at.host.get_task(handle, timeout_s=10) for handle in handles))
            assert {status.phase for status in statuses} == {Phase.RUNNING}
            for job in at.server.ledger.jobs:
                at.server.ledger.settle(job, "SUCCEEDED")
            ended = await asyncio.gather(*(followed(at.host, handle, 120) for handle in handles))
            assert {status.phase for status in ended} == {Phase.SUCCEEDED}, "an end is seen without the listing"
            assert server.calls["get_many"] + server.calls["find"] < 100

    check()


@virtually
async def test_a_run_that_a_late_listing_shows_ended_is_asked_for_its_exit_value() -> None:
    server = StrangeWorkspace()
    async with site(server=server) as at:
        at.server.courses["exits"] = Course(running_s=5, outputs={"exit": "done"})
        handles = [await at.start(notebook_task("exits")) for _ in range(6)]
        state = {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"}
        runs = [{"run_id": number_of(job), "state": state} for job in at.server.ledger.jobs]
        server.instead = {"get_many": (200, {"runs": runs})}
        for status in await asyncio.gather(*(followed(at.host, handle, 200) for handle in handles)):
            assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {"o0": "done"}), status
        assert server.told > 0


class EndlessHistory(DatabricksSqlServer):
    """A warehouse so busy that its history has another page after every one."""

    is_endless = True

    async def history(self, request: web.Request) -> web.Response:
        if not self.is_endless:
            return await super().history(request)
        following = int(request.query.get("page_token", "0")) + 1
        query = {"query_id": "theirs", "query_text": "SELECT 1", "status": "FINISHED"}
        return web.json_response({"res": [query], "has_next_page": True, "next_page_token": str(following)})


@virtually
async def test_a_history_too_long_to_be_searched_starts_nothing_twice() -> None:
    server = EndlessHistory()
    async with site(server=server) as at:
        at.server.faults.add(REPLY_LOST, "create", times=1)
        handle = await at.host.create_task(at.sent(sql_task("SELECT 1 AS one")), timeout_s=10)
        await followed(at.host, handle, 1200)
        assert len(at.server.asked) == 1
        server.is_endless = False
        assert (await followed(at.host, handle, 1200)).phase is Phase.SUCCEEDED
        assert len(at.server.asked) == 1


@virtually
async def test_a_link_that_leads_over_a_line_that_anyone_may_read_is_not_followed(tmp_path: Path) -> None:
    async with site() as at:
        at.server.answers["SELECT t"] = Answer(columns=[("n", "INT")], rows=[["1"]])
        task = replace(sql_task("SELECT t"), interface=Interface(outputs={"t": StructuredDatasetType()}))
        chunk = at.server._chunk

        def led_astray(statement_id: str, index: int) -> dict[str, Any]:
            (link,) = chunk(statement_id, index)["external_links"]
            return {
                "external_links": [{**link, "external_link": link["external_link"].replace("127.0.0.1", "localhost")}]
            }

        at.server._chunk = led_astray  # type: ignore[method-assign]
        handle = await at.host.create_task(replace(at.sent(task), output_prefix=str(tmp_path)))
        await followed(at.host, handle, 100)
        assert at.server.links_followed == 0
        at.server._chunk = chunk  # type: ignore[method-assign]
        assert (await followed(at.host, handle, 600)).phase is Phase.SUCCEEDED
        assert at.server.links_followed == 1


@virtually
async def test_a_result_that_lacks_rows_is_no_result() -> None:
    async with site() as at:
        whole = Answer(columns=[("n", "INT")], rows=[["1"], ["2"], ["3"]])
        at.server.answers["SELECT 3"] = whole
        chunk = at.server._chunk

        def cut(statement_id: str, index: int) -> dict[str, Any]:
            return {**chunk(statement_id, index), "next_chunk_index": 0}  # which goes round

        at.server._chunk = cut  # type: ignore[method-assign]
        handle = await at.start(sql_task("SELECT 3"))
        for _ in range(6):
            await asyncio.sleep(10)
            assert (await at.host.get_task(handle)).phase is not Phase.SUCCEEDED
        at.server._chunk = chunk  # type: ignore[method-assign]
        assert (await at.end(handle)).outputs == {"rows": [{"n": 1}, {"n": 2}, {"n": 3}]}


@virtually
async def test_a_cancel_of_what_has_just_ended_or_vanished_is_done() -> None:
    async with site() as at:
        for task in (function_task("long"), sql_task("SELECT forever")):
            for is_forgotten in (False, True):
                handle = await at.start(task)
                await at.host.get_task(handle)
                job = list(at.server.ledger.jobs)[-1]
                at.server.ledger.settle(job, "SUCCEEDED")
                if is_forgotten:
                    at.server.ledger.forget(job)
                await at.host.delete_task(handle)
        assert not at.server.ledger.live()


@virtually
async def test_a_refused_cancel_is_told_and_asked_again() -> None:
    async with site() as at:
        handle = await at.start(function_task("long"))
        await at.host.get_task(handle)
        at.server.faults.add(Refuse(status=400, code="INVALID_STATE", words="not now"), "cancel", times=1)
        try:
            await at.host.delete_task(handle)
        except Exception:  # noqa: BLE001 - an engine asks again
            await at.host.delete_task(handle)
        await asyncio.sleep(60)
        assert not at.server.ledger.live()


@pytest.mark.parametrize(
    "told", [(302, ""), (200, HTML), (200, {"error_code": "INTERNAL_ERROR"}), (404, HTML)], ids=str
)
@pytest.mark.parametrize(
    "task",
    [function_task("long"), replace(sql_task("SELECT forever"), interface=Interface())],
    ids=["run", "statement"],
)
def test_an_answer_that_accepts_no_cancel_is_not_taken_for_one_and_the_cancel_goes_on(
    task: Task[Any], told: Told
) -> None:
    @virtually
    async def check() -> None:
        server = StrangeWorkspace()
        async with site(server=server) as at:
            handle = await at.host.create_task(at.sent(task), timeout_s=10)
            await at.host.get_task(handle, timeout_s=10)
            server.instead = {"cancel": told}
            with pytest.raises(OutboardError):
                await at.host.delete_task(handle, timeout_s=10)
            await asyncio.sleep(3600)  # an accepted cancel is watched for half as long
            assert server.ledger.live()
            server.instead = {}
            await asyncio.sleep(600)
            assert not server.ledger.live()

    check()


BY_X = "SELECT :x"


@pytest.mark.parametrize(
    ("value", "kind", "sent"),
    [
        ("red", EnumType(("red", "blue")), ("STRING", "red")),
        (None, UnionType.of(SimpleType.INTEGER, SimpleType.NONE), ("BIGINT", None)),
        (7, UnionType.of(SimpleType.STRING, SimpleType.INTEGER), ("BIGINT", "7")),
        ("x", UnionType.of(SimpleType.INTEGER, SimpleType.STRING), ("STRING", "x")),
        ("x" * 2**20, SimpleType.STRING, ("STRING", "x" * 2**20)),
        (2**63 - 1, SimpleType.INTEGER, ("BIGINT", str(2**63 - 1))),
        (float("inf"), SimpleType.FLOAT, ("DOUBLE", "inf")),
        ([1], ListType(SimpleType.INTEGER), None),
        ({"a": 1}, SimpleType.STRUCT, None),
        (b"raw", SimpleType.BINARY, None),
    ],
    ids=[
        "enum",
        "None",
        "int of two",
        "text of two",
        "a megabyte",
        "the largest int",
        "infinity",
        "list",
        "dict",
        "bytes",
    ],
)
def test_each_kind_of_input_is_bound_or_refused_by_its_name(value: Any, kind: Any, sent: Any) -> None:
    @virtually
    async def check() -> None:
        async with site() as at:
            at.server.answers[BY_X] = Answer()
            task = replace(sql_task(BY_X), inputs=Inputs({"x": value}), interface=Interface(inputs={"x": kind}))
            status = await at.end(await at.start(task))
            if sent is None:
                assert (status.phase, "inputs.x" in status.message) == (Phase.FAILED, True)
                assert not at.server.asked
                return
            assert status.phase is Phase.SUCCEEDED, status
            (parameter,) = next(iter(at.server.asked.values()))["parameters"]
            assert (parameter["type"], parameter.get("value")) == sent

    check()


@virtually
async def test_a_statement_of_a_megabyte_is_sent_as_it_is() -> None:
    async with site() as at:
        sql = f"SELECT '{'x' * 2**20}'"
        at.server.answers[sql] = Answer()
        handle = await at.start(replace(sql_task(sql), interface=Interface()))
        assert (await at.end(handle)).phase is Phase.SUCCEEDED
        assert len(handle) < 1024


@pytest.mark.parametrize(
    "cluster",
    [{"spark_env_vars": ["x"]}, {"custom_tags": "x"}],
    ids=["variables", "tags"],
)
def test_a_cluster_of_a_wrong_form_names_what_is_wrong(cluster: dict[str, Any]) -> None:
    @virtually
    async def check() -> None:
        async with site() as at:
            conf = {"run_name": "quick", "new_cluster": {"spark_version": "15", **cluster}}
            status = await at.end(await at.start(replace(function_task("quick"), config={"databricksConf": conf})))
            assert status.phase is Phase.FAILED
            assert f"{next(iter(cluster))} must be an object" in status.message

    check()
