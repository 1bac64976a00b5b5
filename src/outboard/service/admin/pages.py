"""The pages of the admin port.

==============  ====================================================================================
`/healthz`      200 while this process should live on, 503 when it should be replaced (`liveness`); the same as `/livez`
`/startupz`     200 from the moment that it serves, 503 before
`/readyz`       200 while it takes calls, 503 before that, while it drains, and while its loop stands still
`/metrics`      for Prometheus
`/agents`       what is served, what could not be loaded, which accounts answer
`/loglevel`     GET, and PUT with a level
==============  ====================================================================================

A parent of workers answers for all of them: it lives as long as its own loop turns, since it starts a worker that ends, or hangs,
again by itself; it is ready while at least one worker answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from prometheus_client.registry import Collector

from outboard.host.logs import LEVELS
from outboard.service.admin.http_server import JSON, Answer, Page, Request, plain

__all__ = ["as_json", "metrics_page", "parse_level", "reading"]
_JSON_LEVEL: Final = "level"


def as_json(status: int, document: Mapping[str, Any]) -> Answer:
    """Return a document as an answer."""
    return Answer(status=status, body=json.dumps(document, indent=2).encode() + b"\n", content_type=JSON)


def reading(answer: Callable[[Request], Answer], *, is_quick: bool = False) -> Page:
    """Return a page that can only be read."""
    return Page(by_method={"GET": answer}, is_quick=is_quick)


def metrics_page(collector: Callable[[], Collector]) -> Page:
    """Return the page for Prometheus, in the form that it asks for."""

    def answer(request: Request) -> Answer:
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - only who scrapes pays for it

        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        chosen: Any = collector()
        names = request.query.get("name[]")
        if names:
            chosen = chosen.restricted_registry(names)
        return Answer(status=200, body=encode(chosen), content_type=content_type)

    return reading(answer)


def parse_level(body: bytes) -> str | Answer:
    """Return the level that somebody wants: as a word, `level=word`, or JSON; or what is wrong."""
    text = body.decode("utf-8", "replace").strip()
    found: Any = text
    try:
        if text.startswith("{"):
            found = json.loads(text)[_JSON_LEVEL]
        elif "=" in text:
            found = parse_qs(text)[_JSON_LEVEL][0]
    except (ValueError, KeyError, RecursionError):
        found = None
    if isinstance(found, str) and found.lower() in LEVELS:
        return found.lower()
    return plain(400, f"send one of {', '.join(LEVELS)}")
