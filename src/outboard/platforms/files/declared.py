"""What is known of the platform before it is loaded."""

from typing import Final

from outboard.agent.deferred import DeclaredAgent, DeferredPlatform
from outboard.domain.tasks import TaskType

FILES: Final = DeferredPlatform(
    name="files",
    source="outboard.platforms.files.platform:Files",
    agents=(
        DeclaredAgent(name="file_sensor", task_types=(TaskType("file_sensor"),)),
        DeclaredAgent(name="flytekit_file_sensor", task_types=(TaskType("sensor"),)),
    ),
)
