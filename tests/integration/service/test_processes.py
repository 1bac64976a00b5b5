"""`serve --processes N`: several workers on one port, that end, are killed, hang, and are one service all the same."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import grpc
import pytest

from integration.service.probe import make_task
from integration.service.served import HERE, Served, read, served, until_file, until_gone
from outboard import errors
from outboard.domain.phases import Phase
from outboard.domain.tasks import TaskType
from outboard.engine.remote import RemoteEndpoint
from outboard.service.supervision.control import METRICS, Unanswered, ask_from_loop

CALM, HOSTILE, CLAIMED = "hostile:Calm", "hostile:Hostile", "claimed:Claimed"
LISTED = 'flyte_connector_requests_success_total{operation="list_agents",task_type=""}'


@asynccontextmanager
async def workers(*options: str, processes: int = 2, **environment: str) -> AsyncIterator[tuple[Served, str]]:
    """A service with workers, and where its metrics are."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ("--processes", str(processes), "--metrics-port", str(port), *options)
    async with served(*arguments, **environment) as service:
        yield service, f"http://127.0.0.1:{port}/metrics"


def control_of(service: Served, number: int) -> str:
    """Where a worker in its first life answers its parent's questions."""
    (socket_of_the_parent,) = service.folder.glob("outboard-*/parent")
    return str(socket_of_the_parent.parent / f"{number - 1}.1.q")


async def told_by(service: Served, number: int, name: str) -> float:
    """The sum of a metric's samples, as a worker tells it itself."""
    for family in await ask_from_loop(control_of(service, number), METRICS, timeout_s=10):
        if family[0] == name:
            return float(sum(value for _, _, value in family[3]))
    return 0.0


async def calls_of(service: Served, number: int) -> float:
    return await told_by(service, number, "flyte_connector_requests_success")


@asynccontextmanager
async def connected(service: Served) -> AsyncIterator[RemoteEndpoint]:
    """A client with a connection of its own, which gRPC's channels to one address otherwise share."""
    async with RemoteEndpoint.at(service.address, timeout_s=30) as remote:
        current = remote._connections._current
        await current.channel.close()
        current.channel = grpc.aio.insecure_channel(service.address, options=[("grpc.use_local_subchannel_pool", 1)])
        yield remote


@asynccontextmanager
async def one_of_each(service: Served, count: int = 2) -> AsyncIterator[Sequence[RemoteEndpoint]]:
    """Connections, one to each worker; the kernel chooses, so as many are opened as it takes."""
    found: dict[int, RemoteEndpoint] = {}
    async with AsyncExitStack() as opened:
        while len(found) < count:
            before = [await calls_of(service, number) for number in range(1, count + 1)]
            remote = await opened.enter_async_context(connected(service))
            await remote.list_agents()
            after = [await calls_of(service, number) for number in range(1, count + 1)]
            (reached,) = [number for number in range(count) if after[number] > before[number]]
            found.setdefault(reached, remote)
        yield [found[number] for number in range(count)]


async def call_anew(service: Served, times: int) -> None:
    """Make calls over new connections, each as an engine does: again when its connection broke."""
    for _ in range(times):
        while True:
            async with connected(service) as remote:
                with suppress(errors.EndpointUnreachable, errors.Unavailable):
                    await remote.list_agents()
                    break


async def phase(remote: RemoteEndpoint, handle: bytes) -> Phase:
    return (await remote.get_task(handle, task_type=TaskType("any"))).phase  # the handle says whose it is


