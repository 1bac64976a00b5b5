"""The worker's side of `parameters`: values as they came, for drivers."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any


class JsonValue:
    """A dictionary on its way into a JSON column.

    Attributes:
        value: As Python has it.
        text: As JSON has it.
    """

    __slots__ = ("text", "value")

    def __init__(self, text: str) -> None:
        self.text = text
        self.value = json.loads(text)


def decode(value: Any) -> Any:
    """Return a value as `parameters.encode_inputs` was given it."""
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    ((tag, content),) = value.items()
    if tag == "datetime":
        return datetime.fromisoformat(content)
    if tag == "duration":
        return timedelta(microseconds=content)
    if tag == "bytes":
        return base64.b64decode(content)
    return JsonValue(content)
