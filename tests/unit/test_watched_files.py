"""Files that are replaced while they are watched: what is in order is taken, what is not changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from outboard.errors import InvalidSettings
from outboard.files import Watched, read_file, read_small, stamp


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("1")
    return path


def number(path: Path) -> int:
    text = read_file(path, "number").decode()
    if not text.isdecimal():
        raise InvalidSettings(f"{text!r} is no number")
    return int(text)


class Numbers:
    """A number in a file, watched; how often it was read."""

    def __init__(self, path: Path, again_s: float) -> None:
        self.reads = 0
        self._path = path
        self.watched = Watched([path], self._read, again_s=again_s)

    def _read(self) -> int:
        self.reads += 1
        return number(self._path)


def replaced(path: Path, text: str, *, modified_ns: int | None = None) -> None:
    """Put another file in its place: another inode, so nothing depends on the clock of the disk."""
    new = path.with_suffix(".new")
    new.write_text(text)
    if modified_ns is not None:
        os.utime(new, ns=(modified_ns, modified_ns))
    new.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"longer than before"),
        lambda path: os.utime(path, (1, 1)),
        lambda path: replaced(path, "5678", modified_ns=path.stat().st_mtime_ns),
    ],
)
def test_a_stamp_changes_with_its_files_and_with_nothing_else(tmp_path: Path, change: Callable[[Path], object]) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"1234")
    before = stamp([file])
    other.write_bytes(b"x")
    assert stamp([file]) == before
    change(file)
    assert stamp([file]) != before


def test_a_file_is_read_when_it_has_changed_and_not_before(file: Path) -> None:
    numbers = Numbers(file, 0.0)
    watched = numbers.watched
    assert not watched.look()
    assert numbers.reads == 1
    replaced(file, "2")
    assert watched.look()
    assert (watched.value, numbers.reads) == (2, 2)
    os.utime(file, (1, 1))  # written again with what it held: read, and nothing new
    assert not watched.look()
    assert not watched.look()
    assert (watched.value, numbers.reads) == (2, 3)


def test_the_link_of_a_mounted_secret_is_followed_to_its_end(tmp_path: Path) -> None:
    for name, text in (("first", "1"), ("second", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(text)
    (tmp_path / "data").symlink_to("first")
    (tmp_path / "token").symlink_to("data/token")
    watched = Watched([tmp_path / "token"], lambda: number(tmp_path / "token"))
    (tmp_path / "next").symlink_to("second")
    (tmp_path / "next").replace(tmp_path / "data")
    assert watched.look()
    assert watched.value == 2


@pytest.mark.parametrize("text", ["", "words", None])
def test_what_is_not_in_order_changes_nothing_and_is_told_until_it_is_corrected(file: Path, text: str | None) -> None:
    watched = Numbers(file, 0.0).watched
    file.unlink() if text is None else replaced(file, text)
    assert not watched.look()
    assert watched.value == 1
    assert ("cannot be read (no such file" if text is None else f"{text!r} is no number") in watched.problem
    replaced(file, "2")
    assert watched.look()
    assert (watched.value, watched.problem) == (2, "")


def test_the_file_of_before_that_comes_back_is_in_order_again(file: Path) -> None:
    watched = Numbers(file, 0.0).watched
    aside = file.with_suffix(".aside")
    file.rename(aside)
    assert not watched.look()
    assert watched.problem
    aside.rename(file)
    assert not watched.look()
    assert not watched.problem


@pytest.mark.parametrize(("again_s", "reads"), [(0.0, 3), (3600.0, 2)])
def test_a_refused_file_that_did_not_change_is_read_again_after_a_while_only(
    file: Path, again_s: float, reads: int
) -> None:
    numbers = Numbers(file, again_s)
    replaced(file, "words")
    for _ in range(2):
        assert not numbers.watched.look()
    assert numbers.reads == reads
    replaced(file, "2")  # however soon
    assert numbers.watched.look()


def test_what_was_written_while_it_was_read_is_read_once_more(file: Path) -> None:
    writes = iter(["3"])

    def read() -> int:
        found = number(file)
        if found == 2:
            replaced(file, next(writes))
        return found

    watched = Watched([file], read)
    replaced(file, "2")
    assert not watched.look()
    assert watched.value == 1
    assert watched.look()
    assert watched.value == 3


def test_files_that_are_not_in_order_at_the_start_are_an_error(file: Path) -> None:
    file.write_text("words")
    with pytest.raises(InvalidSettings, match="is no number"):
        Watched([file], lambda: number(file))


def test_no_more_is_read_than_belongs_there(file: Path) -> None:
    assert read_small(file, 1) == b"1"
    file.write_text("12")
    with pytest.raises(ValueError, match="more than 1 bytes"):
        read_small(file, 1)
