"""`make warehouses`: what the agents for warehouses keep, cost and say, per platform."""

from __future__ import annotations

from typing import Final

from tables.reporting import Report

REPORT: Final = Report(
    target="warehouses",
    about=__doc__ or "",
    parts={
        "bigquery": "BigQuery",
        "snowflake": "Snowflake",
        "databricks": "Databricks",
        "sql": "SQL anywhere: PostgreSQL, MySQL, DuckDB",
        "sql_http": "SQL anywhere: ClickHouse, Trino",
        "athena": "Athena",
    },
)
