"""`make warehouses`: what the agents for warehouses keep, cost and say, per platform.

python tests/warehouses/run.py
python tests/warehouses/run.py --only bigquery,databricks
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT)]

from tables.reporting import Report  # noqa: E402 - found only now

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

if __name__ == "__main__":
    sys.exit(REPORT.run())
