"""`outboard resume`: runs whose engine was killed go on; no job is started twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from outboard.cli.choices import AsJson, Force, JournalFile, OutputBase, Quiet, Whom
from outboard.cli.exits import Exit
from outboard.cli.loops import run_loop
from outboard.errors import InvalidSettings
from outboard.local.notes import write_note

if TYPE_CHECKING:
    from outboard.cli.driving import Drive
    from outboard.engine.journal import Journal

EXAMPLES: Final = (
    "outboard resume",
    "outboard resume abc123 --json",
    "outboard resume --agents my_package.agents:MyPlatform",
)


def command(
    *,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run's id; all unfinished runs without one.")
    ] = None,
    force: Force = False,
    whom: Whom,
    output_base: OutputBase = None,
    journal: JournalFile = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Take up unfinished runs whose engine is gone, and drive them to their end.

    Each run goes on where it was begun, with the agents and settings that it was begun with, as the journal keeps them; what is
    given now goes before that. --endpoint says where a service is now, if it has moved.
    """
    from outboard.cli.driving import Drive  # noqa: PLC0415 - the engine is for those who use it
    from outboard.cli.journals import is_journal  # noqa: PLC0415 - same

    if not run and not is_journal(journal):
        write_note("nothing to resume")
        return Exit.SUCCESS
    drive = Drive(
        target=whom.target(),
        journal=journal,
        output_base=output_base,
        is_quiet=quiet,
        as_json=as_json,
    )
    return run_loop(_resume(drive, run, force=force))


async def _resume(drive: Drive, wanted: str | None, *, force: bool) -> Exit:
    from outboard.cli.driving import resume_runs  # noqa: PLC0415 - as above
    from outboard.cli.journals import find_run, open_journal  # noqa: PLC0415 - as above

    async with open_journal(drive.journal) as journal:
        if wanted:
            run = await find_run(journal, wanted)
            if run is None:
                raise InvalidSettings(
                    f"there is no run '{wanted}' in the journal: `outboard jobs --all` lists them", field="run"
                )
            run_ids = [run.run_id]
        else:
            run_ids = await _orphaned(journal, force=force)
        if not run_ids:
            write_note("nothing to resume")
            return Exit.SUCCESS
        return await resume_runs(drive, journal, run_ids, force=force)


async def _orphaned(journal: Journal, *, force: bool) -> list[str]:
    """Return the unfinished runs that nobody drives, as far as that can be seen; what is passed over is said."""
    from outboard.engine.leases import Life  # noqa: PLC0415 - as above

    run_ids = []
    for run in await journal.runs():
        if not run.is_open:
            continue
        if run.owner_life is Life.ALIVE and run.owner is not None:
            write_note(f"run {run.run_id} is driven by process {run.owner.pid}")
        elif run.owner_life is Life.UNKNOWN and run.owner is not None and not force:
            write_note(
                f"run {run.run_id} may be driven by process {run.owner.pid} on {run.owner.host}: --force if it is surely gone"
            )
        else:
            run_ids.append(run.run_id)
    return run_ids
