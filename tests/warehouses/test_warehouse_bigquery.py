"""The tables of `make warehouses` about BigQuery that a test may take the time for; each row is as promised."""

from __future__ import annotations

import pytest

from integration.platforms.bigquery import bigquery_emulator
from real_parts import tried
from tables.sections import MakeSection, assert_kept
from warehouses import bigquery


@pytest.mark.parametrize("make", [bigquery.states, bigquery.bad_input, bigquery.proofs])
def test_a_table_about_bigquery_has_no_failures(make: MakeSection) -> None:
    assert_kept(make())


def test_googles_client_reads_the_same_rows_and_nothing_is_injected() -> None:
    tried(bigquery_emulator.prepared)
    with bigquery_emulator.emulator() as url:
        assert_kept(bigquery.same_answers(url))
        assert_kept(bigquery.injection(url))


def test_many_jobs_on_bigquery_end_in_time_and_each_has_one_job() -> None:
    """A few here; `make warehouses` follows a thousand."""
    assert not bigquery.many_jobs(150).failures
