"""An engine in a process of its own, to be killed or interrupted: `engine_process.py VERB FOLDER COUNT [CONFIG]`.

`run` and `resume` drive COUNT tasks of the ledger platform through an engine with a journal; `plain` uses the functions for
scripts. What came of it goes to stdout as JSON.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from integration.engine.ledger_platform import registry, seconds, task
from outboard.engine import Engine, EngineSettings, Interrupted, TaskOutcome, run_tasks
from outboard.host.host import Host
from outboard.host.settings import HostSettings

FOLDER, COUNT = Path(sys.argv[2]), int(sys.argv[3])
CONFIG: dict[str, Any] = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
SETTINGS = EngineSettings(
    output_base=str(FOLDER / "runs"),
    first_poll=seconds(0.01),
    longest_poll=seconds(0.1),
    cancel_wait=seconds(5),
    max_live=12,
)


async def drive(verb: str) -> list[TaskOutcome]:
    async with (
        Host(registry(FOLDER / "ledger"), HostSettings(cancel_wait=seconds(0.2))) as host,
        Engine.in_process(host, journal=FOLDER / "journal.db", settings=SETTINGS) as engine,
    ):
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, engine.interrupt)
        if verb == "resume":
            return await engine.resume("run")
        return await engine.run_many([task(**CONFIG) for _ in range(COUNT)], run_id="run")


def run(main: Coroutine[Any, Any, list[TaskOutcome]]) -> list[TaskOutcome]:
    """Run on the faster loop where it is installed, as the command line does."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def report(outcomes: list[TaskOutcome]) -> None:
    left = [str(each.left_running) for each in outcomes if each.left_running]
    print(json.dumps({"phases": [each.phase.value for each in outcomes], "left": left}), flush=True)  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1] == "plain":
        try:
            report(
                run_tasks(
                    [task(**CONFIG) for _ in range(COUNT)], registry=registry(FOLDER / "ledger"), settings=SETTINGS
                )
            )
        except Interrupted as interrupted:
            print(json.dumps({"left": [str(each) for each in interrupted.left_running]}), flush=True)  # noqa: T201
            sys.exit(130)
    else:
        report(run(drive(sys.argv[1])))
