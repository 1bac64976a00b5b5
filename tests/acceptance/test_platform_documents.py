"""What docs/platforms shows can be typed as it stands, and leaves nothing out."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from outboard.agent import Agent, Platform, Registry, TaskConfig
from outboard.cli.specs import build_task, read_specs
from outboard.platforms.embedded.platform import Embedded
from outboard.platforms.files.platform import Files

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs" / "platforms"
PLATFORMS: tuple[type[Platform[Any, Any]], ...] = (Embedded, Files)
EVERYTHING_ALLOWED: dict[type[Platform[Any, Any]], dict[str, Any]] = {Embedded: {"allow_process": True}}


def text_of(platform: type[Platform[Any, Any]]) -> str:
    return (DOCUMENTS / f"{platform.name}.md").read_text("utf-8")


def yaml_blocks(platform: type[Platform[Any, Any]]) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", text_of(platform), re.DOTALL)


def config_of(agent: Agent, config: dict[str, Any]) -> TaskConfig:
    model = agent.model_for(0)
    assert issubclass(model, TaskConfig)
    return model.model_validate(config)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_task_shown_is_one_that_its_agent_takes(platform: type[Platform[Any, Any]], tmp_path: Path) -> None:
    registry = Registry([platform.configure(EVERYTHING_ALLOWED.get(platform, {}))])
    blocks = [block for block in yaml_blocks(platform) if block.startswith("type:")]
    for block in blocks:
        (tmp_path / "task.yaml").write_text(block, "utf-8")
        ((spec, path),) = read_specs(str(tmp_path / "task.yaml"))
        task = build_task(spec, path).task
        assert config_of(registry.for_type(task.task_type), dict(task.config)).unknown_fields() == {}
    assert blocks


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_setting_shown_is_one_that_the_platform_takes(platform: type[Platform[Any, Any]]) -> None:
    shown = [yaml.safe_load(block)["platforms"] for block in yaml_blocks(platform) if block.startswith("platforms:")]
    assert [platform.configure(each[platform.name]).name for each in shown] == [platform.name]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_setting_and_no_field_is_left_out(platform: type[Platform[Any, Any]]) -> None:
    told = set(re.findall(r"`(\w+)`", text_of(platform)))
    fields = {name for agent in platform().agents() for name in agent.model_for(0).model_fields}
    flytekits_own = {"sensor_module", "sensor_name", "sensor_config", "inputs"}
    assert (fields | set(platform.settings_model.model_fields)) - told - flytekits_own == set()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_agent_task_type_and_state_is_told(platform: type[Platform[Any, Any]]) -> None:
    told = set(re.findall(r"`(\w+)`", text_of(platform)))
    for agent in platform().agents():
        states = getattr(agent, "states", None)
        names = {agent.name, *(each.name for each in agent.task_types), *(states.documented if states else ())}
        assert names - told == set()
