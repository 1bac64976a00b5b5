"""The engine against services over gRPC: the same tasks, restarts in between, and addresses where nobody answers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from integration.engine.ledger_platform import Ledger, registry, seconds, task, until
from outboard.domain.phases import Phase
from outboard.domain.tasks import Inputs
from outboard.domain.types import Interface, SimpleType
from outboard.engine import Engine, EngineSettings, TaskEvent
from outboard.engine.addresses import ServiceAddress
from outboard.engine.propeller.config import parse_propeller_config
from outboard.host.host import Host
from outboard.host.settings import HostSettings
from outboard.service import Service, ServiceSettings

ANSWER = Interface(inputs={"question": SimpleType.INTEGER}, outputs={"answer": SimpleType.INTEGER})
Serve = Callable[[int], AbstractAsyncContextManager[str]]


@pytest.fixture
def serve(ledger: Ledger) -> Serve:
    @asynccontextmanager
    async def serve(port: int) -> AsyncIterator[str]:
        async with (
            Host(registry(ledger.root), HostSettings(cancel_wait=seconds(0.2))) as host,
            Service(host, ServiceSettings(port=port)) as service,
        ):
            yield service.address

    return serve


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_tasks_run_over_grpc_as_they_do_in_process(
    serve: Serve, ledger: Ledger, settings: EngineSettings
) -> None:
    job = replace(task(polls=2, outputs={"answer": 42}), interface=Interface(outputs=ANSWER.outputs))
    asked = replace(task("ask"), inputs=Inputs({"question": 21}), interface=ANSWER)
    lost = task(retries=1, attempts=["LOST", "DONE"])
    async with serve(0) as address, Engine.at(address, settings=settings) as engine:
        outcomes = await engine.run_many([job, asked, lost])
    assert [each.require() for each in outcomes] == [{"answer": 42}, {"answer": 42}, {}]
    assert [each.attempts for each in outcomes] == [1, 1, 2]
    assert outcomes[0].links[0].name == "Job"


async def test_a_restart_of_the_service_only_delays(serve: Serve, ledger: Ledger, settings: EngineSettings) -> None:
    seen: list[TaskEvent] = []
    port = free_port()
    gate = ledger.root / "gate"
    long = settings.model_copy(update={"resend_limit": seconds(20)})
    address = ServiceAddress.at(f"127.0.0.1:{port}", name="service")
    async with Engine.at(address, settings=long, on_event=seen.append) as engine:
        async with serve(port):
            running = await engine.submit(task(gate=str(gate)))
            await until(lambda: ledger.keys("started"))
            await until(lambda: running.event and running.event.phase is Phase.RUNNING)
        await until(lambda: running.event and "cannot be asked" in running.event.message)
        late = await engine.submit(task())
        await until(lambda: late.event and "not started yet" in late.event.message)
        gate.touch()
        async with serve(port):
            outcomes = [await running.outcome(), await late.outcome()]
    assert [each.phase for each in outcomes] == [Phase.SUCCEEDED, Phase.SUCCEEDED]
    assert [each.attempts for each in outcomes] == [1, 1]
    assert len(ledger.keys("started")) == 2


async def test_a_cancel_over_grpc_is_confirmed(serve: Serve, ledger: Ledger, settings: EngineSettings) -> None:
    async with serve(0) as address, Engine.at(address, settings=settings) as engine:
        live = await engine.submit(task(polls=-1))
        await until(lambda: ledger.keys("started"))
        outcome = await live.cancel()
    assert outcome.phase is Phase.ABORTED
    assert outcome.left_running is None
    assert ledger.alive() == set()


async def test_an_unreachable_service_is_named_with_a_remedy_in_bounded_time(settings: EngineSettings) -> None:
    short = settings.model_copy(update={"resend_limit": seconds(0.3)})
    port = free_port()
    async with Engine.at(f"127.0.0.1:{port}", settings=short) as engine:
        outcome = await engine.run(task())
    assert outcome.phase is Phase.FAILED
    assert outcome.error is not None
    assert outcome.error.code == "EndpointUnreachable"
    assert f"127.0.0.1:{port}" in outcome.message
    assert "start the service" in outcome.message
    assert not outcome.is_final
    assert outcome.left_running is None


async def test_a_flytepropeller_configuration_routes_the_tasks(
    serve: Serve, ledger: Ledger, settings: EngineSettings
) -> None:
    async with serve(0) as address:
        config = parse_propeller_config(
            f"""
            plugins:
              agent-service:
                defaultAgent: {{endpoint: "127.0.0.1:{free_port()}", insecure: true}}
                agents: {{mine: {{endpoint: "{address}", insecure: true, timeouts: {{GetTask: 5s}}, defaultTimeout: 10s}}}}
                agentForTaskTypes: {{ledger: mine}}
            """
        )
        async with Engine.configured(config, settings=settings) as engine:
            outcome = await engine.run(task())
    assert outcome.phase is Phase.SUCCEEDED
    assert outcome.endpoint == "mine"


async def test_a_run_started_against_a_service_is_resumed_against_it(
    serve: Serve, ledger: Ledger, settings: EngineSettings
) -> None:
    path, gate = ledger.root / "journal.db", ledger.root / "gate"
    async with serve(0) as address:
        async with Engine.at(ServiceAddress.at(address, name="mine"), settings=settings, journal=path) as engine:
            run = await engine.begin(run_id="again")
            live = await run.submit(task(gate=str(gate)))
            await until(lambda: live.event and live.event.phase is Phase.RUNNING)
            run.abandon()  # as a kill would: nothing is cancelled, nothing ended in the journal
        gate.touch()
        async with Engine.at(ServiceAddress.at(address, name="mine"), settings=settings, journal=path) as engine:
            (outcome,) = await engine.resume("again")
    assert outcome.phase is Phase.SUCCEEDED
    assert len(ledger.keys("started")) == 1
