from __future__ import annotations

import itertools
import json
from datetime import timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.engine.propeller.config import parse_propeller_config
from outboard.engine.propeller.draft import Engine, Wanted, draft
from outboard.engine.propeller.inspection import inspect_engine
from outboard.engine.propeller.layouts import read_engine_files
from outboard.engine.propeller.packaging import Form, pack
from outboard.engine.propeller.rates import ANSWER_S, carried_jobs, rates_for
from outboard.errors import InvalidSettings

ADDRESS = "dns:///outboard-headless.flyte.svc.cluster.local:8000"
ASYNC = AgentInfo(name="a", task_types=[TaskType("spark"), TaskType("dotted.type")])
CAPITALS = AgentInfo(name="c", task_types=[TaskType("CamelCase")])
SYNC = AgentInfo(name="s", task_types=[TaskType("webhook")], is_sync=True)
NEWER = AgentInfo(name="n", task_types=[TaskType("newer", 2)])
GROUPS = {"async": [ASYNC], "sync": [SYNC], "capitals": [CAPITALS], "all": [ASYNC, CAPITALS, SYNC, NEWER]}
COMBINATIONS = [
    each
    for each in itertools.product(Engine, Form, (None, "outboard"), GROUPS, (1, 1000, 500_000), (True, False))
    if each[:2] != (Engine.FLYTE_2, Form.HELM_CORE)
]


@pytest.mark.parametrize(("engine", "form"), sorted({each[:2] for each in COMBINATIONS}, key=str))
def test_what_is_printed_passes_the_check_without_a_word(engine: Engine, form: Form) -> None:
    for _, _, name, group, live_jobs, insecure in [each for each in COMBINATIONS if each[:2] == (engine, form)]:
        agents = GROUPS[group]
        wanted = Wanted(
            engine=engine, address=ADDRESS, agents=agents, name=name, live_jobs=live_jobs, insecure=insecure
        )
        files = read_engine_files([("printed.yaml", pack(draft(wanted), form, engine))])
        generation = engine.generation if form is not Form.YAML else None
        findings = inspect_engine(
            files, generation=generation or engine.generation, agents=agents, service=name, live_jobs=live_jobs
        )
        assert findings == [], (name, group, live_jobs)


@pytest.mark.parametrize("engine", Engine)
def test_the_check_would_see_if_one_line_of_it_were_missing(engine: Engine) -> None:
    text = draft(Wanted(engine=engine, address=ADDRESS, agents=GROUPS["all"], name="outboard", live_jobs=5000))
    for key in ("insecure:", "defaultServiceConfig:", "qps:", "workers:", "maxSystemFailures:"):
        lines = [line for line in text.splitlines() if not line.strip().startswith(key)]
        assert len(lines) == len(text.splitlines()) - 1
        files = read_engine_files([("printed.yaml", "\n".join(lines))])
        assert inspect_engine(
            files, generation=engine.generation, agents=GROUPS["all"], service="outboard", live_jobs=5000
        ), key


@pytest.mark.parametrize("engine", Engine)
def test_our_own_engine_reads_it_as_it_is_meant(engine: Engine) -> None:
    config = parse_propeller_config(
        draft(Wanted(engine=engine, address=ADDRESS, agents=GROUPS["all"], name="outboard"))
    )
    (address,) = config.addresses.values()
    listing = "ListAgents" if engine is Engine.AGENT_SERVICE else "ListConnectors"
    assert config.warnings == ()
    assert (address.written, address.insecure, address.timeout(listing)) == (ADDRESS, True, timedelta(seconds=5))
    assert address.timeout("CreateTask") == timedelta(seconds=15)
    assert json.loads(address.service_config or "")["loadBalancingConfig"] == [{"round_robin": {}}]


def test_flyte_2_has_no_word_of_flyte_1() -> None:
    text = draft(Wanted(engine=Engine.FLYTE_2, address=ADDRESS, agents=GROUPS["all"]))
    data = yaml.safe_load(text)
    assert "ExecuteTaskSync" not in text
    assert set(data) == {"plugins", "tasks"}
    assert set(data["tasks"]["task-plugins"]) == {"default-for-task-types"}
    assert sorted(data["plugins"]["connector-service"]["supportedTaskTypes"]) == [
        "CamelCase", "dotted.type", "newer", "spark", "webhook",
    ]  # fmt: skip


def test_routes_of_flyte_1_leave_sync_types_and_other_versions_to_the_listing() -> None:
    wanted = Wanted(engine=Engine.CONNECTOR_SERVICE, address=ADDRESS, agents=GROUPS["all"], name="outboard")
    section = yaml.safe_load(draft(wanted))["plugins"]["connector-service"]
    assert section["connectorForTaskTypes"] == [
        {"CamelCase": "outboard"},
        {"dotted.type": "outboard"},
        {"spark": "outboard"},
    ]
    assert "defaultConnector" not in section


def test_every_line_that_decides_something_has_its_reason() -> None:
    lines = draft(Wanted(engine=Engine.CONNECTOR_SERVICE, address=ADDRESS, agents=[ASYNC])).splitlines()
    for key in ("endpoint", "insecure", "defaultServiceConfig", "defaultTimeout", "timeouts", "- CreateTask", "- GetTask",
                "supportedTaskTypes", "pollInterval", "readRateLimiter", "resyncInterval", "workers", "size", "maxSystemFailures",
                "resourceQuotas", "resourceConstraints", "enabled-plugins", "default-for-task-types",
                "max-workflow-retries"):  # fmt: skip
        (position,) = [number for number, line in enumerate(lines) if line.strip().startswith(f"{key}:")]
        assert lines[position - 1].strip().startswith("#"), key
    assert max(len(line) for line in lines if line.strip().startswith("#")) <= 110


@given(st.integers(min_value=1, max_value=500_000))
def test_rates_carry_the_jobs_they_are_for_and_stay_within_flytes_limits(live_jobs: int) -> None:
    rates = rates_for(live_jobs)
    assert carried_jobs(rates.qps, timedelta(seconds=rates.resync_s)) >= live_jobs
    assert rates.workers >= min(10_000, live_jobs / rates.resync_s * ANSWER_S)
    assert (1 <= rates.qps <= 100_000, 5 <= rates.burst <= 10_000, 1 <= rates.workers <= 10_000) == (True, True, True)
    assert min(rates.cache_size, rates.quota) >= live_jobs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"agents": []}, "nothing is served"),
        ({"name": "Outboard"}, "lower case"),
        ({"address": "k8s://outboard.flyte:8000"}, "write dns:///"),
        ({"live_jobs": 0}, "1 to 500000"),
        ({"live_jobs": 500_001}, "1 to 500000"),
    ],
)
def test_what_flyte_could_not_use_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        Wanted(**{"engine": Engine.FLYTE_2, "address": ADDRESS, "agents": [ASYNC], **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["2024", "yes", "null"])
def test_a_name_that_yaml_would_take_for_something_else_stays_a_text(name: str) -> None:
    text = draft(Wanted(engine=Engine.FLYTE_2, address=ADDRESS, agents=GROUPS["all"], name=name))
    section = yaml.safe_load(text)["plugins"]["connector-service"]
    assert list(section["connectors"]) == [name]
    assert {way for each in section["connectorForTaskTypes"] for way in each.values()} == {name}
