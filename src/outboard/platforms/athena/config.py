"""What a task sends: flytekit's `AthenaTask` and `HiveTask`, and a plain form of ours.

=============  ==========================================================================================================
task type      its `custom`
=============  ==========================================================================================================
`presto`       flyteidl's `PrestoQuery`: `{"statement", "schema", "routingGroup", "catalog"}` (flytekit's `AthenaTask`)
`hive`         flyteidl's `QuboleHiveJob`: `{"query": {"query"}, "clusterLabel", "tags"}`; the label is the database, as
               FlytePropeller's own Athena plugin has it
`athena`       ours: the names below; the SQL may stand in the template's `sql` as well
=============  ==========================================================================================================

Each shape's names are understood under every type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, Field, field_validator

from outboard.agent import TaskConfig
from outboard.platforms.athena.settings import Bucket, Region, ResultFormat


class AthenaConfig(TaskConfig):
    """The `custom` of a `presto`, `hive` or `athena` task.

    Attributes:
        statement: The SQL, with flytekit's templates or `?`.
        database: Where names without one are looked for.
        catalog: The data catalog.
        workgroup: Where the query runs, and by whose tags and limits.
        region: The AWS region.
        parameters: The inputs that the `?` of the statement stand for, in their order; not for templates.
        result_format: What a SELECT writes whose task declares a table.
        output_location: Where results go.
        result_reuse_minutes: How old a result may be that is given again.
        tags: Qubole's; shown beside the query, no tags of AWS.
        query_collection: Qubole's; Athena runs one statement.
    """

    statement: str = Field(default="", validation_alias=AliasChoices("statement", "query"))
    database: str = Field(
        default="", max_length=255, validation_alias=AliasChoices("database", "schema", "clusterLabel")
    )
    catalog: str = Field(default="", max_length=256)
    workgroup: str = Field(
        default="", pattern=r"^[a-zA-Z0-9._-]{0,128}$", validation_alias=AliasChoices("workgroup", "routingGroup")
    )
    region: Region | None = None
    parameters: tuple[str, ...] = ()
    result_format: ResultFormat | None = Field(default=None, alias="resultFormat")
    output_location: Bucket | None = Field(default=None, alias="outputLocation")
    result_reuse_minutes: int | None = Field(default=None, ge=0, le=10_080, alias="resultReuseMinutes")
    tags: tuple[str, ...] = ()
    query_collection: Mapping[str, Any] | None = Field(default=None, alias="queryCollection")

    @field_validator("statement", mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        if isinstance(value, Mapping):  # a `HiveQuery`; its time limit and retries are 0 and the task's own
            return value.get("query", "")
        return "" if value is None else value

    @field_validator("database", "catalog", "workgroup", mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        return "" if value is None else value
