"""The log level of all processes: this one, and what it started, each of which passes it on.

A process that is started again later begins with the level that was set last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from outboard.host.logs import log_level, set_log_level
from outboard.service.supervision.child import Child
from outboard.service.supervision.control import ANSWER_S, LEVEL, Unanswered, ask


def set_levels(level: str, children: Iterable[Child]) -> Mapping[str, Any]:
    """Set the level here and in children; return what each has now. In a thread.

    Args:
        level: One of `outboard.host.logs.LEVELS`.
        children: Who is told. One that is down, or does not answer, is named with None, and has it when it starts again.
    """
    set_log_level(level)
    known = list(children)
    for child in known:
        child.spec = replace(child.spec, document=_with_level(child.spec.document, level))
    return {"level": log_level(), **_asked(known, level)}


def levels(children: Iterable[Child]) -> Mapping[str, Any]:
    """Return the level here and in children. In a thread."""
    return {"level": log_level(), **_asked(list(children), None)}


def _asked(children: list[Child], level: str | None) -> Mapping[str, Any]:
    if not children:
        return {}

    def tell(child: Child) -> Any:
        try:
            return ask(child.control or "", LEVEL, level, timeout_s=2 * ANSWER_S)
        except Unanswered:
            return None

    with ThreadPoolExecutor(len(children), thread_name_prefix="outboard-level") as threads:
        found = list(threads.map(tell, children))
    return {"processes": {child.source: each for child, each in zip(children, found, strict=True)}}


def _with_level(document: Mapping[str, Any], level: str) -> dict[str, Any]:
    """Return what a child is told, and its own children, with this level."""
    isolated = [{**each, "document": _with_level(each["document"], level)} for each in document.get("isolated", ())]
    return {**document, "log_level": level, "isolated": isolated}
