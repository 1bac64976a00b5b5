"""Reflection: lists the services and their schema for tools such as grpcurl.

Nothing of it is loaded until somebody asks. The generated service modules do not register the services' own file, so it is
imported here by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

REFLECTION_SERVICE: Final = "grpc.reflection.v1alpha.ServerReflection"


class Reflection:
    """Answers questions about the schema.

    Args:
        services: Their names.
        guard: Called with each call's context first; it aborts the call of somebody who may not ask.
    """

    def __init__(self, services: Sequence[str], guard: Callable[[Any], Awaitable[None]] | None = None) -> None:
        self._guard = guard
        self._services = (*services, REFLECTION_SERVICE)
        self._servicer: Any = None
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End the streams that tools keep open; they would hold up the end."""
        self._draining.set()

    def by_method(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """Return gRPC's handlers by full method name."""
        return {
            f"/{REFLECTION_SERVICE}/ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                self._answer, _read_request, _write_response
            )
        }

    async def _answer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        if self._guard is not None:
            await self._guard(context)
        if self._servicer is None:
            self._servicer = _open(self._services)
        async for answer in self._servicer.ServerReflectionInfo(self._until_drained(requests), context):
            yield answer

    async def _until_drained(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        draining = asyncio.ensure_future(self._draining.wait())
        following: asyncio.Future[Any] | None = None
        try:
            while True:
                # A cancelled handler would leave its call without an answer, so the stream is ended from within.
                following = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait((following, draining), return_when=asyncio.FIRST_COMPLETED)
                if not following.done() or following.result() is None:
                    return
                yield following.result()
        finally:
            draining.cancel()
            if following is not None:
                following.cancel()


def _open(services: Sequence[str]) -> Any:
    import flyteidl.service.agent_pb2  # noqa: F401, PLC0415 - loads the services' file; only on demand
    import flyteidl2.connector.service_pb2  # noqa: F401, PLC0415 - same
    from grpc_reflection.v1alpha._async import ReflectionServicer  # noqa: PLC0415 - only on demand

    return ReflectionServicer(service_names=services)


def _read_request(data: bytes) -> Any:
    """Return the question in these bytes; bytes that hold none are an empty question, which is answered as invalid."""
    from grpc_reflection.v1alpha import reflection_pb2  # noqa: PLC0415 - only on demand

    try:
        return reflection_pb2.ServerReflectionRequest.FromString(data)
    except DecodeError:
        return reflection_pb2.ServerReflectionRequest()


def _write_response(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
