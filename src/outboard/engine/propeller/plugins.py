"""Which of Flyte 1's plugins claim which task types, so that two claims for one type are seen before Flyte refuses to start.

From the `RegisteredTaskTypes` and `SupportedTaskTypes` of the plugins that `flytepropeller/plugins/loader.go` loads, 1.16.8.
Plugins of other makers are not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CLAIMS: Final[Mapping[str, frozenset[str]]] = {
    "athena": frozenset({"hive", "presto"}),
    "aws_array": frozenset({"container_array", "aws-batch"}),
    "bigquery": frozenset({"bigquery_query_job_task"}),
    "container": frozenset({"container", "python-task", "raw-container"}),
    "dask": frozenset({"dask"}),
    "databricks": frozenset({"spark"}),
    "echo": frozenset({"echo"}),
    "k8s-array": frozenset({"container_array"}),
    "mpi": frozenset({"mpi"}),
    "pod": frozenset({"container", "python-task", "raw-container", "sidecar"}),
    "pytorch": frozenset({"pytorch"}),
    "ray": frozenset({"ray"}),
    "sidecar": frozenset({"sidecar"}),
    "snowflake": frozenset({"snowflake"}),
    "spark": frozenset({"spark"}),
    "tensorflow": frozenset({"tensorflow"}),
}
"""Plugin to the task types that it claims."""
