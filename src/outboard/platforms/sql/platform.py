"""SQL anywhere as the host sees it: its settings, its connections and its agent.

There is no quota to count: how many statements a database takes at once is the connection's `limit`, which workers keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from outboard.agent import AccountContext, Agent, ErrorMap, Http, Platform, Secrets, Verdict
from outboard.errors import Unavailable
from outboard.platforms.sql.agent import SqlAgent
from outboard.platforms.sql.connections import SqlConnection, own_connection, use_of
from outboard.platforms.sql.declared import NEEDS
from outboard.platforms.sql.marks import MarksUnavailable
from outboard.platforms.sql.server import Server
from outboard.platforms.sql.settings import SqlSettings


class SqlAnywhere(Platform[SqlConnection, Server]):
    """Runs SQL on the operator's databases.

    Args:
        settings: See `SqlSettings`.

    >>> [agent.name for agent in SqlAnywhere().agents()]
    ['sql']
    """

    name = "sql"
    settings_model = SqlSettings
    errors = ErrorMap({MarksUnavailable: Verdict(Unavailable)})
    needs = NEEDS

    def __init__(self, settings: SqlSettings | None = None) -> None:
        self.options = settings if settings is not None else SqlSettings()
        super().__init__(self.options)

    def agents(self) -> Sequence[Agent]:
        """Return the agent."""
        return (SqlAgent(self, self.options),)

    def open(
        self,
        connection: SqlConnection,
        secrets: Secrets,
        http: Http,  # noqa: ARG002 - drivers have transports of their own
    ) -> AbstractAsyncContextManager[Server]:
        """Return the service's side of a connection; it holds nothing open."""
        use, target = use_of(connection, self.options)
        password = secrets[connection.password].get_secret_value() if connection.password is not None else ""
        return nullcontext(Server(self.options.root.expanduser().absolute(), use, target, password))

    def connections(self) -> Mapping[str, SqlConnection]:
        """Return the operator's connections."""
        return {name: own_connection(name, self.options) for name in self.options.connections}

    def ping(self, ctx: AccountContext[Server]) -> str:
        """Log in and ask for the session of a statement that was never; of DuckDB, look whether the file is there."""
        return ctx.client.ping()

    def account(self, connection: SqlConnection) -> str:
        """Return the database: its limits are for all who use it."""
        if connection.name:
            return f"sql:{connection.name}"
        return f"sql:{connection.kind}://{connection.host}:{connection.port}/{connection.database}"
