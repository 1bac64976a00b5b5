"""Every setting with its value and where the value comes from, without secrets; and all that is wrong at once.

What is shown is what models made of it, defaults included, so a service started the same way has the same. Secrets are values
of fields that the models declare as such, and whatever has the form of a credential.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from pydantic import BaseModel, SecretBytes, SecretStr

from outboard.domain.secret_refs import is_secret_name, redact_forms
from outboard.errors import InvalidSettings
from outboard.host.codecs import Codecs
from outboard.host.settings import HostSettings
from outboard.local.documents import read_model, unknown_name
from outboard.local.settings.gathering import NO_FILE, Gathered, told_from
from outboard.local.settings.places import Place
from outboard.local.settings.sections import ENABLED, PLATFORMS, SECTIONS, model_of

DEFAULT: Final = "default"
HIDDEN: Final = "[redacted]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting.

    Attributes:
        place: Its section, and the names below.
        value: Plain data, without secrets.
        origin: `default`, `FILE:LINE`, `variable NAME` or `option --name`.
    """

    place: Place
    value: Any
    origin: str

    @property
    def name(self) -> str:
        """Its place as one text."""
        return ".".join(self.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All settings, and what is wrong with them.

    Attributes:
        settings: Of the sections that are right.
        problems: What keeps a service from starting with them.
        warnings: What does not, and is probably not meant.
    """

    settings: Sequence[Setting]
    problems: Sequence[str]
    warnings: Sequence[str]


def list_settings(gathered: Gathered, where: str | None = None) -> Listing:
    """Return all settings, those of installed platforms that have any included.

    Args:
        gathered: What file, variables and options say.
        where: The file's name, for messages.
    """
    found: list[Setting] = []
    problems: list[str] = []
    warnings = [f"variable {name} is none of Outboard's settings" for name in gathered.unknown]
    problems.extend(
        f"{name}: {unknown_name(str(name), SECTIONS, 'section')}" for name in gathered.document if name not in SECTIONS
    )
    for section in SECTIONS:
        if section == PLATFORMS:
            _list_platforms(gathered, where or NO_FILE, found, problems, warnings)
        elif section != "flytekit" or gathered.document.get(section) is not None:
            _list_section((section,), model_of(section), gathered, where or NO_FILE, (found, problems))
    return Listing(settings=found, problems=problems, warnings=warnings)


def _list_section(
    place: Place, model: type[BaseModel], gathered: Gathered, where: str, told: tuple[list[Setting], list[str]]
) -> None:
    found, problems = told
    value: Any = gathered.document
    for part in place:
        value = value.get(part, {})
    if place[0] == PLATFORMS and isinstance(value, Mapping):
        enabled = value.get(ENABLED, True)
        found.append(Setting(place=(*place, ENABLED), value=enabled, origin=_origin((*place, ENABLED), gathered)))
        value = {name: each for name, each in value.items() if name != ENABLED}
    try:
        with told_from(gathered.origins):
            read = read_model(model, value, InvalidSettings, where=where, path=".".join(place))
            if isinstance(read, HostSettings):
                _check_keys(read)
    except InvalidSettings as error:
        problems.append(error.message)
        return
    for path, leaf in _leaves((), read):
        here = (*place, *path)
        found.append(Setting(place=here, value=leaf, origin=_origin(here, gathered)))


def _check_keys(settings: HostSettings) -> None:
    """Refuse service keys that are none, as the host will."""
    try:
        Codecs.of(settings)
    except InvalidSettings as error:
        raise InvalidSettings(f"host.service_keys: {error.message}", field="host.service_keys") from None


def _list_platforms(
    gathered: Gathered, where: str, found: list[Setting], problems: list[str], warnings: list[str]
) -> None:
    section = gathered.document.get(PLATFORMS, {})
    if not isinstance(section, Mapping):
        problems.append(f"{PLATFORMS} must be a mapping of platforms to their settings")
        return
    known = gathered.platforms.names()
    for name in [*known, *(each for each in section if each not in known)]:
        if name not in known:
            problems.append(f"{PLATFORMS}.{name}: {unknown_name(str(name), known, 'platform')}")
            continue
        platform = gathered.platforms.of(name)
        if platform.model is not None:
            _list_section((PLATFORMS, name), platform.model, gathered, where, (found, problems))
        elif section.get(name):
            warnings.append(f"{PLATFORMS}.{name} is not checked: {platform.reason or 'it names no settings'}")


def _leaves(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from _leaves((*place, field.alias or name), getattr(value, name))
    elif isinstance(value, Mapping) and value:
        for name, each in value.items():
            here = (*place, str(name))
            yield from [(here, HIDDEN)] if _is_free_secret(str(name), each) else _leaves(here, each)
    else:
        yield place, shown(value)


def _is_free_secret(name: str, value: object) -> bool:
    """Tell whether texts in a mapping by free names have a name that gives them away."""
    return isinstance(value, (str, list, tuple)) and bool(value) and is_secret_name(name)


def shown(value: Any) -> Any:
    """Return a value as plain data that JSON can carry, without secrets.

    >>> shown(timedelta(seconds=90)), shown((SecretStr("x"),)), shown("https://me:pw@host")
    (90.0, ['[redacted]'], 'https[redacted]host')
    """
    if isinstance(value, (SecretStr, SecretBytes)):
        return HIDDEN
    if isinstance(value, BaseModel):
        return shown({name: getattr(value, name) for name in type(value).model_fields})
    if isinstance(value, Mapping):
        return {str(name): HIDDEN if _is_free_secret(str(name), each) else shown(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [shown(each) for each in value]
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        value = value.value
    return value if value is None or isinstance(value, (bool, int, float)) else redact_forms(str(value))


def _origin(place: Place, gathered: Gathered) -> str:
    """Return where a value comes from: itself, or the mapping that it was given with."""
    value: Any = gathered.document
    for part in place:
        if not isinstance(value, Mapping) or part not in value:
            return DEFAULT
        value = value[part]
    named = (gathered.origins[place[:end]] for end in range(len(place), 1, -1) if place[:end] in gathered.origins)
    return next(named, "the settings file")
