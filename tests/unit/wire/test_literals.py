from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import ormsgpack
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import interface_pb2, literals_pb2, types_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.places import MAX_DEPTH
from outboard.domain.tasks import Inputs
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
from outboard.domain.values import Binary, Blob, Offloaded, Schema, StructuredDataset
from outboard.errors import InvalidInputs, InvalidOutputs, InvalidTask
from outboard.wire.literals import (
    LazyValues,
    decode_interface,
    decode_type,
    decode_value,
    encode_interface,
    encode_type,
    encode_value,
    encode_values,
    guess_type,
)
from strategies import (
    anything,
    interfaces,
    is_same,
    names,
    offloaded,
    plain_values,
    refused_at,
    structs,
    typed_values,
    value_types,
)

INTEGER, FLOAT, STRING, STRUCT = SimpleType.INTEGER, SimpleType.FLOAT, SimpleType.STRING, SimpleType.STRUCT


def primitive(**value: Any) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(**value)))


def msgpack(value: object) -> literals_pb2.Literal:
    packed = ormsgpack.packb(value, option=ormsgpack.OPT_NON_STR_KEYS)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(binary=literals_pb2.Binary(value=packed, tag="msgpack")))


def generic(fields: dict[str, Any]) -> literals_pb2.Literal:
    struct = struct_pb2.Struct()
    struct.update(fields)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(generic=struct))


@given(typed_values())
def test_every_value_comes_back_as_it_went(typed: tuple[ValueType, object]) -> None:
    value_type, value = typed
    sent = encode_value(value, value_type).SerializeToString()
    assert is_same(decode_value(literals_pb2.Literal.FromString(sent), value_type), value)


@given(typed_values())
def test_a_value_without_a_declared_type_comes_back_as_it_went(typed: tuple[ValueType, object]) -> None:
    _, value = typed
    guessed = guess_type(value)
    assert is_same(decode_value(encode_value(value, guessed), guessed), value)


@given(value_types)
def test_every_type_comes_back_as_it_went(value_type: ValueType) -> None:
    sent = encode_type(value_type).SerializeToString()
    assert decode_type(types_pb2.LiteralType.FromString(sent)) == value_type


@given(interfaces)
def test_every_interface_comes_back_with_its_names_sorted(interface: Interface) -> None:
    sent = encode_interface(interface).SerializeToString()
    back = decode_interface(interface_pb2.TypedInterface.FromString(sent))
    assert dict(back.inputs) == interface.inputs
    assert dict(back.outputs) == interface.outputs
    assert list(back.inputs) == sorted(interface.inputs)


@given(offloaded, value_types)
def test_an_offloaded_value_stands_for_any_type(value: Offloaded, value_type: ValueType) -> None:
    assert decode_value(encode_value(value, value_type), value_type) == value
    assert decode_value(encode_value(value, value_type)) == value


@given(structs)
def test_a_struct_decodes_alike_with_and_without_its_type(value: dict[str, object]) -> None:
    literal = encode_value(value, STRUCT)
    assert is_same(decode_value(literal), value)
    assert isinstance(decode_value(literal, SimpleType.BINARY), Binary)


@given(anything, value_types)
def test_encoding_anything_raises_nothing_but_the_asked_for_error(value: object, value_type: ValueType) -> None:
    def send() -> None:
        sent = encode_value(value, value_type, "inputs.x", error=InvalidInputs).SerializeToString()
        received.append(decode_value(literals_pb2.Literal.FromString(sent), value_type))

    received: list[object] = []
    path = refused_at(send, InvalidInputs)
    assert received if path is None else path.startswith("inputs.x")


@given(typed_values(), value_types)
def test_decoding_as_another_type_raises_nothing_but_invalid_inputs(
    typed: tuple[ValueType, object], other: ValueType
) -> None:
    literal = encode_value(typed[1], typed[0])
    path = refused_at(lambda: decode_value(literal, other, "inputs.x"), InvalidInputs)
    assert path is None or path.startswith("inputs.x")


@given(plain_values, value_types)
def test_msgpack_of_anything_decoded_as_anything_raises_nothing_but_invalid_inputs(
    value: object, value_type: ValueType
) -> None:
    path = refused_at(lambda: decode_value(msgpack(value), value_type, "inputs.x"), InvalidInputs)
    assert path is None or path.startswith("inputs.x")


@given(st.binary(max_size=64), value_types | st.none())
def test_random_msgpack_bytes_raise_nothing_but_invalid_inputs(data: bytes, value_type: ValueType | None) -> None:
    literal = literals_pb2.Literal()
    literal.scalar.binary.value, literal.scalar.binary.tag = data, "msgpack"
    path = refused_at(lambda: decode_value(literal, value_type, "inputs.x"), InvalidInputs)
    assert path is None or path.startswith("inputs.x")


