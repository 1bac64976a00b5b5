"""What a command reads and what it may leave behind."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from outboard.domain.types import SimpleType
from outboard.domain.values import Binary, Blob, Schema, StructuredDataset
from outboard.errors import InvalidInputs, InvalidOutputs
from outboard.platforms.embedded import process_files
from outboard.platforms.embedded.process_files import OUTPUTS_FILE, encode_inputs, read_outputs


def test_inputs_are_plain_json() -> None:
    inputs = {
        "n": 3,
        "at": datetime(2024, 1, 31, 12, tzinfo=timezone.utc),
        "naive": datetime(2024, 1, 31, 12),  # noqa: DTZ001 - Flyte takes it for UTC
        "for": timedelta(minutes=1),
        "file": Blob("s3://b/x.csv", "csv"),
        "table": StructuredDataset("s3://b/t", "parquet"),
        "old": Schema("s3://b/s"),
        "raw": Binary(b"\0"),
        "deep": {"a": [1, None, {"b": True}]},
    }
    assert json.loads(encode_inputs(inputs)) == {
        "n": 3,
        "at": "2024-01-31T12:00:00+00:00",
        "naive": "2024-01-31T12:00:00+00:00",
        "for": 60.0,
        "file": {"uri": "s3://b/x.csv", "format": "csv"},
        "table": {"uri": "s3://b/t", "format": "parquet"},
        "old": {"uri": "s3://b/s"},
        "raw": {"base64": "AA=="},
        "deep": {"a": [1, None, {"b": True}]},
    }


def test_an_input_without_a_plain_form_is_refused() -> None:
    with pytest.raises(InvalidInputs, match=r"inputs\.odd"):
        encode_inputs({"odd": object()})


def test_a_later_line_wins_and_empty_ones_are_nothing(tmp_path: Path) -> None:
    (tmp_path / OUTPUTS_FILE).write_text('{"n": 1}\n\n{"n": 2}\n{"m": 3}')
    assert read_outputs(tmp_path, {"n": SimpleType.INTEGER, "m": SimpleType.FLOAT}) == {"n": 2, "m": 3.0}


def test_no_file_is_no_outputs(tmp_path: Path) -> None:
    assert read_outputs(tmp_path, {}) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "outputs.n is missing"),
        ('{"n": 1, "more": 2}', "outputs.more is not declared"),
        ('{"n": "x"}', "outputs.n"),
        ('{"n": 1}\nnot json', "line 2"),
        ("[1]", "line 1"),
        ("[" * 100_000, "line 1"),
    ],
)
def test_what_does_not_match_the_interface_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / OUTPUTS_FILE).write_text(content)
    with pytest.raises(InvalidOutputs, match=words):
        read_outputs(tmp_path, {"n": SimpleType.INTEGER})


def test_outputs_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_files, "MAX_OUTPUT_BYTES", 100)
    (tmp_path / OUTPUTS_FILE).write_text('{"n": 1}\n' * 20)
    with pytest.raises(InvalidOutputs, match="OUTBOARD_OUTPUT_PREFIX"):
        read_outputs(tmp_path, {"n": SimpleType.INTEGER})
