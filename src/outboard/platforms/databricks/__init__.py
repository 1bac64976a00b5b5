"""Databricks: Spark jobs, notebooks, wheels and scripts as one-time runs, and SQL statements on SQL warehouses."""
