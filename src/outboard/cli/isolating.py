"""What `serve --isolate` makes of a choice of agents: some for this process, and one for each isolated platform.

A name is that of an installed platform (its entry point), `module:Platform`, `flytekit` for all hosted connectors, or an agent's.
All but the last are known without importing anything, and must be, because code that crashes at import must crash in its own
process. Agents' names only the code knows, so `outboard agents` is asked for them, platform by platform, which costs half a
second each. A platform is isolated with all its agents: they share clients and quotas, which are counted in one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from outboard.cli.child_documents import COMMAND, HOSTED, platform_document
from outboard.errors import InvalidSettings
from outboard.local.settings_files import AgentChoice

if TYPE_CHECKING:
    from outboard.service.settings import ServiceSettings
    from outboard.service.supervision.child import ChildSpec

_ASKING_S: Final = 60.0
_CHOOSING: Final = ("OUTBOARD_AGENTS", "OUTBOARD_ENDPOINT", "OUTBOARD_ENGINE_CONFIG")
"""What the environment chooses by. `OUTBOARD_PLATFORMS` begins the names of platforms' settings, and the option overrules it."""


def divide(
    choice: AgentChoice, names: Sequence[str], settings: ServiceSettings, log_level: str
) -> tuple[AgentChoice, list[ChildSpec]]:
    """Return what is left for this process, and how to start the others.

    Raises:
        InvalidSettings: A name is neither a platform's nor that of an agent of a chosen one.
    """
    if not names:
        return choice, []
    from outboard.agent.discovery import installed  # noqa: PLC0415 - only who isolates pays for it
    from outboard.service.supervision.child import ChildSpec  # noqa: PLC0415 - same

    installed_names = sorted(installed())
    chosen = installed_names if choice.platforms is None else list(choice.platforms)
    known = {*installed_names, *choice.modules, *([HOSTED] if choice.flytekit is not None else [])}
    sources = [
        name if name in known or ":" in name else _source_of(name, [*chosen, *choice.modules], choice, installed_names)
        for name in names
    ]
    own = replace(
        choice,
        platforms=[name for name in chosen if name not in sources],
        modules=[name for name in choice.modules if name not in sources],
        flytekit=None if HOSTED in sources else choice.flytekit,
    )
    specs = [
        ChildSpec(
            source=name,
            command=COMMAND,
            document=platform_document(choice, name, log_level),
            drain_s=settings.drain_s,
            memory_limit_bytes=settings.isolate_memory_bytes,
        )
        for name in dict.fromkeys(sources)
        if choice.settings.get(name.rpartition(":")[2], {}).get("enabled", True)
    ]
    return own, specs


def _source_of(agent: str, sources: Sequence[str], choice: AgentChoice, installed_names: Sequence[str]) -> str:
    """Return the platform of an agent, asking each in a process of its own."""
    for source in sources:
        option = "--agents" if ":" in source else "--platforms"
        others = ("--platforms" if ":" in source else "--agents", "")
        settings = ("--settings", str(choice.path)) if choice.path else ()
        asked = subprocess.run(  # noqa: S603 - this interpreter and this package, with names that the operator chose
            [sys.executable, "-m", "outboard", "agents", "--json", option, source, *others, *settings],
            cwd=choice.directory,
            env={name: value for name, value in os.environ.items() if not name.startswith(_CHOOSING)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASKING_S,
            check=False,
        )
        with suppress(ValueError):
            if any(each["name"] == agent for each in json.loads(asked.stdout)["agents"]):
                return source
    listed = ", ".join(installed_names) or "none"
    raise InvalidSettings(
        f"--isolate {agent}: there is no such platform or agent; platforms: {listed}; or give module:Platform",
        field="service.isolate",
    )
