"""Scenarios of calls that fare ill between propeller and the service, and between the service and its platform."""

from __future__ import annotations

import time
from typing import Final

from interop.propeller.calm import RUNS
from interop.propeller.engines import Node
from interop.propeller.rows import ABORTED, Promise, Row, take
from interop.propeller.scenarios import Scenario
from interop.propeller.sites import Site, node
from outboard.testing.faults import REPLY_LOST, Fault, Stall, Unreachable, When

_KINDS: Final = ("rest_token", "rest_named", "rest_lookup")
_LONG: Final = 3600
_BEYOND_S: Final = 13.0
"""Longer than both plugins' deadlines for CreateTask: 10 s and 3 s."""
_OUTAGE_S: Final = 12.0


def _nodes(*, running_s: float, retries: int = 0) -> list[Node]:
    return [node(kind, name=f"n{n}", running_s=running_s, retries=retries) for n, kind in enumerate(_KINDS)]


async def _run(site: Site, name: str, words: str, promise: Promise, nodes: list[Node]) -> Row:
    begun = time.monotonic()
    await site.engine.start(name, nodes)
    await site.engine.ended(name)
    return await take(site, words, [name], promise, time.monotonic() - begun)


async def lose_create_replies(site: Site) -> Row:
    """The job is started and CreateTask's reply is lost, so propeller counts a failed attempt and sends the next."""
    for place in range(len(_KINDS)):
        site.wire.add(REPLY_LOST, "CreateTask", about=f"lostcreate/n{place}/", times=1)
    promise = Promise(tasks=len(_KINDS), attempts=2)
    return await _run(site, "lostcreate", "replies to CreateTask lost", promise, _nodes(running_s=20, retries=1))


async def lose_get_replies(site: Site) -> Row:
    """Three polls of each task get no answer; propeller counts them for good and gives up at the sixth."""
    for place in range(len(_KINDS)):
        site.wire.add(REPLY_LOST, "GetTask", about=f"lostget/n{place}/", times=3)
    promise = Promise(tasks=len(_KINDS), errors=3)
    return await _run(site, "lostget", "three replies to GetTask lost", promise, _nodes(running_s=12))


async def lose_delete_replies(site: Site) -> Row:
    """The reply to DeleteTask is lost twice, so propeller's round fails and sends it again."""
    begun = time.monotonic()
    site.wire.add(REPLY_LOST, "DeleteTask", times=2)
    await site.engine.start("lostdelete", [node("rest_token", running_s=_LONG)])
    await site.engine.stored("lostdelete", RUNS)
    await site.engine.abort("lostdelete")
    await site.engine.ended("lostdelete")
    promise = Promise(end=ABORTED)
    return await take(site, "replies to DeleteTask lost", ["lostdelete"], promise, time.monotonic() - begun)


async def _slow(site: Site, name: str, words: str, fault: Fault) -> Row:
    site.faults.add(fault, "create", times=len(_KINDS))
    promise = Promise(tasks=len(_KINDS), attempts=1)
    return await _run(site, name, words, promise, _nodes(running_s=20, retries=1))


async def start_beyond_the_deadline(site: Site) -> Row:
    """The platform starts jobs later than propeller waits for CreateTask."""
    return await _slow(site, "slowstart", "creates beyond the deadline", Stall(when=When.BEFORE, seconds=_BEYOND_S))


async def answer_beyond_the_deadline(site: Site) -> Row:
    """The platform starts jobs at once and answers later than propeller waits for CreateTask."""
    words = "answers to creates beyond the deadline"
    return await _slow(site, "slowanswer", words, Stall(when=When.AFTER, seconds=_BEYOND_S))


async def fail_listings(site: Site) -> Row:
    """ListAgents fails for a while: tasks go on, new ones begin, and those of sync agents arrive as CreateTask."""
    begun = time.monotonic()
    await site.engine.start("before", _nodes(running_s=_OUTAGE_S))
    await site.engine.phase("before", "RUNNING")
    site.wire.add(Unreachable(), "ListAgents", within=(time.time(), time.time() + _OUTAGE_S))
    await site.wire.calls.reaches("ListAgents", site.wire.calls["ListAgents"] + 2)
    await site.engine.start("meanwhile", [*_nodes(running_s=2), node("rest_answer", name="n3", running_s=0)])
    for execution in ("before", "meanwhile"):
        await site.engine.ended(execution)
    promise = Promise(tasks=2 * len(_KINDS) + 1)
    seconds = time.monotonic() - begun
    return await take(site, "ListAgents fails for a while", ["before", "meanwhile"], promise, seconds)


SCENARIOS: Final = (
    Scenario(site="wire", run=lose_create_replies, is_faulty=True, is_lean=True),
    Scenario(site="wire", run=lose_get_replies, is_faulty=True, is_lean=True),
    Scenario(site="wire", run=lose_delete_replies, is_faulty=True, is_lean=True),
    Scenario(run=start_beyond_the_deadline, is_lean=True),
    Scenario(run=answer_beyond_the_deadline),
    Scenario(run=fail_listings, is_faulty=True, is_lean=True),
)