@st.composite
def damaged_bytes(draw: st.DrawFn) -> bytes:
    """Random bytes, or a valid message with a few bytes overwritten: those parse far more often."""
    value_type, value = draw(typed_values())
    message = draw(st.sampled_from([encode_values({"x": value}, {"x": value_type}), encode_type(value_type)]))
    data = bytearray(message.SerializeToString())
    for _ in range(draw(st.integers(0, 3)) if data else 0):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return draw(st.binary(max_size=64)) if draw(st.integers(0, 9)) == 0 else bytes(data)


@given(damaged_bytes(), value_types)
def test_damaged_bytes_decode_or_raise_an_error_of_the_tree(data: bytes, value_type: ValueType) -> None:
    with contextlib.suppress(DecodeError, InvalidTask):
        decode_type(types_pb2.LiteralType.FromString(data))
    with contextlib.suppress(DecodeError):
        literals = literals_pb2.LiteralMap.FromString(data).literals
        for types in ({}, dict.fromkeys(literals, value_type)):
            values = LazyValues(literals, types)
            for name in values:
                path = refused_at(partial(values.__getitem__, name), InvalidInputs)
                assert path is None or path.startswith(f"inputs.{name}")


@pytest.mark.parametrize(
    ("value", "value_type", "literal"),
    [
        (5, INTEGER, primitive(integer=5)),
        (5, FLOAT, primitive(float_value=5.0)),
        ("a", EnumType(("a", "b")), primitive(string_value="a")),
        (False, SimpleType.BOOLEAN, primitive(boolean=False)),
        ({"a": 1}, STRUCT, msgpack({"a": 1})),
    ],
)
def test_values_are_written_as_flytekit_writes_them(
    value: object, value_type: ValueType, literal: literals_pb2.Literal
) -> None:
    assert encode_value(value, value_type) == literal


def test_none_is_written_as_a_void_that_survives_serialization() -> None:
    literal = literals_pb2.Literal.FromString(encode_value(None, SimpleType.NONE).SerializeToString())
    assert literal.scalar.WhichOneof("value") == "none_type"


def test_empty_lists_and_maps_survive_serialization() -> None:
    for value, value_type in (([], ListType(INTEGER)), ({}, MapType(INTEGER))):
        literal = literals_pb2.Literal.FromString(encode_value(value, value_type).SerializeToString())
        assert decode_value(literal) == value


def test_a_union_stores_the_chosen_variant_with_its_tag() -> None:
    union = UnionType((Variant(STRING, "str"), Variant(INTEGER, "int")))
    stored = encode_value(5, union).scalar.union
    assert stored.value == primitive(integer=5)
    assert stored.type.simple == types_pb2.SimpleType.INTEGER
    assert stored.type.structure.tag == "int"


def test_a_datetime_is_seconds_and_nanoseconds_of_utc() -> None:
    moment = datetime(2024, 1, 2, 2, 4, 5, 678901, timezone(timedelta(hours=-1)))
    literal = encode_value(moment, SimpleType.DATETIME).scalar.primitive.datetime
    assert (literal.seconds, literal.nanos) == (1704164645, 678_901_000)


def test_a_naive_datetime_is_utc() -> None:
    naive = datetime(2024, 1, 2)  # noqa: DTZ001 - the case under test
    assert decode_value(encode_value(naive, SimpleType.DATETIME)) == naive.replace(tzinfo=timezone.utc)


def test_a_negative_duration_has_one_sign() -> None:
    literal = encode_value(timedelta(days=-1, microseconds=5), SimpleType.DURATION).scalar.primitive.duration
    assert (literal.seconds, literal.nanos) == (-86399, -999_995_000)


def test_a_declared_format_and_columns_fill_the_gaps() -> None:
    columns = (Column("a", INTEGER),)
    declared = StructuredDatasetType(columns, "parquet", "arrow", b"schema")
    stored = encode_value(StructuredDataset("s3://b/t"), declared).scalar.structured_dataset
    assert stored.metadata.structured_dataset_type == encode_type(declared).structured_dataset_type
    assert decode_value(encode_value(Blob("u"), BlobType("csv"))) == Blob("u", "csv")


def test_a_schema_column_that_is_not_simple_is_refused_by_name() -> None:
    with pytest.raises(InvalidOutputs, match=r"^outputs\.t\.a cannot be a schema's column; use one of int, "):
        encode_value(Schema("u", (Column("a", STRUCT),)), SchemaType(), "outputs.t")


def test_a_value_that_does_not_fit_is_refused_at_its_path() -> None:
    with pytest.raises(InvalidOutputs) as caught:
        encode_value([{"x": 1}, {"x": None}], ListType(MapType(INTEGER)), "outputs.rows")
    assert caught.value.message.startswith("outputs.rows[1].x must be int, not None")
    assert caught.value.field == "outputs.rows[1].x"


