"""Answers that no documentation has: what any platform may be seen to answer, and a server that answers so on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any

from aiohttp import web

from outboard.domain.statuses import TaskStatus
from outboard.host import Host
from outboard.testing.platform_server import PlatformServer
from outboard.testing.wire_faults import Handler

Told = tuple[Any, ...]
"""Status, content and perhaps headers. A text is sent as a page; in JSON, `%id` is the job that was asked for."""
HTML = "<html><body>Bad Gateway</body></html>"
ANYWHERE: dict[str, Told] = {
    "an empty answer": (200, ""),
    "a page of a proxy, 502": (502, HTML),
    "a login page": (200, HTML),
    "a redirect": (302, ""),
    "null": (200, None),
    "a list": (200, []),
    "an object without fields": (200, {}),
}
FOR_A_YEAR = {"Retry-After": "31536000"}


class Strange(PlatformServer):
    """Answers otherwise once it has done its work: mix it in before a stand-in.

    Attributes:
        instead: What is answered in place of the truth, by method.
        told: How often that was done.
        unheard: Methods that are not done then, since somebody on the way answers them.
    """

    unheard: Collection[str] = ("cancel",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.instead: dict[str, Told] = {}
        self.told = 0

    def job_id(self, request: web.Request, body: Any) -> str:
        """Return the job that a request is about; its path ends with it."""
        return request.path.rpartition("/")[2]

    async def answer(self, request: web.Request, method: str, handler: Handler) -> web.StreamResponse:
        if method not in self.instead:
            return await super().answer(request, method, handler)
        if method not in self.unheard:
            await super().answer(request, method, handler)
        self.told += 1
        status, content, *headers = self.instead[method]
        if isinstance(content, str):
            return web.Response(status=status, text=content, content_type="text/html", headers=dict(*headers))
        body = json.loads(await request.read() or "null")
        text = json.dumps(content).replace("%id", self.job_id(request, body))
        return web.json_response(text=text, status=status, headers=dict(*headers))


async def followed(host: Host, handle: bytes, seconds: float, **options: Any) -> TaskStatus:
    """Poll a job until it ends, and for so many seconds at most; return what was answered last."""
    for _ in range(round(seconds / 10)):
        status: TaskStatus = await host.get_task(handle, timeout_s=10, **options)
        if status.phase.is_terminal:
            break
        await asyncio.sleep(10)
    return status
