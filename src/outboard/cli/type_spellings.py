"""Types as people write them, and as messages show them: `list[int]`, `structured dataset (parquet)`, `int | str`.

`parse_type(str(t)) == t` for every type without columns or variant tags, so what an error shows can be written back into a
task file. A few everyday words are taken too: `string`, `integer`, `boolean`, `duration`, `file`, `directory`, `dataset`.

    type     = one ("|" one)*
    one      = "list" "[" type "]" | "dict" "[" "str" "," type "]" | "one of" quoted ("," quoted)* | word format?
    format   = "(" letters ")"              of a blob, a multi-part blob or a structured dataset
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable
from typing import Final

from outboard.domain.places import MAX_DEPTH
from outboard.domain.types import (
    BlobType,
    EnumType,
    ListType,
    MapType,
    SchemaType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
    ValueType,
)

_SIMPLE: Final = {
    **{simple.value: simple for simple in SimpleType},
    "none": SimpleType.NONE,
    "integer": SimpleType.INTEGER,
    "string": SimpleType.STRING,
    "boolean": SimpleType.BOOLEAN,
    "duration": SimpleType.DURATION,
    "struct": SimpleType.STRUCT,
}
_WITH_FORMAT: Final[dict[str, Callable[[str], ValueType]]] = {
    "blob": BlobType,
    "file": BlobType,
    "multi-part blob": lambda form: BlobType(form, multipart=True),
    "directory": lambda form: BlobType(form, multipart=True),
    "structured dataset": lambda form: StructuredDatasetType(format=form),
    "dataset": lambda form: StructuredDatasetType(format=form),
}
_WORDS: Final = (*_SIMPLE, *_WITH_FORMAT, "schema", "list", "dict", "one of")
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<word> [A-Za-z][\w-]* (?:\ [A-Za-z][\w-]*)* )
      | (?P<text> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" )
      | (?P<mark> [\[\]|,] | \([^()]*\) )
    )""",
    re.VERBOSE,
)


def parse_type(text: str) -> ValueType:
    """Return the type that a text spells.

    Raises:
        ValueError: It spells none; the message says where it stops making sense and what there is.

    >>> str(parse_type("list[dataset(parquet) | None]"))
    'list[structured dataset (parquet) | None]'
    """
    reader = _Reader(text)
    found = reader.union(0)
    reader.expect_end()
    return found


class _Reader:
    """Reads one type from left to right; `_next` is the token under consideration."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._kind, self._next = "", ""
        self._advance()

    def union(self, depth: int) -> ValueType:
        if depth > MAX_DEPTH:
            raise ValueError(f"'{self._text[:40]}...' is nested deeper than {MAX_DEPTH} levels: flatten it")
        types = [self._one(depth)]
        while self._next == "|":
            self._advance()
            types.append(self._one(depth))
        return types[0] if len(types) == 1 else UnionType.of(*types)

    def expect_end(self) -> None:
        if self._next:
            raise self._confusion("the end")

    def _one(self, depth: int) -> ValueType:
        word = self._next
        if self._kind != "word":
            raise self._confusion("a type")
        self._advance()
        if word in _SIMPLE and not (word == "dict" and self._next == "["):
            return _SIMPLE[word]
        if word == "schema":
            return SchemaType()
        if word in _WITH_FORMAT:
            return _WITH_FORMAT[word](self._format())
        if word == "one of":
            return self._enum()
        if word in ("list", "dict"):
            return self._container(word, depth)
        raise ValueError(self._unknown(word))

    def _container(self, word: str, depth: int) -> ValueType:
        self._take("[")
        if word == "dict":
            if self._next != "str":
                raise self._confusion("'str', the type of every dictionary's keys,")
            self._advance()
            self._take(",")
        element = self.union(depth + 1)
        self._take("]")
        return ListType(element) if word == "list" else MapType(element)

    def _enum(self) -> EnumType:
        values = [self._quoted()]
        while self._next == ",":
            self._advance()
            values.append(self._quoted())
        return EnumType(tuple(values))

    def _quoted(self) -> str:
        if self._kind != "text":
            raise self._confusion("a value in quotes")
        value = str(ast.literal_eval(self._next))
        self._advance()
        return value

    def _format(self) -> str:
        if not self._next.startswith("(") or self._kind != "mark":
            return ""
        form = self._next[1:-1].strip()
        self._advance()
        return form

    def _take(self, mark: str) -> None:
        if self._next != mark:
            raise self._confusion(f"'{mark}'")
        self._advance()

    def _advance(self) -> None:
        if not self._text[self._position :].strip():
            self._kind, self._next = "end", ""
            return
        found = _TOKEN.match(self._text, self._position)
        if found is None:
            raise ValueError(
                f"'{self._text}' is no type: {self._text[self._position :].strip()[:20]!r} has no place in one"
            )
        self._position = found.end()
        self._kind = str(found.lastgroup)
        self._next = found[self._kind]

    def _confusion(self, wanted: str) -> ValueError:
        where = f"before {self._next!r}" if self._next else "at the end"
        return ValueError(f"'{self._text}' is no type: {wanted} is missing {where}")

    def _unknown(self, word: str) -> str:
        near = difflib.get_close_matches(word, _WORDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "write one of " + ", ".join(_WORDS)
        return f"there is no type '{word}'; {hint}"
