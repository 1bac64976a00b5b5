"""Parked handles: each is named in the log once."""

from structlog.testing import capture_logs

from outboard.errors import UnreadableHandle
from outboard.host import parking
from outboard.host.parking import ParkedHandles


def test_each_parked_handle_is_named_once_and_shows_nothing_of_its_bytes() -> None:
    parked = ParkedHandles()
    with capture_logs() as lines:
        for _ in range(3):
            for encoded in (b"\xffOB\x02secret-one", b"\xffOB\x02secret-two"):
                parked.tell(encoded, UnreadableHandle("written by a newer release; upgrade"))
    assert len(lines) == 2
    assert {line["reason"] for line in lines} == {"written by a newer release; upgrade"}
    assert "secret" not in repr(lines)


def test_what_is_remembered_of_parked_handles_is_bounded() -> None:
    parked = ParkedHandles()
    with capture_logs():
        for number in range(parking._REMEMBERED + 10):
            parked.tell(b"%d" % number, UnreadableHandle("x"))
    assert len(parked._told) <= parking._REMEMBERED
