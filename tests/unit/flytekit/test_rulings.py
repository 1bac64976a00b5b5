"""Who serves a task type that several know, and that who does not still follows what is its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hosted_connectors import Yard, YardConnector, YardMeta, raw_task
from ledgers import QUICK, Ledger, LedgerAgent, LedgerConnection, LedgerJob, LedgerPlatform
from outboard.agent import Connection, Phase, Registry, TaskType
from outboard.errors import InvalidSettings
from outboard.flytekit.hosting import HostingSettings
from outboard.flytekit.hosting.platforms import FlytekitConnectors
from outboard.flytekit.hosting.rulings import rule
from outboard.flytekit.hosting.settings import Side
from outboard.host import Host

KIND = TaskType("ledger")
THEIRS = YardMeta(job_id="theirs").encode()


class Reader(LedgerAgent):
    """An agent of ours that reads flytekit's handles of its task type."""

    def read_flytekit(self, meta: Mapping[str, Any], task_type: TaskType) -> tuple[Connection, LedgerJob] | None:
        return LedgerConnection(), LedgerJob(id=meta["job_id"])


def both(ledger: Ledger, yard: Yard, *, ours: bool) -> Registry:
    registry = Registry([LedgerPlatform(ledger, Reader)])
    platform = FlytekitConnectors([YardConnector(yard, "ledger")], HostingSettings())
    registry.add(platform, takes=() if ours else (KIND,), leaves=(KIND,) if ours else ())
    return registry


def test_ours_goes_before_flytekits_and_that_before_flyte_2s() -> None:
    every: tuple[Side, ...] = ("outboard", "flytekit", "flyte")
    assert [each.winner for each in rule({KIND: every}, {})] == ["outboard"]
    assert [each.winner for each in rule({KIND: every[1:]}, {})] == ["flytekit"]
    (chosen,) = rule({KIND: every}, {"ledger": "flyte"})
    assert (chosen.winner, chosen.losers, chosen.is_chosen) == ("flyte", ["outboard", "flytekit"], True)
    assert "not by outboard and flytekit; as the settings say" in str(chosen)


def test_a_choice_that_cannot_be_had_names_who_serves_the_type() -> None:
    with pytest.raises(
        InvalidSettings, match="flyte does not serve task type ledger; it is served by flytekit, outboard"
    ):
        rule({KIND: ("outboard", "flytekit")}, {"ledger": "flyte"})
    with pytest.raises(InvalidSettings, match="nobody here serves it"):
        rule({}, {"other": "flytekit"})


@pytest.mark.parametrize("ours", [True, False])
async def test_the_one_that_serves_a_type_starts_its_tasks(ours: bool) -> None:
    ledger, yard = Ledger(), Yard()
    async with Host(both(ledger, yard, ours=ours), QUICK) as host:
        await host.create_task(raw_task("ledger"), timeout_s=10)
        listed = [each.name for each in await host.list_agents() if KIND in each.task_types]
        assert listed == ["ledger" if ours else "Yard Connector"]
    assert (sum(ledger.starts.values()), len(yard.started)) == ((1, 0) if ours else (0, 1))


@pytest.mark.parametrize("ours", [True, False])
async def test_the_one_that_does_not_still_ends_the_jobs_whose_handles_are_its_own(ours: bool) -> None:
    ledger, yard = Ledger(jobs={"1": "RUNNING"}), Yard(states={"theirs": "running"})
    async with Host(both(ledger, yard, ours=not ours), QUICK) as before:
        handle = await before.create_task(raw_task("ledger"), timeout_s=10)
    async with Host(both(ledger, yard, ours=ours), QUICK) as host:
        assert (await host.get_task(handle, task_type=KIND, output_prefix="memory://out/n0/0")).phase is Phase.RUNNING
        await host.delete_task(handle, task_type=KIND)
        await host.delete_task(THEIRS, task_type=KIND)
    assert (len(ledger.cancels), yard.deleted) == ((0, ["job-1", "theirs"]) if ours else (1, ["theirs"]))


async def test_an_agent_of_ours_reads_flytekits_handles_first_where_the_operator_accepts_them() -> None:
    ledger, yard = Ledger(jobs={"theirs": "RUNNING"}), Yard(states={"theirs": "running"})
    settings = QUICK.model_copy(update={"accept_flytekit_handles": True})
    async with Host(both(ledger, yard, ours=True), settings) as host:
        await host.delete_task(THEIRS, task_type=KIND)
    assert (ledger.cancels, yard.deleted) == (["theirs"], [])
