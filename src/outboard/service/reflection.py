"""Reflection: lists the services and their schema for tools such as grpcurl.

Nothing of it is loaded until somebody asks. The generated service modules do not register the services' own file, so it is
imported here by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, cast

import grpc
from google.protobuf.message import DecodeError

REFLECTION_SERVICE: Final = "grpc.reflection.v1alpha.ServerReflection"


class Reflection:
    """Answers questions about the schema."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = (*services, REFLECTION_SERVICE)
        self._servicer: Any = None
        self._asking: set[asyncio.Task[Any]] = set()

    def drain(self) -> None:
        """End the streams that tools keep open; they would hold up the end."""
        for task in self._asking:
            task.cancel()

    def by_method(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """Return gRPC's handlers by full method name."""
        return {
            f"/{REFLECTION_SERVICE}/ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                self._answer, _read_request, _write_response
            )
        }

    async def _answer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        if self._servicer is None:
            self._servicer = _open(self._services)
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._asking.add(task)
        try:
            async for answer in self._servicer.ServerReflectionInfo(requests, context):
                yield answer
        finally:
            self._asking.discard(task)


def _open(services: Sequence[str]) -> Any:
    import flyteidl.service.agent_pb2  # noqa: F401, PLC0415 - loads the services' file; only on demand
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