@pytest.mark.parametrize(
    ("literal", "value_type", "value"),
    [
        (generic({"a": 1, "b": [2.5, None]}), STRUCT, {"a": 1, "b": [2.5, None]}),
        (generic({"a": 1}), MapType(FLOAT), {"a": 1.0}),
        (msgpack({1: 2}), STRUCT, {1: 2}),
        (msgpack([1]), STRUCT, [1]),
        (msgpack(5), INTEGER, 5),
        (msgpack(5), FLOAT, 5.0),
        (msgpack("2024-01-02T00:00:00+00:00"), SimpleType.DATETIME, datetime(2024, 1, 2, tzinfo=timezone.utc)),
        (msgpack({"path": "s3://b/f"}), BlobType("csv"), Blob("s3://b/f", "csv")),
        (msgpack([1, 2]), ListType(UnionType.of(STRING, INTEGER)), [1, 2]),
        (primitive(float_value=5.0), INTEGER, 5),
        (primitive(integer=5), FLOAT, 5.0),
        (primitive(integer=5), UnionType.of(FLOAT, INTEGER), 5),
        (encode_value(5, UnionType.of(INTEGER)), INTEGER, 5),
        (encode_value(5, UnionType.of(INTEGER)), None, 5),
        (encode_value(5, UnionType.of(INTEGER)), UnionType.of(STRING, FLOAT), 5.0),
        (encode_value(Schema("u"), SchemaType()), StructuredDatasetType(), StructuredDataset("u", "parquet")),
        (encode_value(StructuredDataset("u", "csv"), StructuredDatasetType()), SchemaType(), Schema("u")),
        (encode_value(Blob("u", "tsv"), BlobType()), BlobType("csv"), Blob("u", "tsv")),
    ],
)
def test_readers_take_what_other_writers_send(
    literal: literals_pb2.Literal, value_type: ValueType | None, value: object
) -> None:
    assert is_same(decode_value(literal, value_type), value)


def test_hash_and_metadata_of_a_literal_change_nothing() -> None:
    literal = primitive(integer=5)
    literal.hash = "abc"
    literal.metadata["k"] = "v"
    assert decode_value(literal, INTEGER) == 5


def test_a_struct_with_nan_and_infinity_decodes() -> None:
    struct = struct_pb2.Struct()
    struct.fields["a"].number_value = float("nan")
    struct.fields["b"].number_value = float("inf")
    literal = literals_pb2.Literal(scalar=literals_pb2.Scalar(generic=struct))
    assert is_same(decode_value(literal), {"a": float("nan"), "b": float("inf")})


@pytest.mark.parametrize(
    ("literal", "value_type", "problem"),
    [
        (literals_pb2.Literal(), None, "holds no value"),
        (literals_pb2.Literal(scalar=literals_pb2.Scalar()), None, "of a kind that this version"),
        (primitive(), None, "is a primitive without a value"),
        (primitive(datetime={"seconds": 10**15}), None, "outside the years 1 to 9999"),
        (primitive(datetime={"nanos": -1}), None, "nanoseconds outside"),
        (primitive(duration={"seconds": 1, "nanos": -1}), None, "with one sign"),
        (primitive(duration={"seconds": 10**12}), None, "at most 10,000 years"),
        (primitive(string_value="x"), INTEGER, "must be int, not str"),
        (primitive(float_value=5.5), INTEGER, "must be int, not float"),
        (primitive(string_value="c"), EnumType(("a", "b")), "is not one of 'a', 'b'"),
        (primitive(string_value="x"), ListType(STRING), r"must be list\[str\], not str"),
        (primitive(boolean=True), UnionType.of(INTEGER, FLOAT), r"must be int \| float"),
        (encode_value(Blob("u"), BlobType()), SchemaType(), "must be schema, not Blob"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    literal: literals_pb2.Literal, value_type: ValueType | None, problem: str
) -> None:
    with pytest.raises(InvalidInputs, match=rf"^inputs\.x .*{problem}") as caught:
        decode_value(literal, value_type, "inputs.x")
    assert caught.value.field == "inputs.x"


def _wrapped(levels: int, wrap: Any, value: Any) -> Any:
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    ("wrap_type", "wrap_value"),
    [(ListType, lambda v: [v]), (MapType, lambda v: {"k": v}), (UnionType.of, lambda v: v)],
)
def test_the_deepest_allowed_value_fits_into_a_request_that_protobuf_can_read(wrap_type: Any, wrap_value: Any) -> None:
    value_type = _wrapped(MAX_DEPTH, wrap_type, SimpleType.DATETIME)
    value = _wrapped(MAX_DEPTH, wrap_value, datetime(2024, 1, 1, tzinfo=timezone.utc))
    request = agent_pb2.CreateTaskRequest(inputs=encode_values({"x": value}, {"x": value_type}))
    request.template.interface.CopyFrom(encode_interface(Interface(inputs={"x": value_type})))
    back = agent_pb2.CreateTaskRequest.FromString(request.SerializeToString())
    types = decode_interface(back.template.interface).inputs
    assert LazyValues(back.inputs.literals, types)["x"] == value


def test_values_and_types_nested_too_deeply_are_refused() -> None:
    deep_type = _wrapped(MAX_DEPTH + 1, ListType, INTEGER)
    with pytest.raises(InvalidOutputs, match="nested deeper than"):
        encode_value(_wrapped(MAX_DEPTH + 1, lambda v: [v], 1), deep_type)
    with pytest.raises(InvalidTask, match="nested deeper than"):
        encode_type(deep_type)
    literal, message = primitive(integer=1), types_pb2.LiteralType(simple=types_pb2.INTEGER)
    for _ in range(MAX_DEPTH + 1):
        literal = literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=[literal]))
        message = types_pb2.LiteralType(collection_type=message)
    for value_type in (None, deep_type):
        with pytest.raises(InvalidInputs, match="nested deeper than"):
            decode_value(literal, value_type)
    with pytest.raises(InvalidTask, match="nested deeper than"):
        decode_type(message)


