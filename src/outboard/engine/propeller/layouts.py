"""Where in a file the engine's configuration stands, and which Flyte it is for.

Four layouts are told apart by their keys:

* plain: `plugins`, `tasks`, `propeller` or `executor` at the root, as the engine itself reads it;
* a ConfigMap (or a Secret with `stringData`, or a list of them), each text of which is a plain file;
* values of the Helm charts `flyte-binary` (of Flyte 1 and of Flyte 2): `configuration.inline` goes last into the engine's
  configuration, `enabled_plugins.tasks` becomes `tasks`, and `configuration.connectorService` becomes the plugin's section,
  in Flyte 1 only while `flyteconnector.enabled` (`templates/configmap.yaml`), in Flyte 2 never: no template reads it;
* values of the charts `flyte-core` and `flyte` (Flyte 1): every entry of `configmap` is a plain file, and
  `flyteconnector.plugin_config` is one while `flyteconnector.enabled`.

All files together are one configuration, merged in the order in which the engine reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from outboard.engine.propeller.findings import Finding, error
from outboard.engine.propeller.trees import Place, Tree, merge, place_below, read_trees
from outboard.errors import InvalidSettings

_ROOTS: Final = ("plugins", "tasks", "propeller", "executor")
_VALUES: Final = ("configuration", "configmap", "enabled_plugins", "flyteconnector", "flyte-core-components")
_FLYTE_2_PARTS: Final = ("runs", "actions", "executor", "dataproxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFiles:
    """The engine's configuration as one tree.

    Attributes:
        root: `plugins`, `tasks` and so on.
        findings: What was found wrong on the way.
        generation: 1 or 2, where the files show which Flyte they are for.
    """

    root: Tree
    findings: tuple[Finding, ...]
    generation: int | None


@dataclass
class _Collected:
    generation: int | None
    parts: list[Tree] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, tree: Tree | None) -> None:
        if tree is not None and tree.entries is not None:
            self.parts.append(tree)
            if tree.get("executor") is not None:
                self.generation = self.generation or 2


def read_engine_files(sources: Iterable[tuple[str, str]], *, generation: int | None = None) -> EngineFiles:
    """Return what files say to the engine.

    Args:
        sources: What to call each file, and its text.
        generation: Which Flyte they are for, where that is known.

    Raises:
        InvalidSettings: One is no YAML, or holds no configuration of an engine.
    """
    collected = _Collected(generation)
    first = ""
    for file, text in sources:
        first = first or file
        before = len(collected.parts) + len(collected.findings)
        for document in _documents(text, file):
            _take(document, collected)
        if len(collected.parts) + len(collected.findings) == before:
            raise InvalidSettings(
                f"{file} holds no configuration of Flyte's engine: give its own YAML (with `plugins`), a ConfigMap, or "
                "values of the chart flyte-binary or flyte-core"
            )
    conflicts: list[tuple[Tree, Tree]] = []
    root = Tree(place=Place(first, 1), entries={})
    for part in collected.parts:
        root = merge(root, part, conflicts)
    findings = [*collected.findings, *(_dropped(*pair) for pair in conflicts), *_duplicates(collected.parts)]
    return EngineFiles(root=root, findings=tuple(findings), generation=collected.generation)


def _documents(text: str, file: str) -> list[Tree]:
    found = read_trees(text, file)
    if any(_is_values(each) for each in found):
        return read_trees(text, file, is_helm=True)
    return found


def _is_values(tree: Tree) -> bool:
    below = tree.get("flyte")
    return not _is_manifest(tree) and (
        any(tree.get(key) is not None for key in _VALUES) or (below is not None and below.get("configmap") is not None)
    )


def _is_manifest(tree: Tree) -> bool:
    return tree.get("apiVersion") is not None and tree.get("kind") is not None


def _take(document: Tree, collected: _Collected) -> None:
    if _is_manifest(document):
        for item in (document.get("items") or Tree(place=document.place)).items or ():
            _take(item, collected)
        for key in ("data", "stringData"):
            _take_texts(document.get(key), collected)
    elif _is_values(document):
        _take_values(document, collected)
    elif any(document.get(key) is not None for key in _ROOTS):
        collected.add(place_below(document, ""))


def _take_texts(data: Tree | None, collected: _Collected) -> None:
    """Take the files of a ConfigMap, in the order in which the engine reads them."""
    for name, value in sorted((data.entries or {}).items() if data is not None else ()):
        if isinstance(value.scalar, str) and re.search(r"^\s*\w[\w-]*:", value.scalar, re.MULTILINE):
            is_block = "\n" in value.scalar
            file = f"{value.place.file}[{name}]"
            for tree in read_trees(value.scalar, file, first_line=value.place.line + is_block):
                collected.add(_in_file(tree, value.place.file))


def _in_file(tree: Tree, file: str) -> Tree:
    entries = items = None
    if tree.entries is not None:
        entries = {key: _in_file(value, file) for key, value in tree.entries.items()}
    if tree.items is not None:
        items = tuple(_in_file(item, file) for item in tree.items)
    return replace(tree, place=replace(tree.place, file=file), entries=entries, items=items)


def _take_values(values: Tree, collected: _Collected) -> None:
    nested = values.get("flyte")
    if nested is not None and nested.get("configmap") is not None:
        _take_values(nested, collected)
    generation = collected.generation or _generation_of(values)
    collected.generation = generation
    for tree in _charts_parts(values):
        collected.add(tree)
    is_enabled = _scalar(values, "flyteconnector", "enabled") is True
    section = values.get("configuration", "connectorService")
    if section is not None:
        if generation == 2 or not is_enabled:
            collected.findings.append(_unread(section) if generation == 2 else _disabled(section))
        collected.add(_below(section, "plugins", "connector-service"))  # checked all the same: it is to be moved
    core = values.get("flyteconnector", "plugin_config")
    if core is not None:
        if not is_enabled:
            collected.findings.append(_disabled(core))
        collected.add(place_below(core, ""))
    inline = values.get("configuration", "inline")
    if inline is not None:
        collected.add(place_below(inline, ""))


def _charts_parts(values: Tree) -> Iterator[Tree]:
    tasks = values.get("enabled_plugins", "tasks")
    if tasks is not None:
        yield _below(tasks, "tasks")
    for _, part in sorted((values.get("configmap") or Tree(place=values.place)).pairs()):
        if any(part.get(key) is not None for key in _ROOTS):
            yield place_below(part, "")


def _generation_of(values: Tree) -> int | None:
    parts = values.get("flyte-core-components")
    if parts is not None and any(parts.get(name) is not None for name in _FLYTE_2_PARTS):
        return 2
    if values.get("configmap") is not None or values.get("enabled_plugins", "tasks", "task-plugins", "enabled-plugins"):
        return 1
    repository = _scalar(values, "deployment", "image", "repository")
    return (2 if str(repository).endswith("-v2") else 1) if repository else None


def _scalar(tree: Tree, *keys: str) -> object:
    found = tree.get(*keys)
    return None if found is None else found.scalar


def _below(tree: Tree, *keys: str) -> Tree:
    """Return a tree as it stands below keys in the engine's own configuration."""
    found = place_below(tree, ".".join(keys))
    for key in reversed(keys):
        found = Tree(place=tree.place, entries={key: found})
    return found


