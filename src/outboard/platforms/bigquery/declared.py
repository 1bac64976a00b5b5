"""What is known of the platform before it is loaded."""

from typing import Final

from outboard.agent.deferred import DeclaredAgent, DeferredPlatform
from outboard.domain.tasks import TaskType

NEEDS: Final = {"google.auth": "outboard[bigquery]"}

BIGQUERY: Final = DeferredPlatform(
    name="bigquery",
    source="outboard.platforms.bigquery.platform:BigQuery",
    agents=(DeclaredAgent(name="bigquery", task_types=(TaskType("bigquery_query_job_task"),)),),
    needs=NEEDS,
)
