"""Hosted connectors that misbehave harm themselves alone, and never the task they are asked about."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from flyteidl.core import execution_pb2

from hosted_connectors import (
    YARD,
    AsyncExitingConnector,
    AsyncYardConnector,
    ExitingConnector,
    SecretConnector,
    Speaker,
    Yard,
    YardConnector,
    YardMeta,
    hosting,
    polled,
    raw_task,
)
from ledgers import QUICK
from outboard.agent import Phase
from outboard.errors import AgentFault, OutboardError, Overloaded
from outboard.flytekit.hosting import HostingSettings
from outboard.flytekit.hosting.loops import ConnectorLoop
from outboard.host import Host

PREFIX = "memory://out/n0/0"


@pytest.fixture
def yard() -> Yard:
    return Yard()


async def started(host: Host) -> bytes:
    return await host.create_task(raw_task(), timeout_s=10)


async def told(host: Host, handle: bytes) -> Any:
    return await host.get_task(handle, task_type=YARD, output_prefix=PREFIX)


async def flagged(host: Host, handle: bytes) -> Any:
    for _ in range(500):
        status = await told(host, handle)
        if status.is_flagged:
            break
        await asyncio.sleep(0.01)
    return status


async def test_a_state_that_flytekit_cannot_convert_is_still_running_and_flagged(yard: Yard) -> None:
    async with hosting(YardConnector(yard)) as host:
        handle = await started(host)
        yard.states["job-1"] = "NODE_FAIL"
        status = await flagged(host, handle)
    assert (status.phase, status.is_flagged, status.state) == (Phase.RUNNING, True, "node_fail")


@pytest.mark.parametrize("phase", [execution_pb2.TaskExecution.UNDEFINED, None, 4711])
async def test_a_phase_that_is_none_is_still_running_and_flagged(phase: Any, yard: Yard) -> None:
    yard.answer = {"phase": phase}
    async with hosting(YardConnector(yard)) as host:
        status = await flagged(host, await started(host))
    assert (status.phase, status.is_flagged) == (Phase.RUNNING, True)


async def test_errors_of_get_never_reach_the_engine(yard: Yard) -> None:
    async with hosting(AsyncYardConnector(yard)) as host:
        handle = await started(host)
        yard.fault = TypeError("not all arguments converted during string formatting")
        assert (await told(host, handle)).phase is Phase.RUNNING
        yard.fault, yard.states["job-1"] = None, "succeeded"
        assert (await polled(host, handle, Phase.SUCCEEDED)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("state", ["failed", "internal_error"])
async def test_failures_keep_the_connectors_words_and_whether_a_retry_is_worth_it(state: str, yard: Yard) -> None:
    yard.answer, yard.states["job-1"] = {"message": "quota of the moon is spent"}, state
    async with hosting(YardConnector(yard)) as host:
        wanted = Phase.FAILED if state == "failed" else Phase.RETRYABLE_FAILED
        status = await polled(host, await started(host), wanted)
    assert status.phase is wanted
    assert status.message == "quota of the moon is spent"


@pytest.mark.parametrize("kind", [ExitingConnector, AsyncExitingConnector])
async def test_a_connector_that_calls_exit_ends_nothing(kind: Any, yard: Yard) -> None:
    async with hosting(kind(yard), Speaker(yard)) as host:
        status = await told(host, await started(host))
        assert (await host.execute_task(raw_task("speak"), timeout_s=10)).phase is Phase.SUCCEEDED
    assert status.phase is Phase.FAILED
    assert "SystemExit" in status.message


async def test_a_connector_that_blocks_its_loop_stops_neither_ours_nor_others(yard: Yard) -> None:
    settings = QUICK.model_copy(update={"status_limit": QUICK.status_limit / 10})
    async with hosting(AsyncYardConnector(yard), Speaker(yard), host=settings) as host:
        handle = await started(host)
        yard.is_slow = True
        assert (await told(host, handle)).phase is Phase.RUNNING  # from memory
        assert (await host.execute_task(raw_task("speak"), timeout_s=10)).phase is Phase.SUCCEEDED
        yard.gate.set()


async def test_an_outcome_that_nobody_knows_is_never_started_again_unless_the_operator_says_so(yard: Yard) -> None:
    yard.fault = RuntimeError("connection reset")
    async with hosting(YardConnector(yard)) as host:
        status = await told(host, await started(host))
        assert (await host.create_task(raw_task(), timeout_s=10)) is not None
    assert (status.phase, len(yard.started)) == (Phase.FAILED, 1)
    assert "connection reset" in status.message
    async with hosting(YardConnector(yard), settings=HostingSettings(on_unknown="retry")) as host:
        assert (await told(host, await started(host))).phase is Phase.RETRYABLE_FAILED


class Refused(Exception):
    status_code = 422


async def test_what_a_platform_refused_was_not_started_and_may_be_tried_again(yard: Yard) -> None:
    yard.fault = Refused("no such cluster")
    async with hosting(YardConnector(yard)) as host:
        status = await told(host, await started(host))
    assert (status.phase, status.message) == (Phase.RETRYABLE_FAILED, "Refused: no such cluster")


@pytest.mark.parametrize("written", [b"", "text", b"{}", TypeError("datetime is not JSON serializable")], ids=repr)
async def test_a_job_whose_handle_cannot_be_written_or_read_again_is_ended_and_not_forgotten(
    written: Any, yard: Yard
) -> None:
    class Unfollowable(YardMeta):
        def encode(self) -> Any:
            if isinstance(written, Exception):
                raise written
            return written

    class Forgetful(YardConnector):
        meta = Unfollowable

    async with hosting(Forgetful(yard)) as host:
        status = await told(host, await started(host))
    assert (status.phase, len(yard.started), yard.deleted) == (Phase.FAILED, 1, ["job-1"])


async def test_a_secret_that_a_connector_looked_up_is_in_no_message(yard: Yard, monkeypatch: Any) -> None:
    monkeypatch.setenv("_FSEC_YARD_TOKEN", "t0p-secret-value")
    async with hosting(SecretConnector(yard)) as host:
        status = await told(host, await started(host))
    assert "was answered strangely" in status.message
    assert "t0p-secret-value" not in status.message


async def test_a_missing_secret_says_where_it_was_looked_for_and_starts_nothing(yard: Yard) -> None:
    async with hosting(SecretConnector(yard)) as host:
        status = await told(host, await started(host))
    assert status.phase is Phase.RETRYABLE_FAILED
    assert "_FSEC_YARD_TOKEN" in status.message


async def test_a_handle_that_no_connector_of_its_type_reads_is_no_job(yard: Yard) -> None:
    async with hosting(YardConnector(yard)) as host:
        for other in (b'{"other": 1}', b'{"job_id": "j", "more": 1}', b"\x80\x04garbage", b"{"):
            with pytest.raises(OutboardError):
                await told(host, other)
        assert (await told(host, YardMeta(job_id="theirs").encode())).phase is Phase.RUNNING


def test_a_loop_that_hangs_is_replaced_a_few_times() -> None:
    gate, loop = threading.Event(), ConnectorLoop("stuck")

    async def block() -> None:
        gate.wait(30)

    async def answer() -> str:
        return "there"

    for _ in range(2):
        with pytest.raises(TimeoutError, match="longer than"):
            loop.run(block(), 0.01)
        assert loop.run(answer(), 5) == "there"
    loop._abandoned *= 4
    with pytest.raises(TimeoutError):
        loop.run(block(), 0.01)
    work = answer()
    with pytest.raises(Overloaded, match="event loops of connector stuck hang"):
        loop.run(work, 5)
    work.close()
    gate.set()
    for thread in loop._abandoned:
        thread.join(10)


def test_what_runs_on_a_loop_cannot_end_it() -> None:
    loop = ConnectorLoop("leaving")

    async def leave() -> None:
        raise SystemExit(1)

    async def answer() -> str:
        await asyncio.sleep(0)
        return "there"

    with pytest.raises(AgentFault, match="SystemExit"):
        loop.run(leave(), 5)
    assert loop.run(answer(), 5) == "there"
