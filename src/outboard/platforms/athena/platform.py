"""The Athena platform as the host sees it: quotas, accounts, clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final
from uuid import UUID

from outboard._version import __version__
from outboard.agent import AccountContext, Agent, Http, Platform, Quotas, Rate, SecretRef, Secrets
from outboard.errors import Sent, Unauthorized
from outboard.platforms.athena.agent import AthenaAgent
from outboard.platforms.athena.client import BATCH, GET, START, STOP, AthenaClient
from outboard.platforms.athena.credentials import FixedKeys, Keys, KeySource, chain_keys, keys_of, role_keys
from outboard.platforms.athena.declared import NEEDS
from outboard.platforms.athena.errors import ERRORS
from outboard.platforms.athena.regions import endpoint_of
from outboard.platforms.athena.settings import AthenaConnection, AthenaSettings
from outboard.platforms.athena.signing import load

LIMITS: Final = "https://docs.aws.amazon.com/athena/latest/ug/service-limits.html#service-limits-api-calls"
_READ: Final = "2026-11-22"


def _rate(per_second: int, burst: int) -> Rate:
    # A tenth of the burst is left to what the network pushes together.
    return Rate(per_second=per_second, burst=burst * 9 // 10, source=LIMITS, date=_READ)


class Athena(Platform[AthenaConnection, AthenaClient]):
    """Amazon Athena.

    Args:
        settings: See `AthenaSettings`.

    >>> [str(each) for each in Athena().agents()[0].task_types]
    ['presto (version 0)', 'hive (version 0)', 'athena (version 0)']
    """

    name = "athena"
    settings_model = AthenaSettings
    quotas = Quotas({START: _rate(20, 80), STOP: _rate(20, 80), BATCH: _rate(20, 40), GET: _rate(100, 200)})
    errors = ERRORS
    needs = NEEDS

    def __init__(self, settings: AthenaSettings | None = None) -> None:
        self.options = settings if settings is not None else AthenaSettings()
        super().__init__(self.options)
        self._learn: Callable[[str], None] = lambda _: None

    def agents(self) -> Sequence[Agent]:
        """Return the agent."""
        return (AthenaAgent(self, self.options),)

    def hear_secrets(self, learn: Callable[[str], None]) -> None:
        """Tell keys that botocore finds or STS gives to whoever redacts them."""
        self._learn = learn

    def connections(self) -> Mapping[str, AthenaConnection]:
        """Return one connection per region and role of the settings."""
        options = self.options
        agent = AthenaAgent(self, options)
        regions = dict.fromkeys(each for each in (options.region, *options.region_by_project.values()) if each)
        roles = dict.fromkeys((options.role, *options.role_by_project.values()))
        return {
            f"{region} as {role}" if role else region: agent.connection_to(region, role)
            for region in regions
            for role in roles
        }

    async def ping(self, ctx: AccountContext[AthenaClient]) -> str:
        """Ask for a query that was never: keys and signature are looked at before that, and so is the permission to look."""
        await ctx.client.get_many([str(UUID(int=0))], timeout_s=ctx.timeout_s)
        return f"Athena in {ctx.client.region} takes the keys"

    def account(self, connection: AthenaConnection) -> str:
        """Return one account per AWS account and region, which is what Athena counts by, as far as it can be told."""
        who = connection.role.split(":")[4] if connection.role else ""
        if not who and connection.credentials is not None:
            who = f"{connection.credentials.key}"
        return f"athena:{connection.region}:{who or self.options.profile or 'own'}"

    def open(
        self, connection: AthenaConnection, secrets: Secrets, http: Http
    ) -> AbstractAsyncContextManager[AthenaClient]:
        """Return a client for one region, as one identity; the first keys are had with its first call."""
        return self._open(connection, secrets, http)

    @asynccontextmanager
    async def _open(self, connection: AthenaConnection, secrets: Secrets, http: Http) -> AsyncIterator[AthenaClient]:
        options, region = self.options, connection.region
        if not (options.allows_region(region) and options.uses_role(connection.role)):
            raise Unauthorized(
                f"queries in {region} as {connection.role or 'who logged in'} are not allowed here any more; the operator "
                "lists platforms.athena.allowed_regions and allowed_roles",
                sent=Sent.NO,
            )
        own = self._own_keys(connection, secrets)
        keys: KeySource = own
        if connection.role:
            keys = role_keys(
                own,
                connection.role,
                region,
                endpoint=options.sts_endpoint.replace("{region}", region),
                external_id=options.external_id,
                learn=self._learn,
            )
        await load()
        try:
            yield AthenaClient(http, endpoint_of(region, options.endpoint), region, keys, f"outboard/{__version__}")
        finally:
            await keys.close()
            await own.close()

    def _own_keys(self, connection: AthenaConnection, secrets: Secrets) -> KeySource:
        def read(ref: SecretRef | None) -> str:
            return secrets[ref].get_secret_value() if ref is not None else ""

        if connection.is_provided:
            keys = Keys(read(connection.credentials), read(connection.secret_key), read(connection.session))
            return FixedKeys(keys)
        if connection.credentials is not None:
            return FixedKeys(keys_of(read(connection.credentials), self.options.access_key_id))
        return chain_keys(self.options.profile, self._learn)
