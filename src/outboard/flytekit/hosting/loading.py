"""Loading: flytekit, Flyte 2's SDK and their plugins, so that a broken plugin stops nothing but itself.

`import flytekit` loads every entry point of the group `flytekit.plugins`, and one that fails ends the import, and with it every
connector. A plugin cannot be tried before, since importing it imports flytekit. So while flytekit is imported, it is told that
the group is empty, and afterwards each entry point is loaded by itself. Other groups and other callers are answered as always.
Where flytekit was imported before, it has loaded them all already, and loading them again finds them there.

Their own services are not used here, but their metrics have the names of ours, and Prometheus' client refuses a second one of a
name; so theirs are not registered. flytekit's loggers are put behind ours: its own handler (rich) formats with the arguments of
the logging call and raises where they do not fit, which in two of its connectors turns "the query failed" into an error of
GetTask, for ever.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any, Final

from prometheus_client import REGISTRY

from outboard.agent.discovery import said
from outboard.agent.registry import LoadFailure
from outboard.errors import InvalidSettings

FLYTEKIT_GROUP: Final = "flytekit.plugins"
FLYTE_GROUP: Final = "flyte.connectors"
_ALWAYS: Final = ("flytekit.sensor", "flytekit.extras.webhook.connector")
"""What `pyflyte serve connector` serves without any plugin."""
_LOGGERS: Final = ("flytekit", "user_space", "developer", "flyte", "flyte.user")
_RICH: Final = "FLYTE_SDK_RICH_TRACEBACKS"
_REMEDY: Final = "mend it, or uninstall the plugin"
_METRICS: Final = "flyte_connector_"
_LOADING: Final = threading.Lock()


def load_connectors(modules: Sequence[str]) -> tuple[dict[str, list[Any]], list[LoadFailure]]:
    """Import all there is; return the registered connectors by SDK (`flytekit`, `flyte`), and what could not be loaded.

    Args:
        modules: Further modules that register connectors.

    Raises:
        InvalidSettings: Neither flytekit nor Flyte 2's SDK is installed.
    """
    failures: list[LoadFailure] = []
    with _LOADING, _without_metrics():
        has_flytekit = _import_flytekit(failures)
        has_flyte = _import_flyte(failures)
        if not has_flytekit and not has_flyte:
            why = "; ".join(f"{each.source}: {each.reason}" for each in failures) or "neither is installed"
            raise InvalidSettings(
                f"there is nothing to host ({why}): install outboard[flytekit], or leave --flytekit out",
                field="flytekit.enabled",
            )
        for module in modules:
            _try(failures, module, partial(importlib.import_module, module))
    connectors: dict[str, list[Any]] = {}
    if has_flytekit:
        from flytekit.extend.backend.base_connector import ConnectorRegistry  # noqa: PLC0415 - where it is hosted

        connectors["flytekit"] = list(ConnectorRegistry._REGISTRY.values())  # noqa: SLF001 - it offers no other way
    if has_flyte:
        from flyte.connectors import ConnectorRegistry as Registry2  # noqa: PLC0415 - same

        connectors["flyte"] = list(Registry2._REGISTRY.values())  # noqa: SLF001 - same
    _put_loggers_behind_ours()
    return connectors, failures


def _import_flytekit(failures: list[LoadFailure]) -> bool:
    if importlib.util.find_spec("flytekit") is None:
        return False
    with _without_plugins():
        if not _try(failures, "flytekit", lambda: importlib.import_module("flytekit.extend.backend.base_connector")):
            return False
    for point in _points(FLYTEKIT_GROUP):
        _try(failures, _named(point), point.load)
    for module in _ALWAYS:
        _try(failures, module, partial(importlib.import_module, module))
    return True


def _import_flyte(failures: list[LoadFailure]) -> bool:
    points = _points(FLYTE_GROUP)
    if importlib.util.find_spec("flyte") is None:
        return False
    if not _try(failures, "flyte", lambda: importlib.import_module("flyte.connectors")):
        return False
    for point in points:
        _try(failures, _named(point), point.load)
    return True


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Answer whoever asks for flytekit's plugins that there are none, and keep rich out of its loggers."""
    every = importlib.metadata.entry_points

    def others(**chosen: Any) -> Any:
        return EntryPoints() if chosen.get("group") == FLYTEKIT_GROUP else every(**chosen)

    rich = os.environ.get(_RICH)
    importlib.metadata.entry_points, os.environ[_RICH] = others, "0"
    try:
        yield
    finally:
        importlib.metadata.entry_points = every
        if rich is None:
            del os.environ[_RICH]
        else:
            os.environ[_RICH] = rich


@contextmanager
def _without_metrics() -> Iterator[None]:
    """Register no metrics of the SDKs' own services."""
    register = REGISTRY.register

    def others(collector: Any) -> None:
        if not str(getattr(collector, "_name", "")).startswith(_METRICS):
            register(collector)

    REGISTRY.register = others  # type: ignore[method-assign]  # taken back below
    try:
        yield
    finally:
        del REGISTRY.register


def _points(group: str) -> Iterable[EntryPoint]:
    return sorted(importlib.metadata.entry_points(group=group), key=lambda point: (point.name, point.value))


def _named(point: EntryPoint) -> str:
    return f"{point.group}:{point.name}"


def _try(failures: list[LoadFailure], source: str, load: Callable[[], Any]) -> bool:
    """Load something; tell whether it could be."""
    try:
        load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - somebody else's module must not stop the others
        failures.append(LoadFailure(source=source, reason=f"{said(error)} while loading; {_REMEDY}"))
        return False
    return True


def _put_loggers_behind_ours() -> None:
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
