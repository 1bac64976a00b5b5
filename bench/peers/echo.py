"""The floor: a bare grpc.aio server that parses each request and serialises an answer of the service's own bytes.

It does what no service can avoid (socket, HTTP/2, one protobuf in, one out) and nothing else, so the distance to it is what a
service adds. The answers are read from a JSON file, base64 by method, as the service under test gave them; they are parsed
once at start and serialised on every call. The options after `--answers` exist for `floor.py`, which prices single
ingredients: another event loop, raw bytes instead of protobuf, threads that do not interrupt, interceptors that pass the call on.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from flyteidl.admin import agent_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

_MESSAGES = {
    "CreateTask": (agent_pb2.CreateTaskRequest, agent_pb2.CreateTaskResponse),
    "GetTask": (agent_pb2.GetTaskRequest, agent_pb2.GetTaskResponse),
}


class PassOn(grpc.aio.ServerInterceptor):
    """An interceptor that costs only what being an interceptor costs."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        return await continuation(handler_call_details)


class WrapCall(PassOn):
    """An interceptor that also puts a coroutine of its own around the handler, as metrics, auth and logging do."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        inner = handler.unary_unary

        async def wrapped(request: Any, context: Any) -> Any:
            return await inner(request, context)

        return grpc.unary_unary_rpc_method_handler(wrapped, handler.request_deserializer, handler.response_serializer)


def _handlers(answers: dict[str, bytes], *, raw: bool) -> grpc.GenericRpcHandler:
    methods = {}
    for name, (request_type, response_type) in _MESSAGES.items():
        answer = answers[name] if raw else response_type.FromString(answers[name])

        async def echo(_request: Any, _context: Any, answer: Any = answer) -> Any:
            return answer

        methods[name] = grpc.unary_unary_rpc_method_handler(
            echo, None if raw else request_type.FromString, None if raw else response_type.SerializeToString
        )
    return grpc.method_handlers_generic_handler("flyteidl.service.AsyncAgentService", methods)


def _patience(options: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    if not options.patient:
        return contextlib.nullcontext()
    from outboard.service.grpc_threads import patient  # noqa: PLC0415 - only this variant has it

    return patient()


async def _serve(options: argparse.Namespace) -> None:
    answers = {name: base64.b64decode(text) for name, text in json.loads(options.answers.read_text()).items()}
    interceptors = [PassOn() for _ in range(options.pass_on)] + [WrapCall() for _ in range(options.wrap)]
    with _patience(options):
        server = grpc.aio.server(interceptors=interceptors)
    server.add_generic_rpc_handlers((_handlers(answers, raw=options.raw),))
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(f"127.0.0.1:{options.port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--raw", action="store_true", help="hand bytes through without protobuf")
    parser.add_argument(
        "--patient", action="store_true", help="tell gRPC's threads not to interrupt, as our service does"
    )
    parser.add_argument("--pass-on", type=int, default=0, help="number of interceptors that do nothing")
    parser.add_argument("--wrap", type=int, default=0, help="number of interceptors that wrap the handler")
    options = parser.parse_args()
    if options.loop == "uvloop":
        import uvloop  # noqa: PLC0415 - only this variant has it

        uvloop.run(_serve(options))
    else:
        asyncio.run(_serve(options))


if __name__ == "__main__":
    main()
