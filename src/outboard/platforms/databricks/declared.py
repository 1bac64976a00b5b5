"""What is known of the platform before it is loaded."""

from typing import Final

from outboard.agent.deferred import DeclaredAgent, DeferredPlatform
from outboard.domain.tasks import TaskType

DATABRICKS: Final = DeferredPlatform(
    name="databricks",
    source="outboard.platforms.databricks.platform:Databricks",
    agents=(
        DeclaredAgent(name="databricks", task_types=(TaskType("databricks"), TaskType("spark"))),
        DeclaredAgent(name="databricks_sql", task_types=(TaskType("databricks_sql"),)),
    ),
)
