"""Which workspace a task goes to, and with whose credentials: decided once, at submission, from the task and the settings.

The connection travels with the handle and holds names only. Its host is checked again when it is opened, so a handle
that somebody made up cannot send credentials elsewhere either. Tokens are looked up for the task's project first, so two
projects may have a token each under one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from outboard.agent import Connection, SecretRef, SecretScope, Task
from outboard.errors import InvalidTask
from outboard.platforms.databricks.config import DatabricksConfig
from outboard.platforms.databricks.settings import AuthType, DatabricksSettings, host_of

FLYTE_TOKEN: Final = "databricks_token"  # noqa: S105 - a name
"""The name under which Flyte 2 provides the token of a task that asks for one."""


class DatabricksConnection(Connection):
    """A workspace and as whom to talk to it.

    Attributes:
        host: The workspace's.
        login: How to log in.
        client_id: The service principal's.
        token: The access token, for `pat`.
        client_secret: The service principal's, for `oauth_m2m`.
        subject: The workload's own token, for `oidc_federation`.
    """

    host: str
    login: AuthType = "pat"
    client_id: str = ""
    token: SecretRef | None = None
    client_secret: SecretRef | None = None
    subject: SecretRef | None = None


def connection_of(task: Task[Any], config: DatabricksConfig, settings: DatabricksSettings) -> DatabricksConnection:
    """Return where and as whom a task runs.

    Raises:
        InvalidTask: It names no workspace, one that is not allowed, or credentials that are not for it.
    """
    host = _host(config.instance or settings.default_instance, settings)
    if not task.identity.belongs_to(settings.workspace(host).projects):
        raise InvalidTask(
            f"custom.databricksInstance: the workspace {host} is not for project {task.identity.project or '(none)'}; "
            "the operator lists projects under platforms.databricks.workspaces",
            field="custom.databricksInstance",
        )
    own = _own_token(config, settings)
    if own is not None:
        return DatabricksConnection(host=host, token=own)
    if settings.is_bound_elsewhere(host):
        raise InvalidTask(
            f"custom.databricksInstance: the service has no credentials for {host}; "
            "give the task a token (databricksTokenSecret), or add the host to platforms.databricks.workspaces",
            field="custom.databricksInstance",
        )
    return _with_login(host, settings, config.auth_type, config.client_id)


def own_connection(host: str, settings: DatabricksSettings) -> DatabricksConnection | None:
    """Return the service's own connection to a workspace of the settings; None where it is the tasks that name the principal."""
    try:
        return _with_login(host, settings, None, "")
    except InvalidTask:
        return None


def connection_of_flytekit(meta: Mapping[str, Any], settings: DatabricksSettings) -> DatabricksConnection | None:
    """Return the connection of a handle that flytekit's connector wrote; None where it names none.

    Host and client id are read, the token never: the service's own credentials for that host are used.

    Raises:
        InvalidTask: The host is not allowed, or the service has no credentials for it.
    """
    instance = meta.get("databricks_instance")
    if not isinstance(instance, str) or not instance:
        return None
    host = _host(instance, settings)
    if settings.is_bound_elsewhere(host):
        raise InvalidTask(f"the service has no credentials for the workspace {host} of this handle")
    auth, client = meta.get("auth_type"), meta.get("client_id")
    is_principal = auth in ("oauth_m2m", "oidc_federation")
    return _with_login(host, settings, auth if is_principal else None, client if isinstance(client, str) else "")


def _with_login(host: str, settings: DatabricksSettings, auth: AuthType | None, client: str) -> DatabricksConnection:
    workspace = settings.workspace(host)
    kind = auth or workspace.auth or settings.auth
    if kind == "pat":
        return DatabricksConnection(host=host, token=_secret(workspace.token_secret or settings.token_secret))
    client_id = client or workspace.client_id or settings.client_id
    if not client_id:
        raise InvalidTask(
            f"custom.databricksClientId is missing: {kind} needs the service principal's client id, "
            "from the task or from platforms.databricks.client_id",
            field="custom.databricksClientId",
        )
    principal = DatabricksConnection(host=host, login=kind, client_id=client_id)
    if kind == "oauth_m2m":
        secret = _secret(workspace.client_secret or settings.client_secret)
        return principal.model_copy(update={"client_secret": secret})
    return principal.model_copy(update={"subject": _secret(workspace.oidc_secret or settings.oidc_secret)})


def _host(text: str, settings: DatabricksSettings) -> str:
    field = "custom.databricksInstance"
    if not text:
        raise InvalidTask(
            f"{field} is missing: name the workspace, or set platforms.databricks.default_instance", field=field
        )
    try:
        host = host_of(text)
    except ValueError as error:
        raise InvalidTask(f"{field}: {error}", field=field) from None
    if not settings.is_allowed(host):
        raise InvalidTask(
            f"{field}: {host} is no workspace that this service talks to; "
            "the operator allows it by platforms.databricks.allowed_hosts",
            field=field,
        )
    return host


def _own_token(config: DatabricksConfig, settings: DatabricksSettings) -> SecretRef | None:
    """Return the token that the task itself brings: Flyte 2's by the name it is provided under, flytekit's by its own."""
    if config.secrets is not None and config.secrets.get(FLYTE_TOKEN):
        return _secret(FLYTE_TOKEN)
    name = config.token_secret
    if not name:
        return None
    if not any(fnmatchcase(name, pattern) for pattern in settings.task_secrets):
        raise InvalidTask(
            "custom.databricksTokenSecret names a secret that tasks may not use; "
            f"names like {', '.join(settings.task_secrets) or '(none)'} are allowed (platforms.databricks.task_secrets)",
            field="custom.databricksTokenSecret",
        )
    return _secret(name)


def _secret(name: str) -> SecretRef:
    return SecretRef(name, scope=SecretScope.PROJECT)
