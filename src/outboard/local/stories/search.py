"""Which task of the journal is meant: by its id, its execution's identity, or its submission key."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

from outboard.domain.identity import ExecutionIdentity
from outboard.domain.keys import Key, submission_key
from outboard.engine.journal import Journal, TaskRecord
from outboard.engine.specs import TaskSpec
from outboard.errors import ForeignHandle, InvalidSettings, OutboardError

_IDENTITY: Final = re.compile(r"[^:/\s]+(?::[^:\s]+){3,4}")
_FORM: Final = "project:domain:execution:node[:attempt]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A task of the journal, and how it was planned; the plan is None where another version wrote it."""

    record: TaskRecord
    spec: TaskSpec | None

    @property
    def identity(self) -> ExecutionIdentity | None:
        """Who its last attempt is."""
        if self.spec is None:
            return None
        identity = self.spec.task.identity
        return identity if self.record.attempt is None else replace(identity, attempt=self.record.attempt)

    def key(self, installation: str) -> Key | None:
        """Return the submission key of its last attempt."""
        identity = self.identity
        if self.spec is None or identity is None:
            return None
        return submission_key(installation, identity, self.spec.output_prefix(identity.attempt))


def parse_identity(text: str) -> tuple[ExecutionIdentity, bool] | None:
    """Return the identity that a text spells, and whether it names the attempt; None where it spells none.

    Raises:
        InvalidSettings: The attempt is no number.

    >>> parse_identity("flights:development:f3a:n0:1")[0].attempt
    1
    """
    if not _IDENTITY.fullmatch(text):
        return None
    project, domain, execution, node, *attempt = text.split(":")
    if attempt and not (attempt[0].isascii() and attempt[0].isdigit()):
        raise InvalidSettings(f"'{attempt[0]}' is no number of an attempt: write {_FORM}", field="what")
    number = int(attempt[0]) if attempt else 0
    identity = ExecutionIdentity(project=project, domain=domain, execution=execution, node=node, attempt=number)
    return identity, bool(attempt)


def parse_key(text: str) -> Key | None:
    """Return the submission key that a text spells; None where it spells none."""
    try:
        return Key.parse(text)
    except ForeignHandle:
        return None


async def recorded(journal: Journal, record: TaskRecord) -> Recorded:
    """Return a task with its plan."""
    plan = await journal.spec(record.run_id, record.task_id)
    try:
        return Recorded(record=record, spec=None if plan is None else TaskSpec.from_plan(plan))
    except OutboardError:  # another version's
        return Recorded(record=record, spec=None)


async def by_identity(journal: Journal, wanted: ExecutionIdentity, *, has_attempt: bool) -> Recorded | None:
    """Return the task of an identity; None where the journal has none."""
    async for found in _all(journal, wanted.execution):
        identity = found.identity
        if identity is None:
            continue
        same = replace(identity, org="", task=wanted.task, attempt=identity.attempt if has_attempt else 0)
        if same == wanted:
            return found
    return None


async def by_key(journal: Journal, wanted: Key, installation: str) -> Recorded | None:
    """Return the task whose last attempt has a key; None where the journal has none."""
    async for found in _all(journal, ""):
        if found.key(installation) == wanted:
            return found
    return None


async def _all(journal: Journal, execution: str) -> AsyncIterator[Recorded]:
    """Give all tasks, those of the run first that is called as the execution is."""
    runs = sorted(await journal.runs(), key=lambda run: run.run_id != execution)
    for run in runs:
        for record in await journal.tasks(run.run_id):
            yield await recorded(journal, record)
