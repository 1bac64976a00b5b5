"""`outboard config`: what `serve` would be started with, and whether it would start; nothing is started.

It takes the options of `serve`, so that adding `config` in place of `serve` to a command line explains that very service.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outboard.cli.choices import AsJson
from outboard.cli.exits import Exit
from outboard.cli.printing import write_result
from outboard.cli.serve_options import ServeOptions
from outboard.local.documents import called
from outboard.local.notes import one_line, write_note
from outboard.local.settings.gathering import Gathered, gather, put
from outboard.local.settings.variables import SHORT
from outboard.local.settings_files import names_in, search_in

if TYPE_CHECKING:
    from outboard.local.settings.listing import Listing

EXAMPLES: Final = (
    "outboard config --show --settings outboard.yaml",
    "outboard config --check --settings outboard.yaml",
    "outboard config --schema > outboard.schema.json",
)
_LISTS: Final = frozenset({"isolate", "platforms", "agents", "flytekit_modules"})

Show = Annotated[bool, typer.Option("--show", help="Print every setting, its value and where it comes from (default).")]
Check = Annotated[bool, typer.Option("--check", help="Only say what is wrong; the exit code is 2 where something is.")]
Schema = Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a settings file.")]


def command(
    ctx: typer.Context,
    *,
    show: Show = False,
    check: Check = False,
    schema: Schema = False,
    as_json: AsJson = False,
    options: ServeOptions,
) -> int:
    """Print what a service is set to and where each value comes from, check it, or print the schema.

    Takes the options of `serve`. Nothing is started and nobody is asked; secrets are not shown.
    """
    if show + check + schema > 1:
        raise typer.BadParameter("choose one of --show, --check and --schema", param_hint="--show")
    gathered = _gather(ctx, options.settings)
    if schema:
        from outboard.local.settings.schema import settings_schema  # noqa: PLC0415 - models of all platforms

        write_result(json.dumps(settings_schema(gathered.platforms), indent=2))
        return Exit.SUCCESS
    from outboard.local.settings.listing import list_settings  # noqa: PLC0415 - same

    listing = list_settings(gathered, called(options.settings) if options.settings else None)
    if as_json:
        write_result(json.dumps(_document(listing, has_settings=not check), indent=2))
    elif not check:
        _print(listing)
    if not as_json:
        for problem in listing.problems:
            write_note(f"error: {problem}")
        for warning in listing.warnings:
            write_note(f"warning: {warning}")
        if check and not listing.problems:
            write_result("the settings are right")
    return Exit.USAGE if listing.problems else Exit.SUCCESS


def _gather(ctx: typer.Context, path: str | None) -> Gathered:
    """Return file, variables and options as one document."""
    places = {str(each.name): SHORT[str(each.envvar)] for each in ctx.command.params if each.envvar in SHORT}
    given = {name: ctx.params[name] for name in places if _is_option(ctx, name)}
    for name in _LISTS & given.keys():
        given[name] = names_in([given[name]] if isinstance(given[name], str) else given[name])
    gathered = gather(path, modules=given.get("agents"), has_short=True)
    if gathered.platforms.modules:
        search_in(Path.cwd())
    origins, document = dict(gathered.origins), dict(gathered.document)
    for name, value in given.items():
        put(document, places[name], value)
        origins[places[name]] = f"option --{name.replace('_', '-')}"
    return replace(gathered, document=document, origins=origins)


def _is_option(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _document(listing: Listing, *, has_settings: bool) -> dict[str, Any]:
    settings = [{"name": each.name, "value": each.value, "origin": each.origin} for each in listing.settings]
    return {
        **({"settings": settings} if has_settings else {}),
        "problems": list(listing.problems),
        "warnings": list(listing.warnings),
    }


def _print(listing: Listing) -> None:
    lines = [(each.name, json.dumps(each.value), each.origin) for each in listing.settings]
    if not lines:
        return
    widths = [min(max(len(line[column]) for line in lines), 48) for column in (0, 1)]
    for name, value, origin in lines:
        write_result(one_line(f"{name}").ljust(widths[0]) + "  " + one_line(value).ljust(widths[1]) + "  " + origin)
