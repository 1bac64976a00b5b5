"""What docs/service.md tells is all there is to tell."""

import re
from pathlib import Path

from outboard.host import HostSettings, SecretSettings
from outboard.service import ServiceSettings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
TOLD = set(re.findall(r"`(\w+)(?:\{[\w,]+\})?`", TEXT))


def test_no_setting_is_left_out() -> None:
    fields = {*ServiceSettings.model_fields, *HostSettings.model_fields, *SecretSettings.model_fields}
    assert fields - TOLD == set()