def test_msgpack_nested_too_deeply_is_refused() -> None:
    for data in (b"\x91" * 100 + b"\x01", b"\x91" * 100_000 + b"\x01"):
        literal = literals_pb2.Literal()
        literal.scalar.binary.value, literal.scalar.binary.tag = data, "msgpack"
        with pytest.raises(InvalidInputs, match=r"^value is (nested deeper|a msgpack binary that cannot be read)"):
            decode_value(literal)


def test_an_unknown_type_of_an_output_is_refused_at_once_and_of_an_input_when_read() -> None:
    message = encode_interface(Interface(inputs={"a": INTEGER}))
    message.inputs.variables["new"].type.simple = 99
    interface = decode_interface(message)
    assert list(interface.inputs) == ["a", "new"]
    assert interface.inputs["a"] == INTEGER
    with pytest.raises(InvalidTask, match=r"^interface\.inputs\.new has a type that this version"):
        _ = interface.inputs["new"]
    message.outputs.variables["o"].SetInParent()
    with pytest.raises(InvalidTask, match=r"^interface\.outputs\.o "):
        decode_interface(message)


def test_an_undecodable_input_harms_only_who_reads_it() -> None:
    values = LazyValues({"bad": literals_pb2.Literal(), "good": primitive(integer=1)}, {})
    assert values["good"] == 1
    assert "bad" in values
    assert list(values) == ["bad", "good"]
    for _ in range(2):
        with pytest.raises(InvalidInputs, match=r"^inputs\.bad holds no value"):
            _ = values["bad"]


def test_inputs_are_decoded_once() -> None:
    values = LazyValues({"x": encode_value([1], ListType(INTEGER))}, {"x": ListType(INTEGER)})
    assert values["x"] is values["x"]


def test_inputs_come_in_declared_order_then_in_the_literals_own() -> None:
    one = primitive(integer=1)
    values = LazyValues({"z": one, "c": one, "a": one, "b": one}, {"b": INTEGER, "missing": INTEGER, "a": INTEGER})
    assert list(values) == ["b", "a", "z", "c"]


def test_a_missing_input_is_a_missing_key() -> None:
    message = literals_pb2.LiteralMap()
    values = LazyValues(message.literals, {"x": INTEGER})
    assert values.get("x", 7) == 7
    with pytest.raises(KeyError):
        _ = values["x"]
    assert not message.literals


def test_inputs_show_their_names_and_never_their_values() -> None:
    assert repr(LazyValues({"token": primitive(string_value="s3cr3t")}, {})) == "<LazyValues: token>"


def test_inputs_off_the_wire_go_out_as_they_came() -> None:
    literal = primitive(integer=1)
    literal.hash = "abc"
    values = LazyValues({"x": literal, "bad": literals_pb2.Literal()}, {})
    for mapping in (values, Inputs(values)):
        assert dict(encode_values(mapping, {}).literals) == {"x": literal, "bad": literals_pb2.Literal()}


@given(st.dictionaries(names, typed_values(), max_size=3))
def test_named_values_come_back_as_they_went(typed: dict[str, tuple[ValueType, object]]) -> None:
    types = {name: value_type for name, (value_type, _) in typed.items()}
    values = {name: value for name, (_, value) in typed.items()}
    back = LazyValues(encode_values(values, types).literals, types)
    assert list(back) == list(values)
    assert is_same(dict(back), values)
