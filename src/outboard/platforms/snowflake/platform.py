"""Snowflake as the host sees it: its settings, its connections, its quotas and its agent.

Snowflake publishes no number of calls that the SQL API takes: "depending on the current server load" it answers 429
(https://docs.snowflake.com/en/developer-guide/sql-api/submitting-requests, read 2026-11-22). So nothing is declared, and
the host slows an account down when it is told to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from outboard.agent import AccountContext, Agent, Http, Platform, Secrets
from outboard.errors import Unauthorized
from outboard.platforms.snowflake.accounts import key_of
from outboard.platforms.snowflake.agent import SnowflakeAgent
from outboard.platforms.snowflake.client import SnowflakeClient
from outboard.platforms.snowflake.connections import SnowflakeConnection, own_connection
from outboard.platforms.snowflake.errors import ERRORS
from outboard.platforms.snowflake.logins import login_of
from outboard.platforms.snowflake.settings import SnowflakeSettings


class Snowflake(Platform[SnowflakeConnection, SnowflakeClient]):
    """Runs on Snowflake accounts.

    Args:
        settings: See `SnowflakeSettings`.

    >>> [agent.name for agent in Snowflake().agents()]
    ['snowflake']
    """

    name = "snowflake"
    settings_model = SnowflakeSettings
    errors = ERRORS

    def __init__(self, settings: SnowflakeSettings | None = None) -> None:
        self.options = settings if settings is not None else SnowflakeSettings()
        super().__init__(self.options)

    def agents(self) -> Sequence[Agent]:
        """Return the agent."""
        return [SnowflakeAgent(self, self.options)]

    def open(
        self, connection: SnowflakeConnection, secrets: Secrets, http: Http
    ) -> AbstractAsyncContextManager[SnowflakeClient]:
        """Return a client of the connection's account."""
        return self._opened(connection, secrets, http)

    def connections(self) -> Mapping[str, SnowflakeConnection]:
        """Return the accounts of the settings; of a key pair those with a user."""
        names = dict.fromkeys((*((self.options.account,) if self.options.account else ()), *self.options.accounts))
        found = {key_of(name): own_connection(name, self.options) for name in names}
        return {name: connection for name, connection in found.items() if connection is not None}

    async def ping(self, ctx: AccountContext[SnowflakeClient]) -> str:
        """Look at a statement that was never: refused logins are told before that, and no warehouse is woken."""
        await ctx.client.ping()
        user = ctx.connection.user
        return f"{ctx.connection.account} takes the login" + (f" of {user}" if user else "")

    def account(self, connection: SnowflakeConnection) -> str:
        """Return the account: its limits are for all who use it."""
        return f"snowflake:{key_of(connection.account)}"

    @asynccontextmanager
    async def _opened(
        self, connection: SnowflakeConnection, secrets: Secrets, http: Http
    ) -> AsyncIterator[SnowflakeClient]:
        account = connection.account
        if not self.options.is_allowed(account):
            raise Unauthorized(
                f"{account} is no account that this service talks to; "
                "the operator allows it by platforms.snowflake.allowed_accounts"
            )
        yield SnowflakeClient(http, self.options.address(account), login_of(connection, secrets))
