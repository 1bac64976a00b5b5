"""Owed cancels: whatever becomes of the process that pursues a cancel, another one goes on with it."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from outboard.agent import Registry
from outboard.domain.owed import MOST_BYTES, MOST_ENTRIES, OwedCancel, OwedCodec, crowded_out
from outboard.domain.seals import ServiceKey
from outboard.domain.tasks import RawTask
from outboard.errors import ForeignHandle, UnreadableHandle
from outboard.host import Host, HostSettings
from outboard.testing.ledger_agents import LEDGER_AGENTS, LedgerPlatform, sample_task
from outboard.testing.replicas import Fleet
from outboard.testing.stores import random_faults
from outboard.testing.virtual_time import virtually
from unit.host.cancelled_jobs import SETTINGS, Sky, forever, outage

LIST = "memory://out/.outboard/owed-tests"
RECORDS = "memory://records/ours"
CODEC = OwedCodec("tests")
ENTRIES = st.dictionaries(
    st.text(min_size=1, max_size=70),
    st.builds(
        OwedCancel,
        handle=st.binary(max_size=512),
        claim=st.text(max_size=16),
        turn=st.integers(0, 2**31),
        since=st.integers(0, 2**40),
    ),
    max_size=5,
)


class Apart(Sky):
    """Replicas whose records lie in a place of their own, which their settings name."""

    def make_host(self) -> Host:
        settings = SETTINGS.model_copy(update={"records": RECORDS})
        return Host(
            Registry([LedgerPlatform(self.ledger, self.faults, stores=self.stores)]), settings, stores=self.stores
        )


def owed(sky: Sky, uri: str = LIST) -> dict[str, OwedCancel]:
    """Return what the list says now."""
    found = sky.stores.peek(uri)
    return {} if found is None else CODEC.decode(found)


def owe(sky: Sky, **entries: OwedCancel) -> None:
    """Let the list say this."""
    sky.stores.plant(LIST, CODEC.encode(entries))


async def cancelled_in_an_outage(sky: Sky, count: int, seconds: float) -> list[tuple[bytes, RawTask]]:
    """Start `count` jobs, cut off the platform, and cancel them until an engine is content."""
    tasks = [sample_task("ledger_named", node=f"n{n}", running_s=None) for n in range(count)]
    handles = await asyncio.gather(*(sky.create(task) for task in tasks))
    outage(sky, seconds)
    pairs = list(zip(handles, tasks, strict=True))
    await asyncio.gather(*(sky.delete(handle, task) for handle, task in pairs))
    return pairs


@pytest.mark.parametrize("is_killed", [False, True], ids=["SIGTERM", "SIGKILL"])
def test_another_replica_goes_on_with_twenty_cancels(is_killed: bool) -> None:
    @virtually
    async def play() -> None:
        async with Sky() as sky:
            tasks = await cancelled_in_an_outage(sky, 20, 600)
            first, second = sky.fleet.replicas
            second.kill()  # what it pursued itself is gone with it
            second.restart()
            await sky.phase(*tasks[0])
            await sky.phase(*tasks[0])
            assert second.host._cancellations._pursuits == {}
            first.kill() if is_killed else await first.terminate()
            await asyncio.sleep(600 + 300)
            assert sky.ledger.live() == []
            await asyncio.sleep(120)
            assert owed(sky) == {}

    play()


@pytest.mark.parametrize("is_killed", [False, True], ids=["SIGTERM", "SIGKILL"])
def test_the_only_replica_goes_on_with_twenty_cancels_once_it_is_back(is_killed: bool) -> None:
    @virtually
    async def play() -> None:
        async with Apart(1) as sky:
            await cancelled_in_an_outage(sky, 20, 600)
            (replica,) = sky.fleet.replicas
            replica.kill() if is_killed else await replica.terminate()
            assert all(not entry.claim for entry in owed(sky, f"{RECORDS}/owed-tests").values()) is not is_killed
            replica.restart()
            await sky.fleet.list_agents()  # an engine asks that all the time
            await asyncio.sleep(600 + 300)
            assert sky.ledger.live() == []

    play()


@pytest.mark.parametrize("died_after_s", [0.0, 1.0, 10.0, 100.0])
def test_a_platform_that_ignores_the_first_cancels_is_asked_by_others_when_the_pursuer_dies(
    died_after_s: float,
) -> None:
    @virtually
    async def play() -> None:
        async with Sky() as sky:
            task = forever("ledger_named", deaf_to=8)
            handle = await sky.create(task)
            await sky.phase(handle, task)
            await sky.phase(handle, task)
            assert await sky.delete(handle, task) == 0
            await asyncio.sleep(died_after_s)
            for replica in sky.fleet.replicas:
                if replica.host._cancellations._pursuits:
                    replica.kill()
            await asyncio.sleep(1_800)
            assert sky.ledger.live() == []

    play()


@virtually
async def test_a_cancel_that_is_confirmed_at_once_touches_no_list() -> None:
    async with Sky() as sky:
        task = forever("ledger_named")
        handle = await sky.create(task)
        assert await sky.delete(handle, task) == 0
        await asyncio.sleep(300)
        assert sky.ledger.live() == []
        assert sky.stores.written[LIST] == 0


@virtually
async def test_hundreds_of_cancels_share_a_handful_of_writes() -> None:
    async with Sky(1, latency_s=0.0) as sky:
        sky.stores.latency_s = 0.05
        await cancelled_in_an_outage(sky, 200, 600)
        assert len(owed(sky)) == 200
        assert sky.stores.written[LIST] < 20
        await asyncio.sleep(1_200)
        assert sky.ledger.live() == []
        assert owed(sky) == {}


@virtually
async def test_a_cancel_is_pursued_by_one_process_at_a_time() -> None:
    async with Sky(3) as sky:
        task = forever("ledger_named")
        handle = await sky.create(task)
        for _ in sky.fleet.replicas:
            await sky.phase(handle, task)
        owe(sky, one=OwedCancel(handle=handle, claim="gone", turn=7, since=int(time.time())))
        outage(sky, 3_600)
        await asyncio.sleep(600)
        pursuing = [replica for replica in sky.fleet.replicas if replica.host._cancellations._pursuits]
        assert len(pursuing) == 1
        assert owed(sky)["one"].turn > 7


@virtually
async def test_a_claim_that_is_renewed_is_left_alone() -> None:
    async with Sky(1) as sky:
        task = forever("ledger_named")
        handle = await sky.create(task)
        for turn in range(20):
            owe(sky, one=OwedCancel(handle=handle, claim="another", turn=turn, since=int(time.time())))
            await asyncio.sleep(60)
        assert len(sky.ledger.live()) == 1


@virtually
async def test_silence_is_not_counted_while_the_store_is_down() -> None:
    async with Sky(1) as sky:
        handle = await sky.create(forever("ledger_named"))
        entry = OwedCancel(handle=handle, claim="another", turn=1, since=int(time.time()))
        owe(sky, one=entry)
        await asyncio.sleep(70)
        sky.stores.down = True
        await asyncio.sleep(600)
        sky.stores.down = False
        await asyncio.sleep(100)
        assert owed(sky) == {"one": entry}
        await asyncio.sleep(300)
        assert sky.ledger.live() == []


@pytest.mark.parametrize("seed", range(4))
def test_lost_answers_of_the_store_lose_no_cancel(seed: int) -> None:
    @virtually
    async def play() -> None:
        random.seed(seed)
        async with Sky() as sky:
            tasks = await cancelled_in_an_outage(sky, 5, 900)
            sky.stores.schedule = random_faults(seed, lost=0.1, reply_lost=0.2, repeated=0.2)
            for replica in sky.fleet.replicas:
                await sky.phase(*tasks[0])
                await replica.terminate()
                replica.restart()
            await asyncio.sleep(10)
            await sky.phase(*tasks[0])
            await sky.phase(*tasks[0])
            await asyncio.sleep(1_800)
            assert sky.ledger.live() == []

    play()


@virtually
async def test_a_process_ends_in_order_although_the_store_is_down() -> None:
    async with Sky() as sky:
        await cancelled_in_an_outage(sky, 3, 300)
        sky.stores.down = True
        for replica in sky.fleet.replicas:
            assert await replica.terminate()


@virtually
async def test_a_list_that_somebody_replaced_is_begun_anew() -> None:
    async with Sky() as sky:
        sky.stores.plant(LIST, b"{}")
        await cancelled_in_an_outage(sky, 3, 300)
        assert len(owed(sky)) == 3


@virtually
async def test_a_cancel_that_is_a_day_old_ends_with_an_alarm() -> None:
    async with Sky(1) as sky:
        handle = await sky.create(forever("ledger_named"))
        before = _alarms("ledger_named")
        owe(sky, old=OwedCancel(handle=handle, claim="", since=int(time.time()) - 86_500))
        await asyncio.sleep(120)
        assert owed(sky) == {}
        assert _alarms("ledger_named") == before + 1
        assert len(sky.ledger.live()) == 1


@virtually
async def test_a_handle_that_one_replica_cannot_read_is_left_to_one_that_can() -> None:
    async with Sky(1) as sky:
        task = forever("ledger_named")
        handle = await sky.create(task)
        blind: Fleet[Host] = Fleet(1, lambda: Host(Registry(), SETTINGS, stores=sky.stores))
        errors = 0
        for _ in range(5):
            try:
                await blind.delete_task(handle, task_type=task.task_type, timeout_s=10)
            except UnreadableHandle:
                errors += 1
        assert errors == 1
        await asyncio.sleep(120)
        assert sky.ledger.live() == []
        blind.kill()


@virtually
async def test_refusals_without_a_limit_go_on_until_the_platform_is_back() -> None:
    async with Sky(1) as sky:
        settings = HostSettings(installation="tests", cancel_refusals=0)
        platform = LedgerPlatform(sky.ledger, sky.faults, stores=sky.stores, agents=tuple(LEDGER_AGENTS.values()))
        sky.fleet = Fleet(1, lambda: Host(Registry([platform]), settings, stores=sky.stores))
        task = forever("ledger_named")
        handle = await sky.create(task)
        outage(sky, 20)
        assert 5 < await sky.delete(handle, task) < 20
        assert sky.ledger.live() == []


@virtually
async def test_a_process_that_uses_no_bucket_reads_nothing() -> None:
    async with Sky(1) as sky:
        task = sample_task("ledger_named", running_s=None, output_prefix="")
        handle = await sky.create(task)
        outage(sky, 300)
        await sky.delete(handle, task)
        await sky.fleet.list_agents()
        host: Any = sky.fleet.replicas[0].host
        assert host._owed._reading is None
        assert sky.stores.calls.total() == 0
        await asyncio.sleep(600)
        assert sky.ledger.live() == []


@pytest.mark.parametrize("prefix", ["", "/out", "file:///out", "s3://[b/out", "s3:///out", "ftp://host/out", "n:o"])
def test_places_without_a_bucket_have_no_list(prefix: str) -> None:
    @virtually
    async def play() -> None:
        host: Any = Sky(0).make_host()
        host._owed.learn(prefix)
        assert host._owed._reading is None
        await host.close()

    play()


@virtually
async def test_a_closed_host_leaves_nothing_running() -> None:
    sky = Sky(0)
    host = sky.make_host()
    await host.create_task(forever("ledger_named"), timeout_s=10)
    assert host._owed._reading is not None
    await host.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@given(entries=ENTRIES, is_sealed=st.booleans())
def test_a_list_comes_back_as_it_was(entries: dict[str, OwedCancel], is_sealed: bool) -> None:
    codec = OwedCodec("prod", [ServiceKey(b"k" * 32)] if is_sealed else [])
    assert codec.decode(codec.encode(entries)) == entries


def test_a_sealed_list_opens_for_its_installation_alone() -> None:
    key = ServiceKey(b"k" * 32)
    encoded = OwedCodec("prod", [key]).encode({"one": OwedCancel(handle=b"h")})
    with pytest.raises(ForeignHandle):
        OwedCodec("test", [key]).decode(encoded)
    with pytest.raises(UnreadableHandle):
        OwedCodec("prod", [ServiceKey(b"o" * 32)]).decode(encoded)
    with pytest.raises(ForeignHandle):
        OwedCodec("prod", [key]).decode(OwedCodec("prod").encode({}))


def test_fields_of_a_newer_release_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = ormsgpack.packb({"entries": {"one": {"handle": b"h", "shade": 3}}, "epoch": 2})
    monkeypatch.setattr("outboard.domain.packing.ormsgpack.packb", lambda _: packed)
    assert CODEC.decode(CODEC.encode({})) == {"one": OwedCancel(handle=b"h")}


@given(encoded=st.binary(max_size=64))
def test_bytes_that_are_no_list_are_refused_in_words(encoded: bytes) -> None:
    for data in (encoded, b"\xffOW\x01\x00" + encoded):
        try:
            assert isinstance(CODEC.decode(data), dict)
        except (ForeignHandle, UnreadableHandle):
            continue


def test_the_oldest_make_room_where_too_many_are_owed() -> None:
    many = {f"k{n}": OwedCancel(handle=b"h", since=n) for n in range(MOST_ENTRIES + 3)}
    assert sorted(crowded_out(many)) == ["k0", "k1", "k2"]
    large = {f"k{n}": OwedCancel(handle=b"h" * (MOST_BYTES // 4), since=n) for n in range(5)}
    assert sorted(crowded_out(large)) == ["k0", "k1"]
    assert crowded_out({}) == []


def _alarms(agent: str) -> float:
    return REGISTRY.get_sample_value("outboard_cancel_unconfirmed_total", {"agent": agent}) or 0.0
