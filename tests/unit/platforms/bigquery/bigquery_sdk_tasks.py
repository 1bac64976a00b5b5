"""Tasks as the real task classes of both SDKs send them; `sdk_tasks.json` holds what this made, so most tests need no plugin.

`python bigquery_sdk_tasks.py > sdk_tasks.json` writes it again, where flytekitplugins-bigquery and flyteplugins-bigquery are
installed.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CORPUS = Path(__file__).parent / "sdk_tasks.json"
SQL = "SELECT *\n  FROM analytics.events WHERE day = @day AND id IN UNNEST(@ids)"


def job_config() -> Any:
    from google.cloud import bigquery

    return bigquery.QueryJobConfig(
        destination="other-project.marts.daily",
        write_disposition="WRITE_TRUNCATE",
        maximum_bytes_billed=10**12,
        use_query_cache=False,
        priority="BATCH",
        time_partitioning=bigquery.TimePartitioning(field="day", expiration_ms=86_400_000),
        clustering_fields=["id"],
        schema_update_options=["ALLOW_FIELD_ADDITION"],
        query_parameters=[
            bigquery.ScalarQueryParameter("day", "DATE", None),
            bigquery.ScalarQueryParameter("region", "STRING", "EU"),
        ],
    )


def configs(kind: Any) -> dict[str, Any]:
    """Return configurations of either SDK, which name their fields alike."""
    return {
        "plain": kind(ProjectID="analytics-prod"),
        "whole": kind(ProjectID="analytics-prod", Location="EU", QueryJobConfig=job_config()),
    }


def flytekit_tasks() -> dict[str, Any]:
    from flytekit import StructuredDataset, kwtypes
    from flytekit.configuration import ImageConfig, SerializationSettings
    from flytekit.tools.translator import get_serializable
    from flytekitplugins.bigquery import BigQueryConfig, BigQueryTask

    settings = SerializationSettings(
        image_config=ImageConfig.auto(), project="shop", domain="development", version="v1"
    )
    tasks = {}
    for name, config in configs(BigQueryConfig).items():
        task = BigQueryTask(
            name=f"shop.{name}",
            query_template=SQL,
            task_config=config,
            inputs=kwtypes(day=datetime, ids=list[int]),
            output_structured_dataset_type=StructuredDataset,
        )
        template = get_serializable(OrderedDict(), settings, task).template.to_flyte_idl()
        custom = task.get_custom(settings)
        tasks[f"flytekit {name}"] = {"type": template.type, "custom": custom, "sql": template.sql.statement}
    return tasks


def flyte2_tasks() -> dict[str, Any]:
    from flyte.io import DataFrame
    from flyteplugins.bigquery import BigQueryConfig, BigQueryTask

    tasks = {}
    for name, config in configs(BigQueryConfig).items():
        task = BigQueryTask(
            name=f"shop-{name}",
            query_template=SQL,
            plugin_config=config,
            inputs={"day": datetime, "ids": list[int]},
            output_dataframe_type=DataFrame,
            google_application_credentials="bigquery-key",
        )
        context: Any = SimpleNamespace(domain="development")
        custom, sql = task.custom_config(context), task.sql(context)
        tasks[f"flyte2 {name}"] = {"type": task.task_type, "custom": custom, "sql": sql.statement}
    return tasks


if __name__ == "__main__":
    json.dump({**flytekit_tasks(), **flyte2_tasks()}, sys.stdout, indent=1, sort_keys=True)
