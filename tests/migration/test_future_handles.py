"""A handle that this replica cannot read yet is parked: its job goes on, and another replica or an upgrade reads it."""

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from structlog.testing import capture_logs

from ledgers import Ledger, LedgerAgent, LedgerPlatform, Lookout
from migration import frozen_0_1_0
from outboard.agent import Phase, Registry
from outboard.errors import ForeignHandle, UnreadableHandle
from outboard.host import Host, HostSettings

KEY = "ob-exec-n0-0-" + "a" * 26
OURS = bytes(range(32))
OTHERS = bytes(range(1, 33))


def fields(*later: Any, agent: str = "ledger", job: Any = None, job_version: int = 1) -> list[Any]:
    """The fields of a handle whose job the ledger runs."""
    job = {"id": "j1"} if job is None else job
    scope = ["p", "d", "", ""]
    return [agent, "ledger", 0, KEY, scope, {}, "", "memory://out", 1, job, job_version, None, b"", *later]


FUTURE = {
    "format version 2": frozen_0_1_0.write(fields(), version=2),
    "format version 255": frozen_0_1_0.write(fields(), version=255),
    "a version whose body is nothing we know": b"\xffOB\x02\x00" + bytes(40),
    "an unknown mode": frozen_0_1_0.write(fields(), mode=2),
    "a newer version of the agent's job": frozen_0_1_0.write(fields(job_version=7)),
    "an agent that is not loaded": frozen_0_1_0.write(fields(agent="teleporter")),
    "a job without its id": frozen_0_1_0.write(fields(job={})),
    "a stage that nobody knows yet": frozen_0_1_0.write(fields({"suspended": True}, job={})),
    "a stage that nobody knows yet, with its job": frozen_0_1_0.write(
        fields({"suspended": True, "job": {"id": "j1"}}, job={})
    ),
    "an ending of a phase that nobody knows yet": frozen_0_1_0.write(
        fields({"end": ["EVAPORATED", "", "", "user"]}, job={})
    ),
    "an ending of a cause that nobody knows yet": frozen_0_1_0.write(
        fields({"end": ["FAILED", "", "", "moon phase"]}, job={})
    ),
    "later fields in another form": frozen_0_1_0.write(fields(["suspended"], job={})),
    "a sensor's stage that nobody knows yet": frozen_0_1_0.write(fields({"suspended": True}, agent="lookout", job={})),
    "another service key": frozen_0_1_0.write(fields(), service_key=OTHERS),
}


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(jobs={"j1": "RUNNING"})


@pytest.fixture
async def host(ledger: Ledger) -> AsyncIterator[Host]:
    settings = HostSettings(
        service_keys=(SecretStr(base64.b64encode(OURS).decode()),),
        accept_clear_handles=True,
        cancel_wait=timedelta(seconds=0.2),
    )
    async with Host(Registry([LedgerPlatform(ledger, LedgerAgent, Lookout)]), settings) as served:
        yield served


def absorbed() -> float:
    labels = {"agent": "unknown", "error": "UnreadableHandle"}
    return REGISTRY.get_sample_value("outboard_status_absorbed_total", labels) or 0.0


@pytest.mark.parametrize("handle", FUTURE.values(), ids=list(FUTURE))
async def test_a_handle_from_the_future_is_parked_and_counted(host: Host, ledger: Ledger, handle: bytes) -> None:
    before = absorbed()
    for _ in range(3):
        status = await host.get_task(handle)
        assert (status.phase, status.error) == (Phase.RUNNING, None)
    assert absorbed() == before + 3
    assert ledger.polls == 0


@pytest.mark.parametrize("handle", FUTURE.values(), ids=list(FUTURE))
async def test_a_cancel_of_a_handle_from_the_future_is_left_to_another_replica(
    host: Host, ledger: Ledger, handle: bytes
) -> None:
    with pytest.raises(UnreadableHandle):
        await host.delete_task(handle)
    assert ledger.cancels == []


@pytest.mark.parametrize("handle", FUTURE.values(), ids=list(FUTURE))
async def test_a_parked_handle_is_named_in_the_log_once_and_not_per_poll(host: Host, handle: bytes) -> None:
    with capture_logs() as lines:
        for _ in range(5):
            await host.get_task(handle)
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("handle parked", "warning")
    assert line["reason"]


@pytest.mark.parametrize("later", [({},), ({}, "more", 3, {"x": 1})], ids=["no stage", "fields behind the last one"])
async def test_trailing_fields_that_change_nothing_are_ignored(
    host: Host, ledger: Ledger, later: tuple[Any, ...]
) -> None:
    handle = frozen_0_1_0.write(fields(*later))
    ledger.jobs["j1"] = "OK"
    assert (await host.get_task(handle)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    "handle",
    [
        b"",
        b"\xffOB",
        b"\xffOB\x01\x00",
        b"\xffOR\x02\x00" + bytes(40),
        frozen_0_1_0.write(fields()[:12]),
        frozen_0_1_0.write(fields(), service_key=OURS)[:-1],
        frozen_0_1_0.write(fields(job=["j1"])),
    ],
    ids=["empty", "magic", "header", "a record", "too few fields", "cut short", "a job of another form"],
)
async def test_what_no_release_will_ever_read_is_foreign_and_not_parked(host: Host, handle: bytes) -> None:
    with pytest.raises(ForeignHandle):
        await host.get_task(handle)
