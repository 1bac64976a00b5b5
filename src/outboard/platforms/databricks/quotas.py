"""What Databricks allows per workspace, as far as it says.

Of the Jobs API only submissions and single look-ups have published rates; listings, outputs and the SQL API have none, so these
calls are slowed when Databricks says so. A rate "per second" is kept within every second: burst and sustained rate together
are the published number.

Source: https://docs.databricks.com/aws/en/resources/limits and https://learn.microsoft.com/en-us/azure/databricks/resources/limits,
the latter as a dated copy has it (github.com/api-evangelist/microsoft-azure-databricks, 2026-05-05): runs/submit 35/s,
runs/get 100/s; "jobs created per hour 10000" from the pages themselves.
"""

from __future__ import annotations

from typing import Final

from outboard.agent import Quotas, Rate

LIMITS: Final = "https://learn.microsoft.com/en-us/azure/databricks/resources/limits"
_READ: Final = "2026-11-22"

SUBMIT: Final = "runs/submit"
GET: Final = "runs/get"
LIST: Final = "runs/list"
OUTPUT: Final = "runs/get-output"
CANCEL: Final = "runs/cancel"
LOGIN: Final = "oidc/token"
EXECUTE: Final = "sql/statements"
STATEMENT: Final = "sql/statements/get"
CANCEL_STATEMENT: Final = "sql/statements/cancel"
CHUNK: Final = "sql/statements/chunk"
DOWNLOAD: Final = "sql/external-link"
HISTORY: Final = "sql/history/queries"

QUOTAS: Final = Quotas(
    {
        SUBMIT: (
            Rate(per_second=30, burst=5, source=LIMITS, date=_READ),
            Rate.per_hour(10_000, burst=2_000, source=LIMITS, date=_READ),
        ),
        GET: Rate(per_second=90, burst=10, source=LIMITS, date=_READ),
    }
)
"""By the names that the client gives its calls."""
