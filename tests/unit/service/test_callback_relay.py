"""What travels to another process arrives as it was, whatever strangers put into it; a process that is down is not waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from hypothesis import given
from hypothesis import strategies as st

from outboard import Callback
from outboard.host.callbacks.callbacks import Receipt, Result
from outboard.service.callbacks.relay import (
    HASTEN,
    RECEIVE,
    Relay,
    decode_callback,
    decode_receipt,
    encode_callback,
    encode_receipt,
    internal_methods,
)

# Header values are whatever bytes came, as Python reads them: what is no UTF-8 becomes surrogates.
TEXT = st.binary(max_size=30).map(lambda data: data.decode(errors="surrogateescape"))


@given(
    name=st.text(max_size=20).filter(lambda name: name.isprintable()),
    body=st.binary(max_size=100),
    headers=st.dictionaries(TEXT, TEXT, max_size=5),
    query=st.dictionaries(TEXT, TEXT, max_size=5),
)
def test_a_callback_arrives_as_it_was(name: str, body: bytes, headers: dict[str, str], query: dict[str, str]) -> None:
    callback = Callback(body=body, headers=headers, query=query)
    assert decode_callback(encode_callback(name, callback)) == (name, callback)


@given(
    result=st.sampled_from(Result),
    agent=st.text("abc", max_size=9),
    job_ids=st.lists(st.text("xyz1-", max_size=9), max_size=5),
    live=st.integers(0, 1000),
)
def test_a_receipt_arrives_as_it_was(result: Result, agent: str, job_ids: list[str], live: int) -> None:
    receipt = Receipt(result=result, agent=agent, job_ids=tuple(job_ids), live=live, reason="why")
    assert decode_receipt(encode_receipt(receipt)) == receipt


class Far:
    """Another process, in this one."""

    def __init__(self, *, is_up: bool = True) -> None:
        self.is_up = is_up
        self.hastened: list[tuple[str, Sequence[str]]] = []
        self.handlers = internal_methods(self, self.hasten)

    async def fetch_keys(self, name: str) -> None:
        """All are at hand."""

    def receive(self, name: str, callback: Callback) -> Receipt:
        return Receipt(result=Result.ACCEPTED, agent=name, job_ids=(callback.body.decode(),), live=1)

    def hasten(self, agent: str, job_ids: Sequence[str]) -> int:
        self.hastened.append((agent, job_ids))
        return len(job_ids)

    def method(self, path: str) -> Any:
        async def call(data: bytes, timeout: float) -> Any:
            assert timeout > 0
            return await self.handlers[path].unary_unary(data, None)

        return call


class Broken(Far):
    def method(self, path: str) -> Any:
        assert path in {RECEIVE, HASTEN}

        async def call(_data: bytes, timeout: float) -> Any:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

        return call


async def test_a_callback_is_passed_to_who_has_its_agent_and_to_nobody_else() -> None:
    far = Far()
    relay = Relay({"far": far}.get)
    receipt = await relay.pass_on("far", Callback(body=b"job-1"))
    assert receipt == Receipt(result=Result.ACCEPTED, agent="far", job_ids=("job-1",), live=1)
    assert await relay.pass_on("near", Callback(body=b"job-1")) is None
    assert await relay.hasten("far", ["a", "b"]) == 2
    assert await relay.hasten("near", ["a"]) == 0
    assert far.hastened == [("far", ["a", "b"])]


async def test_a_process_that_is_down_or_breaks_off_is_unavailable() -> None:
    for far in (Far(is_up=False), Broken()):
        relay = Relay({"far": far}.get)
        receipt = await relay.pass_on("far", Callback(body=b"job-1"))
        assert receipt is not None
        assert receipt.result is Result.UNAVAILABLE
        assert await relay.hasten("far", ["a"]) == 0
