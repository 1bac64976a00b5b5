"""`outboard demo`: a workflow on real flights whose service is killed half-way, shown live."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from outboard.cli.choices import AsJson, Quiet
from outboard.cli.exits import Exit
from outboard.cli.json_values import dumps
from outboard.cli.loops import run_loop
from outboard.cli.printing import write_result
from outboard.local.notes import write_note

if TYPE_CHECKING:
    from outboard.demo.evidence import Evidence

EXAMPLES: Final = ("outboard demo", "outboard demo --folder build/demo --json")


def command(
    *,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="An empty or new folder for all that the demo leaves; a temporary one else."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Run nine tasks on 336,776 real flights, kill the service half-way, and show that nothing is lost.

    A service is started as a process of its own and driven over gRPC by the engine of this one: DuckDB jobs in parallel, one
    that needs their results, a file sensor and a sync call. The exit code is 1 where anything was lost.
    """
    place = _empty_folder(folder)
    # The service is started while gRPC is in use here; its handlers for forks would only complain about that.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from outboard.demo.performance import Performance  # noqa: PLC0415 - same
    from outboard.local.views import open_view  # noqa: PLC0415 - the folder is checked before the heavy imports

    with open_view(is_quiet=quiet) as view:
        performance = Performance(folder=place, on_event=lambda event: view.show(event.task_id, event), say=view.say)
        evidence = run_loop(performance.perform())
    _print(evidence, as_json=as_json)
    return Exit.SUCCESS if evidence.is_nothing_lost else Exit.FAILED


def _empty_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="outboard-demo-"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise typer.BadParameter(f"{folder} is not empty; choose another folder", param_hint="--folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _print(evidence: Evidence, *, as_json: bool) -> None:
    if as_json:
        write_result(dumps({**asdict(evidence), "is_nothing_lost": evidence.is_nothing_lost}, indent=2))
    else:
        from outboard.cli.tables import Column, render  # noqa: PLC0415 - only for people

        columns = [Column("FINDING"), Column("WHO"), Column("MINUTES"), Column("NOTE", is_flexible=True)]
        rows = [[str(row[name]) for name in ("finding", "who", "minutes", "note")] for row in evidence.rows]
        write_result(render(columns, rows, empty="no report"))
        write_result(f"\nParquet: {evidence.report}\nall of it: {evidence.folder}")
        write_result(_verdict(evidence))
    for problem in evidence.problems:
        write_note(f"lost: {problem}")


def _verdict(evidence: Evidence) -> str:
    outage = evidence.outage
    kills = "once" if outage.kills == 1 else f"{outage.kills} times"
    lost = "nothing lost" if evidence.is_nothing_lost else "SOMETHING LOST"
    return f"{evidence.tasks} tasks, {evidence.jobs} jobs, service killed {kills}, {lost} ({evidence.seconds:.0f} s)"
