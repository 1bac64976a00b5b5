"""A value of every type that users of the SDK pass between tasks."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any, Final

from flyte.io import DataFrame, Dir, File
from pydantic import BaseModel


class Colour(enum.Enum):
    """An enumeration, which travels by its member's name or value."""

    RED = "red"
    GREEN = "green"


@dataclass
class Point:
    """A dataclass; travels as MessagePack."""

    x: int
    y: float
    tags: list[str] = field(default_factory=list)
    inner: dict[str, int] = field(default_factory=dict)


class Job(BaseModel):
    """A pydantic model; travels as MessagePack."""

    name: str
    size: int
    points: list[float]


@dataclass(frozen=True)
class Sample:
    """A value, and the type that a task declares for it."""

    kind: str
    type: Any
    value: Any


SAMPLES: Final[Sequence[Sample]] = (
    Sample("int", int, -7),
    Sample("int, largest", int, 2**63 - 1),
    Sample("float", float, 0.1),
    Sample("float that is whole", float, 3.0),
    Sample("str", str, "grüße \N{SNOWMAN}\n"),
    Sample("str, empty", str, ""),
    Sample("bool", bool, value=False),
    Sample("datetime", datetime, datetime(2026, 8, 21, 16, 44, 32, 123456, tzinfo=timezone.utc)),
    Sample("date", date, date(2026, 8, 21)),
    Sample("timedelta", timedelta, timedelta(days=-1, microseconds=7)),
    Sample("list[int]", list[int], [3, 1, 2]),
    Sample("list[list[str]]", list[list[str]], [["b"], [], ["a", "c"]]),
    Sample("list, empty", list[int], []),
    Sample("dict[str, int]", dict[str, int], {"zulu": 1, "alpha": 2}),
    Sample("dict[str, list[float]]", dict[str, list[float]], {"a": [1.0, 2.5]}),
    Sample("dict", dict, {"n": 1, "f": 2.0, "deep": {"list": [1, "two", None]}}),
    Sample("dataclass", Point, Point(x=2**53 + 1, y=2.0, tags=["b", "a"], inner={"z": 1})),
    Sample("pydantic", Job, Job(name="n", size=3, points=[1.0, 0.5])),
    Sample("list[dataclass]", list[Point], [Point(x=1, y=1.5), Point(x=2, y=-0.0)]),
    Sample("None", int | None, None),
    Sample("Optional with a value", int | None, 5),
    Sample("union", int | str, "seven"),
    Sample("enum", Colour, Colour.GREEN),
    Sample("File", File, File(path="s3://bucket/data.csv", format="csv")),
    Sample("Dir", Dir, Dir(path="s3://bucket/folder")),
    Sample("DataFrame", DataFrame, DataFrame(uri="s3://bucket/table.parquet", format="parquet")),
)
"""What travels to an agent and back."""

ORDERED: Final[Mapping[str, Any]] = {"zulu": 1, "alpha": "two", "mike": 3.0, "bravo": True}
"""Names whose order differs from the alphabet's, each of another type."""


def seen(value: Any) -> tuple[str, Any]:
    """Return a value's type and what of it must come back equal; files and tables are equal when they lead to the same."""
    if isinstance(value, DataFrame):
        return "DataFrame", (value.uri, value.format)
    if isinstance(value, (File, Dir)):
        return type(value).__name__, (value.path, getattr(value, "format", ""))
    return type(value).__name__, value
