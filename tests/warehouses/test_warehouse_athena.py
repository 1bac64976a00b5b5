"""The tables of `make warehouses` about Athena that a test may take the time for; each row is as promised."""

from __future__ import annotations

import pytest

from real_parts import environment
from tables.sections import MakeSection, assert_kept
from warehouses import athena


@pytest.mark.parametrize("make", [athena.states, athena.bad_input, athena.proofs])
def test_a_table_about_athena_has_no_failures(make: MakeSection) -> None:
    assert_kept(make())


def test_awss_client_gets_the_same_rows_and_types() -> None:
    assert_kept(athena.same_answers(environment("athena")))


def test_many_queries_on_athena_end_in_time_and_none_is_throttled() -> None:
    """A few here; `make warehouses` follows a thousand."""
    section = athena.many_jobs(150)
    assert_kept(section)
    assert section.rows[0]["throttled"] == 0
