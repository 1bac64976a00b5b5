"""Sync agents behind CreateTask and GetTask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ledgers import QUICK, Ledger, LedgerPlatform, ledger_task, until
from outboard.agent import Inputs, Registry
from outboard.domain.phases import Phase
from outboard.domain.types import Interface, SimpleType
from outboard.errors import Rejected, Sent, Throttled
from outboard.host import Host
from outboard.host.stores import Stores
from outboard.wire.files import decode_outputs_file

TEXT = {"text": SimpleType.STRING}


def _question(**fields: Any) -> Any:
    interface = Interface(inputs={"name": SimpleType.STRING}, outputs=TEXT)
    return ledger_task("greeter", inputs=Inputs({"name": "Ann"}), interface=interface, **fields)


async def test_the_answer_lies_where_the_engine_looks_and_is_asked_for_once() -> None:
    """The same request, here and at another replica, gets the same end from one call of `do`."""
    ledger, stores = Ledger(), Stores()
    async with (
        Host(Registry([LedgerPlatform(ledger)]), QUICK, stores=stores) as one,
        Host(Registry([LedgerPlatform(ledger)]), QUICK, stores=stores) as other,
    ):
        task = _question()
        handles = [await host.create_task(task) for host in (one, one, other)]
        for host in (one, other):
            for handle in handles:
                assert (await host.get_task(handle)).phase is Phase.SUCCEEDED
        assert ledger.starts == {"do": 1}
        written = await stores.read(f"{task.output_prefix}/outputs.pb")
    assert written is not None
    assert dict(decode_outputs_file(written, TEXT)) == {"text": "hello Ann"}


async def test_an_answer_that_takes_long_is_an_intent_which_any_replica_follows() -> None:
    ledger, stores, proceed = Ledger(), Stores(), asyncio.Event()
    ledger.faults["do"] = proceed.wait
    async with (
        Host(Registry([LedgerPlatform(ledger)]), QUICK, stores=stores) as one,
        Host(Registry([LedgerPlatform(ledger)]), QUICK, stores=stores) as other,
    ):
        intent = await one.create_task(_question(), timeout_s=0.1)
        again = await other.create_task(_question(), timeout_s=0.1)
        phases = [(await host.get_task(each)).phase for host in (one, other) for each in (intent, again)]
        assert set(phases) == {Phase.INITIALIZING}
        proceed.set()
        for host in (one, other):

            async def is_over(host: Host = host) -> bool:
                return (await host.get_task(intent)).phase is Phase.SUCCEEDED

            await until(is_over)
        assert ledger.starts == {"do": 1}


async def test_without_an_output_prefix_the_process_that_answered_tells() -> None:
    async with Host(Registry([LedgerPlatform(Ledger())]), QUICK) as host:
        handle = await host.create_task(_question(output_prefix=""))
        status = await host.get_task(handle)
        assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {"text": "hello Ann"})


@pytest.mark.parametrize(
    ("error", "phase"),
    [
        (Rejected("no such name"), Phase.FAILED),
        (Throttled("later", sent=Sent.NO), Phase.RETRYABLE_FAILED),
        (ValueError("?"), Phase.FAILED),
    ],
)
async def test_a_refusal_is_told_by_the_handle(error: Exception, phase: Phase) -> None:
    ledger = Ledger()
    ledger.faults["do"] = error
    async with Host(Registry([LedgerPlatform(ledger)]), QUICK) as host:
        handle = await host.create_task(_question(), timeout_s=0.3)

        async def is_over() -> bool:
            return (await host.get_task(handle)).phase is phase

        await until(is_over)
