"""How Flyte names the nodes of an execution: the identity it sends, and where it puts their outputs.

The identity has the node's *own* id, which repeats: every sub-workflow has its n0, every dynamic node its dn0, and the
sub-nodes of an array are called n0, n1 ... like ordinary nodes. What tells them apart is the output prefix alone,
`<output directory of the parent>/<node>/data/<attempt>`, for sub-nodes of an array `<output directory of the
array>/<index>/<attempt>`. A parent that is retried starts its children from attempt 0 again, below another directory.
Recovered and relaunched executions have names of their own.

Read in Flyte 1.16.8: `node_status.go` (data and output directories), `nodes/array/handler.go` (sub-nodes),
`nodes/task` (the identity).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outboard.domain.identity import ExecutionIdentity, TaskId

ROOT: Final = "s3://flyte/metadata/propeller"
"""Where flyteadmin's default configuration puts executions: `<metadata container>/metadata/propeller`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeName:
    """One node that runs a task.

    Attributes:
        kind: What sort of node it is, in words.
        identity: As sent with attempt 0.
        node_prefix: Where its outputs go, without the attempt.
    """

    kind: str
    identity: ExecutionIdentity
    node_prefix: str

    @property
    def output_prefix(self) -> str:
        """Where the outputs of attempt 0 go."""
        return f"{self.node_prefix}/0"


def flyte_names(
    execution: str = "f5a1b2c3d4e5f6a7b8c9",
    *,
    project: str = "flytesnacks",
    domain: str = "development",
    task: TaskId | None = None,
    root: str = ROOT,
    fan_out: int = 3,
) -> list[NodeName]:
    """Return the names of nodes that all run one task, as Flyte gives them; no two are the same job.

    Args:
        execution: The execution's name; the recovered and the relaunched one get others.
        project: Its project.
        domain: Its domain.
        task: The registered task.
        root: Where executions have their directories.
        fan_out: How many dynamic nodes and array sub-nodes there are.

    >>> names = flyte_names()
    >>> [name.node_prefix.partition(names[0].identity.execution)[2] for name in names[:3]]
    ['/n0/data', '/n1/data/0/n0/data', '/n2/data/0/n0/data']
    >>> len({name.identity for name in names}), len({(name.identity, name.output_prefix) for name in names}) == len(names)
    (8, True)
    """
    ran = task if task is not None else TaskId(project=project, domain=domain, name="jobs.train", version="v1")

    def name(kind: str, node: str, below: str, of: str = execution) -> NodeName:
        identity = ExecutionIdentity(project=project, domain=domain, execution=of, node=node, task=ran)
        return NodeName(kind=kind, identity=identity, node_prefix=f"{root}/{project}-{domain}-{of}/{below}")

    return [
        name("plain node", "n0", "n0/data"),
        name("node of a sub-workflow", "n0", "n1/data/0/n0/data"),
        name("node of another sub-workflow", "n0", "n2/data/0/n0/data"),
        *(name("dynamic node", f"dn{n}", f"n3/data/0/dn{n}/data") for n in range(fan_out)),
        name("dynamic node of another parent", "dn0", "n4/data/0/dn0/data"),
        name("dynamic node of a parent that was retried", "dn0", "n3/data/1/dn0/data"),
        *(name("array sub-node", f"n{n}", f"n5/data/0/{n}") for n in range(fan_out)),
        name("recovered execution", "n0", "n0/data", f"{execution}r"),
        name("relaunched execution", "n0", "n0/data", f"{execution}l"),
    ]
