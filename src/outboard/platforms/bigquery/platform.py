"""The BigQuery platform as the host sees it: quotas, accounts, clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from outboard._version import __version__
from outboard.agent import AccountContext, Agent, Http, Platform, Quotas, QuotaScope, Rate, Secrets
from outboard.platforms.bigquery.agent import BigQueryAgent
from outboard.platforms.bigquery.client import CANCEL, GET, INSERT, LIST, BigQueryClient
from outboard.platforms.bigquery.credentials import (
    IAM_SCOPE,
    SCOPE,
    FixedToken,
    Tokens,
    google_tokens,
    impersonated_tokens,
    key_info,
)
from outboard.platforms.bigquery.declared import NEEDS
from outboard.platforms.bigquery.errors import ERRORS
from outboard.platforms.bigquery.settings import BigQueryConnection, BigQuerySettings, Login

LIMITS: Final = "https://cloud.google.com/bigquery/quotas#api_request_quotas"
_READ: Final = "2026-11-22"
PER_USER_AND_METHOD: Final = Rate(per_second=90, burst=10, scope=QuotaScope.CONNECTION, source=LIMITS, date=_READ)
"""100 requests a second per user and method; 90 and 10 at once are never more in any second."""
GETS_PER_PROJECT: Final = Rate(per_second=900, burst=100, source=LIMITS, date=_READ)
"""1,000 `jobs.get` a second per project."""


class BigQuery(Platform[BigQueryConnection, BigQueryClient]):
    """Google BigQuery.

    Args:
        settings: See `BigQuerySettings`.

    >>> [agent.name for agent in BigQuery().agents()]
    ['bigquery']
    """

    name = "bigquery"
    settings_model = BigQuerySettings
    quotas = Quotas(
        {
            INSERT: PER_USER_AND_METHOD,
            GET: (PER_USER_AND_METHOD, GETS_PER_PROJECT),
            LIST: PER_USER_AND_METHOD,
            CANCEL: PER_USER_AND_METHOD,
        }
    )
    errors = ERRORS
    needs = NEEDS

    def __init__(self, settings: BigQuerySettings | None = None) -> None:
        self.options = settings if settings is not None else BigQuerySettings()
        super().__init__(self.options)

    def agents(self) -> Sequence[Agent]:
        """Return the agent."""
        return (BigQueryAgent(self, self.options),)

    def account(self, connection: BigQueryConnection) -> str:
        """Return one account per Google Cloud project, which is what BigQuery counts by."""
        return f"bigquery:{connection.project}"

    def connections(self) -> Mapping[str, BigQueryConnection]:
        """Return one connection per Google Cloud project that `allowed_projects` spells out, and service account to act as."""
        options = self.options
        agent = BigQueryAgent(self, options)
        accounts = dict.fromkeys((options.impersonate, *options.impersonate_by_project.values()))
        return {
            f"{project} as {account}" if account else project: agent.connection_to(project, account)
            for project in options.allowed_projects
            if not any(sign in project for sign in "*?[")
            for account in accounts
        }

    async def ping(self, ctx: AccountContext[BigQueryClient]) -> str:
        """Estimate `SELECT 1`: a dry run needs the permission that a job needs, leaves no job and costs nothing."""
        reference = {"projectId": ctx.connection.project}
        query = {"query": "SELECT 1", "useLegacySql": False}
        body = {"jobReference": reference, "configuration": {"query": query, "dryRun": True}}
        await ctx.client.insert(body, timeout_s=ctx.timeout_s)
        return f"queries may be started in {ctx.connection.project}"

    def open(
        self, connection: BigQueryConnection, secrets: Secrets, http: Http
    ) -> AbstractAsyncContextManager[BigQueryClient]:
        """Return a client for one project, as one identity; the first token is fetched with its first call."""
        return self._open(connection, secrets, http)

    @asynccontextmanager
    async def _open(
        self, connection: BigQueryConnection, secrets: Secrets, http: Http
    ) -> AsyncIterator[BigQueryClient]:
        own = self._login(connection, secrets)
        tokens: Tokens = own
        if connection.impersonate:
            tokens = impersonated_tokens(own, connection.impersonate, http, self.options.iam_endpoint)
        try:
            yield BigQueryClient(http, connection.endpoint, connection.project, tokens, f"outboard/{__version__}")
        finally:
            await tokens.close()
            await own.close()

    def _login(self, connection: BigQueryConnection, secrets: Secrets) -> Tokens:
        secret = secrets[connection.credentials].get_secret_value() if connection.credentials is not None else None
        match connection.login:
            case Login.NONE:
                return FixedToken()
            case Login.TOKEN:
                return FixedToken(secret or "")
            case Login.GOOGLE:
                info = None if secret is None else key_info(secret, self.options.token_uri)
                return google_tokens(info, IAM_SCOPE if connection.impersonate else SCOPE)
