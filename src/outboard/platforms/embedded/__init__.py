"""The embedded platform: SQL with DuckDB and commands, as detached jobs on this machine (see `outboard.detached`).

`queries` says what a DuckDB job gets and gives; `duckdb_job`, `duckdb_session` and `duckdb_inputs` are the program that does it.
"""
