"""What the environment says about running flytekit's tasks: the variables of `outboard run`, since there are no options.

=======================================  ============================================================================
`OUTBOARD_FLYTEKIT`                      `off`: all is flytekit's own (see `hook`)
`OUTBOARD_FLYTEKIT_QUIET`                `on`: no progress
`OUTBOARD_FLYTEKIT_HOSTED`               `on`: connectors of flytekit are run by our engine too
`OUTBOARD_FLYTEKIT_MODULES`              modules that register such connectors, for whoever resumes the run
`OUTBOARD_ENDPOINT`                      a service, instead of the agents of this process
`OUTBOARD_ENGINE_CONFIG`                 a FlytePropeller configuration: several services
`OUTBOARD_PLATFORMS`, `OUTBOARD_AGENTS`  which agents in this process; all installed ones by default
`OUTBOARD_SETTINGS`                      the settings file
`OUTBOARD_INSTALLATION`                  part of every submission key
`OUTBOARD_JOURNAL`, `OUTBOARD_HOME`      where runs are remembered
`OUTBOARD_OUTPUT_BASE`                   below it go inputs and outputs
`OUTBOARD_RESUME`                        a run to go on with, or `last`
=======================================  ============================================================================
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outboard.engine.settings import EngineSettings
from outboard.local.engines import engine_settings
from outboard.local.home import journal_path
from outboard.local.settings_files import client_options, read_choice
from outboard.local.targets import Target

LAST: Final = "last"
_ON: Final = frozenset({"on", "true", "yes", "1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSettings:
    """How this process runs flytekit's tasks.

    Attributes:
        target: Whom to talk to.
        engine: The engine's settings.
        journal: Where runs are remembered.
        has_own_base: Whether somebody said where inputs and outputs go; else flytekit's remote data prefix counts.
        resume: A run to go on with; empty begins a new one.
        is_quiet: Show no progress.
        title: What lists of runs call this process.
    """

    target: Target
    engine: EngineSettings
    journal: Path
    has_own_base: bool = False
    resume: str = ""
    is_quiet: bool = False
    title: str = "flytekit"


def read_settings(environment: Mapping[str, str] = os.environ) -> RunningSettings:
    """Return what the environment, and the settings file that it may name, say.

    Raises:
        InvalidSettings: A value or the file is wrong.
    """

    def said(name: str) -> str | None:
        return environment.get(f"OUTBOARD_{name}") or None

    def is_on(name: str) -> bool:
        return (said(name) or "").strip().lower() in _ON

    choice = read_choice(
        said("SETTINGS"),
        platforms=environment.get("OUTBOARD_PLATFORMS"),
        modules=(said("AGENTS") or "").split(),
        installation=said("INSTALLATION"),
        flytekit=is_on("FLYTEKIT_HOSTED"),
        flytekit_modules=(said("FLYTEKIT_MODULES") or "").split(),
        client=client_options(
            ca=said("TLS_CA"),
            certificate=said("TLS_CERTIFICATE"),
            key=said("TLS_KEY"),
            server_name=said("TLS_SERVER_NAME"),
            token_file=said("TOKEN_FILE"),
        ),
    )
    config = said("ENGINE_CONFIG")
    target = Target(endpoint=said("ENDPOINT"), engine_config=Path(config) if config else None, choice=choice)
    base = said("OUTPUT_BASE")
    return RunningSettings(
        target=target,
        engine=engine_settings(choice, output_base=base),
        journal=Path(said("JOURNAL") or journal_path()),
        has_own_base=bool(base) or "output_base" in choice.engine,
        resume=said("RESUME") or "",
        is_quiet=is_on("FLYTEKIT_QUIET"),
        title=_title(sys.argv),
    )


def _title(arguments: list[str]) -> str:
    """Return the program and the workflow's file; further arguments may be inputs, which are nobody's business.

    >>> _title(["/opt/bin/pyflyte", "run", "flows/etl.py", "wf", "--password", "x"])
    'pyflyte etl.py'
    """
    program = Path(arguments[0]).name if arguments and arguments[0] else "python"
    file = next((Path(each).name for each in arguments[1:] if each.endswith(".py")), "")
    return f"{program} {file}".rstrip()
