"""The attacks on who may call are refused, told in the log, and leave a healthy service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

import real_parts
from attack.access import attacked, rotated
from tables.sections import Section, assert_kept


@pytest.mark.parametrize("make", [attacked, rotated])
async def test_every_row_is_as_promised(make: Callable[[], Awaitable[Section]]) -> None:
    real_parts.environment("oidc")
    assert_kept(await make())
