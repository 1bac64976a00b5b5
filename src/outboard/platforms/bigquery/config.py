"""What a task sends: flytekit's and Flyte 2's `BigQueryConfig`, and with it the user's whole `QueryJobConfig`.

Both SDKs send `{"Location", "ProjectID", "Domain"}` and, on the same level, what `QueryJobConfig.to_api_repr()["query"]` holds:
the fields of the API's `JobConfigurationQuery`. Flyte 2 adds `secrets`. What the SDKs cannot send, because it stands outside
of `query`, may be written beside it: `labels`, `jobTimeoutMs`, `reservation`. Fields that are younger than this module are kept
and passed on.

Source: the API's discovery document, revision 20261009, `JobConfigurationQuery` and `JobConfiguration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from outboard.agent import TaskConfig
from outboard.platforms.bigquery.settings import Location, ProjectId

Int64 = Annotated[int, Field(ge=0, lt=2**63)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class TableReference(BaseModel):
    """A table, as the API writes it; without a project it is the job's own."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    project: str | None = Field(default=None, alias="projectId")
    dataset: _Name = Field(alias="datasetId")
    table: _Name = Field(alias="tableId")


class BigQueryConfig(TaskConfig):
    """The `custom` of a `bigquery_query_job_task`.

    Attributes:
        project: The Google Cloud project that the job is billed to.
        location: Where the query's data are; None finds out (see `BigQuerySettings.location`).
        domain: Flyte's domain, as the SDKs put it there; not needed.
        secrets: Flyte 2: which secret holds the service account's JSON key. The engine resolves it.
        labels: The user's own labels of the job.
        job_timeout_ms: When BigQuery itself ends the job; the task's own timeout where that is shorter.
        reservation: The reservation to run in.
        query: The SQL, where the template has none.
        maximum_bytes_billed: A job that would be billed for more fails, and costs nothing.
        use_legacy_sql: False unless the task says otherwise, as Google's client does.

    The other fields are the API's own, passed on as they are.
    """

    project: ProjectId = Field(alias="ProjectID")
    location: Location | None = Field(default=None, alias="Location")
    domain: str | None = Field(default=None, alias="Domain")
    secrets: Mapping[str, str] = Field(default_factory=dict)

    labels: Mapping[str, str] = Field(default_factory=dict)
    job_timeout_ms: Int64 | None = Field(default=None, alias="jobTimeoutMs")
    reservation: str | None = None

    query: str | None = None
    maximum_bytes_billed: Int64 | None = Field(default=None, alias="maximumBytesBilled")
    use_legacy_sql: bool = Field(default=False, alias="useLegacySql")
    use_query_cache: bool | None = Field(default=None, alias="useQueryCache")
    priority: Literal["INTERACTIVE", "BATCH"] | None = None
    create_disposition: Literal["CREATE_IF_NEEDED", "CREATE_NEVER"] | None = Field(
        default=None, alias="createDisposition"
    )
    write_disposition: Literal["WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA", "WRITE_APPEND", "WRITE_EMPTY"] | None = Field(
        default=None, alias="writeDisposition"
    )
    destination_table: TableReference | None = Field(default=None, alias="destinationTable")
    query_parameters: tuple[Mapping[str, Any], ...] = Field(default=(), alias="queryParameters")
    parameter_mode: Literal["NAMED", "POSITIONAL"] | None = Field(default=None, alias="parameterMode")
    default_dataset: Mapping[str, Any] | None = Field(default=None, alias="defaultDataset")
    schema_update_options: tuple[str, ...] | None = Field(default=None, alias="schemaUpdateOptions")
    allow_large_results: bool | None = Field(default=None, alias="allowLargeResults")
    flatten_results: bool | None = Field(default=None, alias="flattenResults")
    maximum_billing_tier: int | None = Field(default=None, alias="maximumBillingTier")
    clustering: Mapping[str, Any] | None = None
    time_partitioning: Mapping[str, Any] | None = Field(default=None, alias="timePartitioning")
    range_partitioning: Mapping[str, Any] | None = Field(default=None, alias="rangePartitioning")
    table_definitions: Mapping[str, Any] | None = Field(default=None, alias="tableDefinitions")
    user_defined_functions: tuple[Mapping[str, Any], ...] | None = Field(
        default=None, alias="userDefinedFunctionResources"
    )
    connection_properties: tuple[Mapping[str, Any], ...] | None = Field(default=None, alias="connectionProperties")
    encryption: Mapping[str, Any] | None = Field(default=None, alias="destinationEncryptionConfiguration")
    script_options: Mapping[str, Any] | None = Field(default=None, alias="scriptOptions")
    create_session: bool | None = Field(default=None, alias="createSession")
    continuous: bool | None = None
    preserve_nulls: bool | None = Field(default=None, alias="preserveNulls")
    incremental_results: bool | None = Field(default=None, alias="writeIncrementalResults")

    def query_fields(self) -> dict[str, Any]:
        """Return the API's `JobConfigurationQuery` as the task wrote it, without SQL, parameters and limit."""
        told = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {name: value for name, value in told.items() if name not in _NOT_PASSED_ON}


_NOT_PASSED_ON: Final = frozenset(
    {
        *("ProjectID", "Location", "Domain", "secrets", "labels", "jobTimeoutMs", "reservation"),
        *("query", "queryParameters", "parameterMode", "maximumBytesBilled", "dryRun"),
    }
)
