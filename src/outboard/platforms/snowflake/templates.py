r"""SQL with placeholders as the SDKs send it, turned into SQL with `?` and what is to be bound there.

Both SDKs send the text as it was written. Their own connectors put inputs into it by `%(name)s`; the plugin of Flyte 1
before them by `{{ .inputs.name }}`. Here both become bind variables, and never text:

* within quotes nothing can be bound: `'{{ .inputs.day }}'` as a whole becomes a bind variable, anything else is refused;
* `%%` is a percent sign where there are inputs, as for the connectors;
* a `?` of one's own beside placeholders is refused, since bind variables have positions and no names;
* a list becomes `?, ?`, for `IN (%(ids)s)`, as the connectors have it; with `batch` the one VALUES clause is repeated for
  each element of the inputs.

The scanner knows Snowflake's quotes (`'...'` with `''` and `\`, `"..."`, `$$...$$`) and comments, and goes over the text once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from outboard.domain.types import ListType, ValueType
from outboard.errors import InvalidInputs, InvalidTask
from outboard.platforms.snowflake.bindings import Binding, binding_of

_NAME: Final = r"[A-Za-z_]\w*"
_PLACE: Final = re.compile(rf"%\(({_NAME})\)s|\{{\{{\s*\.[iI]nputs\.({_NAME})\s*\}}\}}")
_FLYTE: Final = re.compile(r"\{\{\s*[.$]")
_NEXT: Final = re.compile(r"'|\"|\$\$|--|//|/\*|%\(|%%|\{\{|\?")
_STOP: Final = {"'": re.compile(r"\\.|''|'", re.DOTALL), '"': re.compile(r'""|"')}
_VALUES: Final = re.compile(r"\bVALUES\s*\(", re.IGNORECASE)
_MARK: Final = re.compile("\x00([a-z])(\\w*)\x00")
_CLOSED: Final = {"$$": "$$", "/*": "*/", "--": "\n", "//": "\n"}


@dataclass(frozen=True, slots=True)
class Bound:
    """SQL with `?`, and the bind variables in their order."""

    text: str
    bindings: Sequence[Binding]


def bind(sql: str, inputs: Mapping[str, Any], types: Mapping[str, ValueType], *, is_batch: bool = False) -> Bound:
    """Return a statement with its inputs bound.

    Args:
        sql: As the task has it.
        inputs: By name.
        types: As the task declares them.
        is_batch: Whether inputs are columns, of which each row is inserted.

    Raises:
        InvalidTask: A placeholder stands where nothing can be bound, or names no input.
        InvalidInputs: An input cannot be bound.
    """
    if "\x00" in sql:
        raise InvalidTask("the SQL holds a NUL character, which Snowflake's has not", field="sql.statement")
    quotes: list[str] = []
    marked = "".join(_marked(sql, inputs, quotes))
    if is_batch and inputs:
        marked, inputs, types = _expanded(marked, inputs, types)
    bindings: list[Binding] = []

    def put(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "q":
            return quotes[int(name)]
        return _put(name, inputs[name], types.get(name), bindings)

    return Bound(_MARK.sub(put, marked), bindings)


def _put(name: str, value: Any, declared: ValueType | None, bindings: list[Binding]) -> str:
    if not isinstance(value, (list, tuple)):
        bindings.append(binding_of(name, value, declared))
        return "?"
    if not value:
        raise InvalidInputs(f"inputs.{name} is empty, and `IN ()` is no SQL; give at least one", field=f"inputs.{name}")
    element = declared.element if isinstance(declared, ListType) else None
    bindings += [binding_of(name, each, element) for each in value]
    return ", ".join("?" * len(value))


def _marked(sql: str, inputs: Mapping[str, Any], quotes: list[str]) -> Iterator[str]:
    """Yield the text with marks in place of inputs (`i`), and of what is quoted (`q`)."""
    has_places, is_go = bool(inputs), "%(" not in sql and "{{" in sql

    def keep(text: str) -> str:
        quotes.append(text)
        return f"\x00q{len(quotes) - 1}\x00"

    at = 0
    while (found := _NEXT.search(sql, at)) is not None:
        yield sql[at : found.start()]
        sign, at = found.group(), found.end()
        place = _PLACE.match(sql, found.start())
        if place is not None:
            yield _mark(place, inputs)
            at = place.end()
        elif sign in _STOP or sign in _CLOSED:
            if sign == "//" and found.start() and not sql[found.start() - 1].isspace():
                yield sign  # a part of a path
                continue
            at = _end(sql, sign, at)
            yield _quoted(sql[found.start() : at], sign, inputs, keep, is_escaped=has_places and not is_go)
        elif sign == "%%" and has_places and not is_go:
            yield "%"
        elif sign == "?" and has_places:
            raise InvalidTask(
                "the SQL holds a ? beside its inputs; write %(name)s for each of them", field="sql.statement"
            )
        elif sign == "{{" and _FLYTE.match(sql, found.start()):
            raise _unrendered()
        else:
            yield sign
    yield sql[at:]


def _end(sql: str, sign: str, at: int) -> int:
    """Return where a quotation or comment ends; the end of the text where it is not closed."""
    if sign in _CLOSED:
        end = sql.find(_CLOSED[sign], at)
        return len(sql) if end < 0 else end + len(_CLOSED[sign].strip())
    while (stop := _STOP[sign].search(sql, at)) is not None:
        at = stop.end()
        if stop.group() == sign:
            return at
    return len(sql)


def _quoted(text: str, sign: str, inputs: Mapping[str, Any], keep: Callable[[str], str], *, is_escaped: bool) -> str:
    places = list(_PLACE.finditer(text))
    if sign == "'" and len(places) == 1 and places[0].group(2) and places[0].span() == (1, len(text) - 1):
        return _mark(places[0], inputs)
    if places and sign in ("--", "//"):
        raise InvalidTask(
            f"an input stands behind {sign}: the SDK writes the SQL on one line, so that the rest of it is a comment; "
            "write comments as /* ... */",
            field="sql.statement",
        )
    if places and sign != "/*":
        raise InvalidTask(
            f"the input {places[0].group(1) or places[0].group(2)} stands within quotes, where nothing can be bound; "
            "take the quotes away, or join texts by ||",
            field="sql.statement",
        )
    if sign == "'" and _FLYTE.search(text):
        raise _unrendered()
    return keep(text.replace("%%", "%") if is_escaped else text)


def _mark(place: re.Match[str], inputs: Mapping[str, Any]) -> str:
    name = place.group(1) or place.group(2)
    if name not in inputs:
        raise InvalidTask(f"the SQL names {name}, which is no input of the task", field="sql.statement")
    return f"\x00i{name}\x00"


def _unrendered() -> InvalidTask:
    return InvalidTask(
        "the SQL holds a template that nobody renders; write %(name)s or {{ .inputs.name }} for an input",
        field="sql.statement",
    )


def _expanded(
    marked: str, inputs: Mapping[str, Any], types: Mapping[str, ValueType]
) -> tuple[str, dict[str, Any], dict[str, ValueType]]:
    """Return the text with its VALUES clause once for each row, and the inputs of each row by names of their own."""
    for name, value in inputs.items():
        if not isinstance(value, (list, tuple)):
            raise InvalidInputs(f"inputs.{name} is no list, as `batch` wants all inputs to be", field=f"inputs.{name}")
    lengths = {len(value) for value in inputs.values()}
    if len(lengths) != 1 or not all(lengths):
        raise InvalidInputs(
            "with `batch` all inputs are lists of one length, and of one element at least", field="inputs"
        )
    clauses = list(_VALUES.finditer(marked))
    if len(clauses) != 1:
        raise InvalidTask("with `batch` the SQL holds one VALUES (...) clause", field="sql.statement")
    begin, end = clauses[0].end() - 1, _closing(marked, clauses[0].end())
    row, count = marked[begin:end], lengths.pop()
    rows = [_MARK.sub(partial(_numbered, row=n), row) for n in range(count)]
    elements = {name: kind.element for name, kind in types.items() if isinstance(kind, ListType)}
    each = {f"{name}_{n}": value[n] for name, value in inputs.items() for n in range(count)}
    kinds = {f"{name}_{n}": kind for name, kind in elements.items() for n in range(count)}
    rest = marked[:begin] + marked[end:]
    if any(mark.group(1) == "i" for mark in _MARK.finditer(rest)):
        raise InvalidTask("with `batch` inputs stand within the VALUES clause only", field="sql.statement")
    return f"{marked[:begin]}{', '.join(rows)}{marked[end:]}", each, kinds


def _numbered(mark: re.Match[str], row: int) -> str:
    kind, name = mark.groups()
    return f"\x00i{name}_{row}\x00" if kind == "i" else mark.group()


def _closing(text: str, at: int) -> int:
    depth = 1
    for position in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position + 1
    raise InvalidTask("the VALUES clause has no closing parenthesis", field="sql.statement")
