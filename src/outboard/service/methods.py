"""The service's methods as gRPC finds them: one look-up per call, and what gRPC lets through and never ends.

gRPC holds a client to the bound on headers only once the client has acknowledged our settings. One that never does may send
up to 16 MiB with each call, of which gRPC refuses some at random. So headers are counted here again; what gRPC would let
through is never refused, since it counts the pseudo-headers too.

grpc.aio takes a unary call that ends without its message for one that was given up, and answers nothing: the call stays open,
with its headers and its place among the connection's streams, until the connection closes. So requests are read here.

Such calls are counted, and logged a few at once and then one in five seconds.

gRPC keeps what `abort` raises with the call that it ends, and the call lies in the frames of its traceback: a cycle, which holds
the request until the garbage collector comes by. So the traceback is dropped here, around all handlers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

import grpc

from outboard.errors import InvalidTask, OutboardError, Overloaded
from outboard.host.budgets.buckets import Meter
from outboard.host.logs import TaskLog
from outboard.service.edge import end_with
from outboard.service.flyte2 import LateHandlers
from outboard.service.loop_metrics import count_refused
from outboard.wire.codes import encode_error

_LINES_BURST: Final = 10
_LINES_PER_SECOND: Final = 0.2
_GIVING_UP_S: Final = 0.05
"""gRPC says first that no message comes, and then whether the call was given up."""
_ENTRY_BYTES: Final = 32
"""What a header costs beside its name and value (RFC 9113 6.5.2)."""


class Methods:
    """All handlers by full method name. Has the shape of `grpc.GenericRpcHandler`.

    Args:
        handlers: Those that are there from the start.
        late: Those that are made when one of them is called.
        max_metadata_bytes: The largest headers of a call.
    """

    def __init__(
        self, handlers: Mapping[str, grpc.RpcMethodHandler], late: LateHandlers, max_metadata_bytes: int
    ) -> None:
        self._late = late
        self._max_metadata_bytes = max_metadata_bytes
        self._lines = Meter(_LINES_PER_SECOND, _LINES_BURST, time.monotonic())
        self._reading = {method: self._reads(method, handler) for method, handler in handlers.items()}

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        """Return what answers a call; None where there is no such method."""
        method, headers = handler_call_details.method, handler_call_details.invocation_metadata
        handler = self._reading.get(method) or self._find_late(method)
        size_bytes = sum(map(len, chain.from_iterable(headers))) + _ENTRY_BYTES * len(headers)
        is_within = size_bytes <= self._max_metadata_bytes
        return handler if handler is None or is_within else self._refuses_headers(method)

    def _find_late(self, method: str) -> grpc.RpcMethodHandler | None:
        handler = self._late.find(method)
        if handler is not None:
            handler = self._reading[method] = self._reads(method, handler)
        return handler

    def _reads(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """Return a handler that reads the one request by itself; the same where there may be several."""
        if handler.request_streaming:
            return handler
        answer = handler.unary_unary or handler.unary_stream

        async def handle(_requests: Any, context: Any) -> Any:
            data = await context.read()
            if data is grpc.aio.EOF:
                await asyncio.sleep(_GIVING_UP_S)  # one that was given up is cancelled meanwhile
                self._refuse(context, method, "no_request", InvalidTask("the call came without a request; send one"))
                return b""
            answering = answer(data, context)
            del data
            try:
                return await answering
            except grpc.aio.AbortError as aborted:
                raise aborted.with_traceback(None)  # noqa: B904 - it is the same one

        if handler.unary_unary:
            return grpc.stream_unary_rpc_method_handler(handle)
        return grpc.stream_stream_rpc_method_handler(handle)

    def _refuses_headers(self, method: str) -> grpc.RpcMethodHandler:
        async def handle(_requests: Any, context: Any) -> None:
            words = (
                f"a call's headers may have {self._max_metadata_bytes:,} bytes; send fewer, or raise max_metadata_bytes"
            )
            self._refuse(context, method, "headers", Overloaded(words))

        return grpc.stream_stream_rpc_method_handler(handle)

    def _refuse(self, context: Any, method: str, reason: str, error: OutboardError) -> None:
        end_with(context, encode_error(error))
        count_refused(reason)
        now = time.monotonic()
        if self._lines.free_at(now) <= now:
            self._lines.take(now)
            TaskLog().warning(
                "call not read", method=method, reason=reason, peer=context.peer(), error_id=error.error_id
            )
