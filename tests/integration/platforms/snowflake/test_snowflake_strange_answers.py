"""Answers that no documentation has: whatever comes, no statement is started twice, none is taken for ended, and none is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from integration.platforms.snowflake.snowflake_hosts import site
from integration.platforms.strange_answers import ANYWHERE, FOR_A_YEAR, HTML, Strange, Told, followed
from outboard.agent import Phase
from outboard.errors import OutboardError
from outboard.testing.cases.snowflake import statement_task
from outboard.testing.faults import Refuse
from outboard.testing.ledger import Course
from outboard.testing.platforms.snowflake import Answer, FakeSnowflake
from outboard.testing.virtual_time import virtually

pytest.importorskip("cryptography", reason="cryptography is not installed")
TABLE = {"numRows": 1, "rowType": [{"name": "N", "type": "fixed"}], "partitionInfo": [{"rowCount": 1}]}
OTHER = "01b2c3d4-0000-1e5f-0000-000000099999"
STRANGE: dict[str, Told] = {
    **ANYWHERE,
    "a handle that is a number": (200, {"statementHandle": 7, "code": "090001"}),
    "a handle as long as a book": (200, {"statementHandle": "x" * 5_000, "code": "090001"}),
    "a code that is a list": (200, {"code": ["090001"]}),
    "a result that is a list": (200, {"resultSetMetaData": [], "code": "1"}),
    "Too many requests, for a year": (429, {"code": "390420", "message": "Too many requests."}, FOR_A_YEAR),
    "an error of theirs": (500, {"code": "000603", "message": "internal error"}),
    "a page that says 408": (408, HTML),
    "an unknown error of theirs": (503, {"code": 7, "message": {"no": "text"}}),
}
OF_LOOKS: dict[str, Told] = {
    "a success without a result": (200, {"statementHandle": "%id", "message": "Statement executed successfully."}),
    "another statement": (200, {"statementHandle": OTHER, "code": "090001", "resultSetMetaData": TABLE}),
    "a login that is refused": (401, {"code": "390144", "message": "JWT token is invalid."}),
    "a page that says 401": (401, HTML),
    "a page that says 403": (403, HTML),
    "a page that says 404": (404, HTML),
    "a page that says 422": (422, HTML),
}
"""Those that a submission is refused by, or cannot tell from a true one."""


class StrangeAccount(Strange, FakeSnowflake):
    """An account that answers otherwise."""


@pytest.mark.parametrize("name", [*STRANGE, *OF_LOOKS])
def test_a_strange_answer_ends_no_statement_and_starts_none_twice(name: str) -> None:
    @virtually
    async def check() -> None:
        slow = {"SELECT slow": Answer(course=Course(running_s=300))}
        async with site(slow, kind=StrangeAccount) as at:
            assert isinstance(at.server, StrangeAccount)
            if name in STRANGE:
                at.server.instead = {"create": STRANGE[name]}
            handle = await at.start(statement_task("SELECT slow"))
            await asyncio.sleep(5)
            at.server.instead = {"get": {**STRANGE, **OF_LOOKS}[name]}
            status = await followed(at.host, handle, 200)
            assert not status.phase.is_terminal, status
            assert at.server.told > 0
            at.server.instead = {}
            status = await followed(at.host, handle, 1500)
            assert (status.phase, len(at.server.ledger.jobs)) == (Phase.SUCCEEDED, 1), status

    check()


@virtually
async def test_a_page_that_refuses_a_submission_in_snowflakes_stead_leaves_no_statement_behind() -> None:
    async with site(kind=StrangeAccount) as at:
        assert isinstance(at.server, StrangeAccount)
        at.server.instead = {"create": (422, HTML)}
        handle = await at.start(statement_task("SELECT quick"))
        await asyncio.sleep(5)
        at.server.instead = {}
        assert (await at.end(handle)).phase is Phase.SUCCEEDED
        assert len(at.server.ledger.jobs) == 1


@pytest.mark.parametrize("code", ["000604", "000605", "000709", "000710"])
def test_a_cancel_that_is_told_of_an_end_is_done(code: str) -> None:
    """The statement ended between the last look and the cancel."""

    @virtually
    async def check() -> None:
        async with site() as at:
            handle = await at.start(statement_task("SELECT long"))
            await at.host.get_task(handle)
            job = next(iter(at.server.ledger.jobs))
            status = 404 if code in ("000709", "000710") else 422
            at.server.faults.add(Refuse(status=status, code=code, words="not executing"), "cancel", times=1)
            asyncio.get_running_loop().call_later(1, at.server.ledger.settle, job, "SUCCEEDED")
            await at.host.delete_task(handle)
            assert at.server.faults.calls["cancel"] == 1
            assert not at.server.ledger.live()

    check()


UNACCEPTED: dict[str, Told] = {
    "an empty answer": (200, ""),
    "a login page": (200, HTML),
    "a redirect": (302, ""),
    "a page that says 404": (404, HTML),
    "a page that says 422": (422, HTML),
    "a refusal of theirs": (422, {"code": "003001", "message": "Insufficient privileges"}),
}


@pytest.mark.parametrize("name", list(UNACCEPTED))
def test_an_answer_that_accepts_no_cancel_is_not_taken_for_one_and_the_cancel_goes_on(name: str) -> None:
    @virtually
    async def check() -> None:
        async with site(kind=StrangeAccount) as at:
            assert isinstance(at.server, StrangeAccount)
            handle = await at.start(statement_task("SELECT long"))
            await at.host.get_task(handle)
            at.server.instead = {"cancel": UNACCEPTED[name]}
            with pytest.raises(OutboardError):
                await at.host.delete_task(handle)
            await asyncio.sleep(3600)  # an accepted cancel is watched for half as long
            assert at.server.ledger.live()
            at.server.instead = {}
            await asyncio.sleep(600)
            assert not at.server.ledger.live()

    check()


@pytest.mark.parametrize("rows", [None, {}, [7], [[7, {}]], [[None]], [["x"] * 20]])
@pytest.mark.parametrize("columns", [None, {}, [None], [{"name": 7}], [{"name": "BYTES_SCANNED"}]])
def test_a_strange_history_does_not_spoil_a_statement_that_succeeded(rows: Any, columns: Any) -> None:
    @virtually
    async def check() -> None:
        async with site(settings={"query_history": True}, kind=StrangeAccount) as at:
            assert isinstance(at.server, StrangeAccount)
            handle = await at.start(statement_task("SELECT quick"))
            at.server.instead = {"create": (200, {"resultSetMetaData": {"rowType": columns}, "data": rows})}
            assert (await at.end(handle)).phase is Phase.SUCCEEDED

    check()


@virtually
async def test_counts_of_another_type_do_not_spoil_a_statement_that_succeeded() -> None:
    stats: dict[str, Any] = {"numRowsInserted": "5", "numRowsUpdated": [5]}
    async with site({"SELECT 1": Answer(stats=stats)}) as at:
        assert (await at.run(statement_task("SELECT 1"))).phase is Phase.SUCCEEDED
