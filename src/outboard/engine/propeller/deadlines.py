"""How long Flyte should wait for an agent service, operation by operation, and how long it will.

The advised deadlines suit what the service does in that time. A create is answered within a second, with a handle or with
an intent; a poll from memory; a cancel after two seconds at most; a sync agent answers before the deadline, whatever it is.
The rest of each deadline is room for retries while a replica goes away. Below the least, Outboard's patience is cut (it is a
part of the deadline); above the most, one hanging call holds up others: polls have a few workers for all tasks together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from outboard.engine.propeller.sections import AgentSection, Deployment
from outboard.engine.propeller.trees import Tree

LISTING: Final = "listing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """What suits one operation, and why; times in seconds."""

    operation: str
    least_s: float
    advised_s: int
    most_s: float
    why: str


DEADLINES: Final = (
    Deadline(
        operation="CreateTask",
        least_s=3,
        advised_s=15,
        most_s=60,
        why="answered within a second; the rest is for retries. A create that ends here burns one of the task's retries",
    ),
    Deadline(
        operation="GetTask",
        least_s=2,
        advised_s=10,
        most_s=30,
        why="answered from memory, after a second at most; a hanging one holds a poll worker for this long",
    ),
    Deadline(
        operation="DeleteTask",
        least_s=4,
        advised_s=15,
        most_s=60,
        why="answered when the platform accepted the cancel; a failed one fails the round of the whole workflow",
    ),
    Deadline(
        operation="ExecuteTaskSync",
        least_s=5,
        advised_s=60,
        most_s=300,
        why="as long as the longest call of a sync agent; a workflow worker waits for it",
    ),
    Deadline(
        operation=LISTING,
        least_s=1,
        advised_s=5,
        most_s=30,
        why="asked every pollInterval; one that fails drops the service's task types until the next",
    ),
)
"""In the order in which they are written; the listing has another name in each plugin."""

DEFAULT_DEADLINE_S: Final = 10


def operation_names(section: type[AgentSection] | AgentSection, *, is_flyte_2: bool) -> dict[str, Deadline]:
    """Return the operations that a plugin has deadlines for, by the names that it looks up; Flyte 2 has no sync call."""
    named = {(section.listing if each.operation == LISTING else each.operation): each for each in DEADLINES}
    return {name: each for name, each in named.items() if not (is_flyte_2 and name == "ExecuteTaskSync")}


def effective_deadline(deployment: Deployment, tree: Tree | None, operation: str) -> timedelta | None:
    """Return how long Flyte waits; None is for ever. Operations in a map are lost (see the package), so only a list counts."""
    timeouts = tree.get("timeouts") if tree is not None else None
    if timeouts is not None and timeouts.items is not None and operation in deployment.timeouts:
        return deployment.timeouts[operation] or None
    return deployment.default_timeout or None
