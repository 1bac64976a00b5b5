"""Handles of flytekit's own connector service: none is taken for ours by accident, and those with a reader are followed."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from outboard.agent import Phase, Registry, TaskType
from outboard.agent.agents import WatchingAgent
from outboard.domain.handles import HandleCodec
from outboard.domain.seals import ServiceKey
from outboard.domain.statuses import TaskStatus
from outboard.errors import ForeignHandle, UnreadableHandle
from outboard.host import Host, HostSettings
from outboard.host.foreign import adopt_foreign
from outboard.host.sensors import pack_task
from outboard.platforms.files.platform import Files
from outboard.platforms.files.settings import FilesSettings

CORPUS = Path(__file__).parent / "handles"
CASES: dict[str, dict[str, Any]] = {
    f"{file.parent.name}-{case['name']}": case
    for file in sorted(CORPUS.glob("flytekit-*/handles.json"))
    for case in json.loads(file.read_text("utf-8"))
}
WITH_A_READER = {name: case for name, case in CASES.items() if case["pokes"]}
LOCAL = {name: case for name, case in WITH_A_READER.items() if case["pokes"].startswith("/")}
REFUSED = {
    name: case
    for name, case in CASES.items()
    if case["form"] == "pickle" or (case["task_type"] == "sensor" and not case["pokes"])
}
OTHERS = {name: case for name, case in CASES.items() if name not in REFUSED and name not in WITH_A_READER}
CODECS = [HandleCodec(), HandleCodec([ServiceKey(bytes(32))]), HandleCodec([ServiceKey(bytes(32))], accepts_clear=True)]
PREFIX = "s3://bucket/exec/n0/data/0"


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Host(Registry([Files()]), HostSettings(accept_flytekit_handles=True)) as served:
        yield served


def bytes_of(case: dict[str, Any]) -> bytes:
    return base64.b64decode(case["handle"])


def of(cases: dict[str, dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases.values(), ids=list(cases))


async def asked(host: Host, case: dict[str, Any]) -> TaskStatus:
    return await host.get_task(bytes_of(case), task_type=TaskType(case["task_type"]), output_prefix=PREFIX)


def test_the_corpus_has_handles_of_every_fate() -> None:
    assert LOCAL
    assert OTHERS
    assert {case["form"] for case in REFUSED.values()} == {"json", "pickle"}


@of(CASES)
def test_none_is_taken_for_a_handle_of_ours(case: dict[str, Any]) -> None:
    for codec in CODECS:
        with pytest.raises(ForeignHandle):
            codec.decode(bytes_of(case))


@of(CASES)
async def test_none_is_read_unless_the_operator_says_so(case: dict[str, Any]) -> None:
    async with Host(Registry([Files()])) as host:
        with pytest.raises(ForeignHandle):
            await asked(host, case)


@of(REFUSED)
async def test_a_pickle_and_a_sensor_of_somebodys_own_are_refused(host: Host, case: dict[str, Any]) -> None:
    with pytest.raises(ForeignHandle):
        await asked(host, case)
    await host.delete_task(bytes_of(case), task_type=TaskType(case["task_type"]))


@of(OTHERS)
async def test_a_handle_whose_agent_is_not_loaded_is_parked(host: Host, case: dict[str, Any]) -> None:
    status = await asked(host, case)
    assert (status.phase, status.error) == (Phase.RUNNING, None)
    with pytest.raises(UnreadableHandle):
        await host.delete_task(bytes_of(case), task_type=TaskType(case["task_type"]))


@of(LOCAL)
async def test_a_handle_with_a_reader_is_followed(host: Host, case: dict[str, Any]) -> None:
    status = await asked(host, case)
    assert (status.phase, status.message) == (Phase.RUNNING, "not there yet")


@of(WITH_A_READER)
def test_a_sensor_of_flytekits_pokes_the_path_that_its_handle_names(case: dict[str, Any]) -> None:
    registry = Registry([Files()])
    handle = adopt_foreign(bytes_of(case), TaskType("sensor"), PREFIX, registry)
    assert handle is not None
    assert (handle.agent, handle.task_type, handle.output_prefix) == ("flytekit_file_sensor", "sensor", PREFIX)
    agent = registry.for_type(TaskType("sensor"))
    assert isinstance(agent, WatchingAgent)
    task = agent.read_flytekit(json.loads(bytes_of(case)), TaskType("sensor"))
    assert task is not None
    assert task.inputs["path"] == case["pokes"]
    assert handle.memo == pack_task(task)


async def test_a_sensor_that_flytekits_service_started_ends_when_its_file_is_there(host: Host, tmp_path: Path) -> None:
    awaited = tmp_path / 'it\'s "here", 日本.csv'
    case = next(iter(LOCAL.values()))
    written = json.dumps({**json.loads(bytes_of(case)), "inputs": {"path": str(awaited)}}).encode()
    first = await host.get_task(written, task_type=TaskType("sensor"), output_prefix=PREFIX)
    assert first.phase is Phase.RUNNING
    awaited.write_text("1")
    ended = await host.get_task(written, task_type=TaskType("sensor"), output_prefix=PREFIX)
    assert (ended.phase, ended.outputs) == (Phase.SUCCEEDED, {})


async def test_cancelling_one_sensor_of_flytekits_does_not_end_another_that_waits_for_the_same_file(
    host: Host, tmp_path: Path
) -> None:
    meta = {
        "sensor_module": "flytekit.sensor.file_sensor",
        "sensor_name": "FileSensor",
        "sensor_config": None,
        "inputs": {"path": str(tmp_path / "day.csv")},
    }
    shared = json.dumps(meta).encode()
    for node in ("n0", "n1"):
        await host.get_task(shared, task_type=TaskType("sensor"), output_prefix=f"s3://bucket/exec/{node}/data/0")
    await host.delete_task(shared, task_type=TaskType("sensor"))
    other = await host.get_task(shared, task_type=TaskType("sensor"), output_prefix="s3://bucket/exec/n1/data/0")
    assert other.phase is Phase.RUNNING


async def test_what_the_operator_keeps_sensors_from_is_kept_from_flytekits_sensors_too(tmp_path: Path) -> None:
    case = next(iter(LOCAL.values()))
    platform = Files(FilesSettings(roots=(str(tmp_path),)))
    async with Host(Registry([platform]), HostSettings(accept_flytekit_handles=True)) as host:
        with pytest.raises(ForeignHandle, match="outside of what sensors may look at"):
            await asked(host, case)
