"""What is known of the platform before it is loaded."""

from typing import Final

from outboard.agent.deferred import DeclaredAgent, DeferredPlatform
from outboard.domain.tasks import TaskType

NEEDS: Final = {"botocore": "outboard[athena]"}

ATHENA: Final = DeferredPlatform(
    name="athena",
    source="outboard.platforms.athena.platform:Athena",
    agents=(DeclaredAgent(name="athena", task_types=(TaskType("presto"), TaskType("hive"), TaskType("athena"))),),
    needs=NEEDS,
)
