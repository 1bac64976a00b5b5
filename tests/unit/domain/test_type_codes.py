"""Types in a handle come back as they went, apart from what the check of outputs does not need."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.keys import Key
from outboard.domain.type_codes import decode_type_codes, encode_type_codes
from outboard.domain.types import (
    ListType,
    MapType,
    SchemaType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
    ValueType,
    Variant,
)
from outboard.errors import ForeignHandle
from strategies import names, value_types

HANDLE = Handle(agent="a", task_type="t", key=Key("ob-f-n0-0-" + "a" * 26))


def _kept(value_type: ValueType) -> ValueType:
    match value_type:
        case ListType(element):
            return ListType(_kept(element))
        case MapType(entry):
            return MapType(_kept(entry))
        case UnionType(variants):
            return UnionType(tuple(Variant(_kept(each.type), each.tag) for each in variants))
        case SchemaType():
            return SchemaType()
        case StructuredDatasetType():
            return StructuredDatasetType(format=value_type.format)
    return value_type


@given(st.dictionaries(names, value_types, max_size=3))
def test_types_come_back_without_their_columns(declared: dict[str, ValueType]) -> None:
    wanted = {name: _kept(each) for name, each in declared.items()}
    assert decode_type_codes(encode_type_codes(declared)) == wanted
    codec = HandleCodec()
    sent = codec.decode(codec.encode(replace(HANDLE, output_types=encode_type_codes(declared)))).output_types
    assert sent is None or decode_type_codes(sent) == wanted


@pytest.mark.parametrize("simple", SimpleType)
def test_every_simple_type_has_a_code_of_its_own(simple: SimpleType) -> None:
    assert decode_type_codes(encode_type_codes({"o": simple})) == {"o": simple}


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("LMUEBCDinx", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("LMU", max_size=1), inner, max_size=2),
    max_leaves=6,
)


@given(_json)
def test_codes_of_others_are_foreign_or_types(code: Any) -> None:
    try:
        decoded = decode_type_codes({"o": code})
    except ForeignHandle:
        return
    assert encode_type_codes(decoded)


def test_codes_nested_without_end_are_foreign() -> None:
    code: Any = "i"
    for _ in range(5_000):
        code = ["L", code]
    with pytest.raises(ForeignHandle):
        decode_type_codes({"o": code})
