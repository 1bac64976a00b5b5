"""Clocks: ours against those of the platforms and stores that answered.

Signed requests and JWTs are good for minutes around the signer's time: AWS refuses signatures five minutes off, Google and
Snowflake tokens of the future. Nobody says "your clock is wrong"; it looks like refused credentials.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from statistics import median
from typing import Final

from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject

CHECK: Final = "clock"
BEARABLE: Final = timedelta(seconds=60)
_REMEDY: Final = "set this machine's clock by NTP; signatures and tokens fail otherwise"


async def check(subject: Subject) -> AsyncIterator[Finding]:
    """Compare our clock with those that the other checks met; to be run after them."""
    skews = subject.skews
    if not skews:
        yield Finding(check=CHECK, mark=Mark.SKIPPED, found="nobody answered whose clock could be compared with ours")
        return
    usual = timedelta(seconds=median(skew.total_seconds() for skew in skews.values()))
    far = {whose: skew for whose, skew in skews.items() if abs(skew) > BEARABLE}
    if not far:
        found = f"ours is within {BEARABLE.total_seconds():g} s of {', '.join(sorted(skews))}"
        yield Finding(check=CHECK, mark=Mark.OK, found=found)
        return
    is_ours = abs(usual) > BEARABLE and len(skews) > 1
    told = ", ".join(f"{whose} {_told(skew)}" for whose, skew in sorted(far.items()))
    yield Finding(
        check=CHECK,
        mark=Mark.PROBLEM if is_ours else Mark.WARNING,
        found=f"clocks differ from ours: {told}",
        remedy=_REMEDY if is_ours or len(skews) == 1 else f"theirs or ours is wrong: {_REMEDY}",
    )


def _told(skew: timedelta) -> str:
    seconds = round(abs(skew.total_seconds()))
    return f"is {seconds} s {'ahead' if skew > timedelta(0) else 'behind'}"
