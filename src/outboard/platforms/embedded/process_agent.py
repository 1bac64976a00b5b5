"""Task type `process`: any command as a job, served only where the operator allows it.

The command comes from `custom.command`, or from the container's command and rendered arguments (no image is pulled; it
runs as it would in a shell of the service's user, without the shell). How it gets inputs and gives outputs is told in
`process_files`. Exit code 0 is success; the codes in `retryable_exit_codes` are worth another attempt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import Field

from outboard.agent import Cause, Failure, Retry, Status, Task, TaskConfig, TaskType
from outboard.detached import job_files
from outboard.detached.job_directory import JobDirectory
from outboard.detached.jobs import JobSnapshot, JobSpec
from outboard.detached.states import JobState
from outboard.domain.type_codes import decode_type_codes, encode_type_codes
from outboard.domain.types import ValueType
from outboard.errors import InvalidOutputs, InvalidTask
from outboard.platforms.embedded import process_files
from outboard.platforms.embedded.job_agent import NO_RESULT, TASK_FILE, EmbeddedAgent, facts_of, usage_of
from outboard.platforms.embedded.signals import killed_failure

_LAST_WORDS_BYTES = 4096
_SHOWN = 256


class ProcessConfig(TaskConfig):
    """The `custom` of a `process` task.

    Attributes:
        command: The program and its arguments; the container's command and arguments may stand in its place.
        cwd: An absolute working directory; a fresh one in the job directory otherwise.
        env: Variables for the command; they win over the container's and the execution's.
        env_from_task: Whether the execution's environment is handed on.
        retryable_exit_codes: Exit codes after which another attempt is worth it.
        grace_s: Seconds between SIGTERM and SIGKILL when the task is cancelled.
    """

    command: tuple[str, ...] = ()
    cwd: str | None = Field(default=None, pattern="^/")
    env: Mapping[str, str] = Field(default_factory=dict)
    env_from_task: bool = True
    retryable_exit_codes: frozenset[int] = frozenset()
    grace_s: float = Field(default=5.0, ge=0, le=3600)


class ProcessAgent(EmbeddedAgent[ProcessConfig]):
    """Runs a command in a process group of its own."""

    name = "process"
    task_types = (TaskType("process"),)

    def specify(self, task: Task[ProcessConfig], name: str, root: JobDirectory, output_prefix: str) -> JobSpec:
        """Return the job of a command."""
        config = task.config
        remembered = {
            "outputs": encode_type_codes(task.interface.outputs),
            "retryable_exit_codes": sorted(config.retryable_exit_codes),
        }
        return JobSpec(
            command=_command(task),
            env={
                **(task.environment if config.env_from_task else {}),
                **(task.container.env if task.container else {}),
                **config.env,
                **process_files.variables(root.root / name, output_prefix),
            },
            cwd=config.cwd,
            files={
                TASK_FILE: json.dumps(remembered),
                process_files.INPUTS_FILE: process_files.encode_inputs(task.inputs),
            },
            grace_s=config.grace_s,
        )

    def succeed(self, snapshot: JobSnapshot, root: JobDirectory) -> Status:
        """Return the outputs that the command left; it failed where they do not match the task's interface."""
        facts, usage = facts_of(snapshot, root), usage_of(snapshot)
        try:
            outputs = process_files.read_outputs(root.root / snapshot.name, self._declared(snapshot.name, root))
        except InvalidOutputs as error:
            failure = Failure(code="InvalidOutputs", message=error.message)
            return Status(state=NO_RESULT, failure=failure, custom_info=facts, usage=usage)
        return Status(
            state=snapshot.state.value, message="exit code 0", outputs=outputs, custom_info=facts, usage=usage
        )

    def explain(self, snapshot: JobSnapshot, root: JobDirectory) -> Failure | None:
        """Return the exit code or the signal, and the last line of standard error."""
        if snapshot.state is JobState.KILLED:
            return killed_failure(snapshot, is_own_doing=True)
        if snapshot.state is not JobState.FAILED:
            return None
        remembered = root.read_document(snapshot.name, TASK_FILE) or {}
        codes = remembered.get("retryable_exit_codes")
        is_retryable = isinstance(codes, list) and snapshot.exit_code in codes
        said = _last_words(snapshot.name, root)
        return Failure(
            code=f"ExitCode{snapshot.exit_code}",
            message=f"exit code {snapshot.exit_code}{': ' if said else ''}{said}",
            retry=Retry.YES if is_retryable else Retry.NEVER,
            cause=Cause.USER,
        )

    @staticmethod
    def _declared(name: str, root: JobDirectory) -> dict[str, ValueType]:
        remembered = root.read_document(name, TASK_FILE) or {}
        codes = remembered.get("outputs")
        return decode_type_codes(codes if isinstance(codes, dict) else {})


def _command(task: Task[ProcessConfig]) -> tuple[str, ...]:
    container = task.container
    contained = (*container.command, *container.args) if container else ()
    configured = task.config.command
    if configured and contained:
        raise InvalidTask("custom.command and the container both say what to run; keep one", field="custom.command")
    command = configured or contained
    if not command or not command[0]:
        words = "the task says no command; put it into custom.command or the container's command and args"
        raise InvalidTask(words, field="custom.command")
    return command


def _last_words(name: str, root: JobDirectory) -> str:
    try:
        size = (root.root / name / job_files.STDERR).stat().st_size
    except OSError:
        return ""
    page = root.read_log(name, "stderr", max(0, size - _LAST_WORDS_BYTES), _LAST_WORDS_BYTES)
    return next((line.strip()[:_SHOWN] for line in reversed(page.lines) if line.strip()), "")
