"""What a piece of YAML in a document is for, and whether that takes it.

Settings files are held against the models of their sections and of the platforms that they name, task files against the agent
of their task type, FlytePropeller's configuration against `outboard flyte-config --check`, Kubernetes objects against the
published schemas. Anything else must have a file's name, for a command that follows to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import BaseModel

from outboard.agent import Agent, TaskConfig, discover
from outboard.cli.specs import build_task, read_specs
from outboard.engine import EngineSettings
from outboard.errors import InvalidSettings
from outboard.host import HostSettings
from outboard.local.documents import read_model
from outboard.service import ServiceSettings

if TYPE_CHECKING:
    from documents.reader import Reader

_SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "host": HostSettings,
    "service": ServiceSettings,
    "engine": EngineSettings,
}
_ALLOWED: Final = {"embedded": {"allow_process": True}}


def check_yaml(text: str, reader: Reader) -> None:
    """Raise where nothing takes what the text holds."""
    documents = [each for each in yaml.safe_load_all(text) if each is not None]
    assert documents, "the block is empty"
    for document in documents:
        _check(document, reader)


def _check(document: Any, reader: Reader) -> None:
    keys = set(document)
    if {"apiVersion", "kind"} <= keys:
        _check_object(document)
    elif keys <= {*_SECTIONS, "platforms", "flytekit"}:
        _check_settings(document)
    elif "type" in keys or keys == {"tasks"}:
        _check_tasks(document, reader)
    elif "plugins" in keys:
        (reader.folder / "propeller.yaml").write_text(yaml.safe_dump(document), "utf-8")
        reader.run("outboard flyte-config --check propeller.yaml")
    else:
        assert reader.has_saved, f"nobody reads {sorted(keys)}; name the block's file, and use it in a command"


def _check_settings(document: Mapping[str, Any]) -> None:
    for name, model in _SECTIONS.items():
        read_model(model, document.get(name, {}), InvalidSettings, where="the block", path=name)
    if "flytekit" in document:
        from outboard.flytekit.hosting import HostingSettings

        read_model(HostingSettings, document["flytekit"], InvalidSettings, where="the block", path="flytekit")
    platforms = document.get("platforms", {})
    registry = discover(platforms, only=sorted(platforms))
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


def _check_object(document: Mapping[str, Any]) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(document, "1.31", strict=True)
