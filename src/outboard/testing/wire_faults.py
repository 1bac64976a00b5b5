"""Faults on the wire: what an HTTP server does to a request so that its client meets the fault for real.

The handler has the effect; `meet` calls it or not, early or late, and spoils what goes out. Replies that are cut or
half written end the connection underneath the server, which then has nobody to answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from typing_extensions import assert_never

from outboard.testing.faults import (
    Cut,
    Fault,
    Form,
    Garble,
    OkButThrottled,
    Refuse,
    Stall,
    Unreachable,
    When,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LINGER_NOTHING: Final = struct.pack("ii", 1, 0)
_GARBAGE: Final = b"<<<\xff\x00 this is no JSON"
_OTHER_SHAPE: Final = b'["other", {"shape": 1}]'


async def meet(fault: Fault, request: web.Request, handler: Handler, closing: asyncio.Event) -> web.StreamResponse:
    """Return the answer to a request that meets a fault.

    Args:
        fault: The fault.
        request: The request.
        handler: Has the effect and the true answer.
        closing: Ends what hangs for ever.
    """
    if fault.when is When.AFTER:
        answer = await handler(request)
        return await _spoil(fault, request, answer, closing)
    if isinstance(fault, Stall) and fault.seconds is not None:
        await _pause(fault.seconds, closing)
        return await handler(request)
    return await _spoil(fault, request, web.json_response({}), closing)


async def _spoil(
    fault: Fault, request: web.Request, answer: web.StreamResponse, closing: asyncio.Event
) -> web.StreamResponse:
    match fault:
        case Refuse():
            return refuse(fault.status, fault.code, fault.words, retry_after=fault.retry_after)
        case OkButThrottled():
            return refuse(200, fault.code, "slow down")
        case Unreachable():
            return _end(request, is_reset=True)
        case Cut():
            return _end(request, is_reset=fault.is_reset)
        case Stall():
            await _pause(fault.seconds, closing)
            return answer if fault.seconds is not None else _end(request, is_reset=True)
        case Garble():
            return await _garble(fault.form, request, answer)
        case _:
            assert_never(fault)


def refuse(status: int, code: str, words: str, *, retry_after: Any = None) -> web.Response:
    """Return an error as the reference API writes it: `{"error": {"code", "message"}}`."""
    headers = {} if retry_after is None else {"Retry-After": f"{max(0, round(retry_after.total_seconds()))}"}
    return web.json_response({"error": {"code": code, "message": words}}, status=status, headers=headers)


async def _pause(seconds: float | None, closing: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(closing.wait(), seconds)
    except (asyncio.TimeoutError, TimeoutError):
        return


def _end(request: web.Request, *, is_reset: bool) -> web.Response:
    """End the connection; what is returned reaches nobody."""
    transport = request.transport
    if transport is None:
        return web.Response()
    if is_reset:
        # Closing with nothing to linger for sends RST instead of FIN (socket(7), SO_LINGER).
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
        transport.abort()
    else:
        transport.close()
    return web.Response()


async def _garble(form: Form, request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b"{}"
    match form:
        case Form.GARBAGE:
            return web.Response(body=_GARBAGE, content_type="application/json")
        case Form.OTHER_SHAPE:
            return web.Response(body=_OTHER_SHAPE, content_type="application/json")
        case Form.MISLABELLED:
            return web.Response(body=body, content_type="text/html", status=answer.status)
        case Form.TRUNCATED:
            half = web.StreamResponse(headers={"Content-Type": "application/json"})
            half.content_length = len(body)
            await half.prepare(request)
            await half.write(body[: len(body) // 2])
            _end(request, is_reset=False)
            return half
        case _:
            assert_never(form)
