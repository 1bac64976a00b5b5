"""What is known of the platform before it is loaded."""

from typing import Final

from outboard.agent.deferred import DeclaredAgent, DeferredPlatform
from outboard.domain.tasks import TaskType

NEEDS: Final = {"pyarrow": "outboard[sql]"}

SQL: Final = DeferredPlatform(
    name="sql",
    source="outboard.platforms.sql.platform:SqlAnywhere",
    agents=(DeclaredAgent(name="sql", task_types=(TaskType("sql"), TaskType("sqlalchemy"))),),
    needs=NEEDS,
)
