"""What Google's own client sees on an emulator; run by the emulator's own interpreter, asked and answering in JSON."""

from __future__ import annotations

import json
import sys
from typing import Any


def answer(asked: dict[str, Any]) -> Any:
    from google.api_core.client_options import ClientOptions
    from google.auth import credentials
    from google.cloud import bigquery

    anonymous: Any = credentials.AnonymousCredentials
    options = ClientOptions(api_endpoint=asked["url"])
    client = bigquery.Client(project=asked["project"], credentials=anonymous(), client_options=options, location="US")
    if "setup" in asked:
        for statement in asked["setup"]:
            client.query(statement).result()
        return None
    if "job" in asked:
        job = client.get_job(asked["job"], location="US")
        return {"state": job.state, "error": job.error_result, "labels": job.labels, "sql": job.query}
    if "cancel" in asked:
        return client.cancel_job(asked["cancel"], location="US").state
    if "table" in asked:
        return rows(client.list_rows(client.get_table(asked["table"])))
    config = bigquery.QueryJobConfig(
        query_parameters=[parameter(bigquery, each) for each in asked.get("parameters", [])]
    )
    return rows(client.query(asked["query"], job_config=config).result())


def parameter(bigquery: Any, spec: list[Any]) -> Any:
    name, kind, value = spec
    if kind.startswith("ARRAY:"):
        return bigquery.ArrayQueryParameter(name, kind.removeprefix("ARRAY:"), value)
    return bigquery.ScalarQueryParameter(name, kind, value.encode() if kind == "BYTES" else value)


def rows(found: Any) -> dict[str, Any]:
    schema = [[field.name, field.field_type, field.mode] for field in found.schema]
    return {"schema": schema, "rows": sorted(json.dumps(dict(row), default=str, sort_keys=True) for row in found)}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout, default=str)
