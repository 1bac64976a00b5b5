"""What `make warehouses` shows of Snowflake is as promised."""

from __future__ import annotations

import pytest

import real_parts
from warehouses import snowflake

pytest.importorskip("cryptography", reason="cryptography is not installed")


def test_every_documented_state_and_status_is_mapped() -> None:
    assert not snowflake.states().failures


def test_many_statements_are_started_once_and_end_in_time_though_snowflake_slows_them_down() -> None:
    measured = snowflake.thousand(120)
    assert not measured.failures
    assert measured.rows[0]["throttled"] > 0


def test_bad_input_is_told_with_its_remedy_and_no_secret() -> None:
    assert not snowflake.bad_input().failures


def test_every_call_was_tried_on_something() -> None:
    section = snowflake.calls()
    assert section.rows
    assert not section.failures


def test_results_and_errors_are_those_of_snowflakes_own_connector() -> None:
    real_parts.environment("snowflake")
    assert not snowflake.witness().failures
