"""What the operator decides about Databricks: which workspaces, as whom, and what a task may choose.

Credentials go where the operator allows and nowhere else. A host must match `allowed_hosts` or have an entry under
`workspaces`; and the service's own credentials are *bound*: once there is a default workspace or an entry, they go to those
only, and a task that names another allowed host must bring a token of its own.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from outboard.agent import Settings
from outboard.agent.platform import SecretName

AuthType = Literal["pat", "oauth_m2m", "oidc_federation"]
"""A personal access token; a service principal's client secret; or a workload's own token, exchanged (flytekit's names)."""

PUBLIC_HOSTS: Final = ("*.cloud.databricks.com", "*.azuredatabricks.net", "*.gcp.databricks.com")
"""Where Databricks itself serves workspaces on AWS, Azure and Google Cloud."""

_HOST: Final = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+")
_PATTERN: Final = re.compile(r"(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)+")


class Entrypoint(BaseModel):
    """Where the script lies that runs a Flyte task inside of a Databricks run.

    Attributes:
        git_url: A repository that the workspace can reach.
        git_provider: As the Jobs API names it.
        git_commit: The exact commit.
        python_file: The script for clusters.
        serverless_file: The script for serverless compute; empty where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    git_url: str = "https://github.com/flyteorg/flytetools"
    git_provider: str = "gitHub"
    git_commit: str
    python_file: str
    serverless_file: str = ""


class WorkspaceSettings(BaseModel):
    """One workspace; what is not given is as for all.

    Attributes:
        url: Where its API is reached, if not at `https://<host>`: a private endpoint.
        auth: How the service logs in.
        client_id: The service principal's, for `oauth_m2m` and `oidc_federation`.
        token_secret: The name of the secret with its access token.
        client_secret: The name of the secret with the service principal's secret.
        oidc_secret: The name of the secret with the workload's token.
        projects: Who may use it, as `project` or `project-domain`; empty is everybody.
        warehouse_id: The SQL warehouse of statements that name none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = ""
    auth: AuthType | None = None
    client_id: str = ""
    token_secret: SecretName | None = None
    client_secret: SecretName | None = None
    oidc_secret: SecretName | None = None
    projects: tuple[str, ...] = ()
    warehouse_id: str = ""

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/@?#]+", value.rstrip("/")):
            raise ValueError("give an address as https://host, without a path")
        return value.rstrip("/")


class DatabricksSettings(Settings):
    """Settings of the Databricks platform.

    Attributes:
        default_instance: The workspace of tasks that name none, as `<account>.cloud.databricks.com`.
        allowed_hosts: Hosts that a task may name; `*.` stands for any number of names before.
        workspaces: Settings by host; these hosts are allowed too.
        auth: How the service logs in where nothing else is said.
        client_id: The service principal's.
        token_secret: The secret with the service's access token: as flytekit's service calls it.
        client_secret: The secret with the service principal's secret.
        oidc_secret: The secret with the workload's own token, for `oidc_federation`.
        task_secrets: Which names of secrets a task may choose for its token.
        service_credential_provider: For serverless tasks that name none.
        price_per_node_hour: What a machine of a run's own cluster costs in an hour, DBUs and cloud together, on the average; for
            the estimated cost in metrics. None estimates none.
        serve_spark: Serve the task type `spark` too (flytekit's older `Databricks` tasks).
        flytekit_entrypoint: Runs flytekit's tasks.
        flyte_entrypoint: Runs Flyte 2's tasks.
    """

    default_instance: str = ""
    allowed_hosts: tuple[str, ...] = PUBLIC_HOSTS
    workspaces: dict[str, WorkspaceSettings] = Field(default_factory=dict)
    auth: AuthType = "pat"
    client_id: str = ""
    token_secret: SecretName = "flyte_databricks_access_token"  # noqa: S105 - a name
    client_secret: SecretName = "databricks_client_secret"  # noqa: S105 - a name
    oidc_secret: SecretName = "databricks_oidc_token"  # noqa: S105 - a name
    task_secrets: tuple[str, ...] = ("*databricks*",)
    service_credential_provider: str = ""
    price_per_node_hour: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] | None = None
    serve_spark: bool = True
    flytekit_entrypoint: Entrypoint = Entrypoint(
        git_commit="572298df1f971fb58c258398bd70a6372f811c96",
        python_file="flytekitplugins/databricks/entrypoint.py",
        serverless_file="flytekitplugins/databricks/entrypoint_serverless.py",
    )
    flyte_entrypoint: Entrypoint = Entrypoint(
        git_commit="194364210c47c49ce66c419e8fb68d6f9c06fd7e",
        python_file="flyteplugins/databricks/entrypoint.py",
    )

    @field_validator("default_instance")
    @classmethod
    def _check_default(cls, value: str) -> str:
        return host_of(value) if value else ""

    @field_validator("workspaces")
    @classmethod
    def _check_workspaces(cls, value: dict[str, WorkspaceSettings]) -> dict[str, WorkspaceSettings]:
        return {host_of(host): workspace for host, workspace in value.items()}

    @field_validator("allowed_hosts")
    @classmethod
    def _check_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not _PATTERN.fullmatch(pattern):
                raise ValueError(f"{pattern!r} is no host; write `name.example.com` or `*.example.com`")
        return value

    def workspace(self, host: str) -> WorkspaceSettings:
        """Return what is set for a host; nothing in particular where it has no entry."""
        return self.workspaces.get(host, WorkspaceSettings())

    def is_allowed(self, host: str) -> bool:
        """Tell whether credentials may go to a host at all."""
        if host in self.workspaces or host == self.default_instance:
            return True
        return any(_matches(host, pattern) for pattern in self.allowed_hosts)

    def is_bound_elsewhere(self, host: str) -> bool:
        """Tell whether the service's own credentials belong to other hosts than this one."""
        if host in self.workspaces or host == self.default_instance:
            return False
        return bool(self.workspaces or self.default_instance)

    def address(self, host: str) -> str:
        """Return where the API of a host is reached."""
        return self.workspace(host).url or f"https://{host}"


def host_of(text: str) -> str:
    """Return the host that somebody wrote as a host or an address; `ValueError` when it is neither.

    >>> host_of("https://Acme.cloud.databricks.com/")
    'acme.cloud.databricks.com'
    """
    host = text.strip().lower().removeprefix("https://").rstrip("/")
    if not _HOST.fullmatch(host):
        raise ValueError("give the workspace's host, as in acme.cloud.databricks.com")
    return host


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
