"""What a file sensor's path names, and what the operator lets it name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.errors import InvalidInputs, InvalidSettings
from outboard.platforms.files.addresses import Address, is_allowed, parse_address
from outboard.platforms.files.platform import Files


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/data/day.csv", Address(store="file://", folder="data/day.csv", is_file=True)),
        ("/data//./day.csv", Address(store="file://", folder="data/day.csv", is_file=True)),
        ("file:///data/a%20day.csv", Address(store="file://", folder="data/a day.csv", is_file=True)),
        ("file://localhost/data/x", Address(store="file://", folder="data/x", is_file=True)),
        ("/data/", Address(store="file://", folder="data")),
        ("s3://bucket/day/", Address(store="s3://bucket", folder="day")),
        ("s3a://bucket/day", Address(store="s3://bucket", folder="day", is_file=True)),
        ("gs://bucket/", Address(store="gs://bucket", folder="")),
        (
            "abfs://box@account.dfs.core.windows.net/x",
            Address(store="abfs://box@account.dfs.core.windows.net", folder="x", is_file=True),
        ),
        ("/data/*.csv", Address(store="file://", folder="data", glob=("data", "*.csv"), is_deep=False)),
        ("/data/*/x.csv", Address(store="file://", folder="data", glob=("data", "*", "x.csv"))),
        ("s3://b/a/**", Address(store="s3://b", folder="a", glob=("a", "**"))),
        ("s3://b/a?/", Address(store="s3://b", folder="", glob=("a?", "**"))),
    ],
)
def test_a_path_names_a_file_a_folder_or_a_glob(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("day.csv", "./day.csv", "", "/", "~/day.csv", "/data/../etc/passwd", "s3://b/../x", "file://other/x"),
        *("s3://", "s3:///x", "s3://bucket", "http://host/x", "memory://x/y", "s3://user:word@b/x", "s3://b:9000/x"),
    ],
)
def test_what_names_nothing_to_look_at_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(InvalidInputs, match="the path"):
        parse_address(text)


@pytest.mark.parametrize(
    ("glob", "path", "is_match"),
    [
        ("/d/*.csv", "d/a.csv", True),
        ("/d/*.csv", "d/e/a.csv", False),
        ("/d/**/a.csv", "d/a.csv", True),
        ("/d/**/a.csv", "d/e/f/a.csv", True),
        ("/d/**/*.csv", "d/e/f/a.txt", False),
        ("/d/**", "d/e/f", True),
        ("/d/**/e/**/x", "d/1/e/2/e/x", True),
        ("/d/[ab]?.csv", "d/b1.csv", True),
        ("/d/[!ab]*", "d/b1.csv", False),
        ("/d/[z-a]", "d/z", False),
    ],
)
def test_globs_match_as_in_a_shell(glob: str, path: str, is_match: bool) -> None:
    assert parse_address(glob).matches(path) is is_match


def test_no_glob_takes_long() -> None:
    glob = parse_address("/" + "**/a*a*a*b/" * 30 + "c")
    assert not glob.matches("/".join(["a" * 40] * 60))


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidInputs:
        return
    assert ".." not in address.folder.split("/")


@pytest.mark.parametrize(
    ("place", "roots", "expected"),
    [
        ("/data/x", None, True),
        ("/data/x", (), False),
        ("/data/x", ("/data",), True),
        ("/data", ("/data/",), True),
        ("/database/x", ("/data",), False),
        ("s3://bucket/x", ("s3://bucket",), True),
        ("s3://bucket2/x", ("s3://bucket",), False),
        ("/etc/passwd", ("/",), True),
    ],
)
def test_only_what_lies_in_a_root_is_allowed(place: str, roots: tuple[str, ...] | None, expected: bool) -> None:
    assert is_allowed(place, roots) is expected


def test_a_root_is_a_path_or_a_stores_address() -> None:
    with pytest.raises(InvalidSettings, match=r"platforms\.files\.roots"):
        Files.configure({"roots": ["data"]})
