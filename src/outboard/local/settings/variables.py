"""`OUTBOARD_*` variables: which setting each of them is.

Every setting has one, spelled by its path: `OUTBOARD_<SECTION>__<FIELD>`, deeper ones with two more underscores each::

    OUTBOARD_SERVICE__MAX_CALLS=500
    OUTBOARD_HOST__SECRETS__DIRECTORY=/run/secrets
    OUTBOARD_PLATFORMS__BIGQUERY__LOCATION=EU
    OUTBOARD_HOST__QUOTAS='{"databricks": {"runs/get": {"per_second": 50}}}'

Where a setting is a text, the value is that text as it stands; a list of texts may be written with commas; all else is read as
YAML, which JSON is too. Mappings may be given whole, and names in them that no variable can spell must be. Some settings have
a short name as well (`SHORT`). Two variables for one setting that do not agree are an error: nobody could tell which was meant.

A variable that is none of ours is an error where a setting has nearly its name, and else is told, since a typo that goes
unnoticed leaves a default in place. What Kubernetes puts beside a Service called `outboard` is no typo.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr

from outboard.errors import InvalidSettings
from outboard.local.documents import kind_of, parse_yaml, unknown_name
from outboard.local.settings.places import Place
from outboard.local.settings.sections import ENABLED, PLATFORMS, SECTIONS, PlatformModels, model_of

PREFIX: Final = "OUTBOARD_"
_LEVEL: Final = "__"

SHORT: Final[Mapping[str, Place]] = {
    "OUTBOARD_LISTEN_HOST": ("service", "host"),
    "OUTBOARD_LISTEN_PORT": ("service", "port"),
    "OUTBOARD_LISTEN_METRICS_PORT": ("service", "metrics_port"),
    "OUTBOARD_LISTEN_ADMIN_PORT": ("service", "admin_port"),
    "OUTBOARD_LISTEN_CALLBACKS_PORT": ("service", "callbacks_port"),
    "OUTBOARD_LISTEN_TLS_CERTIFICATE": ("service", "tls", "certificate"),
    "OUTBOARD_LISTEN_TLS_KEY": ("service", "tls", "key"),
    "OUTBOARD_LISTEN_TLS_CLIENT_CA": ("service", "tls", "client_ca"),
    "OUTBOARD_TLS_CA": ("client", "ca"),
    "OUTBOARD_TLS_CERTIFICATE": ("client", "certificate"),
    "OUTBOARD_TLS_KEY": ("client", "key"),
    "OUTBOARD_TLS_SERVER_NAME": ("client", "server_name"),
    "OUTBOARD_TOKEN_FILE": ("client", "token_file"),
    "OUTBOARD_PROCESSES": ("service", "processes"),
    "OUTBOARD_ISOLATE": ("service", "isolate"),
    "OUTBOARD_INSTALLATION": ("host", "installation"),
    "OUTBOARD_SERVICE_KEYS": ("host", "service_keys"),
    "OUTBOARD_PLATFORMS": ("agents", "platforms"),
    "OUTBOARD_AGENTS": ("agents", "modules"),
    "OUTBOARD_SERVE_FLYTEKIT": ("flytekit", "enabled"),
    "OUTBOARD_SERVE_FLYTEKIT_MODULES": ("flytekit", "modules"),
    "OUTBOARD_LOG_LEVEL": ("log", "level"),
    "OUTBOARD_LOG_FORMAT": ("log", "format"),
    "OUTBOARD_OUTPUT_BASE": ("engine", "output_base"),
}
"""Variables with a name of their own, as options of commands have had them from the beginning."""

OTHERS: Final = (
    *("OUTBOARD_SETTINGS", "OUTBOARD_HOME", "OUTBOARD_DEBUG"),
    *("OUTBOARD_ENDPOINT", "OUTBOARD_ENGINE_CONFIG", "OUTBOARD_JOURNAL", "OUTBOARD_RESUME"),
    *("OUTBOARD_FLYTEKIT", "OUTBOARD_FLYTEKIT_QUIET", "OUTBOARD_FLYTEKIT_HOSTED", "OUTBOARD_FLYTEKIT_MODULES"),
    *("OUTBOARD_JOB_DIR", "OUTBOARD_INPUTS", "OUTBOARD_OUTPUTS", "OUTBOARD_OUTPUT_PREFIX", "OUTBOARD_SQL_PASSWORD"),
    *("OUTBOARD_GO_WORK", "OUTBOARD_PROOF_PACKAGES", "OUTBOARD_REAL_PARTS"),
)
"""Variables that are no settings of a file: options of commands, what jobs are told, what our tests read."""

_MEANT: Final[Mapping[str, str]] = {"OUTBOARD_HOST": "OUTBOARD_LISTEN_HOST", "OUTBOARD_PORT": "OUTBOARD_LISTEN_PORT"}
_KUBERNETES: Final = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
"""What Kubernetes sets for each Service: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables"""
_NEAR: Final = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A setting that a variable gives a value.

    Attributes:
        place: Which: its section, and the names below.
        value: What it is given, as plain data.
        variable: By which variable.
    """

    place: Place
    value: Any
    variable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """What the environment says.

    Attributes:
        assignments: Settings of the long form.
        short: Those by short names.
        unknown: Variables of our prefix that are none of ours, and nearly none.
    """

    assignments: Sequence[Assignment] = ()
    short: Sequence[Assignment] = ()
    unknown: Sequence[str] = ()


