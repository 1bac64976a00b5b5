"""Options that belong together are declared once, and are options like any other to whoever types them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from outboard.cli.choices import CalledService
from outboard.cli.entry import COMMANDS
from outboard.cli.option_groups import spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where."""

    room: Annotated[str, typer.Argument(metavar="ROOM")]
    floor: Annotated[int, typer.Option("--floor", envvar="FLOOR")] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk(Place):
    """Where in it."""

    lamps: Annotated[list[str] | None, typer.Option("--lamp")] = None


def command(*, before: Annotated[str, typer.Option()] = "b", desk: Desk, ctx: typer.Context) -> int:
    """Print what was given."""
    typer.echo(f"{before} {desk} {ctx.params['floor']}")
    return 0


def invoked(*arguments: str, **environment: str) -> Any:
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(spread(command))
    return CliRunner().invoke(app, arguments, env=environment)


def test_a_group_is_made_of_options_arguments_variables_and_defaults() -> None:
    assert invoked("r1").output == "b Desk(room='r1', floor=3, lamps=None) 3\n"
    assert invoked("r1", "--lamp", "x", "--lamp", "y", FLOOR="7").output == (
        "b Desk(room='r1', floor=7, lamps=['x', 'y']) 7\n"
    )


def test_what_a_group_needs_is_asked_for() -> None:
    found = invoked("--before", "a")
    assert found.exit_code == 2
    assert "Missing argument 'ROOM'" in found.output


def test_the_help_has_a_groups_options_in_its_place() -> None:
    shown = invoked("--help").output
    assert "Print what was given." in shown
    assert shown.index("--before") < shown.index("--floor") < shown.index("--lamp")
    assert "--desk" not in shown


@pytest.mark.parametrize("name", [*COMMANDS])
def test_a_command_that_calls_a_service_has_all_options_of_how_it_is_called(name: str) -> None:
    app = typer.Typer()
    app.command()(spread(import_module(COMMANDS[name]).command))
    options = {each.name: each for each in typer.main.get_command(app).params}
    called = {
        field for field in CalledService.__dataclass_fields__ if field.startswith("tls_") or field == "token_file"
    }
    if "endpoint" in options:
        assert options.keys() >= called | {"endpoint", "insecure"}
        assert [options[field].envvar for field in sorted(called)] == [
            f"OUTBOARD_{field.upper()}" for field in sorted(called)
        ]