async def page(url: str) -> dict[str, float]:
    text = await asyncio.to_thread(read, url)
    return {m[1]: float(m[2]) for m in re.finditer(r"^([^#\n]\S*(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}


async def refused(*options: str) -> str:
    """What a service says that does not come up because of its settings."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outboard", "serve", "--platforms", "", *options, cwd=HERE, stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2, told
    return told.decode()


async def test_all_workers_answer_on_one_port_and_one_page_sums_them_up() -> None:
    async with workers("--agents", CALM, processes=3) as (service, url), one_of_each(service, 3) as remotes:
        assert "outboard serves 1 agent on 127.0.0.1:" in service.ready
        assert "; 3 processes" in service.ready
        for number, remote in enumerate(remotes):
            for _ in range(number):
                await remote.list_agents()
        apart = [await calls_of(service, number) for number in (1, 2, 3)]
        told = await page(url)
        assert all(apart)
        assert told[LISTED] == sum(apart)
        assert told['outboard_processes{state="up"}'] == 3
        names = {key for key in told if key.startswith("process_resident_memory_bytes")}
        assert names == {f'process_resident_memory_bytes{{process="{name}"}}' for name in ("parent", "1", "2", "3")}


async def test_a_killed_worker_is_started_again_while_the_other_answers_and_no_count_goes_backwards() -> None:
    async with workers("--agents", CALM) as (service, url), one_of_each(service) as remotes:
        before = await page(url)
        os.kill(next(line["pid"] for line in service.logged("worker process is up", process="1")), signal.SIGKILL)
        await remotes[1].list_agents()
        await service.until(lambda: service.logged("worker process ended", process="1", how="signal SIGKILL"))
        await call_anew(service, 5)
        meanwhile = await page(url)
        assert meanwhile[LISTED] == before[LISTED] + 6
        await service.until(lambda: len(service.workers) == 3)
        await call_anew(service, 5)
        after = await page(url)
        assert after[LISTED] == before[LISTED] + 11
        assert after['outboard_processes{state="up"}'] == 2
        assert after['outboard_process_restarts_total{process="1"}'] == 1
        counters = [name for name in before if "_total" in name or "_count" in name]
        assert not [name for name in counters if not before[name] <= meanwhile[name] <= after[name]]


async def test_connections_go_to_workers_that_answer_and_not_to_one_that_is_still_starting(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    options = ("--agents", HOSTILE, "--isolate", "waits_at_import:Held")
    async with workers(*options, OUTBOARD_TEST_HOLD=str(hold)) as (service, _):
        hold.touch()
        os.kill(next(line["pid"] for line in service.logged("worker process is up", process="1")), signal.SIGKILL)
        await service.until(lambda: service.logged("worker process is started again", process="1"))
        while len(list(service.folder.glob("outboard-*"))) < 4:  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)  # the parent's folder, one per worker, and that of the next worker 1
        for _ in range(20):
            async with connected(service) as remote:
                await asyncio.wait_for(remote.list_agents(), 30)
        assert len(service.workers) == 2
        hold.unlink()
        await service.until(lambda: len(service.workers) == 3)


async def test_a_worker_that_stands_still_does_not_hold_up_the_page() -> None:
    async with workers("--agents", CALM) as (service, url), one_of_each(service):
        before = await page(url)
        control = control_of(service, int(service.logged("worker process is up")[0]["process"]))
        os.kill(service.workers[0], signal.SIGSTOP)
        try:
            with pytest.raises(Unanswered):
                await ask_from_loop(control, METRICS, timeout_s=0.2)
            assert (await page(url))[LISTED] == before[LISTED]
            await service.until(lambda: service.logged("worker process does not answer"))
            assert (await page(url))['outboard_processes{state="down"}'] == 1
        finally:
            os.kill(service.workers[0], signal.SIGCONT)


async def test_sigterm_drains_the_calls_in_flight_in_all_workers(tmp_path: Path) -> None:
    async with workers("--agents", HOSTILE) as (service, _), one_of_each(service) as remotes:
        calls = []
        for number, remote in enumerate(remotes):
            go = tmp_path / f"go{number}"
            config = {"deed": "block", "file": str(go)}
            task = make_task("threads", config=config, node=f"n{number}", output_prefix=f"{tmp_path}/{number}/0")
            calls.append(asyncio.ensure_future(remote.create_task(task)))
            await until_file(go.with_suffix(".begun"))
        service.process.terminate()
        await service.until(lambda: all(service.logged("draining", process=name) for name in ("1", "2")))
        for number in range(2):
            (tmp_path / f"go{number}").touch()
        assert all(await asyncio.gather(*calls))
        assert await asyncio.wait_for(service.process.wait(), 30) == 0
        for pid in service.workers:
            await until_gone(pid)
        assert not list(service.folder.iterdir())


async def test_a_second_signal_ends_all_of_it_at_once(tmp_path: Path) -> None:
    async with workers("--agents", HOSTILE) as (service, _), one_of_each(service) as remotes:
        config = {"deed": "block", "file": str(tmp_path / "go")}
        task = make_task("threads", config=config, output_prefix=f"{tmp_path}/0")
        call = asyncio.ensure_future(remotes[0].create_task(task))
        await until_file(tmp_path / "go.begun")
        service.process.send_signal(signal.SIGINT)
        await service.until(lambda: service.logged("draining", processes=2))
        service.process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(service.process.wait(), 30) == 128 + signal.SIGINT
        for pid in service.workers:
            await until_gone(pid)
        await asyncio.gather(call, return_exceptions=True)


@pytest.mark.parametrize("options", [("--processes", "2"), ("--isolate", "waits_at_import:Held")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_before_all_is_up_ends_all_of_it_and_leaves_nothing(
    tmp_path: Path, options: tuple[str, ...], number: signal.Signals
) -> None:
    (tmp_path / "hold").touch()
    arguments = ("--port", "0", "--platforms", "", "--agents", "waits_at_import:Held", *options)
    with TemporaryDirectory() as folder:  # shorter than `tmp_path`: sockets are in it
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "outboard", "serve", *arguments, cwd=HERE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "TMPDIR": folder, "OUTBOARD_TEST_HOLD": str(tmp_path / "hold")},
        )  # fmt: skip
        while not os.listdir(folder):  # noqa: ASYNC110, PTH208 - another process makes it
            await asyncio.sleep(0.01)
        process.send_signal(number)
        try:
            _, told = await asyncio.wait_for(process.communicate(), 30)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        assert process.returncode == 0, told
        assert b"Traceback" not in told
        assert not os.listdir(folder)  # noqa: PTH208 - a name is enough


async def test_a_worker_that_was_starting_when_it_was_told_to_end_ended_in_order(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    async with workers("--agents", "waits_at_import:Held", OUTBOARD_TEST_HOLD=str(hold)) as (service, _):
        hold.touch()
        os.kill(service.workers[0], signal.SIGKILL)
        await service.until(lambda: service.logged("worker process is started again"))
        (stale,) = service.folder.glob("outboard-*")
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        while len(children.read_text().split()) < 2:  # noqa: ASYNC110, ASYNC240 - another process starts it
            await asyncio.sleep(0.01)
        service.process.terminate()
        assert await asyncio.wait_for(service.process.wait(), 30) == 0
        assert not stale.exists()


async def test_the_metrics_port_is_told_and_may_be_any_of_an_address_in_brackets() -> None:
    async with served("--host", "[::1]", "--metrics-port", "0", "--processes", "2", "--agents", CALM) as service:
        (line,) = service.logged("metrics are served")
        told = await page(f"http://[::1]:{line['port']}/metrics")
        assert told['outboard_processes{state="up"}'] == 2


async def test_no_worker_outlives_a_parent_that_was_killed() -> None:
    async with workers("--agents", HOSTILE, "--agents", CALM, "--isolate", HOSTILE) as (service, _):
        children = [line["pid"] for line in service.logged("isolated platform is up")]
        assert len(children) == 2
        service.process.kill()
        for pid in (*service.workers, *children):
            await until_gone(pid)


@pytest.mark.parametrize(("first", "second"), [("2", "1"), ("2", "2"), ("1", "2")])
async def test_a_second_service_on_the_port_fails(first: str, second: str) -> None:
    async with served("--agents", CALM, "--processes", first) as service:
        port = service.address.rpartition(":")[2]
        told = await refused("--agents", CALM, "--processes", second, "--port", port)
        assert "address already in use); choose another host or port" in told


async def test_settings_that_workers_refuse_end_the_service_with_their_words(tmp_path: Path) -> None:
    settings = tmp_path / "outboard.json"
    settings.write_text(json.dumps({"host": {"service_keys": ["no key"]}, "service": {"processes": 2}}))
    told = await refused("--agents", CALM, "--port", "0", "--settings", str(settings))
    assert "worker process cannot serve" in told
    assert "error: " in told


async def test_what_cannot_be_shared_is_a_wrong_setting() -> None:
    assert "a Unix socket cannot be shared" in await refused("--processes", "2", "--host", "unix:/tmp/nowhere")
    assert "processes" in await refused("--processes", "0")


async def test_the_same_create_to_two_workers_starts_one_job_that_both_follow_and_cancel(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    task = make_task("claimed", config={"folder": str(tmp_path / "jobs")}, output_prefix=f"{tmp_path}/outputs/n0/0")
    async with workers("--agents", CLAIMED) as (service, url), one_of_each(service) as (one, other):
        creates = [asyncio.ensure_future(each.create_task(task)) for each in (one, other)]
        await until_file(tmp_path / "jobs" / "starts")
        handles = await asyncio.gather(*creates)
        assert {await phase(other, handle) for handle in handles} == {Phase.INITIALIZING}
        (tmp_path / "jobs" / "go").touch()
        for handle in handles:
            for each in (one, other):
                while await phase(each, handle) is not Phase.RUNNING:  # noqa: ASYNC110 - a poll, as engines do
                    await asyncio.sleep(0.02)
        assert (tmp_path / "jobs" / "starts").read_text() == "a job\n"
        # Both have asked the account, and its quota of 1,000 a second is divided between them.
        assert [await told_by(service, number, "outboard_budget_rate") for number in (1, 2)] == [500, 500]
        assert (
            sum(value for name, value in (await page(url)).items() if name.startswith("outboard_budget_rate")) == 1000
        )
        await other.delete_task(handles[0], task_type=task.task_type)
        for each in (one, other):
            while not (await phase(each, handles[1])).is_terminal:  # noqa: ASYNC110 - same
                await asyncio.sleep(0.02)
        assert (tmp_path / "jobs" / "starts").read_text() == "a job\n"


async def test_each_worker_has_isolated_platforms_of_its_own_and_their_metrics_are_on_the_page(tmp_path: Path) -> None:
    options = ("--agents", CALM, "--agents", HOSTILE, "--isolate", HOSTILE)
    async with workers(*options) as (service, url), one_of_each(service) as remotes:
        for number, remote in enumerate(remotes):
            await remote.create_task(
                make_task("deeds", config={}, node=f"n{number}", output_prefix=f"{tmp_path}/{number}/0")
            )
        told = await page(url)
        assert told['outboard_agent_loop_seconds_total{agent="deeds"}'] > 0
        for number in (1, 2):
            assert told[f'process_resident_memory_bytes{{process="{number}/{HOSTILE}"}}'] > 10_000_000
        assert told[f'outboard_isolated_up{{source="{HOSTILE}"}}'] == 1


@pytest.mark.parametrize("options", [(), ("--isolate", "bell:Bell")])
async def test_a_callback_to_one_worker_is_heard_by_all_who_follow_the_job(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    task = make_task("bell", config={"file": str(tmp_path / "one")}, output_prefix=f"{tmp_path}/outputs/n0/0")
    arguments = ("--agents", CALM, "--agents", "bell:Bell", "--callbacks-port", "0", *options)
    async with workers(*arguments, _FSEC_BELL_KEY="a key") as (service, _), one_of_each(service) as (one, other):
        handle = await one.create_task(task)
        for each in (one, other, one, other):  # asked once, and not again for five minutes
            assert await phase(each, handle) is Phase.RUNNING
        (tmp_path / "one").touch()
        assert [await phase(each, handle) for each in (one, other)] == [Phase.RUNNING] * 2
        ports = {line["port"] for line in service.logged("callbacks are taken")}
        url = f"http://127.0.0.1:{ports.pop()}/callbacks/bell"
        assert not ports
        headers = {"authorization": "Bearer a key"}
        async with aiohttp.ClientSession() as client, client.post(url, data=b"job=job-one", headers=headers) as answer:
            assert answer.status == 200
        for each in (one, other):
            while not (await phase(each, handle)).is_terminal:  # noqa: ASYNC110 - a poll, as engines do
                await asyncio.sleep(0.02)
