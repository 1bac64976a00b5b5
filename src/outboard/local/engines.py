"""Engines over whom a target means, with the settings that the person's file, folder and options make."""

from __future__ import annotations

from typing import Any

from outboard.engine.engine import Engine
from outboard.engine.journal import Journal
from outboard.engine.routing import IN_PROCESS, Routes
from outboard.engine.runs import OnEvent
from outboard.engine.settings import EngineSettings
from outboard.errors import InvalidSettings
from outboard.local.connections import Found
from outboard.local.documents import read_model
from outboard.local.home import outputs_base
from outboard.local.settings.gathering import told_from
from outboard.local.settings_files import AgentChoice


def engine_settings(choice: AgentChoice, **options: Any) -> EngineSettings:
    """Return the engine's settings: options over the settings file over the user's own folder.

    Args:
        choice: Holds the file's section `engine`.
        options: Fields of `EngineSettings`; those that are None were not given.

    Raises:
        InvalidSettings: A setting is wrong.
    """
    given = {name: value for name, value in options.items() if value is not None}
    values = {"output_base": outputs_base(), **choice.engine, **given}
    with told_from(choice.origins):
        return read_model(EngineSettings, values, InvalidSettings, where=choice.where, path="engine")


def engine_over(
    found: Found, settings: EngineSettings, journal: Journal | None, on_event: OnEvent | None = None
) -> Engine:
    """Return an engine, not opened yet, over the agents and services that were found."""
    host = {} if found.host is None else {IN_PROCESS: found.host}
    names = (*host, *found.addresses)
    if found.config is not None and set(found.config.addresses) <= set(found.addresses):
        routes = Routes.of(found.config)
        if "listing_interval" not in settings.model_fields_set:
            settings = settings.model_copy(update={"listing_interval": found.config.listing_interval})
    else:
        routes = Routes(order=names, default=next(iter(found.addresses), None))
    return Engine(
        {**host, **found.addresses},
        routes=routes,
        journal=journal,
        settings=settings,
        on_event=on_event,
        stores=None if found.host is None else found.host.stores,
    )
