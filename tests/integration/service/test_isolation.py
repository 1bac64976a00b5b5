"""Agents that block, exit, crash and hang: the others' answers and health stay truthful. All over real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration.service.probe import make_task
from integration.service.served import Served, read, served, until_file, until_gone
from outboard import errors
from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.engine.remote import RemoteEndpoint

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
HOSTILE, CALM = "hostile:Hostile", "hostile:Calm"
OUTPUTS = "set for each test"


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and records lie in the test's own folder."""
    monkeypatch.setattr(sys.modules[__name__], "OUTPUTS", str(tmp_path / "outputs"))


@asynccontextmanager
async def isolated(*options: str) -> AsyncIterator[tuple[Served, RemoteEndpoint]]:
    """A service with a calm platform, and a hostile one in a process of its own."""
    agents = ("--agents", CALM, "--agents", HOSTILE, "--isolate", HOSTILE)
    async with served(*agents, *options) as service, RemoteEndpoint.at(service.address, timeout_s=20) as remote:
        yield service, remote


def task(task_type: str, deed: str = "", file: Path | str = "", node: str = "n0") -> Any:
    return make_task(
        task_type, config={"deed": deed, "file": str(file)}, node=node, output_prefix=f"{OUTPUTS}/{node}/0"
    )


async def phase(remote: RemoteEndpoint, handle: bytes, of: Any) -> Phase:
    return (await remote.get_task(handle, task_type=of.task_type)).phase


async def ended(remote: RemoteEndpoint, handle: bytes, of: Any) -> TaskStatus:
    """Poll as an engine does: the service may answer what it knew a moment ago."""
    while not (status := await remote.get_task(handle, task_type=of.task_type)).phase.is_terminal:  # noqa: ASYNC110 - a poll
        await asyncio.sleep(0.01)
    return status


async def health(address: str, name: str = "") -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
        return int(answer.status)