def read_variables(environment: Mapping[str, str], platforms: PlatformModels) -> Variables:
    """Return what the environment says.

    Raises:
        InvalidSettings: A variable has nearly the name of a setting, does not hold what the setting takes, or contradicts
            another one.
    """
    ours = {name: text for name, text in sorted(environment.items()) if name.startswith(PREFIX)}
    long: list[Assignment] = []
    short: list[Assignment] = []
    unknown: list[str] = []
    for name, text in ours.items():
        if name in SHORT:
            short.extend(_assign(name, text, SHORT[name], platforms))
        elif name in OTHERS:
            continue
        elif _LEVEL in name and _section(name) in SECTIONS:
            long.extend(_assign(name, text, _place(name, platforms), platforms))
        elif not (_KUBERNETES.search(name) or text.startswith(("tcp://", "udp://", "sctp://"))):
            _refuse_near(name, platforms)
            unknown.append(name)
    found = Variables(assignments=long, short=short, unknown=unknown)
    _refuse_conflicts([*found.assignments, *found.short])
    return found


def variable_of(place: Place) -> str:
    """Return the long name of a setting's variable.

    >>> variable_of(("service", "max_calls"))
    'OUTBOARD_SERVICE__MAX_CALLS'
    """
    return PREFIX + _LEVEL.join(part.upper().replace("-", "_") for part in place)


def _section(name: str) -> str:
    return name[len(PREFIX) :].partition(_LEVEL)[0].lower()


def _place(name: str, platforms: PlatformModels) -> Place:
    """Return which setting a name of the long form means."""
    section, *parts = name[len(PREFIX) :].split(_LEVEL)
    place: Place = (section.lower(),)
    for index, part in enumerate(parts):
        known = _names_below(place, platforms)
        if known is None:  # a mapping by names that people choose
            place = (*place, part.lower())
            continue
        found = next((each for each in known if variable_of((each,)) == PREFIX + part), None)
        if found is None:
            rest = [variable_of((*place, each)) for each in known]
            words = unknown_name(_LEVEL.join([variable_of(place), *parts[index:]]), rest, "setting")
            raise InvalidSettings(f"variable {name}: {words}", field=name)
        place = (*place, found)
    return place


def _names_below(place: Place, platforms: PlatformModels) -> list[str] | None:
    """Return the names that may follow a place; none below a value, None where any may."""
    if place == (PLATFORMS,):
        return platforms.names()
    kind = _kind_at(place, platforms)
    model = _model_in(kind)
    if model is not None:
        extra = [ENABLED] if place[0] == PLATFORMS and len(place) == 2 else []
        return [*(field.alias or name for name, field in model.model_fields.items()), *extra]
    return None if kind is Any or _mapped(kind) is not None else []


def _kind_at(place: Place, platforms: PlatformModels) -> Any:
    """Return the type of what stands at a place; Any where nobody knows."""
    if place[0] == PLATFORMS:
        if place[2:] == (ENABLED,):
            return bool
        kind: Any = platforms.of(place[1]).model or Any
        rest = place[2:]
    else:
        kind, rest = model_of(place[0]), place[1:]
    for part in rest:
        model = _model_in(kind)
        if model is not None:
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            kind = kind_of(fields[part]) if part in fields else Any
        else:
            kind = _mapped(kind) or Any
    return kind


