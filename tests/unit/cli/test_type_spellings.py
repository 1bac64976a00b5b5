from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.cli.type_spellings import parse_type
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

formats = st.sampled_from(["", "csv", "parquet", "tar.gz"])
enums = st.lists(st.text(max_size=8), min_size=1, max_size=3)
leaves = st.one_of(
    st.sampled_from(SimpleType),
    st.builds(lambda values: EnumType(tuple(values)), enums),
    st.builds(BlobType, formats, st.booleans()),
    st.builds(lambda form: StructuredDatasetType(format=form), formats),
    st.just(SchemaType()),
)


def wider(types: st.SearchStrategy[ValueType]) -> st.SearchStrategy[ValueType]:
    # A union in a union is spelled like one union, so unions are made of what is none; an enum swallows what follows a comma.
    single = types.filter(lambda each: not isinstance(each, UnionType))
    unions = st.lists(single, min_size=2, max_size=3).map(lambda each: UnionType.of(*each))
    return st.one_of(st.builds(ListType, types), st.builds(MapType, types), unions)


@given(st.recursive(leaves, wider, max_leaves=6))
def test_a_type_reads_back_from_the_spelling_that_messages_show(value_type: ValueType) -> None:
    assert parse_type(str(value_type)) == value_type


@pytest.mark.parametrize(
    ("text", "value_type"),
    [
        ("string", SimpleType.STRING),
        ("dict", SimpleType.STRUCT),
        ("dict[str, int]", MapType(SimpleType.INTEGER)),
        ("file(csv)", BlobType("csv")),
        ("directory", BlobType("", multipart=True)),
        ("dataset ( parquet )", StructuredDatasetType(format="parquet")),
        ("int|None", UnionType.of(SimpleType.INTEGER, SimpleType.NONE)),
    ],
)
def test_everyday_words_name_types_too(text: str, value_type: ValueType) -> None:
    assert parse_type(text) == value_type


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a type is missing at the end"),
        ("lst[int]", "did you mean 'list'"),
        ("list[int", "']' is missing at the end"),
        ("dict[int, str]", "'str', the type of every dictionary's keys"),
        ("int int2 $", "has no place in one"),
        ("one of a", "there is no type 'one of a'"),
        ("int, str", "the end is missing before ','"),
        ("list[" * 40 + "int" + "]" * 40, "nested deeper"),
    ],
)
def test_what_is_no_type_is_refused_with_the_spot_and_the_remedy(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"(?s).*") as refusal:
        parse_type(text)
    assert words in str(refusal.value)


@given(st.text(max_size=40))
def test_any_text_is_a_type_or_refused_by_a_value_error(text: str) -> None:
    try:
        value_type = parse_type(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - both ends are right; any other exception fails the test
    else:
        assert parse_type(str(value_type)) == value_type