@asynccontextmanager
async def watched(address: str, name: str) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Gives a function that waits until health says so."""
    async with grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))

        async def until(wanted: int) -> None:
            while (await asyncio.wait_for(watch.read(), 60)).status != wanted:
                pass

        yield until
        watch.cancel()


async def test_exits_in_coroutine_thread_connection_open_and_import_end_nothing() -> None:
    async with (
        served("--agents", CALM, "--agents", HOSTILE, "--agents", "exits_at_import:Platform") as service,
        RemoteEndpoint.at(service.address, timeout_s=20) as remote,
    ):
        assert "not loaded: exits_at_import:Platform (SystemExit: 3 while loading" in service.ready
        for node, (kind, deed) in enumerate(
            [("deeds", "exit"), ("threads", "exit"), ("deeds", "exit in connection"), ("threads", "exit in open")]
        ):
            bad = task(kind, deed, node=f"n{node}")
            with suppress(errors.OutboardError):  # an error, or a handle whose polls tell: but an answer
                await remote.get_task(await remote.create_task(bad), task_type=bad.task_type)
        answer = await remote.execute_task(task("answers", "exit", node="answers"))
        assert answer.error is not None
        assert "SystemExit" in answer.error.message
        handle = await remote.create_task(task("deeds", "exit in a task", node="n9"))
        await service.until(lambda: service.logged("background code raised SystemExit, which would end the process"))
        assert await phase(remote, handle, task("deeds")) is Phase.RUNNING
        good = task("calm", node="good")
        assert await phase(remote, await remote.create_task(good), good) is Phase.RUNNING
        assert await health(service.address) == SERVING
        assert service.process.returncode is None


async def test_an_isolated_platform_is_served_like_any_other(tmp_path: Path) -> None:
    async with isolated() as (service, remote):
        names = {agent.name for agent in await remote.list_agents()}
        assert names == {"calm", "deeds", "threads", "answers"}
        good = task("deeds", file=tmp_path / "done")
        handle = await remote.create_task(good)
        assert await phase(remote, handle, good) is Phase.RUNNING
        assert await remote.create_task(good) == handle
        pages = [page async for page in remote.task_logs(handle, task_type=good.task_type)]
        assert [line.message for page in pages for line in page.lines] == ["a line of the job"]
        with pytest.raises(errors.Unsupported):
            await remote.task_metrics(handle, task_type=good.task_type)
        (tmp_path / "done").touch()
        status = await ended(remote, handle, good)
        assert status.outputs == {"o0": 1}
        await remote.delete_task(handle, task_type=good.task_type)
        answer = await remote.execute_task(task("answers", node="answers"))
        assert answer.outputs == {"o0": 42}
        with pytest.raises(errors.InvalidTask, match=r"custom\.deed"):
            await remote.create_task(make_task("deeds", config={"deed": []}))
        with pytest.raises(errors.UnknownTaskType, match="in version 0, not in version 7"):
            await remote.create_task(make_task("deeds", config={}, version=7))
        with pytest.raises(errors.UnknownTaskType):
            await remote.create_task(make_task("invented", config={}))
        refused = await service.until(lambda: service.logged("call failed", task_type="deeds", error="InvalidTask"))
        assert [line["isolated"] for line in refused] == [HOSTILE]  # told once, by the process that refused it


async def test_a_blocked_isolated_agent_holds_up_nobody_else_and_its_polls_are_answered(tmp_path: Path) -> None:
    async with isolated() as (service, remote), watched(service.address, "outboard.agent/deeds") as until:
        known = task("deeds", node="known")
        handle = await remote.create_task(known)
        assert (await remote.get_task(handle, task_type=known.task_type)).message == "at work"
        blocking = asyncio.ensure_future(remote.create_task(task("deeds", "block", tmp_path / "go", node="blocks")))
        await until_file(tmp_path / "go.begun")
        await until(NOT_SERVING)
        assert (await remote.get_task(handle, task_type=known.task_type)).message == "at work"
        good = task("calm", node="good")
        assert await phase(remote, await remote.create_task(good), good) is Phase.RUNNING
        assert await health(service.address) == SERVING
        assert await health(service.address, "outboard.agent/calm") == SERVING
        (tmp_path / "go").touch()
        await until(SERVING)
        with suppress(errors.OutboardError):
            await blocking
        assert service.children == service.children[:1]  # it was not ended for that


async def test_killing_a_child_fails_no_poll_and_its_jobs_are_followed_by_the_next_one(tmp_path: Path) -> None:
    async with isolated() as (service, remote):
        one = task("deeds", file=tmp_path / "done")
        handle = await remote.create_task(one)
        phases = [await phase(remote, handle, one) for _ in range(10)]
        polls = [asyncio.ensure_future(phase(remote, handle, one)) for _ in range(20)]
        os.kill(service.children[0], signal.SIGKILL)
        phases += await asyncio.gather(*polls)
        phases += [await phase(remote, handle, one) for _ in range(20)]
        assert phases == [Phase.RUNNING] * 50
        await remote.create_task(task("deeds", node="meanwhile"))  # waits for the next child
        (tmp_path / "done").touch()
        assert (await ended(remote, handle, one)).phase is Phase.SUCCEEDED
        ends = service.logged("isolated platform ended", isolated=HOSTILE)
        assert [line["how"] for line in ends] == ["signal SIGKILL"]
        assert len(service.children) == 2


@pytest.mark.parametrize("deed", ["os exit", "segfault", "slow death"])
async def test_a_create_that_ends_its_process_is_unavailable_and_the_next_one_works(deed: str) -> None:
    async with isolated("--metrics-port", "0") as (service, remote):
        with pytest.raises(errors.Unavailable, match="hostile:Hostile ended while it worked on this"):
            await remote.create_task(task("deeds", deed))
        good = task("calm", node="good")
        assert await phase(remote, await remote.create_task(good), good) is Phase.RUNNING
        assert await remote.create_task(task("deeds", node="n1"))
        assert service.process.returncode is None
        if deed == "segfault":
            told = [line["line"] for line in service.logged("output", isolated=HOSTILE)]
            assert any("in do" in line for line in told)  # the frames, which name the culprit


async def test_a_child_that_never_comes_up_leaves_the_others_served() -> None:
    spec = "exits_at_import:Platform"
    async with (
        served("--agents", CALM, "--isolate", spec, OUTBOARD_TEST_END="hard") as service,
        RemoteEndpoint.at(service.address, timeout_s=20) as remote,
    ):
        assert f"not loaded: {spec} (its process does not come up" in service.ready
        good = task("calm", node="good")
        assert await phase(remote, await remote.create_task(good), good) is Phase.RUNNING
        with pytest.raises(errors.Unavailable, match="not up so far: exits_at_import:Platform"):
            await remote.create_task(task("deeds"))
        lost = HandleCodec().encode(Handle(agent="deeds", task_type="deeds", key=Key("ob-a-b-0-" + "a" * 26)))
        assert await phase(remote, lost, task("deeds")) is Phase.RUNNING  # of another time, when it came up
        again = await service.until(lambda: (n := service.logged("isolated platform is started again"))[1:] and n)
        assert [line["delay_s"] for line in again[:2]] == [1.0, 2.0]
        assert await health(service.address) == SERVING


async def test_sigterm_drains_children_too(tmp_path: Path) -> None:
    async with isolated() as (service, remote):
        call = asyncio.ensure_future(remote.create_task(task("threads", "block", tmp_path / "go")))
        await until_file(tmp_path / "go.begun")
        service.process.terminate()
        await service.until(lambda: service.logged("draining"))
        (tmp_path / "go").touch()
        assert await call
        assert await asyncio.wait_for(service.process.wait(), 30) == 0
        await until_gone(service.children[0])
        await service.until(lambda: service.logged("isolated platform ended", how="exit code 0"))


@pytest.mark.parametrize("deed", ["", "block"])
async def test_sigkill_of_the_parent_leaves_no_child(tmp_path: Path, deed: str) -> None:
    async with isolated() as (service, remote):
        call = asyncio.ensure_future(remote.create_task(task("deeds", deed, tmp_path / "go")))
        if deed:
            await until_file(tmp_path / "go.begun")
        service.process.kill()
        await until_gone(service.children[0])
        await asyncio.gather(call, return_exceptions=True)


async def test_a_child_that_grows_beyond_its_limit_is_drained_and_started_anew(tmp_path: Path) -> None:
    settings = tmp_path / "outboard.json"
    settings.write_text(json.dumps({"service": {"isolate_memory_bytes": 300 * 2**20, "isolate": [HOSTILE]}}))
    async with (
        served("--agents", CALM, "--agents", HOSTILE, "--settings", str(settings)) as service,
        RemoteEndpoint.at(service.address, timeout_s=20) as remote,
    ):
        one = task("deeds", "leak")
        handle = await remote.create_task(one)
        await service.until(lambda: service.children[1:])
        assert await phase(remote, handle, one) is Phase.RUNNING
        assert service.logged("isolated platform ended", how="exit code 0")


async def test_children_are_metrics_of_the_parent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with isolated("--metrics-port", str(port)) as (service, remote):
        await remote.create_task(task("deeds"))
        page = await asyncio.to_thread(read, f"http://127.0.0.1:{port}/metrics")
        assert f'outboard_isolated_up{{source="{HOSTILE}"}} 1.0' in page
        assert f'outboard_isolated_restarts_total{{source="{HOSTILE}"}} 0.0' in page
        rss = next(line for line in page.splitlines() if line.startswith("outboard_isolated_rss_bytes{"))
        assert float(rss.split()[-1]) > 10_000_000
        assert 'outboard_agent_loop_seconds_total{agent="deeds"}' in page  # counted there, told here
        assert f'process_resident_memory_bytes{{process="{HOSTILE}"}}' in page
        assert service.children


async def test_an_agent_can_be_named_instead_of_its_platform() -> None:
    async with served("--agents", CALM, "--agents", HOSTILE, "--isolate", "threads") as service:
        assert service.logged("isolated platform is up", isolated=HOSTILE)
        assert "calm, deeds, threads" in service.ready


async def test_what_cannot_be_isolated_is_a_wrong_setting() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outboard", "serve", "--port", "0", "--isolate", "nothing", stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    known = b"athena, bigquery, databricks, embedded, files, snowflake, sql"
    assert b"--isolate nothing: there is no such platform or agent; platforms: " + known in told
