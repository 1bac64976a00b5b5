"""docs/deploy.md says what the chart does."""

from __future__ import annotations

import json

import yaml

from deploy import values_table
from deploy.values_table import CHART, DOCUMENT


def test_the_table_of_values_is_that_of_the_chart() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert values_table.written(document) == document, "run `python tests/deploy/values_table.py`"


def test_every_value_has_a_default_and_every_default_is_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(schema["properties"]) - {"global"} == set(values)
    assert set(schema["definitions"]["service"]["properties"]) == set(values["defaults"])