def _assign(name: str, text: str, place: Place, platforms: PlatformModels) -> Iterator[Assignment]:
    """Give what a variable sets: one setting, or all that a mapping holds."""
    kind = _kind_at(place, platforms) if _is_known(place) else Any
    if text == "" and not _is_text(kind):
        return  # as a shell leaves a variable that it does not fill
    value = _parse(name, text, kind)
    for path, leaf in _leaves(value):
        yield Assignment(place=(*place, *path), value=leaf, variable=name)


def _is_known(place: Place) -> bool:
    """Tell whether a short name's setting is there; a model may be without it."""
    return place[0] == PLATFORMS or place[1] in model_of(place[0]).model_fields


def _parse(name: str, text: str, kind: Any) -> Any:
    element = _listed(kind)
    if element is not None and _is_text(element) and not text.lstrip().startswith("["):
        return [each for each in re.split(r"[,\s]+", text) if each]
    if element is None and _is_text(kind):
        return text
    return parse_yaml(text, f"variable {name}", InvalidSettings)


def _leaves(value: Any) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            for path, leaf in _leaves(each):
                yield (str(key), *path), leaf
    else:
        yield (), value


def _refuse_conflicts(assignments: Sequence[Assignment]) -> None:
    """Refuse two variables that say different things of one setting."""
    for index, one in enumerate(assignments):
        for other in assignments[index + 1 :]:
            shared = min(len(one.place), len(other.place))
            if one.variable == other.variable or one.place[:shared] != other.place[:shared]:
                continue
            if one.place != other.place or one.value != other.value:
                raise InvalidSettings(
                    f"variables {one.variable} and {other.variable} both set {'.'.join(one.place)}, and do not agree; "
                    "unset one of them",
                    field=".".join(one.place),
                )


def _refuse_near(name: str, platforms: PlatformModels) -> None:
    """Refuse a variable that has nearly the name of one of ours."""
    known = [each[len(PREFIX) :] for each in (*SHORT, *OTHERS, *_long_names(platforms))]  # what they share says nothing
    found = difflib.get_close_matches(name[len(PREFIX) :], known, n=1, cutoff=_NEAR)
    near = [_MEANT[name]] if name in _MEANT else [PREFIX + each for each in found]
    if near:
        raise InvalidSettings(f"there is no variable {name}; did you mean {near[0]}? Rename or unset it", field=name)


def _long_names(platforms: PlatformModels) -> Iterator[str]:
    """Give the long names of all settings, but those below platforms, which need loading."""
    for section in SECTIONS:
        if section == PLATFORMS:
            yield from (variable_of((section, name, ENABLED)) for name in platforms.names())
        else:
            yield from (variable_of(place) for place in _places((section,), model_of(section)))


def _places(place: Place, kind: type[BaseModel]) -> Iterator[Place]:
    for name, field in kind.model_fields.items():
        below = (*place, field.alias or name)
        yield below
        model = _model_in(kind_of(field))
        if model is not None and model is not kind:
            yield from _places(below, model)


def _parts(kind: Any) -> Iterator[Any]:
    """Give the alternatives of a type, without what annotations add."""
    if get_origin(kind) in (Mapping, list, tuple, dict, Literal) or not get_args(kind) or isinstance(kind, type):
        yield kind
    elif str(kind).startswith("typing.Annotated"):
        yield from _parts(get_args(kind)[0])
    elif _is_collection(kind):
        yield kind
    else:
        for part in get_args(kind):
            yield from _parts(part)


def _is_collection(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, (Mapping, Sequence))


def _model_in(kind: Any) -> type[BaseModel] | None:
    return next((part for part in _parts(kind) if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _mapped(kind: Any) -> Any | None:
    """Return what a mapping holds; None where it is none."""
    for part in _parts(kind):
        origin = get_origin(part)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return get_args(part)[1]
    return None


def _listed(kind: Any) -> Any | None:
    """Return what a list holds; None where it is none."""
    for part in _parts(kind):
        origin = get_origin(part)
        if isinstance(origin, type) and issubclass(origin, Sequence) and get_args(part):
            return get_args(part)[0]
    return None


def _is_text(kind: Any) -> bool:
    """Tell whether a text is one of the things that a type takes, and nothing else but none at all."""
    parts = [part for part in _parts(kind) if part is not type(None)]
    return bool(parts) and all(
        (isinstance(part, type) and issubclass(part, (str, SecretStr, Path, Enum)))
        or (get_origin(part) is Literal and all(isinstance(each, str) for each in get_args(part)))
        for part in parts
    )
