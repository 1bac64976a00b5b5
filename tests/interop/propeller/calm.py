"""Scenarios on a healthy service: every way a task goes, and aborts in every phase."""

from __future__ import annotations

import time
from typing import Any, Final

from interop.propeller.rows import ABORTED, FAILED, SUCCEEDED, Promise, Row, take
from interop.propeller.scenarios import Scenario
from interop.propeller.sites import Site, node
from outboard.testing.ledger_jobs import LOST

_LONG: Final = 3600
RUNS: Final = "Running PhaseRunning 0"
"""What a node's resource says while the plugin's last poll said RUNNING."""
_WORDS: Final = "the table sales.orders is gone"
LAUNCHED: Final = {"phase": "PhaseQueued", "version": 2}
"""What a task's resource says in the round that sent CreateTask (pluginmachinery/internal/webapi/launcher.go)."""
TOLD_LAUNCHED: Final = {"phase": "QUEUED", "version": 2}
"""The same in the words of events."""


async def _run(site: Site, name: str, words: str, promise: Promise, kind: str, **course: Any) -> Row:
    begun = time.monotonic()
    await site.engine.start(name, [node(kind, **course)])
    await site.engine.ended(name)
    return await take(site, words, [name], promise, time.monotonic() - begun)


async def succeed_inline(site: Site) -> Row:
    """A job that succeeds, whose outputs come with the answer."""
    return await _run(site, "inline", "success, outputs inline", Promise(), "rest_token")


async def succeed_by_file(site: Site) -> Row:
    """A job that writes outputs.pb itself."""
    return await _run(site, "byfile", "success, outputs by file", Promise(), "rest_files")


async def fail(site: Site) -> Row:
    """A job that fails for good: the user reads the platform's words and no attempt is wasted."""
    promise = Promise(end=FAILED, words=_WORDS)
    return await _run(site, "failed", "FAILED", promise, "rest_token", outcome="FAILED", message=_WORDS, retries=2)


async def fail_then_succeed(site: Site) -> Row:
    """A job that its platform loses: RETRYABLE_FAILED, and the next attempt succeeds."""
    begun = time.monotonic()
    await site.engine.start("retried", [node("rest_token", retries=1, running_s=4)])
    first = await site.job("retried")
    site.ledger.settle(first.id, LOST)
    await site.engine.ended("retried")
    promise = Promise(jobs=2, attempts=2)
    return await take(site, "RETRYABLE_FAILED, then success", ["retried"], promise, time.monotonic() - begun)


async def answer(site: Site) -> Row:
    """An agent that answers at once."""
    return await _run(site, "answer", "sync success", Promise(), "rest_answer", running_s=0)


async def answer_failure(site: Site) -> Row:
    """An agent that answers at once that the request is wrong."""
    promise = Promise(end=FAILED, words=_WORDS)
    course = {"outcome": "FAILED", "message": _WORDS, "running_s": 0, "retries": 2}
    return await _run(site, "answerfail", "sync failure", promise, "rest_answer", **course)


async def _abort(site: Site, name: str, words: str, stand: str, kind: str, **course: Any) -> Row:
    begun = time.monotonic()
    await site.engine.start(name, [node(kind, **course)])
    await site.engine.stored(name, stand)
    await site.engine.abort(name)
    await site.engine.ended(name)
    return await take(site, f"abort in {words}", [name], Promise(end=ABORTED), time.monotonic() - begun)


async def abort_queued(site: Site) -> Row:
    """A job that waits in its platform's queue."""
    return await _abort(site, "abqueued", "QUEUED", "Running PhaseQueued 2", "rest_token", queued_s=_LONG)


async def abort_initializing(site: Site) -> Row:
    """A job that starts."""
    return await _abort(site, "abinit", "INITIALIZING", "Running PhaseInitializing 0", "rest_starting", queued_s=_LONG)


async def abort_running(site: Site) -> Row:
    """A job that runs."""
    return await _abort(site, "abrunning", "RUNNING", RUNS, "rest_token", running_s=_LONG)


