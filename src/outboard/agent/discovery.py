"""Discovery: finds platforms by entry point and by `module:name`, and survives the broken ones.

Group `outboard.platforms`: each entry point is a `Platform` class (loaded through `configure`), a callable that takes
the settings mapping and returns a `Platform`, or a `DeferredPlatform`, which is loaded when it is needed. One that fails
to import or to be configured is named in the report and skipped; the others are served.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Final, cast

from outboard.agent.deferred import DeferredPlatform
from outboard.agent.platform import Platform
from outboard.agent.registry import LoadFailure, Registry
from outboard.domain.secret_refs import redact_forms
from outboard.errors import InvalidSettings, OutboardError

GROUP: Final = "outboard.platforms"
_SAID_CHARACTERS: Final = 200


def discover(
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    only: Iterable[str] | None = None,
    modules: Iterable[str] = (),
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Registry:
    """Return a registry of every platform that can be loaded.

    Args:
        settings: By platform name; `{"enabled": false}` leaves a platform out.
        only: Names of entry points to load; None loads all.
        modules: Further platforms as `module:name`.
        defaults: By platform name, settings that hold unless `settings` says otherwise.
    """
    settings, defaults = settings or {}, defaults or {}
    registry = Registry()
    chosen = None if only is None else set(only)
    points = {point.name: point for point in entry_points(group=GROUP)}
    for unknown in sorted((chosen or set()) - set(points)):
        known = ", ".join(sorted(points)) or "none"
        registry.failures.append(
            LoadFailure(source=unknown, reason=f"no such platform is installed; installed: {known}")
        )
    for name, point in sorted(points.items()):
        if chosen is None or name in chosen:
            _load(registry, name, point.load, settings.get(name), defaults.get(name, {}))
    for spec in modules:
        _load(registry, spec, partial(_import, spec), settings.get(spec.partition(":")[2]))
    return registry


def _load(
    registry: Registry,
    source: str,
    load: Callable[[], Any],
    settings: object,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    try:
        own = _own_settings(source, settings)
        if not own.pop("enabled", True):
            return
        loaded = load()
        if isinstance(loaded, DeferredPlatform) and not own:
            registry.defer(replace(loaded, settings=defaults))
        else:
            registry.add(_configure(loaded, {**defaults, **own}))
    except OutboardError as error:
        registry.failures.append(LoadFailure(source=source, reason=error.message))
    except ImportError as error:
        missing = error.name or "a module"
        registry.failures.append(
            LoadFailure(
                source=source, reason=f"{missing} cannot be imported; install the platform's extra, or disable it"
            )
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - somebody else's module must not stop the others
        registry.failures.append(
            LoadFailure(source=source, reason=f"{said(error)} while loading; mend it, or disable the platform")
        )


def _own_settings(source: str, settings: object) -> dict[str, Any]:
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        field = f"platforms.{source}"
        raise InvalidSettings(f"{field} holds {type(settings).__name__}; write settings by name", field=field)
    return dict(settings)


def said(error: BaseException) -> str:
    """Return an error in one line, without what has the form of a credential."""
    try:
        words = " ".join(redact_forms(str(error)).split())[:_SAID_CHARACTERS]
    except Exception:  # noqa: BLE001 - an error that cannot be shown is still an error
        words = ""
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _configure(loaded: Any, settings: Mapping[str, Any]) -> Platform[Any, Any]:
    if isinstance(loaded, Platform):
        return loaded
    if isinstance(loaded, DeferredPlatform):
        return loaded.load(settings)
    if isinstance(loaded, type) and issubclass(loaded, Platform):
        return loaded.configure(settings)
    if not callable(loaded):
        raise InvalidSettings(f"{loaded!r} is neither a Platform nor a callable that returns one")
    platform = loaded(settings)
    if not isinstance(platform, Platform):
        raise InvalidSettings(f"{loaded!r} returned {type(platform).__name__}, not a Platform")
    return platform


def _import(spec: str) -> Any:
    module, colon, name = spec.partition(":")
    if not colon or not module or not name:
        raise InvalidSettings(f"{spec!r} does not name a platform; write module:PlatformClass")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        raise InvalidSettings(f"module {module} has no {name}") from None


def installed() -> Mapping[str, EntryPoint]:
    """Return the entry points of the group by name."""
    return cast("Mapping[str, EntryPoint]", {point.name: point for point in entry_points(group=GROUP)})