def _unread(section: Tree) -> Finding:
    return error(
        "not-rendered",
        section.place,
        "the chart of Flyte 2 lists this value, and none of its templates reads it",
        "nothing of it reaches the engine: no task goes to an agent service",
        "move it to `configuration.inline.plugins.connector-service`",
    )


def _disabled(section: Tree) -> Finding:
    return error(
        "not-rendered",
        section.place,
        "the chart leaves this out as long as `flyteconnector.enabled` is not true",
        "nothing of it reaches the engine",
        "move it to `configuration.inline.plugins` (flyte-binary) or `configmap.k8s.plugins` (flyte-core); "
        "`flyteconnector.enabled: true` also deploys flytekit's own service",
    )


def _dropped(first: Tree, second: Tree) -> Finding:
    shape = "a list" if second.items is not None else "no list"
    return error(
        "shapes-differ",
        second.place,
        f"this is {shape}, and at {first.place} the same key has another shape",
        "Flyte's loader keeps the earlier one and drops this in silence",
        "write both in the same shape, or remove the earlier one",
    )


def _duplicates(parts: Iterable[Tree]) -> Iterator[Finding]:
    for part in parts:
        for tree in part.every():
            for key, line in tree.duplicates:
                place = Place(tree.place.file, line, f"{tree.place.path}.{key}".strip("."))
                yield error(
                    "duplicate-key",
                    place,
                    f"the key `{key}` stands here a second time",
                    "the file is refused and the engine does not start",
                    "keep one of them",
                )
