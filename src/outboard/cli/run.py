"""`outboard run`: tasks from a file or from options, driven to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from outboard.cli.choices import AsJson, JournalFile, OutputBase, Quiet, Whom
from outboard.cli.loops import run_loop
from outboard.cli.task_options import TaskOptions
from outboard.errors import InvalidTask

if TYPE_CHECKING:
    from outboard.cli.specs import NamedTask

EXAMPLES: Final = (
    "outboard run task.yaml",
    "outboard run task.yaml --endpoint localhost:8000 --json",
    "outboard run duckdb --sql 'select count(*) as n from t' -i t=t.parquet --input-type t=dataset -o result=dataset",
    "outboard run nightly.yaml --engine-config propeller.yaml --retries 3",
)

What = Annotated[
    str,
    typer.Argument(metavar="FILE|TASK_TYPE", help="A task file (YAML or JSON; - is standard input), or a task type."),
]
MaxLive = Annotated[
    int | None, typer.Option("--max-live", min=1, metavar="N", help="Tasks under way at once; 1000 by default.")
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Cancel the other tasks when one fails.")]


def command(  # noqa: PLR0913 - the options of the command
    *,
    what: What,
    task: TaskOptions,
    max_live: MaxLive = None,
    fail_fast: FailFast = False,
    whom: Whom,
    output_base: OutputBase = None,
    journal: JournalFile = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run a task, or all tasks of a file, to their end.

    Progress goes to standard error, outputs to standard output. Ctrl-C cancels the jobs and waits for the confirmation; a
    second Ctrl-C stops waiting and says what may still run.
    """
    from outboard.cli.driving import Drive, run_tasks  # noqa: PLC0415 - the engine is for those who use it

    drive = Drive(
        target=whom.target(),
        journal=journal,
        output_base=output_base,
        max_live=max_live,
        fail_fast=fail_fast,
        is_quiet=quiet,
        as_json=as_json,
    )
    return run_loop(run_tasks(drive, what, _read_tasks(what, task)))


def _read_tasks(what: str, options: TaskOptions) -> list[NamedTask]:
    """Return the tasks of a file, or the one that type and options say."""
    from outboard.cli.specs import TaskSpec, build_task, read_specs  # noqa: PLC0415 - the engine is for those who use it

    if not _is_file(what):
        return [build_task(options.over(TaskSpec(type=what)))]
    specs = read_specs(what)
    if options.is_empty:
        return [build_task(spec, path) for spec, path in specs]
    if len(specs) > 1:
        raise InvalidTask(f"{what} holds {len(specs)} tasks, and options can be for one only: write them into the file")
    return [build_task(options.over(specs[0][0]))]


def _is_file(what: str) -> bool:
    """Tell whether an argument means a file rather than a task type, whatever lies in the working directory."""
    return what == "-" or "/" in what or what.endswith((".yaml", ".yml", ".json"))
