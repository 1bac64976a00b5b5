"""The functions for scripts and notebooks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from integration.engine.ledger_platform import Ledger, registry, task
from outboard.engine import EngineSettings, run_task, run_tasks
from outboard.errors import JournalUnwritable


def test_a_script_runs_a_task(ledger: Ledger, settings: EngineSettings) -> None:
    assert run_task(task(), registry=registry(ledger.root), settings=settings).is_success


async def test_a_notebook_runs_tasks_inside_its_own_running_loop(ledger: Ledger, settings: EngineSettings) -> None:
    assert asyncio.get_running_loop().is_running()
    outcomes = run_tasks([task(polls=1), task()], registry=registry(ledger.root), settings=settings)
    assert [each.is_success for each in outcomes] == [True, True]


def test_what_cannot_be_opened_is_raised_to_the_caller(
    ledger: Ledger, settings: EngineSettings, tmp_path: Path
) -> None:
    with pytest.raises(JournalUnwritable):
        run_task(task(), registry=registry(ledger.root), settings=settings, journal=tmp_path)
