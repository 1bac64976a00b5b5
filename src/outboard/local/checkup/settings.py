"""The settings, as `outboard config --check` sees them: all that is wrong shows at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Final

from outboard.errors import InvalidSettings
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject
from outboard.local.settings.gathering import gather
from outboard.local.settings.listing import list_settings
from outboard.local.settings.variables import PREFIX

CHECK: Final = "settings"
_REMEDY: Final = "correct it; `outboard config --show` tells what is set, and where"


async def check(subject: Subject) -> AsyncIterator[Finding]:
    """Tell what is wrong with the settings."""
    try:
        listing = list_settings(gather(subject.file, modules=subject.modules, has_short=True), subject.file)
        problems, warnings = list(listing.problems), listing.warnings
    except InvalidSettings as error:
        problems, warnings = [error.message], []
    if not problems and subject.unreadable is not None:
        problems.append(subject.unreadable.message)
    for words in problems:
        yield Finding(check=CHECK, mark=Mark.PROBLEM, found=words, remedy=_REMEDY, error=InvalidSettings(words))
    for words in warnings:
        yield Finding(check=CHECK, mark=Mark.WARNING, found=words, remedy=_REMEDY)
    if not problems:
        where = f"{subject.file} is valid" if subject.file is not None else "there is no settings file; defaults hold"
        variables = sorted(name for name in os.environ if name.startswith(PREFIX))
        told = f"; set in the environment: {', '.join(variables)}" if variables else ""
        yield Finding(check=CHECK, mark=Mark.OK, found=where + told)
