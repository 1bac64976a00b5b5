"""Finds where a SQL text names inputs, and puts a database's own placeholders there.

Two forms name an input: `{{ .inputs.x }}`, which is what flytekit's tasks write, and `:x`. Values never become part of the
text; what stands around a name is left as it is. To know what is a name and what merely looks like one, the text is read
token by token, as its database reads it: strings, quoted identifiers, comments and PostgreSQL's dollar quotes are skipped.
A template that fills a whole string (`'{{ .inputs.x }}'`, as people write who are used to pasting) counts as the value
itself; one that is part of a string cannot be bound and is refused.

Should a server read a text differently than we do (MySQL's NO_BACKSLASH_ESCAPES, for one), a placeholder may stand in a
wrong place. Nothing else may: a value reaches the database beside the text or, in a protocol without parameters (MySQL's),
as a literal that holds no quote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

from outboard.errors import InvalidTask

_TEMPLATE: Final = re.compile(r"\{\{\s*\.?inputs\.(\w+)\s*\}\}", re.IGNORECASE)
_ANY_TEMPLATE: Final = re.compile(r"\{\{\s*[.$\w]")
_NAME: Final = re.compile(r":([A-Za-z_]\w*)")
_DOLLAR: Final = re.compile(r"\$(?:[A-Za-z_\x80-\uffff][\w\x80-\uffff]*)?\$")
_UNFIT: Final = re.compile("[\0\ud800-\udfff]")
_FIELD: Final = "sql.statement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a kind of database reads SQL.

    Attributes:
        placeholder: What stands for the parameter of a number, counted from 1.
        has_backslashes: A backslash in a string escapes the next character.
        has_dollar_quotes: `$tag$ ... $tag$` is a string.
        has_hash_comments: `#` begins a comment.
        nests_comments: A `/*` within a comment opens another.
    """

    placeholder: Callable[[int], str]
    has_backslashes: bool = False
    has_dollar_quotes: bool = False
    has_hash_comments: bool = False
    nests_comments: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement with its placeholders.

    Attributes:
        text: For the database.
        names: Which input each placeholder stands for, in order.
    """

    text: str
    names: tuple[str, ...]


DIALECTS: Final = {
    "postgresql": Dialect(placeholder=lambda number: f"${number}", has_dollar_quotes=True, nests_comments=True),
    "mysql": Dialect(placeholder=lambda _: "?", has_backslashes=True, has_hash_comments=True),
    "clickhouse": Dialect(
        placeholder=lambda number: f"{{p{number}:\0}}",  # its type shows with the value; no SQL has a NUL
        has_backslashes=True,
        has_dollar_quotes=True,
        has_hash_comments=True,
        nests_comments=True,
    ),
    "trino": Dialect(placeholder=lambda _: "?"),
    "duckdb": Dialect(placeholder=lambda number: f"$p{number}", has_dollar_quotes=True, nests_comments=True),
}
"""By the kind of a connection."""


def statements_of(sql: str, dialect: Dialect, inputs: Collection[str]) -> list[Statement]:
    """Return the statements of a text, with placeholders in the place of inputs.

    Args:
        sql: One statement or several, separated by semicolons.
        dialect: The database's.
        inputs: Their names.

    Raises:
        InvalidTask: There is no statement, or no text that a database takes; a name is none of the inputs, or stands where
            nothing can be bound.
    """
    if _UNFIT.search(sql):
        # Drivers hand a C text to the server: it would end at the NUL, and with it perhaps the WHERE.
        raise InvalidTask("the SQL holds a NUL character or half a character; leave it out", field=_FIELD)
    found: list[Statement] = []
    text: list[str] = []
    names: list[str] = []

    def close() -> None:
        whole = "".join(text).strip()
        if _has_substance(whole, dialect):
            found.append(Statement(text=whole, names=tuple(names)))
        text.clear()
        names.clear()

    for kind, part in _tokens(sql, dialect):
        name = _input_of(kind, part, inputs)
        if kind == "end":
            close()
        elif name is None:
            text.append(part)
        else:
            names.append(name)
            text.append(dialect.placeholder(len(names)))
    close()
    if not found:
        raise InvalidTask("the task has no SQL; give it a statement", field=_FIELD)
    return found


def _input_of(kind: str, part: str, inputs: Collection[str]) -> str | None:
    """Return the input that a token names; None where it names none."""
    if kind == "template":
        match = _TEMPLATE.fullmatch(part)
        name = match.group(1) if match else None
        if name is None or name not in inputs:
            raise InvalidTask(
                f"the SQL names {part[:60]}, which is none of the task's inputs; write :name or {{{{ .inputs.name }}}}",
                field=_FIELD,
            )
        return name
    if kind == "name":
        name = part[1:]
        if name not in inputs:
            raise InvalidTask(f"the SQL names {part[:60]}, which is none of the task's inputs", field=_FIELD)
        return name
    if kind == "string" and _ANY_TEMPLATE.search(part):
        match = _TEMPLATE.fullmatch(part[1:-1].strip())
        if match and match.group(1) in inputs and part[0] == "'":
            return match.group(1)
        raise InvalidTask(
            "the SQL holds a template inside a quoted text, where no value can be bound; "
            "write the input outside the quotes, as in '%' || :name",
            field=_FIELD,
        )
    return None


def _tokens(sql: str, dialect: Dialect) -> Iterator[tuple[str, str]]:
    """Yield (kind, part): string, comment, template, name, end, or text."""
    position, size = 0, len(sql)
    while position < size:
        end, kind = _next(sql, position, dialect)
        yield kind, sql[position:end]
        position = end


def _next(sql: str, start: int, dialect: Dialect) -> tuple[int, str]:  # noqa: PLR0911 - one line a kind
    """Return where the token ends that starts here, and its kind."""
    char, pair = sql[start], sql[start : start + 2]
    if char in "'\"`":
        escapes = char != "`" and (dialect.has_backslashes or (char == "'" and _is_escaped_string(sql, start, dialect)))
        return _end_of_quoted(sql, start, char, escapes=escapes), "string"
    if pair == "--" or (char == "#" and dialect.has_hash_comments):
        stop = sql.find("\n", start)
        return (len(sql) if stop < 0 else stop), "comment"
    if pair == "/*":
        return _end_of_comment(sql, start, nests=dialect.nests_comments), "comment"
    if char == "$" and dialect.has_dollar_quotes and not _continues_word(sql, start):
        opening = _DOLLAR.match(sql, start)
        if opening:
            stop = sql.find(opening.group(), opening.end())
            return (len(sql) if stop < 0 else stop + len(opening.group())), "string"
    if pair == "{{" and (match := re.compile(r"\{\{.*?\}\}", re.DOTALL).match(sql, start)):
        return match.end(), "template"
    if char == ";":
        return start + 1, "end"
    if char == ":" and pair != "::" and not _continues_word(sql, start) and (found := _NAME.match(sql, start)):
        return found.end(), "name"
    return start + (2 if pair == "::" else 1), "text"


def _end_of_quoted(sql: str, start: int, quote: str, *, escapes: bool) -> int:
    position = start + 1
    while position < len(sql):
        char = sql[position]
        if (char == "\\" and escapes) or (char == quote and sql[position + 1 : position + 2] == quote):
            position += 2
        elif char == quote:
            return position + 1
        else:
            position += 1
    return len(sql)


def _end_of_comment(sql: str, start: int, *, nests: bool) -> int:
    depth, position = 1, start + 2
    while position < len(sql) and depth:
        pair = sql[position : position + 2]
        if pair == "*/":
            depth, position = depth - 1, position + 2
        elif pair == "/*" and nests:
            depth, position = depth + 1, position + 2
        else:
            position += 1
    return position


def _is_escaped_string(sql: str, start: int, dialect: Dialect) -> bool:
    """Whether this is PostgreSQL's `E'...'`."""
    return dialect.has_dollar_quotes and sql[start - 1 : start] in ("e", "E") and not _continues_word(sql, start - 1)


def _continues_word(sql: str, start: int) -> bool:
    """Whether the character before belongs to a word, a number, an index or another colon: `a:b`, `12:30`, `x[1]:y`, `a::b`."""
    before = sql[start - 1] if start else ""
    return before.isalnum() or before in ("_", "$", "]", ")", ":", '"')


def _has_substance(text: str, dialect: Dialect) -> bool:
    return any(kind != "comment" and part.strip() for kind, part in _tokens(text, dialect))
