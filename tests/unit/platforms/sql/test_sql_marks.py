"""Marks: of two writers exactly one wins, on disk and in a bucket, also where a reply is lost."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from outboard.platforms.sql.marks import DECISION, END, Marks, MarksUnavailable, place_of


@pytest.fixture(params=["folder", "bucket"])
def marks(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a maker of marks of one place."""
    store = MemoryStore()

    def make() -> Marks:
        if request.param == "folder":
            return Marks(place_of(str(tmp_path / "out"), "ob-k"))
        made = Marks(place_of("s3://bucket/out", "ob-k"))
        made._store = store
        return made

    return make


def test_of_many_writers_one_wins_and_the_others_read_what_it_wrote(marks: Any) -> None:
    answers: list[Any] = []
    writers = [
        threading.Thread(target=lambda name=name: answers.append((name, marks().write_once(DECISION, {"who": name}))))
        for name in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (winner,) = [name for name, other in answers if other is None]
    assert {other["who"] for _, other in answers if other is not None} == {winner}
    assert marks().read(DECISION)["who"] == winner


@pytest.mark.parametrize("marks", ["bucket"], indirect=True)
def test_a_mark_that_the_client_sent_again_after_a_lost_reply_is_ours(
    marks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put

    def put_again(*arguments: Any, **options: Any) -> Any:
        put(*arguments, **options)
        return put(*arguments, **options)

    monkeypatch.setattr(obstore, "put", put_again)
    assert marks().write_once(DECISION, {"who": "we"}) is None
    other = marks().write_once(DECISION, {"who": "others"})
    assert other is not None
    assert other["who"] == "we"


def test_what_is_not_there_is_none_and_the_latest_replaces(marks: Any) -> None:
    assert marks().read(END) is None
    for number in range(2):
        marks().write_latest(END, {"n": number})
    assert marks().read(END)["n"] == 1


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MarksUnavailable):
        Marks(str(tmp_path / "file" / "below")).write_once(END, {})
