"""The settings: every section is held against its model, so that all that is wrong shows at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import AsyncIterator
from typing import Final

from outboard.agent.discovery import installed
from outboard.errors import InvalidSettings
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject
from outboard.local.documents import read_model
from outboard.local.settings_files import read_service_settings

CHECK: Final = "settings"
_PREFIX: Final = "OUTBOARD_"


async def check(subject: Subject) -> AsyncIterator[Finding]:
    """Tell what is wrong with the settings, section by section."""
    choice = subject.choice
    if choice is None:
        error = subject.unreadable
        words = error.message if error is not None else "the settings cannot be read"
        yield Finding(check=CHECK, mark=Mark.PROBLEM, found=words, remedy="correct the settings file", error=error)
        return
    wrong = [error for error in _complaints(subject) if error is not None]
    for error in wrong:
        remedy = f"correct {error.field}" if error.field else "correct the settings"
        yield Finding(check=CHECK, mark=Mark.PROBLEM, found=error.message, remedy=remedy, error=error)
    for name in choice.settings:
        near = _unknown(name, subject)
        if near is not None:
            yield Finding(
                check=CHECK,
                mark=Mark.WARNING,
                about=f"platforms.{name}",
                found=f"platforms.{name} has settings, and no such platform is installed; they have no effect",
                remedy=f"did you mean {near}?" if near else "install the platform, or take its settings away",
            )
    if not wrong:
        where = f"{choice.path} is valid" if choice.path is not None else "there is no settings file; defaults hold"
        variables = sorted(name for name in os.environ if name.startswith(_PREFIX))
        told = f"; set in the environment: {', '.join(variables)}" if variables else ""
        yield Finding(check=CHECK, mark=Mark.OK, found=where + told)


def _complaints(subject: Subject) -> list[InvalidSettings | None]:
    from outboard.engine.settings import EngineSettings  # noqa: PLC0415 - the engine is for those who use it
    from outboard.host.codecs import Codecs  # noqa: PLC0415 - same
    from outboard.host.settings import HostSettings  # noqa: PLC0415 - same

    choice = subject.choice
    if choice is None:
        return []
    found: list[InvalidSettings | None] = []
    for name, kind in (("host", HostSettings), ("engine", EngineSettings)):
        try:
            made = read_model(kind, subject.section(name), InvalidSettings, where=choice.where, path=name)
            if isinstance(made, HostSettings):
                Codecs.of(made)
        except InvalidSettings as error:
            found.append(error)
    try:
        read_service_settings(choice)
    except InvalidSettings as error:
        found.append(error)
    told = {error.message for error in found if error is not None}
    if isinstance(subject.unreadable, InvalidSettings) and subject.unreadable.message not in told:
        found.append(subject.unreadable)
    return found


def _unknown(name: str, subject: Subject) -> str | None:
    """Return the nearest known name (or nothing) of a platform that is none; None for one that is known."""
    known = {*installed(), *(spec.partition(":")[2] for spec in (subject.choice.modules if subject.choice else ()))}
    if name in known:
        return None
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")
