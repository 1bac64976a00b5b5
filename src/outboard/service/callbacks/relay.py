"""The relay: callbacks to the process that has their agent, and their jobs to processes that may follow them.

Isolated platforms live in children, whose agents this process never imports; so a callback goes to the child as it came, and is
verified there. It travels over the child's own Unix socket, as calls about its agents do, by two methods that no public port
has:

* `Receive` takes a callback and answers what became of it: the child verifies, remembers, hastens.
* `Hasten` takes an agent and job ids that another process found in a verified callback, and answers how many are alive here.
  It is believed: whoever reaches the socket may call for more than a look at a job.

A child that is down is not waited for: the platform is asked to send it again, and the next poll finds out anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import grpc
import ormsgpack

from outboard.agent.callbacks import Callback
from outboard.host.callbacks.callbacks import Hasten, Receipt, Result
from outboard.service.callbacks.desk import Receiving

RECEIVE: Final = "/outboard.internal.Callbacks/Receive"
HASTEN: Final = "/outboard.internal.Callbacks/Hasten"
PATIENCE_S: Final = 3.0


class Reached(Protocol):
    """A process that may be asked: an isolated platform's child, or a sibling."""

    @property
    def is_up(self) -> bool:
        """Whether it answered when it was asked last."""
        ...

    def method(self, path: str) -> Any:
        """Return gRPC's callable of a method, which takes and gives bytes."""
        ...


class Relay:
    """Reaches the processes of isolated platforms.

    Args:
        named: Returns the process that has the agent of this name; None where none has.
    """

    def __init__(self, named: Callable[[str], Reached | None]) -> None:
        self._named = named

    async def pass_on(self, name: str, callback: Callback) -> Receipt | None:
        """Return what became of a callback in the process of its agent; None where no process has such an agent."""
        process = self._named(name)
        if process is None:
            return None
        answer = await _asked(process, RECEIVE, encode_callback(name, callback))
        if answer is None:
            return Receipt(result=Result.UNAVAILABLE, agent=name, reason="the process of its platform does not answer")
        return decode_receipt(answer)

    async def hasten(self, agent: str, job_ids: Sequence[str]) -> int:
        """Return how many of these jobs are alive in the process of their agent; 0 where there is none, or it is down."""
        process = self._named(agent)
        answer = None if process is None else await _asked(process, HASTEN, encode_jobs(agent, job_ids))
        return 0 if answer is None else int(ormsgpack.unpackb(answer))


async def _asked(process: Reached, path: str, data: bytes) -> bytes | None:
    if not process.is_up:
        return None
    try:
        answer: bytes = await process.method(path)(data, timeout=PATIENCE_S)
    except grpc.aio.AioRpcError:
        return None
    return answer


def internal_methods(receiver: Receiving, hasten: Hasten) -> Mapping[str, grpc.RpcMethodHandler]:
    """Return gRPC's handlers of the two methods, for a process that only others of this service reach."""

    async def receive(data: bytes, _context: Any) -> bytes:
        name, callback = decode_callback(data)
        await receiver.fetch_keys(name)
        return encode_receipt(receiver.receive(name, callback))

    async def hastened(data: bytes, _context: Any) -> bytes:
        agent, job_ids = ormsgpack.unpackb(data)
        return ormsgpack.packb(hasten(agent, job_ids))

    return {
        RECEIVE: grpc.unary_unary_rpc_method_handler(receive),
        HASTEN: grpc.unary_unary_rpc_method_handler(hastened),
    }


def encode_callback(name: str, callback: Callback) -> bytes:
    """Return a callback as it travels to another process of the same release."""
    # Header values may hold bytes that are no UTF-8, which Python keeps as surrogates and msgpack refuses.
    headers = [
        [key.encode(errors="surrogateescape"), value.encode(errors="surrogateescape")]
        for key, value in callback.headers.items()
    ]
    query = [
        [key.encode(errors="surrogateescape"), value.encode(errors="surrogateescape")]
        for key, value in callback.query.items()
    ]
    return ormsgpack.packb([name, callback.body, headers, query])


def decode_callback(data: bytes) -> tuple[str, Callback]:
    """Return the agent's name and the callback."""
    name, body, headers, query = ormsgpack.unpackb(data)
    return name, Callback(body=body, headers=_texts(headers), query=_texts(query))


def encode_jobs(agent: str, job_ids: Sequence[str]) -> bytes:
    """Return the request of `Hasten`."""
    return ormsgpack.packb([agent, list(job_ids)])


def encode_receipt(receipt: Receipt) -> bytes:
    """Return a receipt as it travels."""
    fields = [receipt.result.value, receipt.agent, list(receipt.job_ids), receipt.live, receipt.reason]
    return ormsgpack.packb(fields)


def decode_receipt(data: bytes) -> Receipt:
    """Return the receipt."""
    result, agent, job_ids, live, reason = ormsgpack.unpackb(data)
    return Receipt(result=Result(result), agent=agent, job_ids=tuple(job_ids), live=live, reason=reason)


def _texts(pairs: Sequence[Sequence[bytes]]) -> Mapping[str, str]:
    return {key.decode(errors="surrogateescape"): value.decode(errors="surrogateescape") for key, value in pairs}
