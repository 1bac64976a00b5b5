"""Every line about a task says whose it is: over a life of create, polls, cancel, refusal and end."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import grpc
import pytest
import structlog

from integration.service.probe import SETTINGS, ProbePlatform, make_task
from outboard import errors
from outboard.agent import Registry
from outboard.domain.phases import Phase
from outboard.engine.remote import RemoteEndpoint
from outboard.host import Host
from outboard.service import Service

WHOSE = {"project": "p", "domain": "d", "execution": "e1", "node": "n0", "attempt": 0, "task_type": "probe"}


@pytest.fixture
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    before = structlog.get_config() if structlog.is_configured() else None
    with structlog.testing.capture_logs() as captured:
        structlog.configure(processors=structlog.get_config()["processors"], cache_logger_on_first_use=False)
        yield captured
    structlog.reset_defaults() if before is None else structlog.configure(**before)


def of(lines: list[MutableMapping[str, Any]], event: str) -> MutableMapping[str, Any]:
    return next(line for line in lines if line["event"] == event)


@pytest.mark.parametrize(
    "prefix", ["memory://bucket/meta/p-d-e1/n0/data/0", "memory://bucket/p/d/e1/n0/0", "memory://b/0"]
)
async def test_each_step_of_a_life_says_whose_it_is(lines: list[MutableMapping[str, Any]], prefix: str) -> None:
    async with (
        Host(Registry([ProbePlatform()])) as host,
        Service(host, SETTINGS) as service,
        RemoteEndpoint.at(service.address, timeout_s=20) as remote,
    ):
        running = make_task(output_prefix=prefix)
        handle = await remote.create_task(running)
        await remote.get_task(handle, task_type=running.task_type)
        await remote.delete_task(handle, task_type=running.task_type)
        ended = make_task(mode="done", node="n1", output_prefix=f"{prefix}/1")
        other = await remote.create_task(ended)
        assert (await remote.get_task(other, task_type=ended.task_type)).phase is Phase.SUCCEEDED
        refused = make_task(mode="rejected", node="n2", output_prefix=f"{prefix}/2")
        await remote.get_task(await remote.create_task(refused), task_type=refused.task_type)
        with pytest.raises(errors.OutboardError):
            await remote.create_task(make_task("probe", config={"size": "no"}))
    started = of(lines, "job started")
    assert started.items() >= {**WHOSE, "agent": "probe", "job": "1", "key": started["key"]}.items()
    asked = of(lines, "cancel asked")
    assert asked.items() >= {**WHOSE, "agent": "probe", "job": "1", "key": started["key"]}.items()
    assert of(lines, "job ended").items() >= {**WHOSE, "node": "n1", "job": "2", "phase": "SUCCEEDED"}.items()
    not_started = of(lines, "job not started")
    assert not_started.items() >= {**WHOSE, "node": "n2", "error": "SHAPE"}.items()
    failed = of(lines, "call failed")
    assert failed.items() >= {**WHOSE, "operation": "create", "code": "INVALID_ARGUMENT"}.items()
    assert len(failed["error_id"]) > 5


async def test_a_callers_error_id_finds_the_line(lines: list[MutableMapping[str, Any]]) -> None:
    async with Host(Registry([ProbePlatform()])) as host, Service(host, SETTINGS) as service:
        channel = grpc.aio.insecure_channel(service.address)
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await channel.unary_unary("/flyteidl.service.AsyncAgentService/GetTask")(b"\xff")
        await channel.close()
    failed = of(lines, "call failed")
    assert failed["error_id"] in str(told.value.details())
    assert "execution" not in failed


async def test_what_a_handle_does_not_tell_for_certain_is_left_out(lines: list[MutableMapping[str, Any]]) -> None:
    async with Host(Registry([ProbePlatform()])) as host:
        task = make_task(node="my-node", output_prefix="memory://bucket/0")
        handle = await host.create_task(task)
        await host.delete_task(handle, task_type=task.task_type)
    asked = of(lines, "cancel asked")
    assert (asked["attempt"], "execution" in asked, "node" in asked) == (0, False, False)
    assert of(lines, "job started").items() >= {"execution": "e1", "node": "my-node"}.items()
