"""A trial: an attack from a process of its own, a well-behaved client at work meanwhile and after, and what is left of it.

A row is as promised where the attack was answered as expected, every task of the well-behaved client succeeded while it went on
and after it, the health says SERVING, and the service's memory stayed within bounds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from attack.site import Client, Site, Visits, shown
from tables.sections import Section

COLUMNS: Final = (
    "attack", "sent", "answer", "log shows", "tasks meanwhile", "slowest (s)", "healthy after", "peak MiB", "left MiB", "seconds",
)  # fmt: skip
_PEAK_MIB: Final = 200.0
_LEFT_MIB: Final = 48.0
_SETTLE_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack.

    Attributes:
        name: What it is called.
        run: Attacks a place and returns what it was answered; a function of a module, since it runs in another process.
        sent: What it sends.
        expected: What the answer must match.
        arguments: Given to `run` after the place.
        peak_mib: How far the service's memory may rise meanwhile.
        left_mib: How much of that may be left.
        log_matches: What the log line must match; anything where it is empty.
    """

    name: str
    run: Callable[..., str]
    sent: str
    expected: str
    arguments: tuple[Any, ...] = ()
    peak_mib: float = _PEAK_MIB
    left_mib: float = _LEFT_MIB
    log_matches: str = ""


def tried(
    title: str,
    attacks: Sequence[Attack],
    *,
    notes: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
) -> Section:
    """Try attacks one after the other on one service."""
    began = time.monotonic()
    rows, failures = [], []
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="outboard-attack-") as folder,
        Site(Path(folder), *options, settings=settings) as site,
        ProcessPoolExecutor(1, mp_context=context) as attackers,
    ):
        attackers.submit(int).result()  # its start is no part of an attack
        asyncio.run(_warmed_up(site))
        for attack in attacks:
            row, wrong = asyncio.run(_trial(site, attack, attackers))
            rows.append(row)
            failures += [f"{attack.name}: {each}" for each in wrong]
    seconds = round(time.monotonic() - began, 1)
    return Section(title=title, columns=COLUMNS, rows=rows, failures=failures, notes=notes, seconds=seconds)


async def _warmed_up(site: Site) -> None:
    visits = Visits()
    async with Client(site.place.address) as client:
        for _ in range(20):
            await client.visit(visits)
    assert not visits.failures, visits.failures


async def _trial(site: Site, attack: Attack, attackers: ProcessPoolExecutor) -> tuple[dict[str, Any], list[str]]:
    before, since, began = site.memory_mib(), site.mark(), time.monotonic()
    site.forget_peak()
    meanwhile, after, stop = Visits(), Visits(), asyncio.Event()
    async with Client(site.place.address) as client:
        visiting = asyncio.ensure_future(client.visit_until(stop, meanwhile))
        try:
            answer = await asyncio.get_running_loop().run_in_executor(
                attackers, attack.run, site.place, *attack.arguments
            )
        finally:
            stop.set()
            await visiting
        seconds = time.monotonic() - began
        await asyncio.sleep(_SETTLE_S)
        await client.visit(after)
    async with Client(site.place.address) as client:  # and who comes anew
        await client.visit(after)
    peak, left = site.peak_mib() - before, site.memory_mib() - before
    logged = shown(site.lines(since))
    row = {
        "attack": attack.name,
        "sent": attack.sent,
        "answer": answer,
        "log shows": logged,
        "tasks meanwhile": len(meanwhile.seconds),
        "slowest (s)": round(meanwhile.slowest_s, 2),
        "healthy after": not after.failures,
        "peak MiB": round(max(0.0, peak)),
        "left MiB": round(max(0.0, left)),
        "seconds": round(seconds, 1),
    }
    wrong = [f"meanwhile: {each}" for each in meanwhile.failures[:3]] + [f"after it: {each}" for each in after.failures]
    if not re.search(attack.expected, answer):
        wrong.append(f"answered {answer!r}, not {attack.expected!r}")
    if peak > attack.peak_mib or left > attack.left_mib:
        wrong.append(f"memory rose by {peak:.0f} MiB and {left:.0f} of them are left")
    if not re.search(attack.log_matches, logged):
        wrong.append(f"the log shows {logged!r}")
    return row, wrong
