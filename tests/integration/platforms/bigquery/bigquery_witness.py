"""What Google's own client sees on an emulator; run by the emulator's own interpreter, asked and answering in JSON."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any


def answer(asked: dict[str, Any]) -> Any:
    from google.api_core.client_options import ClientOptions
    from google.auth import credentials
    from google.cloud import bigquery

    if asked.get("several"):
        return [answer({**asked, **each, "several": None}) for each in asked["several"]]
    if "spell" in asked:
        return [spelled(bigquery, kind, value) for kind, value in asked["spell"]]
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


def spelled(bigquery: Any, kind: str, value: Any) -> Any:
    """Return the API's form of a parameter; values of types that JSON lacks come as texts."""
    if kind == "STRUCT":
        fields = [
            bigquery.ScalarQueryParameter(name, "INT64" if isinstance(each, int) else "STRING", each)
            for name, each in value.items()
        ]
        return bigquery.StructQueryParameter("x", *fields).to_api_repr()
    if kind.startswith("ARRAY:"):
        return bigquery.ArrayQueryParameter("x", kind.removeprefix("ARRAY:"), value).to_api_repr()
    made = READERS[kind](value) if kind in READERS and value is not None else value
    return bigquery.ScalarQueryParameter("x", kind, made).to_api_repr()


READERS: dict[str, Callable[[str], Any]] = {
    "BYTES": base64.b64decode,
    "NUMERIC": Decimal,
    "DATE": date.fromisoformat,
    "DATETIME": datetime.fromisoformat,
    "TIMESTAMP": datetime.fromisoformat,
}


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
