"""What the `custom` of a Databricks task may say, as flytekit and Flyte 2 send it.

Both SDKs send a SparkJob message as JSON with Databricks' own fields beside it. Numbers arrive as floats from the wire, and
are whole again here. `databricksConf` is what the Jobs API takes, and is kept as it is but for what cannot be right.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from outboard.agent import TaskConfig
from outboard.agent.platform import SecretName
from outboard.platforms.databricks.settings import AuthType

COMPUTE: Final = ("existing_cluster_id", "new_cluster", "environment_key", "environments", "job_clusters")
"""The keys of `databricksConf` that say where a run runs."""


class DatabricksConfig(TaskConfig):
    """What all task types of the platform share.

    Attributes:
        instance: The workspace's host; the operator's default otherwise.
        token_secret: The name of the secret with the token to use.
        auth_type: How to log in, where the service's own credentials are used.
        client_id: As which service principal.
        secrets: Flyte 2's: which secrets it provides with each request.
    """

    instance: str = Field(default="", alias="databricksInstance")
    token_secret: SecretName | None = Field(default=None, alias="databricksTokenSecret")
    auth_type: AuthType | None = Field(default=None, alias="databricksAuthType")
    client_id: str = Field(default="", alias="databricksClientId")
    secrets: dict[str, str | None] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class RunConfig(DatabricksConfig):
    """The `custom` of `spark` and `databricks` tasks.

    Attributes:
        conf: The body of the Jobs API's `runs/submit`.
        spark_conf: For clusters whose `new_cluster` brings none.
        hadoop_conf: Part of SparkJob; Databricks has no place for it, so it becomes `spark.hadoop.*`.
        notebook_path: A notebook to run instead of the task's function.
        notebook_parameters: Its parameters.
        service_access: The service credential by which a serverless run reaches the object store.
        executor_path, application_file, main_class, application_type: Parts of SparkJob that Databricks has no use for.
        driver_pod, executor_pod: The same.
        oauth_secret, oidc_file, oidc_audience: Of flytekit's service; here the operator's settings say it.
    """

    conf: dict[str, Any] = Field(default_factory=dict, alias="databricksConf")
    spark_conf: dict[str, str] = Field(default_factory=dict, alias="sparkConf")
    hadoop_conf: dict[str, str] = Field(default_factory=dict, alias="hadoopConf")
    notebook_path: str = Field(default="", alias="notebookPath")
    notebook_parameters: dict[str, str] = Field(default_factory=dict, alias="notebookBaseParameters")
    service_access: str = Field(default="", alias="databricksServiceCredentialProvider")
    executor_path: str = Field(default="", alias="executorPath")
    application_file: str = Field(default="", alias="mainApplicationFile")
    main_class: str = Field(default="", alias="mainClass")
    application_type: Any = Field(default=None, alias="applicationType")
    driver_pod: Any = Field(default=None, alias="driverPod")
    executor_pod: Any = Field(default=None, alias="executorPod")
    oauth_secret: SecretName | None = Field(default=None, alias="databricksOauthSecret")
    oidc_file: str = Field(default="", alias="databricksOidcTokenFile")
    oidc_audience: str = Field(default="", alias="databricksOidcAudience")

    @field_validator("spark_conf", "hadoop_conf", "notebook_parameters", mode="before")
    @classmethod
    def _spell_values(cls, value: Any) -> Any:
        # Spark and notebooks take texts; users write `True` and 200.
        if not isinstance(value, dict):
            return value
        return {name: _spell(each) for name, each in value.items()}

    @field_validator("conf")
    @classmethod
    def _check_compute(cls, conf: dict[str, Any]) -> dict[str, Any]:
        for name in ("new_cluster",):
            if name in conf and conf[name] is not None and not isinstance(conf[name], dict):
                raise ValueError(f"{name} must be an object, as the Jobs API has it")
        for name in ("environments", "tasks", "job_clusters", "libraries"):
            entries = conf.get(name)
            if entries is not None and not (isinstance(entries, list) and all(isinstance(e, dict) for e in entries)):
                raise ValueError(f"{name} must be a list of objects, as the Jobs API has it")
        if conf.get("existing_cluster_id") is not None and conf.get("new_cluster") is not None:
            raise ValueError("existing_cluster_id and new_cluster exclude each other; keep one")
        return {name: value for name, value in conf.items() if value is not None}

    @property
    def is_serverless(self) -> bool:
        """Whether the run asks for serverless compute: an environment, and no cluster."""
        has_cluster = any(name in self.conf for name in ("existing_cluster_id", "new_cluster", "job_clusters"))
        return not has_cluster and bool(self.conf.get("environment_key") or self.conf.get("environments"))


class StatementConfig(DatabricksConfig):
    """The `custom` of a `databricks_sql` task.

    Attributes:
        statement: The SQL; the task template's own SQL statement may stand in its place.
        warehouse_id: The SQL warehouse; the workspace's default otherwise.
        catalog, schema_name: Where names without one are looked up.
        parameter_types: SQL types of inputs by name, where the input's own type is not meant (`DATE`, `DECIMAL(10,2)`).
        row_limit, byte_limit: At most so much result.
        tags: The user's query tags, beside the provenance.
    """

    statement: str | None = None
    warehouse_id: str = Field(default="", alias="warehouseId")
    catalog: str = ""
    schema_name: str = Field(default="", alias="schema")
    parameter_types: dict[str, str] = Field(default_factory=dict, alias="parameterTypes")
    row_limit: int | None = Field(default=None, alias="rowLimit", ge=1)
    byte_limit: int | None = Field(default=None, alias="byteLimit", ge=1)
    tags: dict[str, str] = Field(default_factory=dict, alias="queryTags")


def _spell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value
