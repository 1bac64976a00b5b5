"""YAML that remembers its lines, and several files merged as Flyte merges them.

A `Tree` is a mapping, a list or a scalar, with the file, line and dotted path where it stands. Keys are found without
regard to case, as Flyte's loader finds them. Scalars are what Go's YAML makes of them: only `true` and `false` are booleans
there, `yes` and `on` are texts (Helm reads its values by YAML 1.1, where they are booleans, and writes them out as such).

Files are merged in order, maps key by key, anything else by the later one. Where a list meets a map, viper keeps the earlier
one and drops the later in silence (`mergeMaps`: "svType != tvType; skipping"): such places are reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml

from outboard.errors import InvalidSettings

_BOOLEAN: Final = "tag:yaml.org,2002:bool"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_MOST_VALUES: Final = 500_000  # more than fits into a ConfigMap
_GO_TRUE_FALSE: Final = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: file, line (from 1) and the dotted path in Flyte's own configuration."""

    file: str
    line: int
    path: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A piece of YAML. `entries` for a mapping, `items` for a list, else `scalar`.

    Attributes:
        place: Where its value begins.
        entries: Keys, as written, with their values.
        items: The elements.
        scalar: The value of a leaf.
        duplicates: Keys that a mapping has twice.
    """

    place: Place
    entries: Mapping[str, Tree] | None = None
    items: Sequence[Tree] | None = None
    scalar: object = None
    duplicates: Sequence[tuple[str, int]] = ()

    def get(self, *keys: str) -> Tree | None:
        """Return what stands below a chain of keys; a list of maps is searched as the map that Flyte makes of it."""
        found: Tree | None = self
        for key in keys:
            pairs = found.pairs() if found is not None else ()
            found = next((value for name, value in pairs if name.lower() == key.lower()), None)
        return found

    def pairs(self) -> list[tuple[str, Tree]]:
        """Return the entries of a mapping, or of a list of mappings."""
        if self.entries is not None:
            return list(self.entries.items())
        return [pair for item in self.items or () for pair in (item.entries or {}).items()]

    def nearest(self, keys: Sequence[str | int]) -> Tree:
        """Return what stands below a chain of keys and positions, or the last of them that is there."""
        found = self
        for key in keys:
            below = found.items[key] if isinstance(key, int) and found.items else found.get(str(key))
            if below is None:
                break
            found = below
        return found

    def plain(self) -> Any:
        """Return the values alone."""
        if self.entries is not None:
            return {key: value.plain() for key, value in self.entries.items()}
        if self.items is not None:
            return [item.plain() for item in self.items]
        return self.scalar

    def every(self) -> Iterator[Tree]:
        """Yield this and all that is below it."""
        yield self
        for below in [*(self.entries or {}).values(), *(self.items or ())]:
            yield from below.every()


def read_trees(text: str, file: str, *, first_line: int = 1, is_helm: bool = False) -> list[Tree]:
    """Return the YAML documents of a text.

    Args:
        text: YAML; JSON is YAML too.
        file: What to call it.
        first_line: The line in the file where the text begins.
        is_helm: Whether `yes` and `no` are booleans.

    Raises:
        InvalidSettings: It is no YAML; the message says where.
    """
    kind = yaml.SafeLoader if is_helm else _GoLoader
    found = []
    try:
        loader = kind(text)
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                _refuse_bomb(node, file)
                found.append(_tree(loader, node, Place(file, first_line), first_line))
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f" at line {mark.line + first_line}, column {mark.column + 1}" if mark else ""
        raise InvalidSettings(f"{file} is no YAML: correct it{line}") from None
    except (RecursionError, ValueError):
        raise InvalidSettings(
            f"{file} cannot be read as YAML: flatten what is nested, and correct odd values"
        ) from None
    return found


def place_below(tree: Tree, path: str) -> Tree:
    """Return a tree whose paths begin with `path`."""
    return _renamed(tree, path)


def merge(first: Tree, second: Tree, conflicts: list[tuple[Tree, Tree]]) -> Tree:
    """Return two configurations as one, the second over the first; places that Flyte would drop go to `conflicts`."""
    if first.entries is not None and second.entries is not None:
        merged = dict(first.entries)
        for key, value in second.entries.items():
            name = next((each for each in merged if each.lower() == key.lower()), key)
            merged[name] = merge(merged[name], value, conflicts) if name in merged else value
        return replace(first, entries=merged, duplicates=(*first.duplicates, *second.duplicates))
    is_mixed = _shape(first) != _shape(second) and None not in (_shape(first), _shape(second))
    if is_mixed:
        conflicts.append((first, second))
        return first
    return second


def _shape(tree: Tree) -> str | None:
    if tree.entries is not None:
        return "map"
    if tree.items is not None:
        return "list"
    return None if tree.scalar is None else "scalar"


class _GoLoader(yaml.SafeLoader):
    """A loader with the booleans of Go's YAML and without dates."""


_GoLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_TIMESTAMP, _BOOLEAN)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refuse_bomb(node: yaml.Node, file: str) -> None:
    """Raise where aliases stand for far more values than were written, as Go's YAML does; counted without unfolding them."""
    counts: dict[int, int] = {}

    def count(each: yaml.Node) -> int:
        if id(each) not in counts:
            below = each.value if isinstance(each, yaml.CollectionNode) else ()
            if isinstance(each, yaml.MappingNode):
                below = [part for pair in below for part in pair]
            counts[id(each)] = 1 + sum(map(count, below))
        return counts[id(each)]

    if count(node) > _MOST_VALUES:
        raise InvalidSettings(f"{file} stands for more than {_MOST_VALUES} values: write out what its aliases repeat")


def _tree(loader: Any, node: yaml.Node, parent: Place, first_line: int) -> Tree:
    place = Place(parent.file, node.start_mark.line + first_line, parent.path)
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        entries: dict[str, Tree] = {}
        duplicates = []
        for key_node, value_node in node.value:
            key = _joined(str(key_node.value))
            line = key_node.start_mark.line + first_line
            below = Place(place.file, line, f"{place.path}.{key}" if place.path else key)
            if key in entries:
                duplicates.append((key, line))
            value = _tree(loader, value_node, below, first_line)
            entries[key] = replace(value, place=below)
        return Tree(place=place, entries=entries, duplicates=tuple(duplicates))
    if isinstance(node, yaml.SequenceNode):
        return Tree(place=place, items=tuple(_tree(loader, each, place, first_line) for each in node.value))
    if isinstance(loader, _GoLoader) and getattr(node, "style", None) is None and node.value in _GO_TRUE_FALSE:
        return Tree(place=place, scalar=node.value.lower() == "true")
    scalar = loader.construct_object(node)
    return Tree(place=place, scalar=_joined(scalar) if isinstance(scalar, str) else scalar)


def _joined(text: str) -> str:
    """Return a text in which the two halves of an escaped character are one; `ValueError` where a half stands alone."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16")


def _renamed(tree: Tree, path: str) -> Tree:
    entries = items = None
    if tree.entries is not None:
        entries = {key: _renamed(value, f"{path}.{key}" if path else key) for key, value in tree.entries.items()}
    if tree.items is not None:
        items = tuple(_renamed(item, path) for item in tree.items)
    return replace(tree, place=replace(tree.place, path=path), entries=entries, items=items)
