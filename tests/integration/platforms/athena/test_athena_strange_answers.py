"""Answers that no documentation has: whatever comes, no query is started twice, none is taken for ended, and none is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from integration.platforms.athena.athena_hosts import host_for, sent
from outboard.agent import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.host import Host
from outboard.testing.cases.athena import presto_task, settings_for
from outboard.testing.ledger import Course
from outboard.testing.platforms.athena import FakeAthena
from outboard.testing.platforms.athena_queries import FakeQuery
from outboard.testing.platforms.athena_signatures import Signed
from outboard.testing.virtual_time import virtually

HTML = "<html><body>Bad Gateway</body></html>"
OTHER = {"QueryExecutionId": "11111111-2222-5333-8444-555555555555", "Status": {"State": "SUCCEEDED"}}
STRANGE: dict[str, tuple[int, Any]] = {
    "an empty answer": (200, ""),
    "a page of a proxy, 502": (502, HTML),
    "a login page": (200, HTML),
    "a redirect": (302, ""),
    "null": (200, None),
    "a list": (200, []),
    "an object without fields": (200, {}),
    "fields that are numbers": (200, {"QueryExecutionId": 7, "QueryExecution": 7, "QueryExecutions": 7}),
    "an id as long as a book": (200, {"QueryExecutionId": "x" * 5_000}),
    "an id with a space": (200, {"QueryExecutionId": "a b"}),
    "another query": (200, {"QueryExecution": OTHER, "QueryExecutions": [OTHER]}),
    "a query without a state": (200, {"QueryExecution": {"QueryExecutionId": "%id"}, "QueryExecutions": [None]}),
    "a query in a state that nobody knows": (
        200,
        {"QueryExecution": {"QueryExecutionId": "%id", "Status": {"State": "PAUSED", "AthenaError": [1]}}},
    ),
    "Too many requests, for a year": (400, {"__type": "TooManyRequestsException", "message": "Rate exceeded"}),
    "Throttling, 429": (429, {"__type": "ThrottlingException", "Message": {"no": "text"}}),
    "an error of theirs": (500, {"__type": "InternalServerException"}),
    "an error without words": (503, ""),
}
OF_LOOKS: dict[str, tuple[int, Any]] = {
    "keys that have ended": (400, {"__type": "ExpiredTokenException", "message": "The security token is expired"}),
    "no permission any more": (400, {"__type": "AccessDeniedException", "Message": "not authorized"}),
    "a page that says 403": (403, HTML),
    "a page that says 404": (404, HTML),
}
"""Those that a start is refused by."""


class Strange(FakeAthena):
    """An Athena that answers otherwise once it has done its work."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.of_starts: tuple[int, Any] | None = None
        self.of_looks: tuple[int, Any] | None = None

    def _start(self, asked: Mapping[str, Any], signed: Signed) -> web.Response:
        real = super()._start(asked, signed)
        return _told(self.of_starts, "") if self.of_starts is not None else real

    def _show(self, asked: Mapping[str, Any], signed: Signed) -> web.Response:
        real = super()._show(asked, signed)
        return _told(self.of_looks, str(asked["QueryExecutionId"])) if self.of_looks is not None else real

    def _get_batch(self, asked: Mapping[str, Any], signed: Signed) -> web.Response:
        real = super()._get_batch(asked, signed)
        return _told(self.of_looks, str(asked["QueryExecutionIds"][0])) if self.of_looks is not None else real


def _told(strange: tuple[int, Any], query_id: str) -> web.Response:
    status, content = strange
    headers = {"Retry-After": "31536000"} if status in (400, 429) else {}
    if isinstance(content, str):
        return web.Response(status=status, text=content, content_type="text/html", headers=headers)
    return web.json_response(text=json.dumps(content).replace("%id", query_id), status=status, headers=headers)


async def followed(host: Host, handle: bytes, task: RawTask, seconds: float) -> TaskStatus:
    for _ in range(round(seconds / 10)):
        status: TaskStatus = await host.get_task(handle, task_type=task.task_type, timeout_s=10)
        if status.phase.is_terminal:
            break
        await asyncio.sleep(10)
    return status


@pytest.mark.parametrize("name", [*STRANGE, *OF_LOOKS])
def test_a_strange_answer_ends_no_query_and_starts_none_twice(name: str) -> None:
    @virtually
    async def check() -> None:
        queries = {f"SELECT {n}": FakeQuery(course=Course(running_s=300)) for n in range(2)}
        tasks = [sent(presto_task(sql), node=f"n{n}") for n, sql in enumerate(queries)]
        async with Strange(queries) as server, host_for(settings_for(server.url)) as host:
            server.of_starts = STRANGE.get(name)
            handles = [await host.create_task(task, timeout_s=10) for task in tasks]
            await asyncio.sleep(5)
            server.of_starts, server.of_looks = None, {**STRANGE, **OF_LOOKS}[name]
            pairs = list(zip(handles, tasks, strict=True))
            for status in await asyncio.gather(*(followed(host, handle, task, 200) for handle, task in pairs)):
                assert not status.phase.is_terminal, status
            server.of_looks = None
            for status in await asyncio.gather(*(followed(host, handle, task, 1500) for handle, task in pairs)):
                assert status.phase is Phase.SUCCEEDED, status
            assert len(server.ledger.jobs) == 2

    check()
