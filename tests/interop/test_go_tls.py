"""Go's gRPC against our TLS, where the program can be built."""

from __future__ import annotations

import pytest

from interop import tls
from tables.sections import assert_kept

pytestmark = pytest.mark.timeout(900)  # the first build takes a while


def test_go_is_served_and_refused_as_promised() -> None:
    section = tls.calls()
    if section.skipped:
        pytest.skip(f"NOTHING OF GO WAS TRIED: {section.skipped}")
    assert_kept(section)
    assert len(section.rows) == 6
    (renewed,) = [row for row in section.rows if "renewals" in row["scenario"]]
    assert renewed["calls"] > 100
    assert renewed["failed"] == 0
