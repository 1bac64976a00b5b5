"""What docs/service.md tells is all there is to tell."""

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from outboard.host import HostSettings, SecretSettings, metrics
from outboard.service import ServiceSettings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
TOLD = set(re.findall(r"`(\w+)(?:\{[\w,]+\})?`", TEXT))


def test_no_setting_is_left_out() -> None:
    fields = {*ServiceSettings.model_fields, *HostSettings.model_fields, *SecretSettings.model_fields}
    assert fields - TOLD == set()


def test_no_metric_of_the_host_is_left_out() -> None:
    found = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    assert {f"{next(iter(each.describe())).name}_total" for each in found} - TOLD == set()
    assert found
