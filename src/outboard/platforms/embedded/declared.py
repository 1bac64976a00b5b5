"""What is known of the platform before it is loaded."""

from typing import Final

from outboard.agent.deferred import DeclaredAgent, DeferredPlatform
from outboard.domain.tasks import TaskType

WITHHELD: Final = {
    "process": "task type 'process' runs any command and is not served here; "
    "the operator allows it by the setting platforms.embedded.allow_process: true"
}

EMBEDDED: Final = DeferredPlatform(
    name="embedded",
    source="outboard.platforms.embedded.platform:Embedded",
    agents=(
        DeclaredAgent(name="duckdb", task_types=(TaskType("duckdb"),)),
        DeclaredAgent(name="duckdb_rows", task_types=(TaskType("duckdb_rows"),), is_sync=True),
        DeclaredAgent(name="process", task_types=(TaskType("process"),)),
    ),
    withheld=WITHHELD,
)
