"""The vendors' own clients, run by the interpreter of `requirements/parts/sql_http.txt`: a question in, its rows out, as JSON.

Values are told as texts that lose nothing, so that they can be compared with what a Parquet file holds.
"""

import json
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timezone
from typing import Any


def told(value: Any) -> Any:
    """Return a value as both sides write it down."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, datetime):
        return (value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value).isoformat(
            " ", "microseconds"
        )
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): told(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [told(each) for each in value]
    return str(value)


def clickhouse(where: Mapping[str, Any], sql: str, parameters: Mapping[str, Any]) -> list[Any]:
    """Ask with clickhouse-connect."""
    import clickhouse_connect

    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=where["port"], username="checks", password=where["password"], database="checks"
    )
    return [list(row) for row in client.query(sql, parameters=dict(parameters), query_tz="UTC").result_rows]


def trino(where: Mapping[str, Any], sql: str, parameters: list[Any]) -> list[Any]:
    """Ask with the trino package."""
    from trino.dbapi import connect

    with connect(host="127.0.0.1", port=where["port"], user="checks", catalog="memory", schema="default") as connection:
        cursor = connection.cursor()
        cursor.execute(sql, parameters or None)
        return [list(row) for row in cursor.fetchall()]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    ask = clickhouse if asked["kind"] == "clickhouse" else trino
    rows = ask(asked["where"], asked["sql"], asked["parameters"])
    json.dump([[told(value) for value in row] for row in rows], sys.stdout)
