"""Whether the engine keeps up with the number of live jobs, and with a service that is away for a while."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from outboard.engine.propeller.findings import Finding, error, warning
from outboard.engine.propeller.rates import ANSWER_S, carried_jobs, failures_within, rates_for
from outboard.engine.propeller.situation import Situation, Written

_TOLERATED_SILENCE: Final = timedelta(hours=1)
_LEAST_RETRIES: Final = 10


def check_rates(situation: Situation) -> Iterator[Finding]:
    """Yield limits that are too low."""
    for written in situation.sections:
        yield from _failures(written)
        if situation.is_flyte_2:
            yield from _whole_qps(written)
        if situation.live_jobs is not None:
            yield from _polling(written, situation.live_jobs)
            if not situation.is_flyte_2:
                yield from _quotas(written, situation, situation.live_jobs)
    yield from _workflow_retries(situation)


def _failures(written: Written) -> Iterator[Finding]:
    caching = written.section.web_api.caching
    least = failures_within(_TOLERATED_SILENCE, caching.resync_interval)
    if caching.max_system_failures < least:
        seconds = (caching.max_system_failures + 1) * caching.resync_interval.total_seconds()
        advised = failures_within(timedelta(hours=24), caching.resync_interval)
        yield warning(
            "polling-given-up",
            written.place_of("webApi", "caching", "maxSystemFailures"),
            f"maxSystemFailures {caching.max_system_failures}: failed polls are counted over a task's whole life, never reset",
            f"after {seconds:g} s without the service, added up, a task is asked about no more: it hangs as it is for ever",
            f"write {advised}: a day's worth of polls",
        )


def _whole_qps(written: Written) -> Iterator[Finding]:
    for key, limiter in (
        ("readRateLimiter", written.section.web_api.read_rate_limiter),
        ("writeRateLimiter", written.section.web_api.write_rate_limiter),
    ):
        if limiter.qps != int(limiter.qps):
            yield warning(
                "whole-qps",
                written.place_of("webApi", key, "qps"),
                f"Flyte 2 takes whole numbers here, and this is {limiter.qps:g}",
                f"{int(limiter.qps)} holds",
                f"write {math.ceil(limiter.qps)}",
            )


def _polling(written: Written, live_jobs: int) -> Iterator[Finding]:
    web_api = written.section.web_api
    caching, advised = web_api.caching, rates_for(live_jobs)
    interval_s = caching.resync_interval.total_seconds()
    carried = carried_jobs(web_api.read_rate_limiter.qps, caching.resync_interval)
    if carried < live_jobs:
        qps = math.ceil(1.5 * live_jobs / interval_s)
        yield warning(
            "rate-too-low",
            written.place_of("webApi", "readRateLimiter", "qps"),
            f"{web_api.read_rate_limiter.qps:g} polls a second carry {carried} live jobs at {interval_s:g} s, not {live_jobs}",
            f"each is asked about every {live_jobs / web_api.read_rate_limiter.qps:.0f} s, and seen to end that much later",
            f"write `readRateLimiter: {{qps: {qps}, burst: {min(10_000, max(100, 2 * qps))}}}`",
        )
    needed = math.ceil(live_jobs / interval_s * ANSWER_S)
    if caching.workers < needed:
        yield warning(
            "too-few-workers",
            written.place_of("webApi", "caching", "workers"),
            f"{caching.workers} workers get {caching.workers / ANSWER_S:.0f} answers a second, when one takes {ANSWER_S:g} s",
            f"{live_jobs} live jobs need {live_jobs / interval_s:.0f} a second; polls queue up, and ends are seen late",
            f"write `workers: {max(advised.workers, 2 * needed)}`",
        )
    if caching.size < live_jobs:
        yield error(
            "cache-too-small",
            written.place_of("webApi", "caching", "size"),
            f"the cache holds {caching.size} tasks, and {live_jobs} are live",
            "tasks push each other out: polls of those outside start only when their workflow comes round, over and over",
            f"write `size: {advised.cache_size}`; it costs nothing until it is used",
        )


def _quotas(written: Written, situation: Situation, live_jobs: int) -> Iterator[Finding]:
    manager = situation.root.get("propeller", "resourcemanager", "type") or situation.root.get(
        "resourcemanager", "type"
    )
    if manager is None or str(manager.scalar).lower() != "redis":
        return  # the other manager grants everything
    limits = {
        ("webApi", "resourceQuotas", "default"): written.section.web_api.resource_quotas.get("default"),
        ("resourceConstraints", "ProjectScopeResourceConstraint"): written.section.resource_constraints.project.value,
        (
            "resourceConstraints",
            "NamespaceScopeResourceConstraint",
        ): written.section.resource_constraints.namespace.value,
    }
    for keys, limit in limits.items():
        what = "resourceQuotas.default" if keys[-1] == "default" else keys[-1]
        if limit is not None and limit < live_jobs:
            yield warning(
                "quota-too-low",
                written.place_of(*keys),
                f"{what} is {limit}, and {live_jobs} jobs are to be live",
                "with the redis resource manager the others wait with `Quota for task has exceeded`",
                f"write {live_jobs} or more, or no limit where the platforms have their own",
            )


def _workflow_retries(situation: Situation) -> Iterator[Finding]:
    retries = situation.root.get("propeller", "max-workflow-retries")
    if (
        not situation.is_flyte_2
        and retries is not None
        and isinstance(retries.scalar, int)
        and retries.scalar < _LEAST_RETRIES
    ):
        yield warning(
            "few-workflow-retries",
            retries.place,
            f"a workflow has {retries.scalar} failed rounds",
            "each cancel that fails costs its whole workflow one; when none are left, jobs are left running",
            "write 30; Outboard fails a cancel three times at most",
        )
