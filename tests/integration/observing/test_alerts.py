"""The alert rules that ship name metrics of ours, say what to do, fire when they should, and rest otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from integration.observing.alert_cases import CASES
from integration.observing.names import metric_names_of, unknown_names
from prometheus_tools import promtool

RULES: Final = Path(__file__).resolve().parents[3] / "deploy" / "alerts" / "outboard.yaml"
ALERTS: Final[Mapping[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}


def test_every_metric_of_a_rule_is_documented() -> None:
    assert {name: unknown for name, rule in ALERTS.items() if (unknown := unknown_names(rule["expr"]))} == {}
    assert len({name for rule in ALERTS.values() for name in metric_names_of(rule["expr"])}) > 20


def test_every_alert_says_what_it_is_what_it_means_and_what_to_do() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("page", "ticket", "info"), name
        assert {"summary", "description", "action"} == set(rule["annotations"]), name
        assert all(len(text) > 15 for text in rule["annotations"].values()), name


def test_log_lines_that_alerts_send_people_to_exist() -> None:
    from log_sources import log_sources

    events = set(log_sources())
    whole = {
        f"{noun}{event[3:]}"
        for event in events
        if event.startswith("...")
        for noun in ("worker process", "isolated platform")
    }
    named = {text for rule in ALERTS.values() for text in re.findall(r"`([^`]+)`", rule["annotations"]["action"])}
    known = events | whole | {"key", "cause", "where", "output", "left_out", "outlive"}
    assert named - known == set()
    assert len(named) > 10


def test_promtool_takes_the_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(ALERTS)} rules found" in done.stdout


def cases() -> Iterator[dict[str, Any]]:
    for name, case in CASES.items():
        for is_firing, series in ((True, case.fires), (False, case.rests)):
            yield {
                "interval": "1m",
                "input_series": [{"series": each, "values": values} for each, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
                        "eval_time": "50m",
                        "exp_samples": [{"labels": "{}", "value": 1}] if is_firing else [],
                    }
                ],
            }


def test_every_alert_fires_when_it_should_and_rests_on_an_ordinary_day(tmp_path: Path) -> None:
    assert set(CASES) == set(ALERTS)
    path = tmp_path / "outboard.test.yaml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(cases())}))
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.parametrize("broken", [("> 0.8", "> 80"), ("== 0", "== 2"), ("7 * 86400", "7"), ("> 2100", "> 21000")])
def test_a_rule_that_cannot_fire_is_found(tmp_path: Path, broken: tuple[str, str]) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.read_text().replace(*broken))
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": list(cases())}))
    assert promtool("test", "rules", path).returncode != 0
