"""What callers, platforms and agents put into a log line stays inside of it, and a storm of lines is cut short."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from outboard.cli.log_lines import LONGEST_LINE, LONGEST_TEXT, Legible, Storms, legible

HOSTILE = {
    "newline": 'node\n{"event": "forged", "level": "error"}',
    "carriage return": "node\rforged",
    "escape": "\x1b[2K\x1b[1Aforged\x1b]0;title\x07",
    "one-byte escape": "\x9b31mred",
    "nul": "a\x00b",
    "bidi": "user\u202egnp.exe\u2066\u2069",
    "invisible": "a\u200b\u200f\ufeffb",
    "separators": "a\u2028b\u2029c\x85d",
    "surrogate": "a\ud800b",
    "tags": "a\U000e0041b",
    "json": '", "level": "info", "x": "',
    "format": "%s %(event)s {event} {0.__class__}",
}


def cleaned(**fields: Any) -> dict[str, Any]:
    return dict(Legible(lambda text: text.replace("hunter2", "[redacted]"))(None, "info", {"event": "e", **fields}))


def json_line(value: str) -> str:
    return str(structlog.processors.JSONRenderer()(None, "info", cleaned(name=value)))


def pretty_line(value: str) -> str:
    return str(structlog.dev.ConsoleRenderer(colors=False)(None, "info", cleaned(name=value)))


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("form", [json_line, pretty_line], ids=["json", "pretty"])
def test_a_hostile_name_is_one_line_of_what_can_be_seen(form: Any, value: str) -> None:
    line = form(value)
    assert line == legible(line)
    assert "\n" not in line
    if form is json_line:
        assert json.loads(line) == {"event": "e", "name": legible(value)}
        assert legible(json.loads(line)["name"]) == json.loads(line)["name"]


def test_what_is_ordinary_stays_as_it_is() -> None:
    ordinary = {"job": "job-1/ü/日本語", "path": r"C:\new", "seconds": 1.5, "is": True, "none": None}
    assert cleaned(**ordinary) == {"event": "e", **ordinary}


def test_keys_nested_values_and_objects_are_treated_as_texts_are() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "odd\nhunter2"

    line = cleaned(**{"a\nb": {"c\x1b": ["d\n", 3]}, "odd": Odd(), "data": b"\n"})
    assert line == {"event": "e", "a\\nb": {"c\\x1b": ["d\\n", 3]}, "odd": "odd\\n[redacted]", "data": "b'\\n'"}


def test_a_secret_in_a_key_is_redacted_at_every_depth() -> None:
    line = cleaned(**{"of hunter2": 1, "deep": {"hunter2": [{"hunter2": "x\x00"}]}})
    assert "hunter2" not in str(line)
    assert line["of [redacted]"] == 1


def test_of_a_text_without_end_only_the_beginning_is_searched_for_secrets() -> None:
    """Redaction takes time in proportion to the text, and whoever writes it is not the one who waits."""
    longest = 0

    def redact(text: str) -> str:
        nonlocal longest
        longest = max(longest, len(text))
        return text

    Legible(redact)(None, "info", {"event": "e" * 10**6, "k" * 10**6: "v" * 10**6, "list": ["v" * 10**6]})
    assert longest == 65_536


def test_a_megabyte_is_cut_and_says_so_and_what_happened_is_kept() -> None:
    line = cleaned(**{f"name{number}": "x" * 1_000_000 for number in range(9)})
    assert line["event"] == "e"
    assert line["name0"] == "x" * LONGEST_TEXT + "... (1000000 characters)"
    assert sum(value.count("x") for value in line.values()) <= LONGEST_LINE
    assert line["name8"] == "... (1000000 characters)"


@pytest.mark.parametrize("text", ["é", "\U0001f600", '"', "\\", "\x00", "a\u202e"])
def test_a_line_is_short_enough_for_a_parent_to_read_it_whatever_json_makes_of_it(text: str) -> None:
    for length in (700, 1_400, 5_000, 1_000_000):
        line = structlog.processors.JSONRenderer()(None, "info", cleaned(a=text * length, b=text * length, c=text))
        assert len(line) < 12_000
        assert json.loads(line)["a"][0] == legible(text)[0]


def test_a_secret_beside_control_characters_is_found_before_they_are_spelled_out() -> None:
    assert cleaned(reason="\x1bhunter2\n")["reason"] == "\\x1b[redacted]\\n"


def left_out(level: str) -> float:
    return REGISTRY.get_sample_value("outboard_log_lines_left_out_total", {"level": level}) or 0.0


def test_a_storm_of_one_event_is_cut_short_counted_and_told() -> None:
    now = [100.0]
    storms = Storms(lambda: now[0])
    before = left_out("warning")

    def written(event: str = "call failed", level: str = "warning") -> Any:
        try:
            return storms(None, level, {"event": event, "level": level})
        except structlog.DropEvent:
            return None

    lines = [written() for _ in range(5_000)]
    assert len([line for line in lines if line]) == 100
    assert left_out("warning") == before + 4_900
    assert written("another event") == {"event": "another event", "level": "warning"}
    assert written("call failed", "info") == {"event": "call failed", "level": "info"}
    now[0] += 0.11
    assert written() == {"event": "call failed", "level": "warning", "left_out": 4_900}
    assert written() is None
    now[0] += 3600
    assert written()["left_out"] == 1
    assert "left_out" not in written()


def test_events_that_are_made_up_one_after_the_other_share_what_is_left() -> None:
    storms = Storms(lambda: 100.0)
    written = 0
    for number in range(3_000):
        try:
            storms(None, "error", {"event": f"made up {number}", "level": "error"})
        except structlog.DropEvent:
            continue
        written += 1
    assert written <= 1_101


def test_a_process_writes_neither_more_nor_other_lines() -> None:
    code = (
        "import structlog, logging; from outboard.cli.log_output import configure_logs; configure_logs(str, form='json')\n"
        "for _ in range(500): logging.getLogger('peer').error('bad %s', 'peer\\n{\"event\": \"forged\"}')\n"
        "structlog.get_logger().info('last', node='a\\u202eb\\x1b[31m')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    lines = [json.loads(line) for line in io.BytesIO(done.stderr)]
    assert 100 <= len(lines) - 1 < 150
    assert {line["event"] for line in lines} == {'bad peer\\n{"event": "forged"}', "last"}
    assert lines[-1]["node"] == "a\\u202eb\\x1b[31m"
