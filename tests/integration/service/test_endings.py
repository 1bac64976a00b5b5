"""A service ends within a stated time after SIGTERM, whatever its agents do; and says what kept it.

Nothing is timed here: a process that would not end by itself fails by the limit of every test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from integration.service.probe import make_task
from integration.service.served import HERE, Served, is_running, served, until_file, until_gone
from outboard.agent import Registry
from outboard.engine.remote import RemoteEndpoint
from outboard.errors import InvalidSettings, OutboardError
from outboard.host import Host
from outboard.service import Service, ServiceSettings, run_service
from outboard.service.closing import bounded
from outboard.service.departure import listening_sockets, stop_listening
from outboard.service.ending import LastResort, grace_s
from outboard.service.signals import unless_told

STUBBORN = ("--agents", "stubborn:Stubborn")
QUICK = {"OUTBOARD_SERVICE__DRAIN_S": "0.2"}


async def doing(service: Served, deed: str, begun: Path) -> asyncio.Task[None]:
    """Let the agent begin with a deed."""

    async def ask() -> None:
        with suppress(OutboardError, grpc.aio.AioRpcError):
            async with RemoteEndpoint.at(service.address, timeout_s=60) as remote:
                task = replace(make_task("stubborn"), config={"deed": deed, "begun": str(begun)})
                await remote.execute_task(task, timeout_s=60)

    asked = asyncio.ensure_future(ask())
    await until_file(begun)
    return asked


ISOLATED, WORKERS = ("--isolate", "stubborn:Stubborn"), ("--processes", "2")
CUT_OFF = "process did not end in time and is cut off"


@pytest.mark.parametrize(
    ("deed", "options", "codes", "event"),
    [
        ("a call", (), (0,), "background work did not end in time"),
        ("a task", (), (0,), "draining"),
        ("a blocked loop", (), (1,), CUT_OFF),
        ("a thread of the executor", (), (0,), CUT_OFF),
        ("an exit handler", (), (0,), CUT_OFF),
        ("no wakeup", (), (0,), "draining"),
        ("a blocked loop and no wakeup", (), (1,), CUT_OFF),
        ("a blocked loop", ISOLATED, (0,), "isolated platform ended"),
        ("a thread", ISOLATED, (0,), "isolated platform ended"),
        ("a blocked loop", WORKERS, (1,), "worker process ended"),
        ("a call", WORKERS, (0,), "worker process ended"),
    ],
)
async def test_a_process_ends_whatever_an_agent_does(
    deed: str, options: tuple[str, ...], codes: tuple[int, ...], event: str, tmp_path: Path
) -> None:
    async with served(*STUBBORN, *options, **QUICK) as service:
        asked = await doing(service, deed, tmp_path / "begun")
        children = [*service.children, *service.workers]
        service.process.terminate()
        assert await service.process.wait() in codes
        asked.cancel()
        for child in children:
            await until_gone(child)
        await service._reader
        assert service.logged(event)


async def test_the_line_of_a_cut_off_end_names_the_thread_that_kept_it(tmp_path: Path) -> None:
    async with served(*STUBBORN, **QUICK) as service:
        await doing(service, "a thread", tmp_path / "begun")
        service.process.terminate()
        assert await service.process.wait() == 0  # all was done in order but for that
        await service._reader
        (line,) = service.logged(CUT_OFF)
        assert "stubborn-thread" in line["threads"]


async def test_a_second_signal_ends_a_process_whose_loop_stands_still(tmp_path: Path) -> None:
    async with served(*STUBBORN, OUTBOARD_SERVICE__DRAIN_S="3600") as service:
        asked = await doing(service, "a blocked loop", tmp_path / "begun")
        service.process.terminate()
        while is_running(service.process.pid):  # one signal may take the place of another that was not taken up
            with suppress(ProcessLookupError):
                service.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.05)
        assert await service.process.wait() == 128 + signal.SIGTERM
        asked.cancel()


async def test_a_stream_that_nobody_reads_holds_up_no_end(tmp_path: Path) -> None:
    async with served(*STUBBORN, **QUICK) as service, grpc.aio.insecure_channel(service.address) as channel:
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        watches = [health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()) for _ in range(20)]
        await watches[0].read()  # and no more
        half = channel.stream_stream("/flyteidl.service.SyncAgentService/ExecuteTaskSync")()
        await half.wait_for_connection()
        service.process.terminate()
        assert await service.process.wait() == 0


def test_the_grace_that_kubernetes_is_told_covers_linger_drain_and_a_margin() -> None:
    settings = ServiceSettings(linger_s=20, drain_s=60)
    assert grace_s(settings) == 100


async def test_signals_are_passed_on_to_the_loop_that_heard_them_before() -> None:
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, heard.set)
    try:
        with LastResort(3600).listening():
            os.kill(os.getpid(), signal.SIGTERM)
            await heard.wait()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@pytest.mark.parametrize("descriptor", ["none", "the loop's"])
async def test_a_signal_is_heard_once_where_somebody_took_the_wakeup_descriptor(descriptor: str) -> None:
    heard: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard.put_nowait, number)
    last_resort = LastResort(3600)
    try:
        with last_resort.listening():
            the_loops = last_resort._passed_on_to
            signal.set_wakeup_fd(-1 if descriptor == "none" else the_loops)
            signal.raise_signal(signal.SIGTERM)
            assert await heard.get() == signal.SIGTERM
            assert last_resort._ends_at is not None
            assert (
                signal.set_wakeup_fd(last_resort._told.fileno(), warn_on_full_buffer=False)
                == last_resort._told.fileno()
            )
        signal.raise_signal(signal.SIGINT)
        assert await heard.get() == signal.SIGINT  # the first came once
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def test_several_ends_are_awaited_together_and_what_does_not_end_is_given_up() -> None:
    go, ended = asyncio.Event(), asyncio.Event()

    async def swallowing() -> None:
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await go.wait()
        ended.set()

    async def failing() -> None:
        raise OutboardError("it broke")

    await bounded([swallowing()], 0.01)
    with pytest.raises(OutboardError, match="it broke"):
        await bounded([failing(), swallowing()], 0.01)
    await bounded([], 3600)
    assert not ended.is_set()
    go.set()
    await ended.wait()


async def test_a_start_is_given_up_where_a_signal_comes_first_and_a_host_is_closed_that_cannot_be_served() -> None:
    ended: list[str] = []

    async def starting() -> bool:
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("start")
            raise

    class Told(Host):
        async def close(self) -> None:
            ended.append("host")
            await super().close()

    told = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0, told.set_result, "SIGTERM")
    assert await unless_told(told, starting()) is None
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(InvalidSettings, match="cannot listen"):
        await run_service(Told(Registry()), ServiceSettings(port=other.getsockname()[1]))
    assert ended == ["start", "host"]


async def replica(port: int) -> asyncio.subprocess.Process:
    """A service that lingers for two seconds, once it answers."""
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "outboard",
            "serve",
            "--port",
            str(port),
            "--platforms",
            "",
            "--agents",
            "hostile:Calm",
        ),
        cwd=HERE,
        env={**os.environ, "OUTBOARD_SERVICE__LINGER_S": "2", "OUTBOARD_SERVICE__DRAIN_S": "10"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"outboard serves" not in await process.stderr.readline():
        assert process.returncode is None
    return process


async def test_no_call_fails_while_replicas_are_replaced_one_after_the_other_under_load() -> None:
    """Without connections that age while a service lingers, some of these calls are CANCELLED in nearly every run."""
    ports = [free_port(), free_port()]
    replicas = [await replica(port) for port in ports]
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    round_robin = ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')
    quick = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    answered = [0]
    failed: list[str] = []
    under_way: set[asyncio.Task[None]] = set()
    ended = asyncio.Event()
    async with grpc.aio.insecure_channel(target, options=[round_robin, *quick]) as channel:
        method = channel.unary_unary("/flyteidl.service.AgentMetadataService/ListAgents")

        async def call() -> None:
            try:
                await method(b"", timeout=30)
                answered[0] += 1
            except grpc.aio.AioRpcError as error:
                failed.append(f"{error.code().name}: {error.details()}")

        async def load() -> None:
            while not ended.is_set():
                for _ in range(5):
                    task = asyncio.ensure_future(call())
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                await asyncio.sleep(0.025)

        async def enough(more: int) -> None:
            wanted = answered[0] + more
            while answered[0] < wanted and not failed:  # noqa: ASYNC110 - calls are counted
                await asyncio.sleep(0.05)

        loading = asyncio.ensure_future(load())
        await enough(200)
        for number in (0, 1, 0, 1):
            replicas[number].terminate()
            assert await replicas[number].wait() == 0
            replicas[number] = await replica(ports[number])
            await enough(300)  # some of them at the new one
        ended.set()
        await loading
        await asyncio.gather(*under_way)
    for each in replicas:
        each.terminate()
        await each.wait()
    assert failed == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def test_sockets_stop_to_listen_others_go_on_and_no_descriptor_is_left_open() -> None:
    descriptors = Path("/proc/self/fd")
    with socket.create_server(("127.0.0.1", 0)) as other, Path(os.devnull).open():
        others = listening_sockets()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            before = len(list(descriptors.iterdir()))
            assert stop_listening(listening_sockets() - others) == 1
            assert len(list(descriptors.iterdir())) == before
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(listening.getsockname()).close()
            socket.create_connection(other.getsockname()).close()


async def test_a_service_that_lingers_shuts_its_own_port_and_nobody_elses() -> None:
    service = Service(Host(Registry()), ServiceSettings(port=0, linger_s=0.01, drain_s=5))
    with socket.create_server(("127.0.0.1", 0)) as earlier:  # as the admin port is, and what agents open when imported
        async with service:
            with socket.create_server(("127.0.0.2", service.port)) as later:
                await service.drain()
                for other in (earlier, later):
                    socket.create_connection(other.getsockname()).close()
