"""Traced calls: the span around each call, with the caller's context from its metadata.

Put around the handlers once, when the service opens, and only where tracing is on: elsewhere a call passes nothing here. What
a call was about and how it was answered is noted by the `edge`, inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from outboard.host.tracing import Tracing


def traced(handlers: Mapping[str, grpc.RpcMethodHandler], tracing: Tracing) -> Mapping[str, grpc.RpcMethodHandler]:
    """Return handlers, by full method name, that answer inside of a span."""
    return {method: _traced(method, handler, tracing) for method, handler in handlers.items()}


def _traced(method: str, handler: grpc.RpcMethodHandler, tracing: Tracing) -> grpc.RpcMethodHandler:
    answer = handler.unary_unary or handler.unary_stream or handler.stream_stream

    async def handle(request: Any, context: Any) -> Any:
        with tracing.received(method, context.invocation_metadata()):
            return await answer(request, context)

    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(handle)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(handle)
    return grpc.stream_stream_rpc_method_handler(handle)
