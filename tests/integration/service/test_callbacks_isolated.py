"""Callbacks through `outboard serve`: to an agent of this process, to an isolated one, and to one whose process is down."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import aiohttp
import pytest

from integration.service.probe import make_task
from integration.service.served import Served, served
from ledgers import until
from outboard.domain.phases import Phase
from outboard.engine.remote import RemoteEndpoint

KEY = "a key that only the bell has"
RIGHT = {"authorization": f"Bearer {KEY}"}


async def rung(service: Served, job: str, headers: dict[str, str] = RIGHT, agent: str = "bell") -> int:
    line = service.logged("callbacks are taken")[0]
    url = f"http://127.0.0.1:{line['port']}/callbacks/{agent}"
    async with aiohttp.ClientSession() as client, client.post(url, data={"job": job}, headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize(
    "more",
    [(), ("--isolate", "bell:Bell"), ("--processes", "3"), ("--processes", "2", "--isolate", "bell:Bell")],
    ids=["in process", "isolated", "workers", "isolated workers"],
)
async def test_a_callback_reaches_the_agent_and_the_next_poll_tells_the_end(
    more: tuple[str, ...], tmp_path: Path
) -> None:
    options = ("--agents", "bell:Bell", "--callbacks-port", "0", *more)
    file = tmp_path / "end"
    bell = make_task("bell", config={"file": str(file)}, output_prefix=f"{tmp_path}/outputs/0")
    async with (
        served(*options, _FSEC_BELL_KEY=KEY) as service,
        RemoteEndpoint.at(service.address, timeout_s=20) as remote,
    ):
        handle = await remote.create_task(bell)
        assert (await remote.get_task(handle, task_type=bell.task_type)).phase is Phase.RUNNING
        file.touch()
        for wrong in ({"authorization": "Bearer another"}, {}):
            assert await rung(service, "job-end", wrong) == 401
        assert await rung(service, "job-end", agent="nobody") == 404
        assert (await remote.get_task(handle, task_type=bell.task_type)).phase is Phase.RUNNING
        assert await rung(service, "job-end") == 200

        async def is_told() -> bool:
            return (await remote.get_task(handle, task_type=bell.task_type)).phase is Phase.SUCCEEDED

        await until(is_told)  # a service that is asked while it asks answers what it knew
        refused = service.logged("callback not taken", agent="bell", result="forged")
        assert {line["more_since_last_line"] for line in refused} == {0}
        assert KEY not in repr(service.lines)


async def test_while_the_process_of_its_agent_is_down_a_callback_should_come_again() -> None:
    options = ("--agents", "bell:Bell", "--callbacks-port", "0", "--isolate", "bell:Bell")
    async with served(*options, _FSEC_BELL_KEY=KEY) as service:
        os.kill(service.children[0], signal.SIGKILL)
        await service.until(lambda: service.logged("isolated platform ended"))
        assert await rung(service, "job-1") == 503
        await service.until(lambda: service.children[1:])
        assert await rung(service, "job-1") == 200
