"""An engine over a real host with the ledger platform, in short settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.engine.ledger_platform import Ledger, registry, seconds
from outboard.engine import EngineSettings
from outboard.host.host import Host
from outboard.host.settings import HostSettings


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def settings(tmp_path: Path) -> EngineSettings:
    return EngineSettings(
        output_base=str(tmp_path / "runs"),
        first_poll=seconds(0.01),
        longest_poll=seconds(0.1),
        retry_pause=seconds(0.01),
        resend_limit=seconds(2),
        cancel_wait=seconds(2),
        cancel_check=seconds(0.05),
    )


@pytest.fixture
async def host(ledger: Ledger) -> AsyncIterator[Host]:
    async with Host(registry(ledger.root), HostSettings(cancel_wait=seconds(0.2))) as host:
        yield host


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """No test may leave an asyncio task behind."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    left = {each for each in asyncio.all_tasks() - before if not each.done()}
    assert not {each for each in left if "outboard" in str(each.get_coro()) and "Host" not in str(each.get_coro())}
