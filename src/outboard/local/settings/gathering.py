"""File and variables as one document, with the origin of every value: a variable wins over the file, value by value.

Mappings are joined (a variable may set one key of a mapping that the file has others of); lists and all else are replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from outboard.errors import InvalidSettings
from outboard.local.documents import called, parse_yaml, read_text, unknown_name
from outboard.local.settings.places import Place, lines_of
from outboard.local.settings.sections import PLATFORMS, SECTIONS, PlatformModels
from outboard.local.settings.variables import PREFIX, read_variables

NO_FILE: Final = "the configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What file and variables say.

    Attributes:
        document: By section, plain data.
        origins: Where a value comes from, by its place; of what is not here the parent's, or nobody set it.
        unknown: Variables of our prefix that are none of ours.
        platforms: The models of platforms' settings.
    """

    document: Mapping[str, Any]
    origins: Mapping[Place, str] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    platforms: PlatformModels = field(default_factory=PlatformModels)


def gather(
    path: str | None,
    *,
    modules: Sequence[str] | None = None,
    has_short: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Gathered:
    """Return what a settings file and the environment say.

    Args:
        path: The file, `-` is standard input; None is none.
        modules: Further platforms that an option names.
        has_short: Whether variables with short names count. Commands have them as options, and so know them already.
        environment: The variables.

    Raises:
        InvalidSettings: The file cannot be read or has an unknown section, or a variable is wrong.
    """
    document, origins = _read(path)
    section = document.get("agents")
    named = section.get("modules", ()) if isinstance(section, Mapping) else ()
    own = modules if modules is not None else named if isinstance(named, (list, tuple)) else ()
    platforms = PlatformModels(tuple(map(str, own)))
    if not any(name.startswith(PREFIX) for name in environment):
        return Gathered(document=document, origins=origins, platforms=platforms)
    variables = read_variables(environment, platforms)
    for each in (*variables.assignments, *(variables.short if has_short else ())):
        put(document, each.place, each.value)
        origins[each.place] = f"variable {each.variable}"
    return Gathered(document=document, origins=origins, unknown=variables.unknown, platforms=platforms)


@contextmanager
def told_from(origins: Mapping[Place, str]) -> Iterator[None]:
    """Let errors about a setting, raised inside the block, say where the setting was made."""
    try:
        yield
    except InvalidSettings as error:
        place = tuple((error.field or "").split("[")[0].split("."))
        origin = next((origins[place[:end]] for end in range(len(place), 0, -1) if place[:end] in origins), None)
        if origin is None or error.field is None:
            raise
        raise InvalidSettings(f"{error.message} (from {origin})", field=error.field) from None


def refuse_unknown_platforms(gathered: Gathered) -> None:
    """Refuse settings of a platform that is not there where another one has nearly its name."""
    section = gathered.document.get(PLATFORMS)
    if not isinstance(section, Mapping) or not section:
        return
    known = gathered.platforms.names()
    for name in section:
        words = unknown_name(str(name), known, "platform") if name not in known else ""
        if "did you mean" in words:
            raise InvalidSettings(f"{PLATFORMS}.{name}: {words}", field=f"{PLATFORMS}.{name}")


def _read(path: str | None) -> tuple[dict[str, Any], dict[Place, str]]:
    if not path:
        return {}, {}
    text, where = read_text(path, InvalidSettings), called(path)
    document = parse_yaml(text, where, InvalidSettings)
    if document is None:
        return {}, {}
    if not isinstance(document, Mapping):
        raise InvalidSettings(f"{where} must be a mapping of sections to settings; sections: {', '.join(SECTIONS)}")
    return deepcopy(dict(document)), {place: f"{where}:{line}" for place, line in lines_of(text).items()}


def put(document: dict[str, Any], place: Place, value: Any) -> None:
    """Set a value at a place of a document, making the mappings above it."""
    where = document
    for part in place[:-1]:
        below = where.get(part)
        if not isinstance(below, dict):
            below = where[part] = {}
        where = below
    where[place[-1]] = value
