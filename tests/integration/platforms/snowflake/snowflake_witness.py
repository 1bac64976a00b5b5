"""What Snowflake's own connector sees on fakesnow; run by the environment that holds both, asked and answering in JSON.

`setup` is executed; `query_id` is read as the readers of both SDKs read a result's address; `sql` with `inputs` is executed as
flytekit's own connector service executes it, inputs put into the text by the connector.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from integration.platforms.snowflake.snowflake_translator import connect


def answer(there: Any, asked: dict[str, Any]) -> Any:
    """Return what is asked for."""
    cursor = there.cursor()
    for statement in asked.get("setup", []):
        cursor.execute(statement)
    if "setup" in asked:
        return None
    if "query_id" in asked:
        cursor.get_results_from_sfqid(asked["query_id"])
    else:
        inputs = {name: read(value) for name, value in asked["inputs"].items()}
        try:
            cursor.execute(asked["sql"], inputs or None)
        except there.ProgrammingError as error:
            return {"code": f"{error.errno:06}", "sql_state": error.sqlstate}
    rows = cursor.fetchall()  # a result that is read by its id has no description before
    columns = [[each.name, each.type_code, each.scale] for each in cursor.description]
    return {"columns": columns, "rows": sorted(json.dumps(row, default=repr) for row in rows)}


def main() -> None:
    """Answer the questions of the input."""
    asked = json.load(sys.stdin)
    there = connect(asked["port"], database=asked["database"], schema=asked["schema"])
    json.dump([answer(there, each) for each in asked["questions"]], sys.stdout, default=str)


def read(value: Any) -> Any:
    """Return an input; datetimes come as `{"at": ...}`, for which JSON has no form."""
    return datetime.fromisoformat(value["at"]) if isinstance(value, dict) and "at" in value else value


if __name__ == "__main__":
    main()
