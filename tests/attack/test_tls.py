"""The tables about TLS: nobody gets in who should not, and certificates are replaced under load without a failed call."""

from __future__ import annotations

import pytest

from attack import tls
from tables.sections import assert_kept


def test_nobody_gets_in_without_a_certificate_and_the_service_stays_healthy() -> None:
    section = tls.attacks()
    assert_kept(section)
    assert len(section.rows) == len(tls.ATTACKS)
    assert all(row["healthy after"] for row in section.rows)


@pytest.mark.parametrize("processes", [1, 2])
def test_no_call_fails_while_certificates_are_replaced(processes: int) -> None:
    """Seconds here; `make attack` takes longer."""
    section = tls.rotation(4.0, processes)
    assert_kept(section)
    (row,) = section.rows
    assert row["rotations of all"] >= 2
    assert row["refused meanwhile"] >= 4
    assert row["failed calls"] == 0
