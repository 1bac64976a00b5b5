"""Hypothesis strategies for types, and for values of a given type.

`values_of(type)` draws only values that come back from the wire as they went: what a declared type would fill in or
convert (a format, an integer for a float) is drawn filled in already. The tests of those rules are examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from outboard.domain.places import Refusal
from outboard.domain.types import (
    BlobType,
    Column,
    EnumType,
    Interface,
    ListType,
    MapType,
    SchemaType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
    ValueType,
    Variant,
)
from outboard.domain.values import Binary, Blob, ErrorValue, Offloaded, Schema, StructuredDataset

names = st.text(max_size=8)
"""Any valid Unicode, the empty string and control characters included."""

int64s = st.integers(-(2**63), 2**63 - 1)
moments = st.datetimes(timezones=st.just(timezone.utc))
durations = st.timedeltas(timedelta(seconds=-315_576_000_000), timedelta(seconds=315_576_000_000))
simple_types = st.sampled_from(SimpleType)
columns = st.lists(st.builds(Column, names, simple_types), max_size=3).map(tuple)
_schema_kinds = [SimpleType.INTEGER, SimpleType.FLOAT, SimpleType.STRING, SimpleType.BOOLEAN]
schema_columns = st.lists(st.builds(Column, names, st.sampled_from(_schema_kinds)), max_size=3).map(tuple)

plain_values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | names | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
structs = st.dictionaries(names, plain_values, max_size=4)

_leaf_types: st.SearchStrategy[ValueType] = (
    simple_types
    | st.builds(EnumType, st.lists(names, min_size=1, max_size=3, unique=True).map(tuple))
    | st.builds(BlobType, names, st.booleans())
    | st.builds(SchemaType, schema_columns)
    | st.builds(StructuredDatasetType, columns, names, names, st.binary(max_size=8))
)


def _wider(inner: st.SearchStrategy[ValueType]) -> st.SearchStrategy[ValueType]:
    variants = st.lists(st.builds(Variant, inner, names), min_size=1, max_size=3).map(tuple)
    return st.builds(ListType, inner) | st.builds(MapType, inner) | st.builds(UnionType, variants)


value_types: st.SearchStrategy[ValueType] = st.recursive(_leaf_types, _wider, max_leaves=5)
interfaces = st.builds(
    Interface,
    st.dictionaries(names, value_types, max_size=3),
    st.dictionaries(names, value_types, max_size=3),
)

_simple_values: Mapping[SimpleType, st.SearchStrategy[object]] = {
    SimpleType.NONE: st.none(),
    SimpleType.INTEGER: int64s,
    SimpleType.FLOAT: st.floats(),
    SimpleType.STRING: names,
    SimpleType.BOOLEAN: st.booleans(),
    SimpleType.DATETIME: moments,
    SimpleType.DURATION: durations,
    SimpleType.BINARY: st.builds(Binary, st.binary(max_size=8), names),
    SimpleType.ERROR: st.builds(ErrorValue, names, names),
    SimpleType.STRUCT: structs,
}


def values_of(value_type: ValueType) -> st.SearchStrategy[object]:
    """Values that fit a type exactly."""
    match value_type:
        case SimpleType():
            return _simple_values[value_type]
        case EnumType(values):
            return st.sampled_from(values)
        case ListType(element):
            return st.lists(values_of(element), max_size=3)
        case MapType(entry):
            return st.dictionaries(names, values_of(entry), max_size=3)
        case UnionType(variants):
            return st.one_of([values_of(each.type) for each in variants])
        case BlobType(form, multipart):
            return st.builds(Blob, names, st.just(form) if form else names, st.just(multipart))
        case SchemaType(declared):
            return st.builds(Schema, names, st.just(declared) if declared else schema_columns)
        case StructuredDatasetType(declared, form):
            forms = st.just(form) if form else names
            return st.builds(StructuredDataset, names, forms, st.just(declared) if declared else columns)


offloaded = st.builds(Offloaded, names, st.integers(0, 2**64 - 1), st.none() | value_types)


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[ValueType, object]:
    """A type and a value that fits it exactly."""
    value_type = draw(value_types)
    return value_type, draw(values_of(value_type))


anything: st.SearchStrategy[object] = st.recursive(
    plain_values
    | st.text(st.characters(codec=None), max_size=4)
    | st.integers()
    | st.datetimes(timezones=st.none() | st.just(timezone(timedelta(hours=14))))
    | st.timedeltas()
    | st.builds(object)
    | st.builds(complex)
    | offloaded,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names | st.integers(), inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=5,
)
"""Values of any kind, fit to be sent or not: lone surrogates, integers without bounds, foreign objects."""


def refused_at(call: Callable[[], object], error: Refusal) -> str | None:
    """Call, and return the path that a refusal names, or None where nothing was refused; other errors pass through."""
    try:
        call()
    except error as refusal:
        return refusal.field or ""
    return None


def is_same(left: object, right: object) -> bool:
    """Whether two values are equal in value *and* type all the way down; NaN is NaN, and `1` is neither `1.0` nor `True`."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(is_same(left[key], right[key]) for key in left)
    if isinstance(left, datetime) and isinstance(right, datetime):
        return left == right and left.utcoffset() == right.utcoffset()
    return left == right
