"""At which line of a YAML or JSON text each of its values stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Place = tuple[str, ...]


def lines_of(text: str) -> Mapping[Place, int]:
    r"""Return the lines of a text's values by their places, counted from 1; nothing for what is no YAML.

    >>> lines_of("service:\n  port: 1\n")
    {('service',): 1, ('service', 'port'): 2}
    """
    import yaml  # noqa: PLC0415 - only who has a file needs it

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return dict(_below((), root))


def _below(place: Place, node: Any) -> Iterator[tuple[Place, int]]:
    import yaml  # noqa: PLC0415 - as above

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _below(here, value)
