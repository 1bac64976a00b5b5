"""How many calls are in flight, how many were refused, and how late the loop is: as the metrics have it."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from integration.service.probe import Gate, ProbePlatform, make_task
from outboard import errors
from outboard.agent import Registry
from outboard.engine.remote import RemoteEndpoint
from outboard.host import Host
from outboard.service import Service, ServiceSettings
from outboard.service.loop_metrics import LoopLag, end_watch, watch_loop


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_loop_that_is_late_is_told_while_it_is_and_afterwards() -> None:
    now = [100.0]
    lag = LoopLag(1.0, lambda: now[0])
    before = {le: sample("outboard_event_loop_lag_seconds_bucket", le=le) for le in ("0.01", "5.0", "+Inf")}
    seconds = sample("outboard_event_loop_lag_seconds_sum")
    watch_loop(lag)
    now[0] += 1.0
    lag.beat()
    now[0] += 8.0
    assert sample("outboard_event_loop_silent_seconds") >= 7.0
    lag.beat()
    end_watch(lag)
    assert sample("outboard_event_loop_silent_seconds") < 7.0
    after = {le: sample("outboard_event_loop_lag_seconds_bucket", le=le) - count for le, count in before.items()}
    assert after == {"0.01": 1, "5.0": 1, "+Inf": 2}
    assert sample("outboard_event_loop_lag_seconds_sum") - seconds == pytest.approx(7.0)


async def test_calls_in_flight_and_refused_ones_are_counted() -> None:
    gate, settings = Gate(), ServiceSettings(port=0, max_calls=1)
    before = sample("outboard_calls_refused_total", reason="excess")
    async with (
        Host(Registry([ProbePlatform(gate)])) as host,
        Service(host, settings) as service,
        RemoteEndpoint.at(service.address, timeout_s=20) as remote,
    ):
        first = asyncio.ensure_future(remote.create_task(make_task(mode="gated")))
        await gate.entered.wait()
        assert sample("outboard_calls_in_flight") == 1
        with pytest.raises(errors.OutboardError):
            await remote.list_agents()
        gate.opened.set()
        await first
        assert sample("outboard_calls_in_flight") == 0
    assert sample("outboard_calls_refused_total", reason="excess") == before + 1
