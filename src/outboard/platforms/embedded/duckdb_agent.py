"""Task type `duckdb`: SQL over a task's inputs as a job, its result one Parquet file at the output prefix.

Tables among the inputs (structured datasets, blobs, schemas, or lists of them) are views of the same name; everything
else is a parameter, which the SQL names as `$name`. The task may declare one structured dataset or file, of any name,
and an integer `rows`; the former is the result of the last SELECT, the latter how many rows it has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pydantic import Field

from outboard.agent import (
    DEFERRED,
    Blob,
    Cause,
    Context,
    Failure,
    Retry,
    Status,
    Task,
    TaskConfig,
    TaskType,
)
from outboard.detached import job_files
from outboard.detached.job_directory import JobDirectory
from outboard.detached.job_files import Document
from outboard.detached.jobs import JobSnapshot, JobSpec
from outboard.detached.output_places import result_place
from outboard.detached.states import JobState
from outboard.domain.types import BlobType, SimpleType, StructuredDatasetType, ValueType
from outboard.errors import InvalidTask, Unavailable
from outboard.platforms.embedded.job_agent import (
    NO_RESULT,
    TASK_FILE,
    EmbeddedAgent,
    EmbeddedJob,
    facts_of,
    usage_of,
)
from outboard.platforms.embedded.queries import Query, QueryResult, read_failure, read_result
from outboard.platforms.embedded.settings import MemoryLimit, Threads
from outboard.platforms.embedded.signals import killed_failure

DEFAULT_OUTPUT: Final = "results"
ROWS_OUTPUT: Final = "rows"
_TEMPLATE: Final = re.compile(r"\{\{\s*[.$]", re.IGNORECASE)
_SHOWN_COLUMNS: Final = 100
_NO_SELECT: Final = Failure(
    code="NoResult",
    message="no statement gave a result; end the SQL with a SELECT, or declare no table as an output",
)
_RESULT_GONE: Final = Failure(
    code="ResultGone",
    message="the query ended, and its description is gone from the job directory",
    retry=Retry.YES,
    cause=Cause.PLATFORM,
)


class DuckDBConfig(TaskConfig):
    """The `custom` of a `duckdb` task.

    Attributes:
        sql: One statement or several; the task template's own SQL statement may stand in its place.
        memory_limit: DuckDB's memory, as in `2GB`; the platform's setting otherwise.
        threads: DuckDB's threads; the platform's setting otherwise.
        grace_s: Seconds between a cancel's interruption of the query and SIGKILL.
    """

    sql: str | None = None
    memory_limit: MemoryLimit | None = None
    threads: Threads | None = None
    grace_s: float = Field(default=5.0, ge=0, le=3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredOutputs:
    """Which of a task's outputs is the result, and whether the number of rows is wanted.

    Attributes:
        table: The output that refers to the Parquet file; None where the task declares no such output.
        kind: What the reference is.
        has_rows: `rows` is declared.
    """

    table: str | None = None
    kind: Literal["dataset", "blob"] = "dataset"
    has_rows: bool = False

    @classmethod
    def of(cls, declared: Mapping[str, ValueType]) -> DeclaredOutputs:
        """Return what a task's interface declares.

        Raises:
            InvalidTask: An output is of a kind that no query gives, or there are several tables.
        """
        tables = {name: value_type for name, value_type in declared.items() if _is_table(value_type)}
        odd = [name for name in declared if name not in tables and not _is_count(name, declared[name])]
        if odd or len(tables) > 1:
            name = odd[0] if odd else list(tables)[1]
            raise InvalidTask(
                f"outputs.{name} is nothing that a duckdb task gives; "
                "declare one structured dataset or file (Parquet) and, if wanted, an int called rows",
                field=f"interface.outputs.{name}",
            )
        table, value_type = next(iter(tables.items()), (None, None))
        return cls(
            table=table,
            kind="blob" if isinstance(value_type, BlobType) else "dataset",
            has_rows=ROWS_OUTPUT in declared,
        )

    @classmethod
    def from_document(cls, document: Document) -> DeclaredOutputs:
        """Return what `to_document` wrote."""
        table = document.get("table")
        return cls(
            table=table if isinstance(table, str) else None,
            kind="blob" if document.get("kind") == "blob" else "dataset",
            has_rows=bool(document.get("has_rows")),
        )

    def to_document(self) -> Document:
        """Return the form that the job directory keeps."""
        return {"table": self.table, "kind": self.kind, "has_rows": self.has_rows}

    def values(self, result: QueryResult) -> dict[str, Any]:
        """Return the outputs of a query by name."""
        values: dict[str, Any] = {ROWS_OUTPUT: result.rows} if self.has_rows else {}
        if self.table is not None and result.uri is not None:
            values[self.table] = Blob(result.uri, "parquet") if self.kind == "blob" else result.dataset
        return values


class DuckDBAgent(EmbeddedAgent[DuckDBConfig]):
    """Runs SQL over a task's inputs in a process of its own."""

    name = "duckdb"
    task_types = (TaskType("duckdb"),)

    def specify(self, task: Task[DuckDBConfig], name: str, root: JobDirectory, output_prefix: str) -> JobSpec:
        """Return the job of a query."""
        config = task.config
        declared = DeclaredOutputs.of(task.interface.outputs)
        place = result_place(output_prefix) or str(root.root / name / "outputs")
        query = Query(
            sql=statement_of(task, config.sql),
            inputs=task.inputs,
            output_uri=f"{place.rstrip('/')}/{declared.table or DEFAULT_OUTPUT}",
            memory_limit=config.memory_limit or self.settings.memory_limit,
            threads=config.threads or self.settings.threads,
            allows_external_access=self.settings.allow_external_access,
        )
        spec = query.to_spec(grace_s=config.grace_s)
        return replace(spec, files={**spec.files, TASK_FILE: json.dumps(declared.to_document())})

    def succeed(self, snapshot: JobSnapshot, root: JobDirectory) -> Status:
        """Return the facts about the result; the outputs follow by `fetch_outputs`."""
        result = read_result(root.read_document(snapshot.name, job_files.RESULT))
        facts = facts_of(snapshot, root)
        if result is None or (result.uri is None and self._declared(snapshot.name, root).table is not None):
            failure = _NO_SELECT if result is not None else _RESULT_GONE
            return Status(state=NO_RESULT, failure=failure, custom_info=facts, usage=usage_of(snapshot))
        shown = {column.name: str(column.type) for column in result.columns[:_SHOWN_COLUMNS]}
        return Status(
            state=snapshot.state.value,
            message=f"{result.rows:,} rows, {result.size_bytes:,} bytes",
            outputs=DEFERRED,
            usage=usage_of(snapshot),
            custom_info={**facts, "rows": result.rows, "bytes": result.size_bytes, "columns": shown},
        )

    def explain(self, snapshot: JobSnapshot, root: JobDirectory) -> Failure | None:
        """Return DuckDB's own words; what the author of the SQL cannot mend is worth a retry."""
        if snapshot.state is JobState.KILLED:
            return killed_failure(snapshot, is_own_doing=False)
        if snapshot.state is not JobState.FAILED:
            return None
        failure = read_failure(root.read_document(snapshot.name, job_files.ERROR))
        if failure is None:
            words = f"the query's process ended with exit code {snapshot.exit_code}; its log says why"
            return Failure(code="ExitCode", message=words, retry=Retry.YES, cause=Cause.PLATFORM)
        return Failure(
            code=failure.code,
            message=failure.message,
            retry=Retry.NEVER if failure.is_user_error else Retry.YES,
            cause=Cause.USER if failure.is_user_error else Cause.PLATFORM,
        )

    def fetch_outputs(self, job: EmbeddedJob, ctx: Context[JobDirectory]) -> Mapping[str, Any]:
        """Return the result by the names that the task declared."""
        result = read_result(ctx.client.read_document(job.id, job_files.RESULT))
        if result is None:
            raise Unavailable(f"the result of the job {job.id} is gone from its directory; run the task again")
        return self._declared(job.id, ctx.client).values(result)

    @staticmethod
    def _declared(name: str, root: JobDirectory) -> DeclaredOutputs:
        return DeclaredOutputs.from_document(root.read_document(name, TASK_FILE) or {})


def statement_of(task: Task[Any], configured: str | None) -> str:
    """Return a task's SQL, from its configuration or its template.

    Raises:
        InvalidTask: There is none, there are two, or it holds a template.
    """
    templated = task.sql.statement if task.sql is not None else ""
    if configured and templated and configured != templated:
        raise InvalidTask("custom.sql and the template's SQL statement differ; keep one", field="custom.sql")
    sql = configured or templated
    if not sql.strip():
        raise InvalidTask(
            "the task has no SQL; put it into custom.sql or the template's SQL statement", field="custom.sql"
        )
    if _TEMPLATE.search(sql):
        raise InvalidTask(
            "the SQL holds a template, which nobody renders; write $name for an input", field="custom.sql"
        )
    return sql


def _is_table(value_type: ValueType) -> bool:
    if isinstance(value_type, BlobType):
        return not value_type.multipart and value_type.format.lower() in ("", "parquet")
    return isinstance(value_type, StructuredDatasetType) and value_type.format.lower() in ("", "parquet")


def _is_count(name: str, value_type: ValueType) -> bool:
    return name == ROWS_OUTPUT and value_type is SimpleType.INTEGER
