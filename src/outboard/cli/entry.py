"""From arguments to an exit code: the table of commands, and what an error looks like.

A command's module has a function `command`, whose signature typer reads (see `option_groups`) and whose docstring is the help,
and `EXAMPLES`. It is imported when the command is asked for; only `outboard --help` imports them all.

Whatever is raised ends as one or two lines on standard error, `error: <sentence>` and `remedy: <what to type>`, never as a
traceback, unless `OUTBOARD_DEBUG=1`.
"""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from outboard.cli.exits import Exit, exit_code, remedy
from outboard.cli.option_groups import spread
from outboard.cli.printing import write_result
from outboard.errors import OutboardError
from outboard.local.notes import write_note

COMMANDS: Final[Mapping[str, str]] = {
    name: f"outboard.cli.{name.replace('-', '_')}"
    for name in (
        "serve",
        "config",
        "agents",
        "check",
        "run",
        "jobs",
        "logs",
        "cancel",
        "resume",
        "flyte-config",
        "deploy",
        "doctor",
        "explain",
        "demo",
    )
}
_USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__mro__[
    2
]  # click's ClickException, wherever this version of typer keeps it


class _Commands(TyperGroup):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module = import_module(COMMANDS[cmd_name])
        app = _typer()
        app.command(cmd_name, epilog="\n\n".join(("Examples:", *module.EXAMPLES)))(spread(module.command))
        return typer.main.get_command(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the process's exit code."""
    try:
        return int(_group().main(args=arguments, prog_name="outboard", standalone_mode=False) or 0)
    except OutboardError as error:
        return _fail(error.message, exit_code(error), remedy(error))
    except _USAGE_ERROR as error:
        return _fail(*_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the process's edge: a fault of ours must not look like the user's
        words = f"a fault of Outboard itself ended this command ({type(error).__name__}); please report it"
        return _fail(words, Exit.FAULT, "set OUTBOARD_DEBUG=1 to see where")


def _group() -> Any:
    app = _typer(cls=_Commands)
    app.callback()(_outboard)
    return typer.main.get_command(app)


def _typer(**options: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", **options)


def _show_version(wanted: bool) -> None:
    if wanted:
        from outboard._version import __version__  # noqa: PLC0415 - only here

        write_result(f"outboard {__version__}")
        raise typer.Exit


def _outboard(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run other people's platforms as workflow tasks: a job is started once, never forgotten, never killed by our faults."""


def _usage(error: Any) -> tuple[str, Exit, str]:
    """Return the words about arguments that make no sense."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "outboard"
    words = str(error.format_message()).rstrip(".")
    unknown = [name for name in COMMANDS if f"'{name}'" not in words] if words.startswith("No such command") else []
    near = difflib.get_close_matches(words.rpartition(" ")[2].strip("'"), unknown, n=1)
    hint = f"; did you mean '{near[0]}'?" if near and "mean" not in words else ""
    return words[:1].lower() + words[1:] + hint, Exit.USAGE, f"`{path} --help` shows what there is"


def _fail(words: str, code: Exit, what_to_do: str | None = None) -> int:
    if os.environ.get("OUTBOARD_DEBUG", "") not in ("", "0"):
        traceback.print_exc()
    write_note(f"error: {words}")
    if what_to_do:
        write_note(f"remedy: {what_to_do}")
    return code
