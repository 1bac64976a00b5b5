"""What `serve` tells the processes that it starts: the command, and the document that they read on their standard input.

The other end is `child`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from outboard.local.settings_files import AgentChoice

if TYPE_CHECKING:
    from outboard.service.supervision.child import ChildSpec

# The working directory is searched for modules that were asked for, and for nothing else.
COMMAND: Final = (
    sys.executable,
    "-c",
    "import sys; sys.path[:] = filter(None, sys.path); from outboard.cli.child import main; sys.exit(main())",
)
HOSTED: Final = "flytekit"
"""What to isolate all hosted connectors by."""
_OF_THE_PARENT: Final = (
    "host",
    "port",
    "metrics_port",
    "admin_port",
    "callbacks_port",
    "isolate",
    "processes",
    "tls",
    "access",
)


def platform_document(choice: AgentChoice, source: str, log_level: str) -> dict[str, Any]:
    """Return what the process of one isolated platform is told: it serves on a socket that its parent chooses."""
    is_module, is_hosted = ":" in source, source == HOSTED
    service = {name: value for name, value in choice.service.items() if name not in _OF_THE_PARENT}
    return {
        "choice": _agents(
            choice if is_hosted else replace(choice, flytekit=None),
            [] if is_module or is_hosted else [source],
            [source] if is_module else [],
        ),
        "service": {**service, "max_connection_age_s": 0.0, "linger_s": 0.0},
        "isolated": [],
        "ends_when_idle": True,
        **_surroundings(choice, log_level),
    }


def worker_document(
    choice: AgentChoice, service: Mapping[str, Any], isolated: Sequence[ChildSpec], log_level: str
) -> dict[str, Any]:
    """Return what a worker is told: all that this process would have served, on the port that its parent holds.

    Args:
        choice: The agents that are not isolated.
        service: Where and how it serves.
        isolated: Its own children.
        log_level: Of its log lines.
    """
    fields = ("source", "command", "document", "drain_s", "memory_limit_bytes")
    return {
        "choice": _agents(choice, choice.platforms, choice.modules),
        "service": dict(service),
        "isolated": [{name: getattr(spec, name) for name in fields} for spec in isolated],
        "ends_when_idle": False,
        **_surroundings(choice, log_level),
    }


def _surroundings(choice: AgentChoice, log_level: str) -> Mapping[str, Any]:
    return {"directory": str(choice.directory or Path.cwd()), "log_level": log_level}


def _agents(choice: AgentChoice, platforms: Sequence[str] | None, modules: Sequence[str]) -> Mapping[str, Any]:
    return {
        "platforms": None if platforms is None else list(platforms),
        "modules": list(modules),
        "host": dict(choice.host),
        "settings": {platform: dict(each) for platform, each in choice.settings.items()},
        "flytekit": None if choice.flytekit is None else dict(choice.flytekit),
        "where": choice.where,
    }
