"""What AWS's own client sees; run by an environment's own interpreter, asked and answering in JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def answer(asked: dict[str, Any]) -> Any:
    import boto3  # type: ignore[import-not-found,unused-ignore] # in the environment of its interpreter
    from botocore.config import Config
    from botocore.exceptions import ClientError

    where = {
        "endpoint_url": asked["url"],
        "region_name": asked["region"],
        "aws_access_key_id": asked.get("key_id", "AKIAOUTBOARDFAKE0001"),
        "aws_secret_access_key": asked.get("secret", "secret"),
        "config": Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
    }
    athena = boto3.client("athena", **where)
    answers: list[Any] = []
    try:
        for call in asked["calls"]:
            name, options = call["name"], call.get("options", {})
            if name == "run":
                answers.append(rows_of(athena, options))
            elif name == "object":
                got = boto3.client("s3", **where).get_object(**options)
                answers.append(got["Body"].read().decode())
            elif name == "create_bucket":
                place = {"LocationConstraint": asked["region"]}
                boto3.client("s3", **where).create_bucket(CreateBucketConfiguration=place, **options)
                answers.append(None)
            else:
                answers.append({k: v for k, v in getattr(athena, name)(**options).items() if k != "ResponseMetadata"})
    except ClientError as error:
        answers.append({"error": error.response["Error"]["Code"], "words": error.response["Error"]["Message"]})
    return answers


def rows_of(athena: Any, options: dict[str, Any]) -> dict[str, Any]:
    query_id = options.get("QueryExecutionId") or athena.start_query_execution(**options)["QueryExecutionId"]
    for _ in range(100):
        state = athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]["Status"]["State"]
        if state not in ("QUEUED", "RUNNING"):
            break
        time.sleep(0.05)
    found = athena.get_query_results(QueryExecutionId=query_id)["ResultSet"]
    columns = [[each["Name"], each["Type"]] for each in found["ResultSetMetadata"]["ColumnInfo"]]
    rows = [[cell.get("VarCharValue") for cell in row["Data"]] for row in found["Rows"]]
    return {"id": query_id, "state": state, "columns": columns, "rows": rows[1:], "header": rows[:1]}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout, default=str)
