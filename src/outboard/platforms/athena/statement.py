"""A task's SQL: its templates become `?`, each with the input that it stands for.

FlytePropeller's Athena plugin puts inputs into the SQL as text. Here no input ever gets into the SQL:

=================================  ==============================  =======================================================
the SQL holds                      what is sent                    and the parameter
=================================  ==============================  =======================================================
`{{ .inputs.n }}`                  `?`                             the input, by its type
`'{{ .inputs.ds }}'`               `?`                             its text, as FlytePropeller would have written it
`'%{{ .inputs.ds }}%'`             `('%' || ? || '%')`             same
`DATE '{{ .inputs.ds }}'`          `CAST(? AS DATE)`               same; a datetime's own date (`TIMESTAMP` likewise)
`?`                                `?`                             what the task's `parameters` name, in their order; the
                                                                   one input where there is one of each
`{{ .rawOutputDataPrefix }}` ...   the place, as text              none: it is the engine's, not the user's
a template in a comment            as it is                        none
=================================  ==============================  =======================================================

A value can be no table, column or part of a name; a template in such a place is refused, and so are templates that nobody
knows. The scanner knows SQL's quotes and comments, and no more of its grammar. It goes over the text once: none of its
patterns can be read in two ways, so no text takes longer than its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from outboard.domain.templates import TemplateValues, render_args
from outboard.errors import InvalidTask

WHERE: Final = "custom.statement"
_SPACE: Final = r"[\t\n\f\r ]*"
_TEMPLATE: Final = re.compile(rf"\{{\{{{_SPACE}[.$](?P<path>[^{{}}\s]+){_SPACE}\}}\}}")
_TOKEN: Final = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))"
    r"|(?P<text>'(?:[^']|'')*')"
    r"|(?P<name>\"(?:[^\"]|\"\")*\"|`[^`]*`)"
    rf"|(?P<template>\{{\{{{_SPACE}[.$][^{{}}\s]+{_SPACE}\}}\}})"
    r"|(?P<open>\{\{)"
    r"|(?P<mark>\?)",
    re.DOTALL,
)
_BEFORE: Final = re.compile(r"[\s(]+|--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z]+")
_CAST: Final = re.compile(r"\b(DATE|TIMESTAMP)[ \t\n\r]*$", re.IGNORECASE)
_NAMES_FOLLOW: Final = re.compile(
    r"(?:\b(?:FROM|JOIN|INTO|TABLE|UPDATE|VIEW|DATABASE|SCHEMA|COLUMN|DESCRIBE|BY|AS)\s*|[\w.\"`])$", re.IGNORECASE
)
_NAME_GOES_ON: Final = re.compile(r"[\w.\"`]")
_UNSAFE: Final = re.compile(r"['\"`\\;\x00-\x1f\x7f]|--|/\*|\*/|\$")


@dataclass(frozen=True, slots=True)
class Place:
    """What a `?` of the statement stands for.

    Attributes:
        name: The input.
        is_text: Its text is meant, as the template stood within quotes.
        cast: `DATE` or `TIMESTAMP`, where the template was such a literal.
    """

    name: str
    is_text: bool = False
    cast: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL that is ready to be sent, and what its `?` stand for, in order."""

    sql: str
    places: tuple[Place, ...] = ()


def statement_of(sql: str, parameters: Sequence[str], inputs: Sequence[str], engine: TemplateValues) -> Statement:
    """Return the statement for SQL with templates or `?`.

    Args:
        sql: As the task has it.
        parameters: The inputs that `?` stand for, in order.
        inputs: The names of all inputs.
        engine: What the templates stand for that are not inputs.

    Raises:
        InvalidTask: A template stands where no value can, or is none that Flyte knows; `?` and parameters do not match.
    """
    marks = sum(1 for found in _TOKEN.finditer(sql) if found.lastgroup == "mark")
    named = _named(marks, parameters, inputs, has_templates="{{" in sql)
    pieces: list[str] = []
    places: list[Place] = []
    end = 0
    for found in _TOKEN.finditer(sql):
        pieces.append(sql[end : found.start()])
        end = found.end()
        before, kind, token = "".join(pieces[-2:]), found.lastgroup, found.group()
        if kind == "text" and "{{" in token:
            pieces.append(_text(token, before, inputs, engine, places, pieces))
        elif kind == "template":
            pieces.append(_bare(token, before, sql[end : end + 1], inputs, engine, places))
        elif kind == "name" and "{{" in token:
            pieces.append(_filled(token, engine, is_input_refused=True))
        elif kind == "open":
            raise _unknown(sql[found.start() :])
        else:
            if kind == "mark":
                places.append(Place(next(named)))
            pieces.append(token)
    return Statement("".join((*pieces, sql[end:])), tuple(places))