async def abort_after_success(site: Site) -> Row:
    """One job is over, the other runs: the first is left alone, the second ends."""
    begun = time.monotonic()
    nodes = [node("rest_token"), node("rest_token", name="n1", running_s=_LONG)]
    await site.engine.start("abdone", nodes)
    await site.engine.stored("abdone", "Succeeded")
    await site.engine.stored("abdone", RUNS, node="n1")
    await site.engine.abort("abdone")
    await site.engine.ended("abdone")
    promise = Promise(tasks=2, end=ABORTED, ends={"n0": SUCCEEDED})
    return await take(site, "abort after SUCCEEDED", ["abdone"], promise, time.monotonic() - begun)


async def abort_during_retry(site: Site) -> Row:
    """The second attempt's job runs."""
    begun = time.monotonic()
    await site.engine.start("abretry", [node("rest_token", retries=1, running_s=_LONG)])
    first = await site.job("abretry")
    site.ledger.settle(first.id, LOST)
    await site.job("abretry", 2)
    await site.engine.stored("abretry", RUNS, since=len(site.engine.told))
    await site.engine.abort("abretry")
    await site.engine.ended("abretry")
    promise = Promise(jobs=2, end=ABORTED, attempts=2)
    return await take(site, "abort during retry", ["abretry"], promise, time.monotonic() - begun)


async def abort_unknown(site: Site) -> Row:
    """The abort comes while CreateTask is under way: the round is dropped, so propeller has no handle and sends no DeleteTask."""
    begun = time.monotonic()
    lose = [{"what": "abort", **LAUNCHED, "times": 1}]
    await site.engine.start("abunknown", [node("rest_token", running_s=_LONG)], lose)
    await site.engine.ended("abunknown")
    why = "the engine's gap: it forgot the handle and sends no DeleteTask, so one job lives on"
    promise = Promise(end=ABORTED, live=1, why_live=why)
    return await take(
        site, "abort before the create's answer is used", ["abunknown"], promise, time.monotonic() - begun
    )


async def _send_again(site: Site, name: str, words: str, what: str, phase: dict[str, Any]) -> Row:
    begun = time.monotonic()
    kinds = ("rest_token", "rest_named", "rest_lookup", "rest_nothing")
    nodes = [node(kind, name=f"n{number}", running_s=6) for number, kind in enumerate(kinds)]
    await site.engine.start(name, nodes, [{"what": what, **phase, "times": 2}])
    await site.engine.ended(name)
    return await take(site, words, [name], Promise(tasks=len(kinds)), time.monotonic() - begun)


async def send_again_after_conflict(site: Site) -> Row:
    """The cluster refuses the update of the round that sent CreateTask, twice: identical requests come again."""
    return await _send_again(site, "conflict", "CreateTask again: the update is refused", "update", LAUNCHED)


async def send_again_after_silence(site: Site) -> Row:
    """Flyteadmin does not answer the event of that round, twice."""
    return await _send_again(site, "silence", "CreateTask again: flyteadmin is silent", "event", TOLD_LAUNCHED)


async def answer_again(site: Site) -> Row:
    """Flyteadmin does not take the end of a task whose agent answers at once, twice: it must not be done again."""
    begun = time.monotonic()
    lose = [{"what": "event", "phase": SUCCEEDED, "version": 0, "times": 2}]
    await site.engine.start("answeragain", [node("rest_answer", running_s=0)], lose)
    await site.engine.ended("answeragain")
    words = "ExecuteTaskSync again: flyteadmin is silent"
    return await take(site, words, ["answeragain"], Promise(), time.monotonic() - begun)


async def versions(site: Site) -> Row:
    """One task type in two versions, of which propeller's registry keeps the last."""
    begun = time.monotonic()
    nodes = [node("rest_versions"), node("rest_versions", name="n1", version=1)]
    await site.engine.start("versions", nodes)
    await site.engine.ended("versions")
    return await take(site, "two versions of a task type", ["versions"], Promise(tasks=2), time.monotonic() - begun)


SCENARIOS: Final = tuple(
    Scenario(site="calm", run=run, is_lean=True)
    for run in (
        succeed_inline,
        succeed_by_file,
        fail,
        fail_then_succeed,
        answer,
        answer_failure,
        abort_queued,
        abort_initializing,
        abort_running,
        abort_after_success,
        abort_during_retry,
        abort_unknown,
        send_again_after_conflict,
        send_again_after_silence,
        answer_again,
        versions,
    )
)
