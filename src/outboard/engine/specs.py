"""Specifications: a task made complete, attempt by attempt, as FlytePropeller completes it.

A task gets an execution identity where it has none (the run is the execution, the task's id the node) and a place::

    <base>/<execution>/<node>/inputs.pb            its inputs, also task.pb where a template asks for it
    <base>/<execution>/<node>/<attempt>            the output prefix of an attempt, counted from 0
    <base>/<execution>/<node>/<attempt>/raw        what the attempt's own data goes to

A caller's own output prefix stays as it is for the first attempt; if its last part is that attempt's number, later attempts
count it up, else they go below it. Everything is a pure function of specification and attempt, so a CreateTask that is sent
again, by this process or by the next one, is the same request with the same submission key.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from flyteidl.admin import agent_pb2
from google.protobuf.message import DecodeError
from typing_extensions import Self

from outboard.domain.tasks import RawTask
from outboard.domain.templates import TemplateValues, render_args
from outboard.domain.values import restore_integers
from outboard.engine.journal_records import PlannedTask
from outboard.errors import JournalUnwritable
from outboard.host.stores import join_uri
from outboard.wire.files import INPUTS_FILE, encode_inputs_file
from outboard.wire.tasks import decode_create_request, encode_create_request, encode_template

_NAME_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, no look-alikes: as Flyte names executions
_NAME_LENGTH: Final = 20
_TASK_FILE: Final = "task.pb"
_ASKS_FOR_TEMPLATE: Final = re.compile(r"\{\{\s*[.$]taskTemplatePath\s*\}\}", re.IGNORECASE)


def new_execution_name() -> str:
    """Return a name for an execution, formed as Flyte forms them: a letter and 19 letters or digits.

    >>> len(new_execution_name())
    20
    """
    return "a" + "".join(secrets.choice(_NAME_ALPHABET) for _ in range(_NAME_LENGTH - 1))


def absolute_base(base: str) -> str:
    """Return an output base that means the same to a service with another working directory."""
    return base.rstrip("/") if "://" in base else str(Path(base).expanduser().absolute())


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedAttempt:
    """One attempt, ready to be sent once its files are written."""

    task: RawTask
    files: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task with its identity, and where its files go.

    Attributes:
        task: Everything but the output prefix is that of the first attempt.
        folder: Where inputs lie and attempts are counted.
        own_prefix: The caller's own output prefix of the first attempt; empty where the engine chooses.
    """

    task_id: str
    task: RawTask
    folder: str
    own_prefix: str = ""

    @classmethod
    def complete(cls, task: RawTask, *, task_id: str, execution: str, base: str, project: str, domain: str) -> Self:
        """Return the specification of a task; what its caller left open is filled in."""
        given = task.identity
        project, domain = given.project or project, given.domain or domain
        named = replace(
            given.task,
            project=given.task.project or project,
            domain=given.task.domain or domain,
            name=given.task.name or task.type,
        )
        identity = replace(
            given,
            project=project,
            domain=domain,
            execution=given.execution or execution,
            node=given.node or task_id,
            task=named,
        )
        full = replace(
            task,
            identity=identity,
            namespace=task.namespace or f"{project}-{domain}",
            max_attempts=task.max_attempts or task.retries + 1,
        )
        prefix = task.output_prefix.rstrip("/")
        folder = join_uri(base, identity.execution, identity.node) if not prefix else _parent(prefix, identity.attempt)
        return cls(task_id=task_id, task=full, folder=folder, own_prefix=prefix)

    @property
    def first_attempt(self) -> int:
        """The number of the first attempt."""
        return self.task.identity.attempt

    def output_prefix(self, attempt: int) -> str:
        """Return where an attempt's outputs go."""
        if self.own_prefix and attempt == self.first_attempt:
            return self.own_prefix
        return join_uri(self.folder, str(attempt))

    def prepare(self, attempt: int) -> PreparedAttempt:
        """Return an attempt with its command rendered, and the files that must be written before it is sent.

        Raises:
            InvalidTask: A template cannot be rendered, or the task cannot be written down.
            InvalidInputs: An input does not fit its declared type.
        """
        task = replace(
            self.task,
            identity=replace(self.task.identity, attempt=attempt),
            output_prefix=self.output_prefix(attempt),
        )
        files: list[tuple[str, bytes]] = []
        if not task.input_uri and (task.inputs or task.container is not None or task.pod is not None):
            uri = join_uri(self.folder, INPUTS_FILE)
            task = replace(task, input_uri=uri)
            files.append((uri, encode_inputs_file(task.inputs, task.interface.inputs)))
        container = task.container
        if container is not None and any("{{" in arg for arg in container.args):
            template_path = None
            if any(_ASKS_FOR_TEMPLATE.search(arg) for arg in container.args):
                template_path = join_uri(self.folder, _TASK_FILE)
                files.append((template_path, encode_template(self.task).SerializeToString(deterministic=True)))
            args = render_args(container.args, self._values(task, template_path))
            task = replace(task, container=replace(container, args=tuple(args)))
        return PreparedAttempt(task=task, files=files)

    def _values(self, task: RawTask, template_path: str | None) -> TemplateValues:
        identity = task.identity
        raw = join_uri(task.output_prefix, "raw")
        previous = ""
        if identity.attempt > self.first_attempt:
            previous = _checkpoints(join_uri(self.output_prefix(identity.attempt - 1), "raw"))
        return TemplateValues(
            input_uri=task.input_uri,
            input_prefix=task.input_uri.rpartition("/")[0],
            output_prefix=task.output_prefix,
            raw_output_data_prefix=raw,
            checkpoint_output_prefix=_checkpoints(raw),
            prev_checkpoint_prefix=previous,
            generated_name=f"{identity.execution}-{identity.node}-{identity.attempt}",
            namespace=task.namespace,
            task_template_path=template_path,
            inputs=task.inputs,
        )

    def to_plan(self) -> PlannedTask:
        """Return the specification as the journal keeps it.

        Raises:
            TaskError: The task cannot be written down; the message names the field.
        """
        spec = encode_create_request(replace(self.task, output_prefix=self.own_prefix)).SerializeToString()
        options: dict[str, Any] = {"folder": self.folder}
        if self.task.input_uri:
            options["input_uri"] = self.task.input_uri
        return PlannedTask(task_id=self.task_id, spec=spec, options=options)

    @classmethod
    def from_plan(cls, plan: PlannedTask) -> Self:
        """Return the specification that a journal kept.

        Raises:
            JournalUnwritable: It is no specification of this version.
        """
        options: Mapping[str, Any] = plan.options
        try:
            task = decode_create_request(agent_pb2.CreateTaskRequest.FromString(plan.spec))
            folder = str(options["folder"])
        except (DecodeError, KeyError):
            raise JournalUnwritable(
                f"task '{plan.task_id}' in the journal cannot be read: resume it with the version that planned it"
            ) from None
        # On its way through a protobuf Struct every integer of the configuration became a float.
        config = restore_integers(dict(task.config))
        task = replace(task, config=config, input_uri=str(options.get("input_uri", "")))
        return cls(task_id=plan.task_id, task=task, folder=folder, own_prefix=task.output_prefix)


def _parent(prefix: str, attempt: int) -> str:
    parent, _, last = prefix.rpartition("/")
    return parent if parent and last == str(attempt) else prefix


def _checkpoints(raw: str) -> str:
    return join_uri(raw, "_flytecheckpoints")
