"""What is known of the platform before it is loaded."""

from typing import Final

from outboard.agent.deferred import DeclaredAgent, DeferredPlatform
from outboard.domain.tasks import TaskType

SNOWFLAKE: Final = DeferredPlatform(
    name="snowflake",
    source="outboard.platforms.snowflake.platform:Snowflake",
    agents=(DeclaredAgent(name="snowflake", task_types=(TaskType("snowflake"),)),),
)
