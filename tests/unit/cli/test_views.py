from __future__ import annotations

import errno
import io
from dataclasses import replace

import pytest
from rich.console import Console

from outboard.cli.tables import Column, render
from outboard.domain.phases import Phase
from outboard.domain.statuses import Link
from outboard.engine.outcomes import TaskEvent
from outboard.local.notes import write_note
from outboard.local.views import LiveView, PlainView, QuietView, open_view

LINK = Link(name="Console", url="https://x.example/1")


def event(
    phase: Phase | None,
    message: str = "",
    *,
    is_final: bool = False,
    attempt: int = 0,
    links: tuple[Link, ...] = (LINK,),
) -> TaskEvent:
    return TaskEvent(
        run_id="r",
        task_id="t",
        task_type="x",
        phase=phase,
        message=message,
        attempt=attempt,
        elapsed_s=65.0,
        links=links,
        is_final=is_final,
    )


def test_plain_lines_tell_changes_and_links_once(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainView() as view:
        view.show("t", event(Phase.RUNNING, "half\nway"))
        view.show("t", event(Phase.RUNNING, "half\nway"))
        view.show("t", event(Phase.WAITING_FOR_RESOURCES, "\x1b[2Jretry", attempt=1))
    assert capsys.readouterr().err.splitlines() == [
        "0:01:05 t running: half way",
        "0:01:05 t Console: https://x.example/1",
        "0:01:05 t waiting for resources (attempt 2): [2Jretry",
    ]


def test_a_silent_service_is_told_once_and_once_when_it_answers_again(capsys: pytest.CaptureFixture[str]) -> None:
    silent = "the service at h:1 cannot be reached; start it"
    with PlainView() as view:
        for name in ("a", "b"):
            view.show(name, event(Phase.RUNNING, "half way", links=()))
        for name in ("a", "b"):
            told = event(Phase.RUNNING, f"cannot be asked at present: {silent}", links=())
            view.show(name, replace(told, problem=silent, unreachable="h:1"))
        view.show("a", replace(event(Phase.RUNNING, "cancelling", links=()), unreachable="h:1"))
        view.show("a", event(Phase.RUNNING, "cancelling", links=()))
        view.show("b", event(Phase.RUNNING, "half way", links=()))
    assert capsys.readouterr().err.splitlines() == [
        "0:01:05 a running: half way",
        "0:01:05 b running: half way",
        f"0:01:05 {silent}",
        "0:01:05 a running: cancelling",
        "0:01:05 h:1 answers again",
    ]


def test_a_quiet_view_shows_sentences_only(capsys: pytest.CaptureFixture[str]) -> None:
    with QuietView() as view:
        view.show("t", event(Phase.RUNNING))
        view.say("cancelling")
    assert capsys.readouterr().err == "cancelling\n"


def test_the_live_table_shows_what_runs_first_and_counts_what_does_not_fit() -> None:
    view = LiveView()
    for number in range(40):
        view.show(f"done-{number}", event(Phase.SUCCEEDED, is_final=True))
    view.show("busy", event(Phase.RUNNING, "half way"))
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(view._draw())
    lines = console.export_text().splitlines()
    assert lines[0].split()[:3] == ["busy", "running", "0:01:05"]
    assert "half way  Console" in lines[0]
    assert lines[-1].split(maxsplit=3)[:3] == ["and", "11", "more"]
    assert "1 running, 40 succeeded" in lines[-1]


def test_a_table_in_a_pipe_is_neither_wrapped_nor_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert capsys is not None  # standard output is no terminal here
    text = render([Column("A"), Column("B", is_flexible=True)], [("x", "y" * 300), ("longer", "z\nz")], empty="none")
    assert text.splitlines() == ["A       B", "x       " + "y" * 300, "longer  z z"]
    assert render([Column("A")], [], empty="none") == "none"


def test_no_words_of_a_job_play_tricks_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trick = "\x1b]0;gone\x07 \r\x9b2J and\xa0on"
    write_note(f"error: {trick}\n  indented\tline")
    assert capsys.readouterr().err == "error: ]0;gone 2J and\xa0on\n  indented\tline\n"
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stdout.isatty", lambda is_it=is_terminal: is_it)
        shown = render([Column("MESSAGE", is_flexible=True)], [(trick,)], empty="")
        assert "]0;gone 2J and on" in shown
        assert not {"\x07", "\r", "\x9b"} & set(shown)
        assert "\x1b]" not in shown


def test_without_standard_error_nothing_is_shown_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    with open_view(is_quiet=False) as view:
        view.show("a", event(Phase.RUNNING))
        view.say("words")


class GoneTerminal(io.StringIO):
    """A terminal whose window was closed."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


def test_a_terminal_that_is_gone_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", GoneTerminal())
    with open_view(is_quiet=False) as view:
        assert isinstance(view, LiveView)
        view.show("a", event(Phase.RUNNING))
        view.say("words")
