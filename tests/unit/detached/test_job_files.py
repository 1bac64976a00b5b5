"""Writing and reading the files of a job directory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from outboard.detached import job_files


def test_of_many_writers_exactly_one_wins_and_no_trace_of_the_others_stays(tmp_path: Path) -> None:
    barrier = Barrier(8)

    def write(number: int) -> bool:
        barrier.wait()
        return job_files.write_once(str(tmp_path), "pid.json", {"writer": number})

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert job_files.read_document(str(tmp_path), "pid.json") == {"writer": won.index(True)}
    assert [entry.name for entry in tmp_path.iterdir()] == ["pid.json"]


def test_the_latest_document_replaces_the_one_before(tmp_path: Path) -> None:
    for percent in (1, 2):
        job_files.write_latest(str(tmp_path), "progress.json", {"percent": percent})
    assert job_files.read_document(str(tmp_path), "progress.json") == {"percent": 2}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b"null"])
def test_a_damaged_document_is_there_and_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pid.json").write_bytes(content)
    assert job_files.read_document(str(tmp_path), "pid.json") == {}


def test_a_missing_document_is_none(tmp_path: Path) -> None:
    assert job_files.read_document(str(tmp_path), "pid.json") is None


def test_documents_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    job_files.write_once(str(tmp_path), "spec.json", {})
    assert (tmp_path / "spec.json").stat().st_mode & 0o777 == 0o600
