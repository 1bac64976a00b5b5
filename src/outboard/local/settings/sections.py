"""The sections of a settings file, and the model of each.

Models are imported when they are asked for: a service without variables of the long form needs none of this, and the models of
platforms come with their modules, which `outboard serve` otherwise loads when a task needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict

PLATFORMS: Final = "platforms"
ENABLED: Final = "enabled"
_NAMED: Final[Mapping[str, str]] = {
    "host": "outboard.host.settings:HostSettings",
    "service": "outboard.service.settings:ServiceSettings",
    "client": "outboard.engine.credentials:ClientSettings",
    "engine": "outboard.engine.settings:EngineSettings",
    "flytekit": "outboard.flytekit.hosting.settings:HostingSettings",
    "agents": "outboard.local.settings.sections:AgentsSettings",
    "log": "outboard.local.settings.sections:LogSettings",
}
SECTIONS: Final = ("agents", "service", "host", PLATFORMS, "flytekit", "log", "engine", "client")
"""In the order in which people meet them."""


class AgentsSettings(BaseModel):
    """Which agents are served.

    Attributes:
        platforms: Names of installed platforms; null is all of them, an empty list none.
        modules: Further platforms, as `module:Platform`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    platforms: tuple[str, ...] | None = None
    modules: tuple[str, ...] = ()


class LogSettings(BaseModel):
    """What is logged, and how.

    Attributes:
        level: Lower ones are dropped. The admin port changes it while a service runs.
        format: `auto` is `pretty` on a terminal and `json` elsewhere.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "pretty"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformModel:
    """What is known of a platform's settings.

    Attributes:
        model: Theirs; None where the platform cannot be loaded here.
        reason: Why not.
    """

    model: type[BaseModel] | None
    reason: str = ""


def model_of(section: str) -> type[BaseModel]:
    """Return the model of a section; not of `platforms`, where every platform has its own."""
    module, _, name = _NAMED[section].partition(":")
    model: type[BaseModel] = getattr(import_module(module), name)
    return model


@dataclass(frozen=True, slots=True)
class PlatformModels:
    """The settings' models of platforms, each loaded when it is asked for.

    Attributes:
        modules: Platforms beside the installed ones, as `module:Platform`; their settings stand under the name behind the colon.
    """

    modules: tuple[str, ...] = ()
    _found: dict[str, PlatformModel] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the names that a section `platforms` may hold."""
        from outboard.agent.discovery import installed  # noqa: PLC0415 - see above

        return [*sorted(installed()), *(spec.partition(":")[2] for spec in self.modules)]

    def of(self, name: str) -> PlatformModel:
        """Return the model of a platform's settings."""
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def _load(self, name: str) -> PlatformModel:
        from outboard.agent.discovery import installed  # noqa: PLC0415 - see above

        point = installed().get(name)
        spec = next((each for each in self.modules if each.partition(":")[2] == name), None)
        if point is None and spec is None:
            return PlatformModel(model=None, reason="no such platform is installed")
        try:
            return PlatformModel(
                model=_settings_model(point.load if point is not None else lambda: _import(spec or ""))
            )
        except Exception as error:  # noqa: BLE001 - somebody else's module, which `serve` reports as well
            return PlatformModel(model=None, reason=f"it cannot be loaded here ({type(error).__name__})")


def _import(spec: str) -> Any:
    module, _, name = spec.partition(":")
    return getattr(import_module(module), name)


def _settings_model(load: Callable[[], Any]) -> type[BaseModel] | None:
    from outboard.agent.deferred import DeferredPlatform  # noqa: PLC0415 - see above

    loaded = load()
    if isinstance(loaded, DeferredPlatform):
        loaded = _import(loaded.source)
    model: type[BaseModel] | None = getattr(loaded, "settings_model", None)
    return model
