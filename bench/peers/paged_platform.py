"""The outside platform of the benchmarks: an HTTP API for the states of jobs that end at times fixed beforehand.

    GET  /jobs/{id}         {"state": ...}
    GET  /jobs?ids=a,b      {id: state}, up to 100
    POST /begin             the time from which ends count, as {"epoch": unix seconds}
    GET  /calls             what was called since then: [[seconds after the epoch, was it refused], ...]

With `--rate` it has a quota, as platforms have one: a bucket that holds `--burst` calls and gets `--rate` more a second; a call
that finds it empty is answered 429 with Retry-After. A call counts when it arrives. Every answer takes `--latency`.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import math
import time
from pathlib import Path

from aiohttp import web

_PAGE = 100


class Platform:
    def __init__(self, ends: Path | None, rate: float, burst: float, latency_s: float) -> None:
        self._ends = array.array("d", ends.read_bytes() if ends else b"")
        self._rate, self._burst, self._latency_s = rate, burst, latency_s
        self._epoch = math.inf
        self._left, self._counted_at = burst, time.time()
        self._calls: list[tuple[float, bool]] = []

    async def job(self, request: web.Request) -> web.Response:
        await self._count()
        return web.json_response({"state": self._state(request.match_info["id"])})

    async def jobs(self, request: web.Request) -> web.Response:
        await self._count()
        ids = request.query["ids"].split(",")
        if len(ids) > _PAGE:
            raise web.HTTPBadRequest(text=f"at most {_PAGE} ids")
        return web.json_response({one: self._state(one) for one in ids})

    async def begin(self, request: web.Request) -> web.Response:
        self._epoch = (await request.json())["epoch"]
        self._calls = []
        return web.Response()

    async def calls(self, _: web.Request) -> web.Response:
        return web.json_response([(round(at - self._epoch, 4), refused) for at, refused in self._calls])

    async def _count(self) -> None:
        now = time.time()
        if self._rate:
            self._left = min(self._burst, self._left + (now - self._counted_at) * self._rate)
        self._counted_at = now
        is_refused = bool(self._rate) and self._left < 1
        self._calls.append((now, is_refused))
        if is_refused:
            raise web.HTTPTooManyRequests(headers={"Retry-After": "1"})
        self._left -= 1
        if self._latency_s:
            await asyncio.sleep(self._latency_s)

    def _state(self, name: str) -> str:
        number = int(name)
        end = self._ends[number] if number < len(self._ends) else math.inf
        return "DONE" if time.time() - self._epoch >= end else "RUNNING"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ends", type=Path, help="float64 per job: seconds after the epoch")
    parser.add_argument("--rate", type=float, default=0.0, help="calls per second; 0 is without limit")
    parser.add_argument("--burst", type=float, default=1.0)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    options = parser.parse_args()
    platform = Platform(options.ends, options.rate, options.burst, options.latency)
    app = web.Application()
    app.add_routes(
        [
            web.get("/jobs/{id}", platform.job),
            web.get("/jobs", platform.jobs),
            web.post("/begin", platform.begin),
            web.get("/calls", platform.calls),
        ]
    )
    web.run_app(app, host="127.0.0.1", port=options.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
