"""The command line: one module per command, and what they share.

===================  =======================================================================
`entry`              the table of commands; errors to exit codes; nothing heavy is imported here
`serve` `agents`     serving, and what is served
`isolating`          which platforms `serve` gives a process of their own; `isolated` is that process
`run` `resume`       driving tasks to their end
`jobs` `logs`        reading the journal and the jobs' logs
`cancel`             asking a run's engine, or the job itself, to stop
`flyte_config`       the configuration of Flyte's engine, drafted or checked
`deploy`             the Helm chart, rendered or written out
`doctor`             what keeps a service from doing its work, found beforehand
`explain`            one task's story; `explaining` finds it out, `story_lines` tells it
`demo`               a workflow whose service is killed half-way
`exits`              which error ends the process with which code
`home`               where the journal and the outputs lie
`config`             what a service is set to, checked and explained
`settings_files`     options, environment and settings file, joined; `documents` reads YAML with errors that name the place
`connections`        whom a command talks to: agents in this process, or services
`handle_files`       handles as people have them
`specs`              task files; `task_options` the same from options; `type_spellings` reads the types in them
`driving`            tasks through the engine; `interrupts` is Ctrl-C, `views` shows, `reports` tells the end
`json_values`        outputs as JSON; `tables` draws, `printing` writes, to `standard_streams`
===================  =======================================================================

Only the module of the command that was asked for is imported, and what only some commands need (rich, the engine) inside
the function that needs it: `serve` starts without them. Parsing `serve`'s own options through typer costs 18 ms and 1.3 MB
over the service's imports, measured, which a second parser would not be worth.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the process's exit code.

    Args:
        arguments: Without the program's name; those of this process by default.
    """
    from outboard.cli.standard_streams import open_closed_streams  # noqa: PLC0415 - before all else is imported

    open_closed_streams()
    from outboard.cli.entry import run  # noqa: PLC0415 - `import outboard.cli` stays free of typer

    return run(arguments)
