"""What an engine provides, for jobs that nobody polled yet: their cancels and later attempts need it as well."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledgers import QUICK, until
from outboard.agent import Phase, Registry
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError
from outboard.host import Host
from unit.host.test_provided import CANARY, ROTATED, Vault, asking, given


@pytest.fixture
def vault() -> Vault:
    return Vault(CANARY)


@pytest.fixture
async def host(vault: Vault) -> AsyncIterator[Host]:
    async with Host(Registry([vault]), QUICK) as served:
        yield served


def kept(folder: Path) -> RawTask:
    return replace(asking(given(CANARY)), output_prefix=str(folder / "e" / "n0" / "0"))


async def start_slowly(vault: Vault, host: Host, task: RawTask) -> tuple[bytes, asyncio.Event]:
    """Return the intent of a task whose create waits for an event."""
    proceed = asyncio.Event()
    vault.ledger.faults["create"] = proceed.wait
    intent = await host.create_task(task, timeout_s=0.3)
    return intent, proceed


async def has_job(vault: Vault) -> None:
    async def started() -> bool:
        return bool(vault.ledger.jobs)

    await until(started)


async def test_a_job_that_was_started_behind_an_intent_is_cancelled_before_any_poll(vault: Vault, host: Host) -> None:
    intent, proceed = await start_slowly(vault, host, asking(given(CANARY)))
    proceed.set()
    await has_job(vault)
    await host.delete_task(intent, provided=given(CANARY), collects_garbage=True)
    assert ("cancel", given(CANARY)) in vault.seen


async def test_another_replica_cancels_it_before_any_poll(vault: Vault, host: Host, tmp_path: Path) -> None:
    intent, proceed = await start_slowly(vault, host, kept(tmp_path))
    proceed.set()
    await has_job(vault)
    async with Host(Registry([vault]), QUICK) as other:

        async def is_cancelled() -> bool:
            try:
                await other.delete_task(intent, provided=given(CANARY), collects_garbage=True)
            except OutboardError:
                return False
            return True

        await until(is_cancelled)
    assert ("cancel", given(CANARY)) in vault.seen


async def test_a_job_that_starts_after_its_cancel_is_stopped(vault: Vault, host: Host) -> None:
    intent, proceed = await start_slowly(vault, host, asking(given(CANARY)))
    with pytest.raises(OutboardError):
        await host.delete_task(intent, provided=given(CANARY), collects_garbage=True, timeout_s=0.2)
    proceed.set()

    async def is_cancelled() -> bool:
        return ("cancel", given(CANARY)) in vault.seen

    await until(is_cancelled)


async def test_a_repeated_cancel_uses_what_it_brings(vault: Vault, host: Host) -> None:
    intent, proceed = await start_slowly(vault, host, asking(given(CANARY)))
    proceed.set()
    await has_job(vault)
    vault.password = ROTATED
    with pytest.raises(OutboardError):
        await host.delete_task(intent, provided=given(CANARY), collects_garbage=True)
    await host.delete_task(intent, provided=given(ROTATED), collects_garbage=True)
    assert ("cancel", given(ROTATED)) in vault.seen


async def test_the_next_attempt_adopts_a_job_that_was_still_being_started(
    vault: Vault, host: Host, tmp_path: Path
) -> None:
    first = kept(tmp_path)
    _, proceed = await start_slowly(vault, host, first)
    again = replace(first, output_prefix=str(tmp_path / "e" / "n0" / "1"), identity=replace(first.identity, attempt=1))
    second = await host.create_task(again, timeout_s=0.3)
    proceed.set()

    async def is_running() -> bool:
        return (await host.get_task(second, provided=given(CANARY))).phase is Phase.RUNNING

    await until(is_running)
    assert len(vault.ledger.jobs) == 1


async def test_a_job_that_another_replica_cancelled_while_it_was_started_is_stopped(
    vault: Vault, host: Host, tmp_path: Path
) -> None:
    intent, proceed = await start_slowly(vault, host, kept(tmp_path))
    async with Host(Registry([vault]), QUICK) as other:
        with pytest.raises(OutboardError):
            await other.delete_task(intent, provided=given(CANARY), collects_garbage=True, timeout_s=1.0)
        assert ("cancel", given(CANARY)) not in vault.seen
    proceed.set()
    await until(lambda: ("cancel", given(CANARY)) in vault.seen)
