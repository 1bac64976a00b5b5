"""What a statement gives, as `port.Rows` has it: nothing but a count, or rows that a driver reads as Python values.

Databases that give Arrow themselves bring classes of their own.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from outboard.platforms.sql.databases.columns import ColumnType, batches_of, schema_of


class NoRows:
    """A statement without rows.

    Args:
        affected: How many it wrote; None where nobody says.
    """

    schema: Any = None

    def __init__(self, affected: int | None) -> None:
        self.affected = affected

    def batches(self) -> Generator[Any, None, None]:
        """Yield none."""
        yield from ()


class ReadRows:
    """Rows that come while they are read.

    Args:
        names: The columns'.
        types: What each becomes.
        rows: Their values; closed with the batches.
    """

    affected: int | None = None

    def __init__(self, names: Sequence[str], types: Sequence[ColumnType], rows: Generator[Any, None, None]) -> None:
        self.schema: Any = schema_of(names, types)
        self._types = types
        self._rows = rows

    def batches(self) -> Generator[Any, None, None]:
        """Yield record batches; raises `UnfitValue` as `batches_of` does."""
        return batches_of(self._rows, self.schema, self._types)
