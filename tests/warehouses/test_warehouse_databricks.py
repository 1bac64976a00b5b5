"""The tables of `make warehouses` about Databricks that a test may take the time for; each row is as promised."""

from __future__ import annotations

import pytest

from real_parts import environment
from tables.sections import MakeSection, assert_kept
from warehouses import databricks


@pytest.mark.parametrize("make", [databricks.bad_runs, databricks.bad_statements, databricks.proofs])
def test_a_table_about_databricks_has_no_failures(make: MakeSection) -> None:
    assert_kept(make())


@pytest.mark.parametrize("make", [databricks.states, databricks.same_answers])
def test_a_table_of_databricks_real_parts_has_no_failures(make: MakeSection) -> None:
    environment("databricks")
    assert_kept(make())


def test_many_jobs_on_databricks_end_in_time_and_each_has_one_job() -> None:
    """A few here; `make warehouses` follows a thousand."""
    assert not databricks.many_jobs(40).failures
