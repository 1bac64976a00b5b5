"""What a run's end looks like: outputs on standard output, failures and what is left running on standard error.

The exit code follows from the outcomes. A task that failed because of how it was written (no such type, an input that does
not fit) ends the command like any other wrong usage, since nothing was started for it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from outboard import errors
from outboard.cli.exits import EXITS, Exit
from outboard.cli.json_values import dumps, handle_text, to_json
from outboard.cli.printing import write_result
from outboard.domain.phases import Phase
from outboard.engine.outcomes import LeftRunning, TaskOutcome
from outboard.errors import OutboardError
from outboard.local.notes import write_note


def report(outcomes: Sequence[TaskOutcome], *, as_json: bool) -> Exit:
    """Print how tasks ended and return the exit code."""
    if as_json:
        write_result(dumps({"tasks": [_document(outcome) for outcome in outcomes]}, indent=2))
    else:
        _print_outputs(outcomes)
    for outcome in outcomes:
        if not outcome.is_success:
            write_note(f"error: {_sentence(outcome)}")
    for outcome in outcomes:
        if outcome.left_running is not None:
            write_note(f"left running: {outcome.left_running}")
            write_note(f"cancel it later: {_cancel_command(outcome.run_id, outcome.left_running)}")
    return exit_of(outcomes)


def exit_of(outcomes: Iterable[TaskOutcome]) -> Exit:
    """Return the exit code: that of the failures where they agree, else FAILED."""
    codes = {_code(outcome) for outcome in outcomes} - {Exit.SUCCESS}
    if Exit.LEFT_RUNNING in codes:
        return Exit.LEFT_RUNNING
    return Exit.FAILED if len(codes) > 1 else next(iter(codes), Exit.SUCCESS)


def _code(outcome: TaskOutcome) -> Exit:
    if outcome.left_running is not None:
        return Exit.LEFT_RUNNING
    if outcome.is_success:
        return Exit.SUCCESS
    kind = getattr(errors, outcome.error.code, None) if outcome.error and outcome.handle is None else None
    if isinstance(kind, type) and issubclass(kind, OutboardError):
        return EXITS.get(kind, Exit.FAILED)
    return Exit.FAILED


def _sentence(outcome: TaskOutcome) -> str:
    if outcome.left_running is not None:
        return f"task '{outcome.task_id}' may still be running"
    what = "was cancelled" if outcome.phase is Phase.ABORTED else "failed"
    attempts = f" after {outcome.attempts} attempts" if outcome.attempts > 1 else ""
    if outcome.error is None:
        return f"task '{outcome.task_id}' {what}{attempts}: {outcome.message or 'no reason given'}"
    return f"task '{outcome.task_id}' {what}{attempts}: {outcome.error.message} ({outcome.error.code})"


def _print_outputs(outcomes: Sequence[TaskOutcome]) -> None:
    for outcome in outcomes:
        prefix = f"{outcome.task_id}." if len(outcomes) > 1 else ""
        for name, value in (outcome.outputs or {}).items():
            plain = to_json(value)
            write_result(f"{prefix}{name}={plain if isinstance(plain, str) else dumps(plain)}")


def _document(outcome: TaskOutcome) -> Mapping[str, Any]:
    left = outcome.left_running
    return {
        "run": outcome.run_id,
        "task": outcome.task_id,
        "type": outcome.task_type,
        "phase": outcome.phase,
        "outputs": outcome.outputs,
        "error": outcome.error,
        "message": outcome.message,
        "attempts": outcome.attempts,
        "links": outcome.links,
        "custom_info": outcome.custom_info,
        "endpoint": outcome.endpoint,
        "handle": handle_text(outcome.handle),
        "output_prefix": outcome.output_prefix,
        "elapsed_s": round(outcome.elapsed_s, 3),
        "is_final": outcome.is_final,
        "left_running": None if left is None else {"job": left.job, "reason": left.reason},
    }


def _cancel_command(run_id: str, left: LeftRunning) -> str:
    """Return what cancels it: through the journal, which also covers a job whose handle never arrived."""
    by_journal = f"outboard cancel {shlex.quote(f'{run_id}/{left.task_id}')}"
    if left.handle is None or not left.endpoint:
        return by_journal
    by_handle = f"outboard cancel --handle {left.handle_text} --type {shlex.quote(left.task_type)}"
    if left.endpoint != "in-process":
        by_handle += f" --endpoint {shlex.quote(left.endpoint)}"
    return f"{by_journal}, or without the journal: {by_handle}"
