"""What docs/security.md tells of access is all there is to tell."""

import re
from pathlib import Path

import yaml
from prometheus_client import REGISTRY

import outboard.service.access.refusals  # registers the metrics
from outboard.service import ServiceSettings
from outboard.service.access import settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TOLD = set(re.findall(r"`(\w+)(?:\{[\w,]+\})?`", TEXT))
SOURCE = "\n".join(each.read_text(encoding="utf-8") for each in (ROOT / "src/outboard/service/access").glob("*.py"))


def test_no_setting_is_left_out() -> None:
    models = (
        settings.AccessSettings,
        settings.CallerSettings,
        settings.IssuerSettings,
        settings.JwtSettings,
        settings.ProxySettings,
    )
    assert {name for model in models for name in model.model_fields} - TOLD == set()


def test_no_metric_and_no_reason_is_left_out() -> None:
    assert list(outboard.service.access.refusals.TALLIES.collect())
    found = {family.name for family in REGISTRY.collect() if family.name.startswith("outboard_access_")}
    assert len(found) == 4
    assert {name for name in found if not {name, f"{name}_total"} & TOLD} == set()
    reasons = set(re.findall(r'(?:_unknown|WrongToken|Verdict|overloaded)\(\s*(?:self\._caller, )?"(\w+)"', SOURCE))
    reasons |= set(re.findall(r'jwt\.\w+Error, "(\w+)"', SOURCE)) | {"issuer_down", "task_type", "project"}
    assert len(reasons) > 15
    assert reasons - TOLD == set()


def test_every_example_of_settings_is_read() -> None:
    documents = (TEXT, (ROOT / "docs" / "service.md").read_text(encoding="utf-8"))
    blocks = [block for text in documents for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    read = [
        ServiceSettings.model_validate(found["service"]) for found in map(yaml.safe_load, blocks) if "service" in found
    ]
    assert len([each for each in read if each.access is not None]) >= 4
