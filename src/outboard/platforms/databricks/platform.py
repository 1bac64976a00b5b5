"""Databricks as the host sees it: its settings, its connections, its quotas and its agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from outboard.agent import AccountContext, Agent, Http, Platform, Secrets
from outboard.errors import Unauthorized
from outboard.platforms.databricks.agent import DatabricksAgent
from outboard.platforms.databricks.client import Workspace
from outboard.platforms.databricks.connections import DatabricksConnection, own_connection
from outboard.platforms.databricks.errors import ERRORS
from outboard.platforms.databricks.exports import Exports
from outboard.platforms.databricks.logins import login_of
from outboard.platforms.databricks.quotas import QUOTAS
from outboard.platforms.databricks.settings import DatabricksSettings
from outboard.platforms.databricks.sql_agent import DatabricksSqlAgent


class Databricks(Platform[DatabricksConnection, Workspace]):
    """Runs on Databricks workspaces.

    Args:
        settings: See `DatabricksSettings`.

    >>> [agent.name for agent in Databricks().agents()]
    ['databricks', 'databricks_sql']
    """

    name = "databricks"
    settings_model = DatabricksSettings
    quotas = QUOTAS
    errors = ERRORS

    def __init__(self, settings: DatabricksSettings | None = None) -> None:
        self.options = settings if settings is not None else DatabricksSettings()
        super().__init__(self.options)
        self._exports = Exports()
        self._open = 0

    def agents(self) -> Sequence[Agent]:
        """Return the agents."""
        return DatabricksAgent(self, self.options), DatabricksSqlAgent(self, self.options, self._exports)

    def withheld(self) -> Mapping[str, str]:
        """Return `spark` where the operator runs Spark elsewhere."""
        if self.options.serve_spark:
            return {}
        return {
            "spark": "task type 'spark' is not served here; use DatabricksV2 in the task, "
            "or the operator allows it by the setting platforms.databricks.serve_spark: true"
        }

    def open(
        self, connection: DatabricksConnection, secrets: Secrets, http: Http
    ) -> AbstractAsyncContextManager[Workspace]:
        """Return a client of the connection's workspace."""
        return self._opened(connection, secrets, http)

    def connections(self) -> Mapping[str, DatabricksConnection]:
        """Return the workspaces of the settings; of a service principal those with its client id."""
        default = self.options.default_instance
        names = dict.fromkeys((*((default,) if default else ()), *self.options.workspaces))
        found = {name: own_connection(name, self.options) for name in names}
        return {name: connection for name, connection in found.items() if connection is not None}

    async def ping(self, ctx: AccountContext[Workspace]) -> str:
        """List one run, which every user of a workspace may."""
        await ctx.client.ping()
        return f"{ctx.connection.host} takes the {ctx.connection.login} login"

    def account(self, connection: DatabricksConnection) -> str:
        """Return the workspace: its limits are for all who use it."""
        return f"databricks:{connection.host}"

    @asynccontextmanager
    async def _opened(self, connection: DatabricksConnection, secrets: Secrets, http: Http) -> AsyncIterator[Workspace]:
        host = connection.host
        if not self.options.is_allowed(host):
            raise Unauthorized(
                f"{host} is no workspace that this service talks to; the operator allows it by platforms.databricks.allowed_hosts"
            )
        url = self.options.address(host)
        self._open += 1
        try:
            yield Workspace(http, url, host, login_of(http, url, connection, secrets))
        finally:
            self._open -= 1
            if self._open == 0:
                await self._exports.close()
