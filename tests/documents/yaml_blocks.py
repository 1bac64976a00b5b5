"""What a piece of YAML in a document is for, and whether that takes it.

Settings files are held against the models of all sections and of the platforms that they name, task files against the agent of
their task type, FlytePropeller's configuration against `outboard flyte-config --check`; objects of Kubernetes, pieces of pods and
values of our chart against what `manifests` says. Anything else must have a file's name, for a command that follows to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import yaml

from documents import manifests
from outboard.agent import Agent, TaskConfig, discover
from outboard.cli.specs import build_task, read_specs
from outboard.local.settings.gathering import gather
from outboard.local.settings.listing import list_settings
from outboard.local.settings.sections import SECTIONS
from real_parts import tried

if TYPE_CHECKING:
    from documents.reader import Reader

_ALLOWED: Final = {"embedded": {"allow_process": True}}


def check_yaml(text: str, reader: Reader) -> None:
    """Raise where nothing takes what the text holds."""
    documents = [each for each in yaml.safe_load_all(text) if each is not None]
    assert documents, "the block is empty"
    for document in documents:
        _check(document, reader)


def _check(document: Any, reader: Reader) -> None:
    keys = set(document)
    if manifests.is_object(keys):
        tried(partial(manifests.check_objects, [document]))
    elif keys <= set(SECTIONS):
        _check_settings(document, reader)
    elif "type" in keys or keys == {"tasks"}:
        _check_tasks(document, reader)
    elif "plugins" in keys:
        (reader.folder / "propeller.yaml").write_text(yaml.safe_dump(document), "utf-8")
        reader.run("outboard flyte-config --check propeller.yaml")
    elif manifests.is_part_of_pod(keys):
        tried(partial(manifests.check_objects, [manifests.pod_of(document)]))
    elif manifests.is_values(document):
        _check_values(document, reader)
    else:
        assert reader.has_saved, f"nobody reads {sorted(keys)}; name the block's file, and use it in a command"


def _check_values(document: Mapping[str, Any], reader: Reader) -> None:
    for made in tried(partial(manifests.check_values, document)):
        if made["kind"] == "ConfigMap" and "settings.yaml" in made["data"]:
            _check_settings(yaml.safe_load(made["data"]["settings.yaml"]), reader)


def _check_settings(document: Mapping[str, Any], reader: Reader) -> None:
    path = reader.folder / "settings-of-a-block.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    listing = list_settings(gather(str(path), environment={}), "the block")
    assert not listing.problems, listing.problems
    platforms = document.get("platforms", {})
    if platforms:
        named = document.get("agents", {}).get("modules", ())
        on = {name: each for name, each in platforms.items() if each.get("enabled", True)}
        settings = {name: {key: each[key] for key in each if key != "enabled"} for name, each in on.items()}
        registry = discover(settings, only=sorted(set(settings) - {each.partition(":")[2] for each in named}))
        assert not registry.failures, registry.failures


def _check_tasks(document: Mapping[str, Any], reader: Reader) -> None:
    path = reader.folder / "task.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    registry = discover(_ALLOWED)
    for spec, place in read_specs(str(path)):
        task = build_task(spec, place).task
        agent: Agent = registry.for_type(task.task_type)
        config = agent.model_for(0).model_validate(dict(task.config))
        assert isinstance(config, TaskConfig)
        unknown = config.unknown_fields()
        assert not unknown, f"{task.task_type} knows no {sorted(unknown)}"
