"""What the operator decides: options, environment, settings file, in that order of precedence.

The file is YAML (or JSON) with these sections::

    agents:      which agents: `platforms`, `modules`
    host:        the fields of `HostSettings`: installation, service_keys, secrets ...; times in seconds
    service:     the fields of `ServiceSettings`: host, port, metrics_port, linger_s ...
    client:      the fields of `ClientSettings`: ca, certificate, key, token_file ...; for whoever calls a service
    engine:      the fields of `EngineSettings`: output_base, max_live, cancel_wait ...; for `run` and `resume`
    platforms:   by platform name: its own settings; `enabled: false` leaves it out
    flytekit:    the fields of `HostingSettings`; only `serve` and `agents` host connectors
    log:         `level`, `format`

Every setting has a variable too (`settings.variables`). Options, and variables with short names, are joined by typer; what
arrives here as None was given by neither.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from outboard.errors import InvalidSettings
from outboard.local.documents import STDIN, called, read_model
from outboard.local.home import home
from outboard.local.settings.gathering import NO_FILE, gather, refuse_unknown_platforms, told_from
from outboard.local.settings.sections import AgentsSettings, LogSettings

_LOCAL_WAIT: Final = 1.0


class _Sections(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    host: dict[str, Any] = Field(default_factory=dict)
    service: dict[str, Any] = Field(default_factory=dict)
    client: dict[str, Any] = Field(default_factory=dict)
    engine: dict[str, Any] = Field(default_factory=dict)
    platforms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    flytekit: dict[str, Any] | None = None
    agents: dict[str, Any] = Field(default_factory=dict)
    log: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentChoice:
    """Which agents, with which settings.

    Attributes:
        platforms: Names of installed platforms; None is all, none is none.
        modules: Further platforms as `module:Platform`.
        host: The settings file's section `host`, options worked in.
        service: Its section `service`.
        client: Its section `client`.
        client_options: What options and variables say in the place of it.
        engine: Its section `engine`.
        settings: Its section `platforms`.
        flytekit: Its section `flytekit`, options worked in; None hosts no connectors.
        where: What to call the file in messages.
        path: The settings file itself; None where there is none, or none that could be read again.
        installation: The installation, where an option named it.
        directory: Where modules are searched too; the working directory where it is None.
        log: Its section `log`.
        origins: Where a setting was made, by its place: a file's line, a variable.
        unknown: Variables of our prefix that are none of ours.
    """

    platforms: Sequence[str] | None = None
    modules: Sequence[str] = ()
    host: Mapping[str, Any] = field(default_factory=dict)
    service: Mapping[str, Any] = field(default_factory=dict)
    client: Mapping[str, Any] = field(default_factory=dict)
    client_options: Mapping[str, str] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    flytekit: Mapping[str, Any] | None = None
    where: str = NO_FILE
    path: Path | None = None
    installation: str | None = None
    directory: Path | None = None
    log: LogSettings = field(default_factory=LogSettings)
    origins: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    unknown: Sequence[str] = ()


def read_choice(
    path: str | None,
    *,
    platforms: str | None,
    modules: Sequence[str] | None,
    installation: str | None = None,
    flytekit: bool | None = False,
    flytekit_modules: Sequence[str] | None = None,
    client: Mapping[str, str] | None = None,
) -> AgentChoice:
    """Return the choice that a settings file and options make.

    Args:
        path: The file.
        platforms: The option of installed platforms.
        modules: That of further ones.
        installation: That of the installation.
        flytekit: Whether to host connectors; None does as the file says.
        flytekit_modules: Further modules with connectors.
        client: Options about certificates and a token for services that are called; see `client_options`.

    Raises:
        InvalidSettings: The file cannot be read or is wrong.
    """
    where = called(path) if path else NO_FILE
    named = names_in(modules) if modules else None
    gathered = gather(path, modules=named)
    sections = read_model(_Sections, gathered.document, InvalidSettings, where=where)
    with told_from(gathered.origins):
        refuse_unknown_platforms(gathered)
        chosen = read_model(AgentsSettings, sections.agents, InvalidSettings, where=where, path="agents")
        log = read_model(LogSettings, sections.log, InvalidSettings, where=where, path="log")
    host = dict(sections.host)
    if installation is not None:
        host["installation"] = installation
    keys = names(os.environ.get("OUTBOARD_SERVICE_KEYS"))
    if keys:
        host["service_keys"] = keys
    return AgentChoice(
        platforms=chosen.platforms if platforms is None else names(platforms) or [],
        modules=chosen.modules if named is None else named,
        host=host,
        service=sections.service,
        client=sections.client,
        client_options=client or {},
        engine=sections.engine,
        settings=sections.platforms,
        flytekit=_hosting(sections.flytekit, flytekit, flytekit_modules),
        where=where,
        path=Path(path).absolute() if path and path != STDIN else None,
        installation=installation,
        log=log,
        origins=gathered.origins,
        unknown=gathered.unknown,
    )


def open_host(choice: AgentChoice, *, is_local: bool) -> Any:
    """Return a host with the chosen agents; to be called in the event loop that uses it.

    Args:
        choice: Which agents, with which settings.
        is_local: For this user's own tasks: secrets may come from plain environment variables too.

    Raises:
        InvalidSettings: A setting of the host is wrong, or nothing that was asked for by name could be loaded.
    """
    from outboard.agent.discovery import discover  # noqa: PLC0415 - only where agents run in this process
    from outboard.host import Host, HostSettings  # noqa: PLC0415 - same

    values = dict(choice.host)
    if is_local:
        values["secrets"] = {"allow_plain_environment": True, **values.get("secrets", {})}
        values.setdefault("status_wait", _LOCAL_WAIT)  # there are no other polls that it could keep waiting
    if choice.modules or choice.flytekit is not None:
        search_in(choice.directory or Path.cwd())
    with told_from(choice.origins):
        settings = read_model(HostSettings, values, InvalidSettings, where=choice.where, path="host")
    in_home = {"embedded": {"root": str(home() / "jobs")}, "sql": {"root": str(home() / "sql")}}  # this user's folder
    registry = discover(choice.settings, only=choice.platforms, modules=choice.modules, defaults=in_home)
    if choice.flytekit is not None:
        from outboard.flytekit.hosting import HostingSettings, host_connectors  # noqa: PLC0415 - only who hosts pays for it

        hosting = read_model(
            HostingSettings, dict(choice.flytekit), InvalidSettings, where=choice.where, path="flytekit"
        )
        host_connectors(registry, hosting)
    return Host(registry, settings)


def _hosting(
    section: Mapping[str, Any] | None, is_wanted: bool | None, modules: Sequence[str] | None
) -> Mapping[str, Any] | None:
    """Return the settings of hosted connectors; None where none are hosted. An option wins over the file."""
    found = dict(section or {})
    if not (is_wanted if is_wanted is not None else section is not None and found.get("enabled", True)):
        return None
    return {**found, "enabled": True, "modules": [*found.get("modules", ()), *names_in(modules)]}


def search_in(directory: Path) -> None:
    """Let Python find modules in a folder; the `outboard` script, unlike `python -m`, does not look where it is started."""
    found = {str(Path.cwd()) if each == "" else each for each in sys.path}
    if str(directory) not in found:
        sys.path.insert(0, str(directory))


def read_service_settings(choice: AgentChoice, **options: Any) -> Any:
    """Return the service's settings; options that are None were not given."""
    from outboard.service.settings import ServiceSettings  # noqa: PLC0415 - only `serve` needs it

    values = {**choice.service, **{name: value for name, value in options.items() if value is not None}}
    with told_from({place: told for place, told in choice.origins.items() if options.get(place[-1]) is None}):
        return read_model(ServiceSettings, values, InvalidSettings, where=choice.where, path="service")


