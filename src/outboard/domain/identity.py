"""Who a task is: the execution identity that the engine sends, and the scope that travels with the handle.

The identity alone is not unique. Node ids repeat across sub-workflows, dynamic nodes and array nodes; only the
output prefix tells them apart, so the submission key is derived from both (see `keys`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskId:
    """The registered task: Flyte's `core.Identifier`."""

    project: str = ""
    domain: str = ""
    name: str = ""
    version: str = ""
    org: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """On whose behalf a job runs; secrets and authorization are decided by it."""

    project: str = ""
    domain: str = ""
    org: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionIdentity:
    """One attempt of one node of one execution: Flyte's `core.TaskExecutionIdentifier`.

    Attributes:
        attempt: Counted from 0 by both Flyte 1 and Flyte 2 (`retry_attempt`).
    """

    project: str = ""
    domain: str = ""
    org: str = ""
    execution: str = ""
    node: str = ""
    attempt: int = 0
    task: TaskId = field(default_factory=TaskId)

    def belongs_to(self, projects: Collection[str]) -> bool:
        """Tell whether it is of one of these, each a `project` or `project-domain`; none stands for all."""
        return not projects or self.project in projects or f"{self.project}-{self.domain}" in projects

    def scope(self, namespace: str = "") -> Scope:
        """Return the scope of this execution in a Kubernetes namespace."""
        return Scope(project=self.project, domain=self.domain, org=self.org, namespace=namespace)