def kind_of(sql: str) -> str:
    """Return the first word of a statement in upper case, past comments and brackets; empty where there is none."""
    at = 0
    while (skipped := _BEFORE.match(sql, at)) is not None:
        at = skipped.end()
    found = _WORD.match(sql, at)
    return found.group().upper() if found else ""


def uncommented(sql: str) -> str:
    """Return a statement with a space in place of each of its comments."""
    return _TOKEN.sub(lambda found: " " if found.lastgroup == "comment" else found.group(), sql)


def is_single(sql: str) -> bool:
    """Tell whether there is one statement: nothing but space and comments after a semicolon."""
    rest = _TOKEN.sub(lambda found: "" if found.lastgroup == "comment" else "x", sql)
    return ";" not in rest.rstrip().rstrip(";")


def _named(marks: int, parameters: Sequence[str], inputs: Sequence[str], *, has_templates: bool) -> Iterator[str]:
    names = list(parameters)
    if not names and marks == 1 == len(inputs) and not has_templates:
        names = list(inputs)
    if len(names) != marks:
        raise InvalidTask(
            f"the SQL has {marks} `?` and custom.parameters names {len(names)} inputs for them; "
            "name one input for each, or write {{ .inputs.name }}",
            field="custom.parameters",
        )
    for name in names:
        _check_input(name, inputs, "custom.parameters")
    return iter(names)


def _bare(
    token: str, before: str, after: str, inputs: Sequence[str], engine: TemplateValues, places: list[Place]
) -> str:
    name = _input_of(token)
    if name is None:
        return _filled(token, engine)
    _check_input(name, inputs, WHERE)
    if _NAMES_FOLLOW.search(before) or _NAME_GOES_ON.match(after):
        raise InvalidTask(
            f"the input {name} stands where a name is expected; inputs are values and never tables, columns or parts of names",
            field=WHERE,
        )
    places.append(Place(name))
    return "?"


def _text(
    token: str,
    before: str,
    inputs: Sequence[str],
    engine: TemplateValues,
    places: list[Place],
    pieces: list[str],
) -> str:
    """Return what stands for a text in quotes that holds templates."""
    inner = token[1:-1]
    parts: list[str] = []
    found_inputs: list[str] = []
    end = 0
    for found in _TEMPLATE.finditer(inner):
        parts.append(inner[end : found.start()])
        end = found.end()
        name = _input_of(found.group())
        if name is None:
            parts[-1] += _filled(found.group(), engine)
            parts.append("")
        else:
            _check_input(name, inputs, WHERE)
            found_inputs.append(name)
            parts.append("?")
    parts.append(inner[end:])
    if "{{" in "".join(parts):
        raise _unknown(inner)
    if not found_inputs:
        return f"'{''.join(parts)}'"
    is_whole = [part for part in parts if part] == ["?"]
    cast = _CAST.search(before) if is_whole else None
    if cast is not None:
        pieces[-1] = pieces[-1].removesuffix(cast.group())
        places.append(Place(found_inputs[0], is_text=True, cast=cast.group(1).upper()))
        return f"CAST(? AS {cast.group(1).upper()})"
    places.extend(Place(name, is_text=True) for name in found_inputs)
    if is_whole:
        return "?"
    return f"({' || '.join(part if part == '?' else _quoted(part) for part in _joined(parts))})"


def _joined(parts: Sequence[str]) -> Iterator[str]:
    text = ""
    for part in parts:
        if part != "?":
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    if text:
        yield text


def _quoted(inner: str) -> str:
    return f"'{inner}'"  # it came out of a text in quotes, so its own quotes are doubled already


def _input_of(template: str) -> str | None:
    found = _TEMPLATE.fullmatch(template)
    path = found.group("path") if found else ""
    head, dot, name = path.partition(".")
    return name if dot and head.lower() == "inputs" else None


def _filled(token: str, engine: TemplateValues, *, is_input_refused: bool = False) -> str:
    if is_input_refused and any(_input_of(found.group()) is not None for found in _TEMPLATE.finditer(token)):
        raise InvalidTask(
            f"{token[:60]!a} names a table or column by an input; inputs are values and never names", field=WHERE
        )

    def fill(found: re.Match[str]) -> str:
        try:
            text = render_args([found.group()], engine)[0]
        except InvalidTask:
            raise _unknown(found.group()) from None
        if not text or _UNSAFE.search(text):
            raise InvalidTask(f"{found.group()} stands for nothing that SQL can hold here; take it out", field=WHERE)
        return text

    return _TEMPLATE.sub(fill, token)


def _check_input(name: str, inputs: Sequence[str], field: str) -> None:
    if name not in inputs:
        raise InvalidTask(
            f"the SQL asks for the input {name[:64]!a}, which was not given (given: {', '.join(sorted(inputs)) or 'none'})",
            field=field,
        )


def _unknown(text: str) -> InvalidTask:
    return InvalidTask(
        f"the SQL holds {text[:60]!a}, which is no template that Flyte knows; correct its spelling", field=WHERE
    )
