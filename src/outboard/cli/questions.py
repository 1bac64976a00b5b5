"""What somebody asks `outboard explain`: its options, apart from whom they mean it for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from outboard.cli.choices import JournalFile
from outboard.cli.handle_files import read_task_type
from outboard.domain.tasks import TaskType


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What somebody wants to know; see `option_groups`."""

    named: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A handle (base64, a file, or - for standard input), a task of the journal, "
            "project:domain:execution:node[:attempt], a submission key, or an error id with --log.",
        ),
    ]
    task_type: Annotated[
        TaskType | None,
        typer.Option(
            "--type",
            metavar="TYPE[:VERSION]",
            parser=read_task_type,
            help="The task type of a handle that does not say.",
        ),
    ] = None
    output_prefix: Annotated[
        str, typer.Option("--output-prefix", metavar="URI", help="The attempt's output prefix, to find a key's record.")
    ] = ""
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", help="A service's log (JSON lines) to read the task's lines from."),
    ] = None
    is_offline: Annotated[bool, typer.Option("--offline", help="Ask neither platform nor service.")] = False
    may_poll: Annotated[
        bool,
        typer.Option(
            "--poll",
            help="Let the service answer a poll although the handle cannot be read here; a submission may go on.",
        ),
    ] = False
    limit_s: Annotated[
        float, typer.Option("--limit", min=0.1, metavar="SECONDS", help="How long to wait for an answer.")
    ] = 10.0
    journal: JournalFile = None
