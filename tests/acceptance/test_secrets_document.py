"""What docs/secrets.md tells is all there is to tell, and its examples are settings."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from outboard.errors import InvalidSettings
from outboard.host import HostSettings, store_settings
from outboard.host.secrets import meters, remembering
from outboard.local.documents import read_model

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "secrets.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(host:.*?)```", TEXT, re.DOTALL)]
TOLD = set(re.findall(r"`(\w+)(?:\{[\w,]+\})?`", TEXT))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: str(each["host"]["secrets"]["stores"][-1]["kind"]))
def test_an_example_is_a_setting(example: Any) -> None:
    settings = read_model(HostSettings, example["host"], InvalidSettings, where="docs/secrets.md", path="host")
    assert settings.secrets.stores


def test_every_kind_of_store_has_an_example() -> None:
    shown = {store["kind"] for example in EXAMPLES for store in example["host"]["secrets"]["stores"]}
    assert shown == set(store_settings.KINDS)


def test_no_field_of_a_store_or_rule_is_left_out() -> None:
    models = [each for each in vars(store_settings).values() if inspect.isclass(each) and issubclass(each, BaseModel)]
    fields = {name for model in models for name in model.model_fields if model is not BaseModel}
    assert fields - TOLD - {"secrets"} == set()


def test_the_privileges_shown_are_documents_and_small() -> None:
    policy = json.loads(re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)[0])
    assert [each["Action"] for each in policy["Statement"]] == ["secretsmanager:GetSecretValue"]
    role, binding = yaml.safe_load_all(re.findall(r"```yaml\n(apiVersion:.*?)```", TEXT, re.DOTALL)[0])
    assert (role["kind"], role["rules"][0]["verbs"]) == ("Role", ["get"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_no_metric_and_no_log_line_is_left_out() -> None:
    source = inspect.getsource(remembering) + inspect.getsource(meters)
    assert set(re.findall(r'"(outboard_secret_\w+_seconds)"', source)) - TOLD == set()
    assert "outboard_secret_lookups_total" in TOLD
    lines = set(re.findall(r'_log\.\w+\("([^"]+)"', source)) | set(re.findall(r'words = "([^"]+)"', source))
    assert len(lines) >= 6
    assert not [line for line in lines if f"`{line}`" not in TEXT]
