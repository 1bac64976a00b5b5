"""The columns of a result: in JSON as a job writes them down, and as Flyte has them.

A job knows the types of Arrow or DuckDB and nothing of ours. It writes a word for each column, `{"list": <word>}` for a list of
what the word means; a word that nobody knows is a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from outboard.domain.types import Column, ListType, SimpleType, ValueType

_WORDS: Final = {
    "integer": SimpleType.INTEGER,
    "float": SimpleType.FLOAT,
    "string": SimpleType.STRING,
    "boolean": SimpleType.BOOLEAN,
    "datetime": SimpleType.DATETIME,
    "duration": SimpleType.DURATION,
    "binary": SimpleType.BINARY,
    "struct": SimpleType.STRUCT,
}


def columns_of(written: Iterable[Sequence[Any]]) -> tuple[Column, ...]:
    """Return columns that were written as pairs of a name and a word.

    >>> [str(column.type) for column in columns_of([["n", "integer"], ["words", {"list": "string"}]])]
    ['int', 'list[str]']
    """
    return tuple(Column(str(name), _type_of(word)) for name, word in written)


def _type_of(word: object) -> ValueType:
    if isinstance(word, dict):
        return ListType(_type_of(word.get("list")))
    return _WORDS.get(str(word), SimpleType.STRING)
