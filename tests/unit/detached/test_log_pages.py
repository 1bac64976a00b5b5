"""Paging through a log that is still written."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from outboard.detached.logs import LONGEST_LINE_BYTES, read_page


def read_all(path: Path, limit_bytes: int) -> tuple[list[str], int]:
    lines: list[str] = []
    offset = 0
    while True:
        page = read_page(path, offset, limit_bytes, is_final=True)
        assert page.ended or page.next_offset > offset, "a page that is not the last one moves on"
        lines += page.lines
        offset = page.next_offset
        if page.ended:
            return lines, offset


@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=80)),
    limit_bytes=st.integers(1, 200),
)
def test_pages_together_are_the_log(lines: list[str], limit_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stdout.log")
        path.write_bytes("".join(line + "\n" for line in lines).encode())
        found, offset = read_all(path, limit_bytes)
        assert found == lines
        assert offset == path.stat().st_size


@given(content=st.binary(max_size=4 * LONGEST_LINE_BYTES), repeat=st.integers(1, 3))
def test_any_bytes_page_to_the_end_in_short_lines(content: bytes, repeat: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stdout.log")
        path.write_bytes(content * repeat)
        found, offset = read_all(path, 1)
        assert offset == len(content) * repeat
        assert all(len(line) <= LONGEST_LINE_BYTES for line in found)


def test_a_line_that_is_still_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "stdout.log"
    path.write_bytes(b"first\nsec")
    page = read_page(path, 0, 1000, is_final=False)
    assert (page.lines, page.next_offset, page.ended) == (("first",), 6, False)
    path.write_bytes(b"first\nsecond\n")
    assert read_page(path, page.next_offset, 1000, is_final=False).lines == ("second",)


def test_a_long_line_is_cut_between_characters(tmp_path: Path) -> None:
    path = tmp_path / "stdout.log"
    text = "x" + "é" * LONGEST_LINE_BYTES
    path.write_text(text + "\n", "utf-8")
    lines, _ = read_all(path, 1)
    assert len(lines) > 1
    assert "".join(lines) == text


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "stdout.log"
    path.write_bytes(b"a\xff\xfeb\n")
    assert read_page(path, 0, 1000, is_final=True).lines == ("a��b",)


def test_a_log_that_was_never_written_is_empty(tmp_path: Path) -> None:
    page = read_page(tmp_path / "stdout.log", 0, 1000, is_final=True)
    assert (page.lines, page.next_offset, page.ended) == ((), 0, True)
