"""What the source says of its metrics, read without running it: every name given to a maker of Prometheus' client."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parsed_sources import parsed

SOURCE: Final = Path(__file__).resolve().parents[1] / "src" / "outboard"
_KINDS: Final = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram", "Summary": "summary", "Info": "info"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSource:
    """A metric as the source declares it."""

    name: str
    kind: str
    labels: frozenset[str]
    where: str


def metric_sources(root: Path = SOURCE) -> Mapping[str, MetricSource]:
    """Return what is declared, by the name that Prometheus shows: of a counter, with `_total`."""
    found: dict[str, MetricSource] = {}
    for path in sorted(root.rglob("*.py")):
        if "prometheus_client" in path.read_text(encoding="utf-8"):
            for each in _declared(parsed(path), path.relative_to(root).as_posix()):
                assert each.name not in found, f"{each.name} is declared in {found[each.name].where} and {each.where}"
                found[each.name] = each
    return found


def _declared(module: ast.Module, where: str) -> Iterator[MetricSource]:
    imported = {
        alias.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client")
        for alias in node.names
    }
    named = _lists(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported:
            kind = _KINDS.get(node.func.id.removesuffix("MetricFamily"))
            if kind is None:
                continue
            name = node.args[0]
            assert isinstance(name, ast.Constant), f"{where}:{node.lineno}: a metric's name must stand there"
            yield MetricSource(
                name=_shown(str(name.value), kind), kind=kind, labels=frozenset(_labels(node, named)), where=where
            )


def _shown(name: str, kind: str) -> str:
    ending = {"counter": "_total", "info": "_info"}.get(kind, "")
    return name if name.endswith(ending) else name + ending


def _lists(module: ast.Module) -> Mapping[str, ast.expr]:
    """The lists and tuples that have names in a module."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(module):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, (ast.List, ast.Tuple)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found[target.id] = node.value
    return found


def _labels(call: ast.Call, named: Mapping[str, ast.expr]) -> list[str]:
    given = [keyword.value for keyword in call.keywords if keyword.arg in ("labels", "labelnames")]
    return _texts([*given, *call.args[2:3]][0], named) if given or len(call.args) > 2 else []


def _texts(node: ast.expr, named: Mapping[str, ast.expr]) -> list[str]:
    if isinstance(node, ast.Name):
        return _texts(named[node.id], named)
    if isinstance(node, ast.Starred):
        return _texts(node.value, named)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [text for each in node.elts for text in _texts(each, named)]
    assert isinstance(node, ast.Constant), ast.dump(node)
    return [str(node.value)]
