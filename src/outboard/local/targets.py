"""What a run's target was, kept in the journal, so that a later command goes to the same place without being told again.

Kept is what the options said, and nothing that they led to: the address, the FlytePropeller configuration's and the settings
file's paths, the choice of agents and the installation. Files are read again when the run is resumed, so no secret of theirs
gets into the journal, and neither does a service key, which comes from the environment alone.

What is said now goes before what is kept: an address or a configuration replaces the kept ones together, since they say the
same thing, and each of the options about agents replaces its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from outboard.engine.journal import Journal
from outboard.errors import InvalidSettings
from outboard.local.settings.gathering import NO_FILE
from outboard.local.settings_files import AgentChoice, read_choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the options say about whom to talk to; certificates and a token for that are in the choice.

    Attributes:
        endpoint: One service's address; None leaves the choice to the others.
        insecure: Plain text or TLS for it; None decides by the address.
        engine_config: A FlytePropeller configuration.
        choice: Which agents to run in this process where no service is named.
    """

    endpoint: str | None = None
    insecure: bool | None = None
    engine_config: Path | None = None
    choice: AgentChoice = field(default_factory=AgentChoice)

    def __post_init__(self) -> None:
        if self.endpoint and self.engine_config:
            raise InvalidSettings(
                "--endpoint and --engine-config exclude each other: give one of them", field="endpoint"
            )


class _Kept(BaseModel):
    """A target as the journal keeps it; what a newer version kept besides is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    endpoint: str | None = None
    insecure: bool | None = None
    engine_config: Path | None = None
    platforms: list[str] | None = None
    modules: list[str] = []
    settings: Path | None = None
    installation: str | None = None
    directory: Path | None = None
    flytekit: dict[str, Any] | None = None
    client: dict[str, str] = {}


def kept_target(target: Target) -> Mapping[str, Any]:
    """Return what the journal keeps of a target, as JSON values."""
    choice = target.choice
    is_in_process = not target.endpoint and not target.engine_config
    is_searching = bool(choice.modules) or choice.flytekit is not None
    kept = _Kept(
        endpoint=target.endpoint,
        insecure=target.insecure,
        engine_config=target.engine_config.absolute() if target.engine_config else None,
        platforms=None if choice.platforms is None else list(choice.platforms),
        modules=list(choice.modules),
        settings=choice.path,
        installation=choice.installation,
        directory=(choice.directory or Path.cwd()) if is_searching and is_in_process else None,
        flytekit=None if choice.flytekit is None else dict(choice.flytekit),
        client=dict(choice.client_options),
    )
    return kept.model_dump(mode="json", exclude_defaults=True)


async def target_of(journal: Journal, run_id: str, said: Target) -> Target:
    """Return the target of a recorded run: what is said now, over what the journal kept.

    Raises:
        InvalidSettings: A settings file that it names cannot be read any more.
    """
    try:
        kept = _Kept.model_validate(await journal.target(run_id))
    except ValidationError:  # another version's, which meant something else by these names
        return said
    choice = _choice_of(kept, said.choice)
    if said.endpoint or said.engine_config:
        return Target(endpoint=said.endpoint, insecure=said.insecure, engine_config=said.engine_config, choice=choice)
    insecure = kept.insecure if said.insecure is None else said.insecure
    return Target(endpoint=kept.endpoint, insecure=insecure, engine_config=kept.engine_config, choice=choice)


def _choice_of(kept: _Kept, said: AgentChoice) -> AgentChoice:
    is_settings_said = said.where != NO_FILE
    base = said
    if kept.settings is not None and not is_settings_said:
        base = read_choice(str(kept.settings), platforms=None, modules=None)
    installation = kept.installation if said.installation is None else said.installation
    return replace(
        base,
        platforms=kept.platforms if said.platforms is None else said.platforms,
        modules=said.modules or kept.modules,
        host=base.host if installation is None else {**base.host, "installation": installation},
        installation=installation,
        directory=None if said.modules else kept.directory,
        flytekit=kept.flytekit if said.flytekit is None else said.flytekit,
        client_options={**kept.client, **said.client_options},
    )


def describe(target: Target) -> str:
    """Return where a target's tasks go, in a few words.

    >>> describe(Target(endpoint="localhost:8000"))
    'at localhost:8000'
    """
    if target.endpoint:
        return f"at {target.endpoint}"
    if target.engine_config:
        return f"at the services of {target.engine_config}"
    choice = target.choice
    platforms = "all installed platforms" if choice.platforms is None else ", ".join(choice.platforms)
    agents = " and ".join(filter(None, [platforms, ", ".join(choice.modules)])) or "no agents"
    settings = f", settings {choice.path}" if choice.path else ""
    installation = f", installation {choice.installation}" if choice.installation else ""
    return f"in this process ({agents}{settings}{installation})"
