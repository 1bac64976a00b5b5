"""Flyte 2's SDK against our service, always; Flyte 2's executor with its connector plugin, where it can be built."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from interop import flyte2
from tables.sections import Section

pytestmark = pytest.mark.timeout(1800)  # the first build of Flyte's code takes minutes
_TYPES = 26


@pytest.fixture(scope="module")
def sdk() -> Sequence[Section]:
    if importlib.util.find_spec("flyte") is None:
        pytest.skip("NOTHING OF FLYTE 2 WAS TRIED: its SDK is not installed")
    return flyte2.piece(flyte2.SDK)


def test_values_of_every_type_come_back_to_the_sdk_as_they_were_sent(sdk: Sequence[Section]) -> None:
    rows = _kept(sdk[0])
    assert len(rows) == _TYPES
    assert all(row["same value"] and row["same type"] and row["same bytes"] for row in rows)


def test_every_method_answers_the_sdks_own_stubs(sdk: Sequence[Section]) -> None:
    rows = _kept(sdk[1])
    calls = {str(row["call"]).partition(" ")[0].rstrip(",") for row in rows}
    methods = {"ListConnectors", "GetConnector", "CreateTask", "DeleteTask", "GetTask", "GetTaskLogs", "GetTaskMetrics"}
    assert calls >= methods
    assert all(row["right"] for row in rows)


def test_local_runs_of_the_sdk_get_our_agents(sdk: Sequence[Section]) -> None:
    rows = _kept(sdk[2])
    assert [row["with"] for row in rows] == ["the SDK alone", "Outboard", "Outboard"]
    assert [row["jobs"] for row in rows] == [0, 1, 0]


@pytest.fixture(scope="module")
def ours() -> Section:
    return _tried(flyte2.EXECUTOR)


def test_flyte2s_executor_finds_every_promise_kept(ours: Section) -> None:
    assert {row["scenario"]: row["verdict"] for row in _kept(ours)} == {row["scenario"]: "kept" for row in ours.rows}
    assert {"success, outputs by file", "garbage collection of success"} <= {row["scenario"] for row in ours.rows}


def test_flyte2s_plugin_counts_no_error_of_ours(ours: Section) -> None:
    assert {row["scenario"]: row["errors"] for row in ours.rows} == {row["scenario"]: 0 for row in ours.rows}
    assert sum(row["polls"] for row in ours.rows) > 0


def test_the_checks_see_what_breaks_a_promise() -> None:
    """The SDK's own service, which promises less, is seen to: two jobs for one task, cancels of finished work."""
    lost, collected = _tried(flyte2.CHECKS).rows
    assert lost["jobs"] == lost["creates"] == 3
    assert "3 jobs instead of 1" in lost["verdict"]
    assert "cancels reached the job" in collected["verdict"]


def _tried(piece: str) -> Section:
    if importlib.util.find_spec("flyte") is None:
        pytest.skip("NOTHING OF FLYTE 2 WAS TRIED: its SDK is not installed")
    table = flyte2.piece(piece)[0]
    if table.skipped:
        pytest.skip(f"NOTHING OF FLYTE 2'S EXECUTOR WAS TRIED: {table.skipped}")
    return table


def _kept(section: Section) -> Sequence[Mapping[str, Any]]:
    assert not section.failures
    return section.rows
