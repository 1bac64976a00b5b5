"""The file sensors in the real host: local files, stores, and flytekit's own sensor tasks."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from outboard.agent import Blob, Registry, Task
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import Inputs
from outboard.domain.types import BlobType, Interface, SimpleType
from outboard.errors import InvalidInputs, InvalidTask, Unavailable
from outboard.host import Host, HostSettings
from outboard.platforms.files.addresses import parse_address
from outboard.platforms.files.platform import Files
from outboard.platforms.files.settings import FilesSettings
from outboard.platforms.files.stores import FileStores, Wanted

FLYTEKIT = {"sensor_module": "flytekit.sensor.file_sensor", "sensor_name": "FileSensor"}
NODES = itertools.count()
PATIENT = HostSettings(status_limit=timedelta(seconds=20), status_wait=timedelta(seconds=20))


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Host(Registry([Files()]), PATIENT) as host:
        yield host


def waiting_for(path: Any, kind: str = "file_sensor", **config: Any) -> Task[Any]:
    value_type = BlobType(multipart=path.multipart) if isinstance(path, Blob) else SimpleType.STRING
    return Task(
        type=kind,
        config=config,
        identity=ExecutionIdentity(execution="e", node=f"n{next(NODES)}"),
        inputs=Inputs({"path": path}),
        interface=Interface(inputs={"path": value_type}),
    )


async def look(host: Host, task: Task[Any]) -> TaskStatus:
    return await host.get_task(await host.create_task(task))


async def test_a_sensor_runs_until_the_file_is_there(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "a b#c%20.csv"
    handle = await host.create_task(waiting_for(str(file)))
    assert (await host.get_task(handle)).phase is Phase.RUNNING
    file.write_text("x")
    status = await host.get_task(handle)
    assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {})


@pytest.mark.parametrize(
    ("path", "is_there"),
    [
        ("day/x.csv", True),
        ("day", True),
        ("day/", True),
        ("empty", False),
        ("empty/", False),
        ("*/x.csv", True),
        ("*.csv", False),
        ("**/*.csv", True),
        ("day/x.txt", False),
        ("none/at/all/", False),
    ],
)
async def test_a_path_is_a_file_a_glob_or_whatever_is_below_a_folder(
    host: Host, tmp_path: Path, path: str, is_there: bool
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "day").mkdir()
    (tmp_path / "day" / "x.csv").write_text("x")
    status = await look(host, waiting_for(f"{tmp_path}/{path}"))
    assert status.phase is (Phase.SUCCEEDED if is_there else Phase.RUNNING)


async def test_a_file_may_be_given_as_a_blob(host: Host, tmp_path: Path) -> None:
    (tmp_path / "part").write_text("x")
    assert (await look(host, waiting_for(Blob(str(tmp_path), multipart=True)))).phase is Phase.SUCCEEDED
    assert (await look(host, waiting_for(Blob(f"file://{tmp_path}/part")))).phase is Phase.SUCCEEDED


async def test_a_file_that_is_too_small_or_too_young_is_not_there_yet(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("four")
    assert (await look(host, waiting_for(str(file), min_size_bytes=5))).phase is Phase.RUNNING
    assert (await look(host, waiting_for(str(file), min_age_s=3600))).phase is Phase.RUNNING
    an_hour_ago = time.time() - 3700
    os.utime(file, (an_hour_ago, an_hour_ago))
    assert (await look(host, waiting_for(str(file), min_age_s=3600, min_size_bytes=4))).phase is Phase.SUCCEEDED


async def test_a_look_in_vain_says_when_to_look_again(host: Host, tmp_path: Path) -> None:
    status = await look(host, waiting_for(f"{tmp_path}/x", poll_after_s=30))
    assert (status.phase, status.poll_after) == (Phase.RUNNING, timedelta(seconds=30))


async def test_a_path_that_can_never_be_there_is_refused_at_once(host: Host) -> None:
    with pytest.raises(InvalidInputs, match="relative"):
        await host.create_task(waiting_for("x.csv"))
    task: Task[Any] = Task(type="file_sensor", config={}, inputs=Inputs({}))
    with pytest.raises(InvalidInputs, match="input path"):
        await host.create_task(task)


async def test_sensors_look_only_where_the_operator_lets_them(tmp_path: Path) -> None:
    landing, private = tmp_path / "landing", tmp_path / "private"
    landing.mkdir()
    private.mkdir()
    (private / "x").write_text("x")
    (landing / "y").write_text("y")
    (landing / "way-out").symlink_to(private)
    settings = FilesSettings(roots=(str(landing), "s3://landing"))
    async with Host(Registry([Files(settings)]), PATIENT) as host:
        assert (await look(host, waiting_for(f"{landing}/y"))).phase is Phase.SUCCEEDED
        for path in (f"{private}/x", "s3://other/x", "/"):
            with pytest.raises(InvalidInputs):
                await host.create_task(waiting_for(path))
        assert (await look(host, waiting_for(f"{landing}/way-out/x"))).phase is Phase.RUNNING


async def test_flytekits_own_file_sensor_is_served_unchanged(host: Host, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    config = {**FLYTEKIT, "sensor_config": None, "inputs": None}
    assert (await look(host, waiting_for(f"{tmp_path}/x", "sensor", **config))).phase is Phase.SUCCEEDED
    assert (await look(host, waiting_for(f"{tmp_path}/y", "sensor", **config))).phase is Phase.RUNNING


async def test_no_class_that_a_caller_names_is_ever_imported(host: Host, tmp_path: Path) -> None:
    config = {"sensor_module": "subprocess", "sensor_name": "getoutput"}
    with pytest.raises(InvalidTask, match="only FileSensor"):
        await host.create_task(waiting_for(f"touch {tmp_path}/ran", "sensor", **config))
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib would block too


@pytest.mark.parametrize(
    ("path", "is_there"),
    [
        ("s3://b/day/x.csv", True),
        ("s3://b/day", True),
        ("s3://b/da", False),
        ("s3://b/day/", True),
        ("s3://b/", True),
        ("s3://b/*/x.csv", True),
        ("s3://b/*.csv", False),
        ("gs://other/", False),
    ],
)
async def test_stores_are_looked_at_as_folders_are(path: str, is_there: bool) -> None:
    buckets = {"s3://b": MemoryStore(), "gs://other": MemoryStore()}
    await buckets["s3://b"].put_async("day/x.csv", b"x")
    stores = FileStores(buckets.__getitem__)
    assert await stores.has_file(parse_address(path), Wanted()) is is_there


async def test_a_store_that_cannot_be_reached_is_an_error_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unavailable) as raised:
        await FileStores().has_file(parse_address("s3://bucket/x"), Wanted())
    assert "\n" not in raised.value.message
