"""What a query's inputs become, and what is read back."""

import json
from datetime import timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from outboard.detached import transfers
from outboard.domain.types import Column, ListType, SimpleType
from outboard.domain.values import Binary, Blob, Schema, StructuredDataset
from outboard.errors import InvalidInputs
from outboard.platforms.embedded.duckdb_inputs import InputError, decode, local_files, local_path, view_of
from outboard.platforms.embedded.queries import Query, read_failure, read_result

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.datetimes(timezones=st.just(timezone.utc)),
    st.timedeltas(),
)
PARAMETERS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


def document_of(**inputs: object) -> dict[str, dict[str, object]]:
    text = Query(sql="SELECT 1", output_uri="/out", inputs=inputs).to_spec().files["query.json"]
    document = json.loads(text)
    assert isinstance(document, dict)
    return document


@given(value=PARAMETERS)
def test_a_parameter_arrives_as_it_was(value: object) -> None:
    assert decode(document_of(x=value)["parameters"]["x"]) == value


def test_references_become_tables_and_lists_of_them_one_table() -> None:
    document = document_of(
        a=StructuredDataset("s3://b/a", "parquet"),
        b=Blob("/data/b.csv", "csv"),
        c=Schema("/data/c"),
        d=[Blob("/1", "json"), Blob("/2", "json")],
        n=7,
    )
    assert document["tables"] == {
        "a": {"uris": ["s3://b/a"], "format": "parquet"},
        "b": {"uris": ["/data/b.csv"], "format": "csv"},
        "c": {"uris": ["/data/c"], "format": "parquet"},
        "d": {"uris": ["/1", "/2"], "format": "json"},
    }
    assert document["parameters"] == {"n": 7}


@pytest.mark.parametrize("value", [Binary(b"x"), b"x", [Blob("/1", "csv"), 3], [Blob("/1", "csv"), Blob("/2", "json")]])
def test_an_input_that_sql_cannot_take_is_named(value: object) -> None:
    with pytest.raises(InvalidInputs, match=r"inputs\.wanted") as caught:
        document_of(wanted=value)
    assert caught.value.field == "wanted"


def test_a_result_becomes_a_dataset_with_typed_columns() -> None:
    columns = [["n", "integer"], ["l", {"list": {"list": "float"}}], ["odd", "something new"]]
    result = read_result({"uri": "/r", "columns": columns, "rows": 2, "size_bytes": 9})
    assert result is not None
    assert result.dataset == StructuredDataset(
        "/r",
        "parquet",
        (
            Column("n", SimpleType.INTEGER),
            Column("l", ListType(ListType(SimpleType.FLOAT))),
            Column("odd", SimpleType.STRING),
        ),
    )
    assert (result.rows, result.size_bytes) == (2, 9)


def test_what_a_job_did_not_leave_is_none() -> None:
    assert read_result(None) is None
    assert read_failure({}) is None


@pytest.mark.parametrize(
    ("uri", "path"),
    [("/a/b c", "/a/b c"), ("file:///a/b%20c", "/a/b c"), ("s3://bucket/a", None), ("gs://bucket/a", None)],
)
def test_only_paths_and_file_addresses_are_local(uri: str, path: str | None) -> None:
    assert local_path(uri) == (None if path is None else Path(path))


def test_a_directory_gives_the_files_of_the_format_else_all_but_markers(tmp_path: Path) -> None:
    for name in ("00000", "_SUCCESS", ".hidden.parquet"):
        (tmp_path / name).touch()
    assert local_files("t", [str(tmp_path)], "parquet", tmp_path / "staging") == ([tmp_path / "00000"], "parquet")
    (tmp_path / "part-0.parquet").touch()
    assert local_files("t", [str(tmp_path)], "", tmp_path / "staging")[0] == [tmp_path / "part-0.parquet"]


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [("", "x.csv.gz", "csv"), ("", "x.ndjson", "json"), ("", "x.pq", "parquet"), ("CSV", "x.data", "csv")],
)
def test_the_format_is_the_declared_one_else_the_extensions(
    tmp_path: Path, declared: str, name: str, expected: str
) -> None:
    (tmp_path / name).touch()
    assert local_files("t", [str(tmp_path / name)], declared, tmp_path)[1] == expected


def test_a_table_without_files_or_of_a_foreign_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input t has no files"):
        local_files("t", [str(tmp_path / "nowhere")], "parquet", tmp_path)
    (tmp_path / "x.avro").touch()
    with pytest.raises(InputError, match="avro"):
        local_files("t", [str(tmp_path / "x.avro")], "avro", tmp_path)


def test_names_and_paths_are_quoted() -> None:
    statement = view_of('a" AS SELECT 1; --', [Path("/it's")], "parquet")
    assert statement == """CREATE VIEW "a"" AS SELECT 1; --" AS SELECT * FROM read_parquet(['/it''s'])"""


def test_a_store_gives_one_object_or_a_folder_and_takes_a_file(tmp_path: Path) -> None:
    store = MemoryStore()
    for name in ("table/00000", "table/deep/00001", "alone.csv"):
        store.put(name, name.encode())
    transfers.fetch_from(store, "table", tmp_path / "table")
    transfers.fetch_from(store, "alone.csv", tmp_path / "alone.csv")
    found = {str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*") if file.is_file()}
    assert found == {name: name for name in ("table/00000", "table/deep/00001", "alone.csv")}
    transfers.upload_to(store, "back", tmp_path / "alone.csv")
    assert bytes(store.get("back").bytes()) == b"alone.csv"


def test_a_missing_object_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(transfers.MissingObject):
        transfers.fetch_from(MemoryStore(), "nowhere", tmp_path / "x")


def test_an_unknown_scheme_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(transfers.TransferError, match="gopher"):
        transfers.fetch("gopher://x/y", tmp_path / "x")
