"""Hosted connectors: what they get and give is as with flytekit's own service, and a job is started once and followed."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from typing import Any

import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from flytekit.models.literals import Literal, LiteralMap, Primitive, Scalar

from hosted_connectors import (
    YARD,
    AsyncYardConnector,
    PickledMeta,
    PicklingConnector,
    Speaker,
    UndecoratedConnector,
    Yard,
    YardConnector,
    YardMeta,
    hosting,
    polled,
    raw_task,
    template,
)
from ledgers import QUICK
from outboard.agent import Phase
from outboard.domain.handles import HandleCodec
from outboard.errors import Forbidden, UnreadableHandle
from outboard.flytekit.hosting import HostingSettings
from outboard.host.stores import Stores
from outboard.wire.statuses import encode_status
from outboard.wire.tasks import decode_create_bytes, encode_create_bytes, encode_template, sent_template

PREFIX = "memory://out/n0/0"
TASK_LOG = execution_pb2.TaskLog(uri="https://yard.test/1", name="Yard")


@pytest.fixture
def yard() -> Yard:
    return Yard()


@pytest.mark.parametrize("kind", [YardConnector, AsyncYardConnector, UndecoratedConnector])
async def test_engines_keep_the_connectors_own_bytes_and_follow_the_job_by_them(kind: Any, yard: Yard) -> None:
    async with hosting(kind(yard)) as host:
        handle = await host.create_task(raw_task(), timeout_s=10)
        assert handle == YardMeta(job_id="job-1").encode()
        assert (await host.get_task(handle, task_type=YARD, output_prefix=PREFIX)).phase is Phase.RUNNING
        yard.states["job-1"] = "succeeded"
        assert (await polled(host, handle, Phase.SUCCEEDED)).phase is Phase.SUCCEEDED


async def test_a_repeated_request_starts_nothing_on_this_process_or_another(yard: Yard) -> None:
    stores = Stores()
    async with hosting(YardConnector(yard), stores=stores) as one, hosting(YardConnector(yard), stores=stores) as other:
        handles = [await host.create_task(raw_task(), timeout_s=10) for host in (one, one, other)]
    assert len(set(handles)) == len(yard.started) == 1


async def test_the_connector_gets_the_template_as_the_engine_sent_it(yard: Yard) -> None:
    async with hosting(YardConnector(yard)) as host:
        await host.create_task(raw_task(), timeout_s=10)
    (arguments,) = yard.started
    assert arguments.keys() == {"task_template", "inputs", "output_prefix", "task_execution_metadata"}
    assert arguments["task_template"].to_flyte_idl().metadata.discovery_version == "7"
    assert arguments["task_template"].extended_resources.gpu_accelerator.device == "a100"
    assert arguments["inputs"].literals["x"].scalar.primitive.integer == 5
    assert arguments["task_execution_metadata"].namespace == "team"


def test_a_template_loses_nothing_on_its_way_to_another_replica() -> None:
    sent = encode_create_bytes(raw_task())
    again = decode_create_bytes(sent)
    assert sent_template(again) == agent_pb2.CreateTaskRequest.FromString(sent).template
    assert encode_create_bytes(again) == sent
    kept = encode_template(again)
    kept.interface.ClearField("outputs")  # which is written although it is empty
    assert kept == template()


def test_what_was_changed_since_goes_out_changed_and_nothing_else() -> None:
    task = raw_task()
    assert task.container is not None
    changed = encode_template(replace(task, config={"workers": 3}, container=replace(task.container, image="other")))
    wanted = encode_template(task)
    wanted.custom.update({"workers": 3})
    wanted.container.image = "other"
    assert changed == wanted


async def test_what_the_connector_says_goes_out_as_it_is(yard: Yard) -> None:
    literals = LiteralMap({"o": Literal(scalar=Scalar(primitive=Primitive(integer=3)))})
    yard.answer = {"message": "done", "log_links": [TASK_LOG], "outputs": literals, "custom_info": {"cost": 2}}
    yard.states["job-1"] = "succeeded"
    async with hosting(YardConnector(yard)) as host:
        handle = await host.create_task(raw_task(), timeout_s=10)
        resource = encode_status(await polled(host, handle, Phase.SUCCEEDED))
    assert resource.outputs == literals.to_flyte_idl()
    assert (resource.message, resource.log_links[0].uri, resource.custom_info["cost"]) == ("done", TASK_LOG.uri, 2)


async def test_python_values_are_converted_by_flytekit_itself(yard: Yard) -> None:
    yard.answer = {"outputs": {"o": "hi"}}
    yard.states["job-1"] = "succeeded"
    async with hosting(YardConnector(yard)) as host:
        handle = await host.create_task(raw_task(), timeout_s=10)
        resource = encode_status(await polled(host, handle, Phase.SUCCEEDED))
    assert resource.outputs.literals["o"].scalar.primitive.string_value == "hi"


async def test_values_that_flytekit_cannot_convert_end_the_task(yard: Yard) -> None:
    yard.answer = {"outputs": {"o": [1, 2]}}  # a list whose elements' type nobody declares
    yard.states["job-1"] = "succeeded"
    async with hosting(YardConnector(yard)) as host:
        handle = await host.create_task(raw_task(), timeout_s=10)
        status = await polled(host, handle, Phase.FAILED)
    assert status.phase is Phase.FAILED
    assert "no literals" in status.message


async def test_without_outputs_the_engine_looks_for_the_files_itself(yard: Yard) -> None:
    yard.states["job-1"] = "succeeded"
    async with hosting(YardConnector(yard)) as host:
        handle = await host.create_task(raw_task(), timeout_s=10)
        status = await polled(host, handle, Phase.SUCCEEDED)
    assert status.phase is Phase.SUCCEEDED
    assert status.outputs is None


async def test_a_create_that_outlasts_its_caller_is_answered_with_an_intent_and_found_again(yard: Yard) -> None:
    yard.is_slow = True
    async with hosting(YardConnector(yard)) as host:
        intent = await host.create_task(raw_task(), timeout_s=0.2)
        assert HandleCodec().decode(intent).is_intent
        assert (await host.get_task(intent, task_type=YARD, output_prefix=PREFIX)).phase is Phase.INITIALIZING
        yard.gate.set()
        assert await host.create_task(raw_task(), timeout_s=10) == YardMeta(job_id="job-1").encode()
        assert (await polled(host, intent, Phase.RUNNING)).phase is Phase.RUNNING
        await host.delete_task(intent, task_type=YARD)
    assert len(yard.started) == 1
    assert yard.deleted == ["job-1"]


async def test_a_cancel_without_an_output_prefix_reaches_the_job_and_ends_its_task(yard: Yard) -> None:
    async with hosting(YardConnector(yard)) as host:
        handle = await host.create_task(raw_task(), timeout_s=10)
        await host.delete_task(handle, task_type=YARD)
        status = await polled(host, handle, Phase.FAILED)
    assert yard.deleted == ["job-1"]
    assert status.phase is Phase.FAILED


async def test_a_cancelled_job_is_not_adopted_by_the_next_attempt_even_of_another_process(yard: Yard) -> None:
    stores = Stores()
    async with hosting(YardConnector(yard), stores=stores) as host:
        handle = await host.create_task(raw_task(), timeout_s=10)
        await host.delete_task(handle, task_type=YARD)
    yard.states["job-1"] = "running"  # its platform takes hours over it
    async with hosting(YardConnector(yard), stores=stores) as host:
        asyncio.get_running_loop().call_later(0.5, yard.states.update, {"job-1": "canceled"})
        second = await host.create_task(raw_task(attempt=1), timeout_s=20)
    assert second == YardMeta(job_id="job-2").encode()


async def test_a_living_job_of_an_earlier_attempt_is_adopted_and_its_files_are_copied(yard: Yard) -> None:
    stores = Stores()
    async with hosting(YardConnector(yard), stores=stores) as host:
        await host.create_task(raw_task(), timeout_s=10)
        adopted = await host.create_task(raw_task(attempt=1), timeout_s=10)
        assert len(yard.started) == 1
        assert HandleCodec().decode(adopted).is_intent  # native bytes would not tell where the files are
        await stores.write(f"{PREFIX}/outputs.pb", b"")
        yard.states["job-1"] = "succeeded"
        status = await polled(host, adopted, Phase.SUCCEEDED, "memory://out/n0/1")
        assert status.phase is Phase.SUCCEEDED
        assert await stores.exists("memory://out/n0/1/outputs.pb")


async def test_handles_that_flytekits_own_service_wrote_are_followed_and_ended(yard: Yard) -> None:
    yard.states["theirs"] = "running"
    handle = YardMeta(job_id="theirs").encode()
    async with hosting(AsyncYardConnector(yard)) as host:
        assert (await host.get_task(handle, task_type=YARD, output_prefix=PREFIX)).phase is Phase.RUNNING
        await host.delete_task(handle, task_type=YARD)
    assert yard.deleted == ["theirs"]


@pytest.mark.parametrize("kind", [YardConnector, AsyncYardConnector])
async def test_logs_are_streamed_and_go_on_where_they_were_left(kind: Any, yard: Yard) -> None:
    async with hosting(kind(yard)) as host:
        handle = await host.create_task(raw_task(), timeout_s=10)
        first = [page async for page in host.task_logs(handle, task_type=YARD, limit=2)]
        (rest, *_) = [page async for page in host.task_logs(handle, task_type=YARD, cursor=first[-1].next_cursor)]
    assert [line.message for page in first for line in page.lines] == ["job-1 line 0", "job-1 line 1"]
    assert [line.message for line in rest.lines] == ["job-1 line 2"]


async def test_a_connector_that_answers_at_once_answers_all_that_it_says(yard: Yard) -> None:
    yard.answer = {"message": "done", "outputs": {"o": "hi"}, "custom_info": {"n": 1}}
    async with hosting(Speaker(yard)) as host:
        status = await host.execute_task(raw_task("speak"), timeout_s=10)
    assert (status.phase, status.message, status.custom_info) == (Phase.SUCCEEDED, "done", {"n": 1})
    assert status.outputs is not None
    assert status.outputs["o"] == "hi"
    assert yard.started[0].keys() == {"task_template", "inputs", "output_prefix"}


@pytest.mark.parametrize(("phase", "told"), [("FAILED", Phase.FAILED), ("RETRYABLE_FAILED", Phase.RETRYABLE_FAILED)])
async def test_a_connector_that_fails_at_once_says_why(phase: str, told: Phase, yard: Yard) -> None:
    yard.answer = {"phase": execution_pb2.TaskExecution.Phase.Value(phase), "message": "no such page"}
    async with hosting(Speaker(yard)) as host:
        status = await host.execute_task(raw_task("speak"), timeout_s=10)
    assert (status.phase, status.message) == (told, "no such page")


@pytest.mark.parametrize("phase", ["RUNNING", "UNDEFINED"])
async def test_a_connector_that_answers_no_end_at_once_has_failed(phase: str, yard: Yard) -> None:
    yard.answer = {"phase": execution_pb2.TaskExecution.Phase.Value(phase)}
    async with hosting(Speaker(yard)) as host:
        status = await host.execute_task(raw_task("speak"), timeout_s=10)
    assert status.phase is Phase.FAILED
    assert phase in status.message


class Bomb:
    """What runs when it is read."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was read",)


async def test_pickles_are_neither_read_nor_started_without_permission(yard: Yard) -> None:
    bomb = pickle.dumps(Bomb())
    async with hosting(PicklingConnector(yard)) as host:
        with pytest.raises(Forbidden, match=r"flytekit\.accept_pickled_handles"):
            await host.create_task(raw_task(), timeout_s=10)
        assert (await host.get_task(bomb, task_type=YARD, output_prefix=PREFIX)).phase is Phase.RUNNING
        with pytest.raises(UnreadableHandle, match=r"flytekit\.accept_pickled_handles"):
            await host.delete_task(bomb, task_type=YARD)
    assert yard.started == []


async def test_pickles_are_read_where_the_operator_allows_it(yard: Yard) -> None:
    settings = HostingSettings(accept_pickled_handles=True)
    async with hosting(PicklingConnector(yard), settings=settings, host=QUICK) as host:
        handle = await host.create_task(raw_task(), timeout_s=10)
        assert PickledMeta.decode(handle).job_id == "job-1"
        assert (await host.get_task(handle, task_type=YARD, output_prefix=PREFIX)).phase is Phase.RUNNING
        await host.delete_task(handle, task_type=YARD)
    assert yard.deleted == ["job-1"]
