"""Conditional writes on S3 servers that are old, careless, busy or lose their replies."""

from collections.abc import Iterator

import pytest

from integration.stores.frail_s3 import Fault, FrailS3, serving
from outboard.errors import StoreUnavailable
from outboard.host.stores import Stores, buckets

URI = "s3://bucket/.outboard/key"
PATH = "/bucket/.outboard/key"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FrailS3]:
    s3 = FrailS3()
    with serving(s3) as endpoint:
        variables = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_SKIP_SIGNATURE": "true"}
        for name, value in {**variables, "AWS_TIMEOUT": "300ms"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(buckets, "_PAUSES_S", (0.01, 0.01, 0.01))
        yield s3


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.CONFLICT, Fault.LOST, Fault.CUT])
async def test_a_create_that_stumbles_is_still_ours(s3: FrailS3, fault: Fault) -> None:
    s3.faults = [fault]

    tag = await Stores().create(URI, b"ours")

    assert tag
    assert s3.objects[PATH] == b"ours"


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.CONFLICT, Fault.LOST, Fault.CUT])
async def test_a_replace_that_stumbles_is_still_ours(s3: FrailS3, fault: Fault) -> None:
    stores = Stores()
    first = await stores.create(URI, b"first")
    assert first
    s3.faults = [fault]

    second = await stores.replace(URI, b"ours", first)

    assert second
    assert await stores.read_tagged(URI) is not None
    assert s3.objects[PATH] == b"ours"


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.CONFLICT, Fault.CUT])
async def test_what_somebody_else_wrote_meanwhile_stays(s3: FrailS3, fault: Fault) -> None:
    s3.faults, s3.meanwhile = [fault], b"theirs"

    assert await Stores().create(URI, b"ours") is None
    assert s3.objects[PATH] == b"theirs"


async def test_a_conflict_never_makes_equal_bytes_ours(s3: FrailS3) -> None:
    s3.faults, s3.meanwhile = [Fault.CONFLICT], b"same"

    assert await Stores().create(URI, b"same") is None


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.CONFLICT])
async def test_a_server_that_goes_on_stumbling_is_unavailable(s3: FrailS3, fault: Fault) -> None:
    s3.always = fault

    with pytest.raises(StoreUnavailable, match=r"cannot create s3://bucket/.outboard/key"):
        await Stores().create(URI, b"ours")
    assert not s3.objects


async def test_a_server_that_does_not_answer_is_unavailable(s3: FrailS3) -> None:
    s3.always = Fault.SILENT

    with pytest.raises(StoreUnavailable, match=r"cannot create s3://bucket/.outboard/key"):
        await Stores().create(URI, b"ours")


async def test_a_server_without_conditional_writes_is_named_and_not_written_to(s3: FrailS3) -> None:
    s3.always = Fault.OLD
    stores = Stores()
    await stores.write(URI, b"theirs")

    with pytest.raises(StoreUnavailable, match=r"no conditional writes .*; use a store with conditional writes"):
        await stores.create(URI, b"ours")
    with pytest.raises(StoreUnavailable, match=r"cannot replace .*no conditional writes"):
        await stores.replace(URI, b"ours", "some-tag")
    assert s3.objects[PATH] == b"theirs"
    assert s3.writes.total() == 2


async def test_a_server_that_looks_at_no_condition_is_found_out(s3: FrailS3) -> None:
    s3.always = Fault.CARELESS

    with pytest.raises(StoreUnavailable, match=r"without looking at the condition; use a store"):
        await Stores().create(URI, b"ours")


async def test_a_server_that_knows_only_one_condition_is_found_out(s3: FrailS3) -> None:
    stores = Stores()
    tag = await stores.create(URI, b"first")
    assert tag
    s3.always = Fault.CARELESS

    with pytest.raises(StoreUnavailable, match=r"cannot replace .* without looking at the condition"):
        await stores.replace(URI, b"second", tag)


async def test_conditions_are_proved_once_for_each_bucket(s3: FrailS3) -> None:
    stores = Stores()
    for each in range(3):
        tag = await stores.create(f"{URI}-{each}", b"first")
        assert tag
        assert await stores.replace(f"{URI}-{each}", b"second", tag)

    assert s3.writes == {"create": 4, "replace": 4}
