"""The store in memory keeps the promises of a real one, and breaks them only as it is told."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from outboard.errors import StoreUnavailable
from outboard.host.stores import Store, Stored
from outboard.testing.processes import Process
from outboard.testing.stores import Fault, MemoryStores, random_faults
from outboard.testing.virtual_time import run_virtually, virtually

URI = "s3://b/x"


@virtually
async def test_objects_are_written_read_copied_and_deleted() -> None:
    stores: Store = MemoryStores()
    assert (await stores.read(URI), await stores.read_tagged(URI), await stores.exists(URI)) == (None, None, False)
    await stores.write(URI, b"1")
    found = await stores.read_tagged(URI)
    assert isinstance(found, Stored)
    assert (found.data, bool(found.tag), await stores.read(URI)) == (b"1", True, b"1")
    assert await stores.copy(URI, "s3://b/y")
    assert not await stores.copy("s3://b/none", "s3://b/y")
    assert await stores.read("s3://b/y") == b"1"
    await stores.delete(URI)
    await stores.delete(URI)
    assert not await stores.exists(URI)


@virtually
async def test_of_writers_that_race_exactly_one_wins() -> None:
    stores = MemoryStores(latency_s=1)
    created = await asyncio.gather(*(stores.create(URI, b"%d" % n) for n in range(10)))
    assert sum(tag is not None for tag in created) == 1
    (tag,) = [tag for tag in created if tag]
    replaced = await asyncio.gather(*(stores.replace(URI, b"r%d" % n, tag) for n in range(10)))
    assert sum(tag is not None for tag in replaced) == 1
    assert stores.written[URI] == 2


@virtually
async def test_replacing_what_changed_or_vanished_changes_nothing() -> None:
    stores = MemoryStores()
    assert await stores.replace(URI, b"2", "tag") is None
    await stores.write(URI, b"1")
    assert await stores.replace(URI, b"2", "tag") is None
    assert stores.peek(URI) == b"1"


OPERATIONS: dict[str, Callable[[MemoryStores], Coroutine[Any, Any, Any]]] = {
    "read": lambda stores: stores.read(URI),
    "read_tagged": lambda stores: stores.read_tagged(URI),
    "exists": lambda stores: stores.exists(URI),
    "write": lambda stores: stores.write(URI, b"2"),
    "create": lambda stores: stores.create("s3://b/new", b"2"),
    "replace": lambda stores: stores.replace(URI, b"2", stores.plant(URI, b"1")),
    "copy": lambda stores: stores.copy(URI, "s3://b/new"),
    "delete": lambda stores: stores.delete(URI),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("outage", ["reads_down", "writes_down", "down"])
def test_an_outage_stops_what_it_says_without_effect(operation: str, outage: str) -> None:
    async def scenario() -> bool:
        stores = MemoryStores()
        stores.plant(URI, b"1")
        setattr(stores, outage, True)
        try:
            await OPERATIONS[operation](stores)
        except StoreUnavailable:
            assert (stores.peek(URI), stores.uris()) == (b"1", [URI])
            return True
        return False

    is_read = operation in {"read", "read_tagged", "exists"}
    stopped = {"reads_down": is_read or operation == "copy", "writes_down": not is_read, "down": True}[outage]
    assert run_virtually(scenario) is stopped


@pytest.mark.parametrize("operation", ["write", "create", "replace", "copy", "delete"])
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPLY_LOST])
def test_a_lost_request_has_no_effect_and_a_lost_reply_keeps_it(operation: str, fault: Fault) -> None:
    async def scenario() -> bool:
        stores = MemoryStores(schedule=lambda *_: fault)
        stores.plant(URI, b"1")
        before = stores.written.total()
        with pytest.raises(StoreUnavailable):
            await OPERATIONS[operation](stores)
        planted = operation == "replace"
        return stores.written.total() - planted > before

    assert run_virtually(scenario) is (fault is Fault.REPLY_LOST)


@pytest.mark.parametrize("operation", ["create", "replace"])
def test_a_repeated_conditional_write_meets_itself(operation: str) -> None:
    async def scenario() -> tuple[Any, bool]:
        stores = MemoryStores(schedule=lambda *_: Fault.REPEATED)
        stores.plant(URI, b"1")
        answer = await OPERATIONS[operation](stores)
        return answer, b"2" in (stores.peek(URI), stores.peek("s3://b/new"))

    assert run_virtually(scenario) == (None, True)


def test_a_write_that_was_sent_happens_although_the_writer_dies() -> None:
    async def scenario() -> tuple[bytes | None, float]:
        stores = MemoryStores(latency_s=4)
        writer = Process()
        writer.start(stores.write(URI, b"1"))
        await asyncio.sleep(1)
        writer.kill()
        began = time.monotonic()
        await stores.read("s3://b/other")
        return stores.peek(URI), time.monotonic() - began

    assert run_virtually(scenario) == (b"1", 4)


def test_chance_strikes_the_same_way_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[Fault]:
        choose = random_faults(seed, lost=0.2, reply_lost=0.2, repeated=0.2)
        return [choose("write", URI) for _ in range(300)]

    assert drawn(5) == drawn(5) != drawn(6)
    counts = Counter(drawn(5))
    assert set(counts) == set(Fault)
    assert counts[Fault.NONE] == max(counts.values())
