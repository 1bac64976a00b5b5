"""What lies between propeller and a service: a forwarder of bytes, and a gRPC road on which calls meet faults.

A `Forwarder` gives a service an address of its own, as a pod has one: Flyte's resolver knows addresses behind one port, and
services on one machine have different ports. It carries bytes, so shutdowns and broken connections go through it as they are.

A `FaultyRoad` carries calls, and the kit's `FaultPlan` says which of them fare ill. Operations are the methods' names; what a
call is about is its request as text, which holds node ids and output prefixes. Of the kit's faults it knows:

* `Cut` and `Refuse` before: the call never arrives; after: it takes effect and nobody hears of it. Both are UNAVAILABLE;
* `Stall` before: it arrives late, also when the caller has given up; after: its reply comes late.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import grpc
from typing_extensions import Self

from outboard.testing.faults import Fault, FaultPlan, Stall, When

_PIECE_BYTES: Final = 64 * 1024
_SYNC: Final = "ExecuteTaskSync"
_LATE_S: Final = 60.0


class Forwarder:
    """Listens on an address and carries bytes to a port of this machine.

    Attributes:
        port: Where it listens; 0 lets the system choose, which is known once it is entered.
    """

    def __init__(self, address: str, port: int, target: int) -> None:
        self.port = port
        self._address, self._target = address, target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, self._address, self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        await asyncio.gather(_pour(reader, there_writer), _pour(there_reader, writer))
        self._writers -= {writer, there_writer}


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(ConnectionError):
        writer.close()


class FaultyRoad:
    """A gRPC server that passes every call on to a service, as the plan has it.

    Attributes:
        address: Where propeller reaches the service by this road; known once it is entered.
    """

    def __init__(self, target: str, plan: FaultPlan) -> None:
        self.address = ""
        self.plan = plan
        self._target = target
        self._server: grpc.aio.Server | None = None
        self._channel: grpc.aio.Channel | None = None
        self._late: set[asyncio.Task[bytes]] = set()

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._target)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((_Everything(self),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for call in self._late:
            call.cancel()
        if self._server is not None:
            await self._server.stop(None)
        if self._channel is not None:
            await self._channel.close()

    async def carry(self, method: str, request: bytes, context: Any) -> bytes:
        """Carry one call of one request and one reply."""
        fault = self.plan.strike(method.rpartition("/")[2], lambda: request.decode("latin-1"))
        before = fault is not None and fault.when is When.BEFORE
        if fault is not None and before and not isinstance(fault, Stall):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connection refused")
        try:
            if isinstance(fault, Stall) and before:
                reply = await asyncio.shield(self._arrive_late(method, request, fault))
            else:
                reply = await self._call(method, request, context.time_remaining())
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details())
        if fault is not None and not before:
            await _lose(fault, context)
        return reply

    async def carry_stream(self, method: str, requests: Any, context: Any) -> bytes:
        """Carry one call of ExecuteTaskSync, which has one reply."""
        fault = self.plan.strike(_SYNC)
        if fault is not None and fault.when is When.BEFORE:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connection refused")
        call = self._require().stream_stream(method)([request async for request in requests])
        try:
            replies: list[bytes] = [reply async for reply in call]
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details())
        if fault is not None:
            await _lose(fault, context)
        return replies[0]

    def _arrive_late(self, method: str, request: bytes, fault: Stall) -> asyncio.Task[bytes]:
        async def call() -> bytes:
            await asyncio.sleep(fault.seconds or 0.0)
            return await self._call(method, request, _LATE_S)

        late = asyncio.create_task(call())
        self._late.add(late)
        late.add_done_callback(self._late.discard)
        return late

    async def _call(self, method: str, request: bytes, timeout_s: float | None) -> bytes:
        reply: bytes = await self._require().unary_unary(method)(request, timeout=timeout_s)
        return reply

    def _require(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise RuntimeError("the road is closed; enter it with `async with`")
        return self._channel


async def _lose(fault: Fault, context: Any) -> None:
    if isinstance(fault, Stall):
        await asyncio.sleep(fault.seconds or _LATE_S)
    else:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "error reading from server: connection reset by peer")


class _Everything(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Takes every method, as bytes."""

    def __init__(self, road: FaultyRoad) -> None:
        self._road = road

    def service(self, details: Any) -> Any:
        """Return what handles a call."""
        method = details.method
        if method.endswith(_SYNC):

            async def stream(requests: Any, context: Any) -> Any:
                yield await self._road.carry_stream(method, requests, context)

            return grpc.stream_stream_rpc_method_handler(stream)

        async def unary(request: bytes, context: Any) -> bytes:
            return await self._road.carry(method, request, context)

        return grpc.unary_unary_rpc_method_handler(unary)
