"""What the source logs, read without running it: every event that is given to a logger, with its levels and fields.

An event is a literal, or a name that is given literals in the same function, or begins with the word for a kind of process
(`f"{self.role.noun} is up"`), for which `...` stands here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parsed_sources import parsed

SOURCE: Final = Path(__file__).resolve().parents[1] / "src" / "outboard"
LEVELS: Final = ("debug", "info", "warning", "error")
_NOT_A_SERVICES: Final = ("testing/", "demo/", "flytekit/running/", "domain/")
_PASSED_ON: Final = frozenset({("host/logs.py", "self._clean(event)"), ("service/supervision/output.py", "event")})
"""Loggers that write what others gave them."""
_NOTES: Final = ("cli/log_output.py", "note")


@dataclass(slots=True)
class LogSource:
    """An event as the source logs it."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    where: set[str] = field(default_factory=set)


def log_sources(root: Path = SOURCE) -> Mapping[str, LogSource]:
    """Return what is logged, by event."""
    found: dict[str, LogSource] = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_NOT_A_SERVICES):
            for function in _functions(parsed(path)):
                for event, levels, fields in _logged(function, name):
                    source = found.setdefault(event, LogSource())
                    source.levels |= levels
                    source.fields |= fields
                    source.where.add(name)
    return found


def _functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _logged(function: ast.FunctionDef | ast.AsyncFunctionDef, where: str) -> Iterator[tuple[str, set[str], set[str]]]:
    given = _given(function)
    for node in ast.walk(function):
        levels = _levels(node, given) if isinstance(node, ast.Call) else set()
        if not isinstance(node, ast.Call) or not levels or not node.args:
            continue
        text = ast.unparse(node.args[0])
        if (where, text) in _PASSED_ON or (where, text) == _NOTES:
            continue
        fields = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
        events = list(_texts(node.args[0], given))
        assert events, f"{where}:{node.lineno}: an event must be a literal, not {text}"
        for event in events:
            yield event, levels, fields


def _given(function: ast.AST) -> Mapping[str, list[ast.expr]]:
    """What names are set to in a function."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


def _levels(call: ast.Call, given: Mapping[str, list[ast.expr]]) -> set[str]:
    """The levels at which a call logs; none where it is no logger's."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS and _is_log(call.func.value):
        return {call.func.attr}
    if isinstance(call.func, ast.Name):
        values = given.get(call.func.id, [])
        named = {node.attr for value in values for node in ast.walk(value) if isinstance(node, ast.Attribute)}
        is_logger = any(
            isinstance(node, ast.Attribute) and node.attr in LEVELS and _is_log(node.value)
            for value in values
            for node in ast.walk(value)
        )
        return named & set(LEVELS) if is_logger else set()
    return set()


def _is_log(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return text.endswith("log") or "TaskLog(" in text or "logger" in text.lower()


def _texts(node: ast.expr, given: Mapping[str, list[ast.expr]]) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, given)
        yield from _texts(node.orelse, given)
    elif isinstance(node, ast.Name):
        for value in given.get(node.id, []):
            yield from _texts(value, given)
    elif isinstance(node, ast.JoinedStr):
        first, *rest = node.values
        if "role.noun}" in ast.unparse(first) and all(isinstance(each, ast.Constant) for each in rest):
            yield "..." + "".join(str(each.value) for each in rest if isinstance(each, ast.Constant))
