"""How a command gets a task's inputs and gives its outputs: two files of JSON, named by variables.

==========================  =====================================================================================
variable                    what it names
==========================  =====================================================================================
`OUTBOARD_INPUTS`           a file with one JSON object: the inputs by name
`OUTBOARD_OUTPUTS`          a file to write: JSON objects, one a line; together they are the outputs by name
`OUTBOARD_OUTPUT_PREFIX`    where data belongs that the outputs refer to; a folder of the job where the task has none
`OUTBOARD_JOB_DIR`          the job directory (set for every job)
==========================  =====================================================================================

Plain values are as JSON has them; datetimes are ISO 8601 text, durations seconds, references objects with a `uri` (or
just the address, in outputs). Outputs are read by the task's interface, so `echo '{"n": 3}' >> "$OUTBOARD_OUTPUTS"` is
an integer or a float as declared. A later line wins over an earlier one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from outboard.domain.conformity import check_outputs, enum_text
from outboard.domain.places import Place
from outboard.domain.plain_values import read_plain
from outboard.domain.types import ValueType
from outboard.domain.values import Binary, Blob, Schema, StructuredDataset
from outboard.errors import InvalidInputs, InvalidOutputs

INPUTS_FILE: Final = "inputs.json"
OUTPUTS_FILE: Final = "outputs.jsonl"
DATA_FOLDER: Final = "outputs"
MAX_OUTPUT_BYTES: Final = 16 * 1024 * 1024


def variables(folder: Path, output_prefix: str) -> dict[str, str]:
    """Return the variables that name a job's files."""
    return {
        "OUTBOARD_INPUTS": str(folder / INPUTS_FILE),
        "OUTBOARD_OUTPUTS": str(folder / OUTPUTS_FILE),
        "OUTBOARD_OUTPUT_PREFIX": output_prefix or str(folder / DATA_FOLDER),
    }


def encode_inputs(inputs: Mapping[str, object]) -> str:
    """Return a task's inputs as JSON.

    Raises:
        InvalidInputs: An input is of a kind that JSON cannot tell.
    """
    return json.dumps({name: _plain(name, inputs[name]) for name in inputs})


def read_outputs(folder: Path, declared: Mapping[str, ValueType]) -> dict[str, object]:
    """Return the outputs that a command left, of their declared types.

    Raises:
        InvalidOutputs: They are not JSON, too large, or do not match what is declared.
    """
    found = _merge(folder / OUTPUTS_FILE)
    values = {
        name: read_plain(value, declared[name], Place(f"outputs.{name}", InvalidOutputs)) if name in declared else value
        for name, value in found.items()
    }
    check_outputs(values, declared)
    return values


def _merge(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_OUTPUT_BYTES + 1)
    except FileNotFoundError:
        return {}
    if len(content) > MAX_OUTPUT_BYTES:
        raise InvalidOutputs("the outputs exceed 16 MiB; write data at OUTBOARD_OUTPUT_PREFIX and give its address")
    merged: dict[str, object] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            merged.update(_read_line(line, number))
    return merged


def _read_line(line: bytes, number: int) -> dict[str, object]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise InvalidOutputs(f'line {number} of the outputs is no JSON object; write {{"name": value}} on one line')
    return entry


def _plain(name: str, value: object) -> object:  # noqa: PLR0911 - one line a kind
    value = enum_text(value)
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).isoformat()
        case timedelta():
            return value.total_seconds()
        case Blob() | StructuredDataset():
            return {"uri": value.uri, "format": value.format}
        case Schema():
            return {"uri": value.uri}
        case bytes() | Binary():
            raw = value if isinstance(value, bytes) else value.value
            return {"base64": base64.b64encode(raw).decode()}
        case Mapping():
            return {str(key): _plain(name, each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(name, each) for each in value]
    kind = type(value).__name__
    raise InvalidInputs(f"inputs.{name} is of kind {kind}, which no process can take; pass it by reference", field=name)