def client_options(
    *, ca: str | None, certificate: str | None, key: str | None, server_name: str | None, token_file: str | None
) -> Mapping[str, str]:
    """Return options about how services are called as fields of `ClientSettings`; files are meant from here."""
    files = {"ca": ca, "certificate": certificate, "key": key, "token_file": token_file}
    found = {name: str(Path(path).expanduser().absolute()) for name, path in files.items() if path}
    return found | ({"server_name": server_name} if server_name else {})


def tls_options(choice: AgentChoice, **options: str | None) -> Mapping[str, Any] | None:
    """Return the section `service.tls` with options over it; None where there is no such option."""
    given = {name: value for name, value in options.items() if value is not None}
    section = choice.service.get("tls") or {}
    return {**(section if isinstance(section, Mapping) else {}), **given} if given else None


def names(text: str | None) -> list[str] | None:
    """Return the names in a list with commas; None where there are none.

    >>> names("a, b,")
    ['a', 'b']
    """
    found = [name.strip() for name in (text or "").split(",") if name.strip()]
    return found or None


def names_in(options: Sequence[str] | None) -> list[str]:
    """Return the names in options that may be repeated, and hold several each.

    >>> names_in(["a, b", "c"]), names_in(None)
    (['a', 'b', 'c'], [])
    """
    return [name for each in options or () for name in names(each) or ()]
