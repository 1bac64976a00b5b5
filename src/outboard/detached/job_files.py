"""The format of a job directory: which files it holds, and how they are written and read.

=================  ==============================================================  ==========  =========
file               holds                                                           written by  how
=================  ==============================================================  ==========  =========
`spec.json`        command, names of its variables, working directory, grace        creator     once
`pid.json`         the runner's process; whoever writes it runs the job             runner      once
`command.json`     the command's process                                           command     once
`cancel.json`      that and when the job was asked to end                           client      once
`exit.json`        how the job ended                                                runner      once
`progress.json`    percent, rows, message                                           command     latest
`result.json`      what the job made                                                command     latest
`error.json`       why the job's program gave up                                    command     latest
`metrics.jsonl`    memory and CPU time, sampled                                     runner      appended
`stdout.log` ...   the command's output; `runner.log` is the runner's own           command     appended
=================  ==============================================================  ==========  =========

Two ways to write make every crash point decidable. *Once*: a complete temporary file, synced, gets its name by a hard
link, which fails where the name exists; a reader sees all of it or nothing, and of two writers exactly one wins.
*Latest*: the temporary file replaces what is there. Claims, marks and endings are written once and never change.

This module is loaded by the runner of every job, so it imports next to nothing.
"""

# The runner of every job loads this file, and pathlib would double its start.
# ruff: noqa: PTH105, PTH108, PTH110, PTH118, PTH123

from __future__ import annotations

import json
import os

SPEC = "spec.json"
RUNNER = "pid.json"
COMMAND = "command.json"
CANCEL = "cancel.json"
EXIT = "exit.json"
PROGRESS = "progress.json"
RESULT = "result.json"
ERROR = "error.json"
METRICS = "metrics.jsonl"
STDOUT = "stdout.log"
STDERR = "stderr.log"
OUTPUTS = (STDOUT, STDERR)
RUNNER_LOG = "runner.log"
RESERVED = frozenset({SPEC, RUNNER, COMMAND, CANCEL, EXIT, PROGRESS, RESULT, ERROR, METRICS, *OUTPUTS, RUNNER_LOG})
"""The names that no file of a job's own may have."""

WORK = "work"
"""The folder that is a command's working directory unless its spec names another."""

JOB_VARIABLE = "OUTBOARD_JOB_DIR"
"""The environment variable that tells a command its job directory."""

Document = dict[str, object]


def write_once(folder: str, name: str, document: Document) -> bool:
    """Write `folder/name` unless it exists, durably; says whether this call wrote it.

    Raises:
        OSError: The file cannot be written: no space, no permission, the folder is gone.
    """
    return write_text_once(folder, name, json.dumps(document))


def write_text_once(folder: str, name: str, text: str) -> bool:
    """As `write_once`, for any text."""
    temporary = _write_temporary(folder, name, text, is_durable=True)
    try:
        os.link(temporary, os.path.join(folder, name))
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    _sync_folder(folder)
    return True


def write_latest(folder: str, name: str, document: Document) -> None:
    """Replace `folder/name` in one step.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = _write_temporary(folder, name, json.dumps(document), is_durable=False)
    os.replace(temporary, os.path.join(folder, name))


def read_document(folder: str, name: str) -> Document | None:
    """What stands in `folder/name`; None where there is no such file, and nothing in it where it is no JSON object."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def has_document(folder: str, name: str) -> bool:
    """Whether `folder/name` exists."""
    return os.path.exists(os.path.join(folder, name))


def _write_temporary(folder: str, name: str, text: str, *, is_durable: bool) -> str:
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        os.unlink(temporary)
        raise
    return temporary


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
