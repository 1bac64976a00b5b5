"""What Vault lends: kept and renewed for as long as the lease grants, asked for anew when it ends or a platform refuses it.

The server is a stand-in of https://developer.hashicorp.com/vault/api-docs/secret/databases and `sys/leases/renew`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from outboard.errors import SecretsUnavailable
from outboard.host.secrets.stores.vault import VaultSecrets
from outboard.host.store_settings import VaultStore
from secret_servers import StandIn


class Lender(StandIn):
    """Makes a new user at every read."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.grants_s = 600

    async def served(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/sys/leases/renew":
            lease: Any = (await request.json())["lease_id"]
            return web.json_response({"lease_id": lease, "lease_duration": self.grants_s, "renewable": True})
        self.made += 1
        data = {"username": f"v-outboard-{self.made}", "password": f"password-of-user-{self.made}"}
        lease = f"database/creds/readonly/{self.made}"
        return web.json_response({"lease_id": lease, "lease_duration": 600, "renewable": True, "data": data})


@asynccontextmanager
async def _lent(folder: Path) -> AsyncIterator[tuple[Lender, VaultSecrets]]:
    (folder / "token").write_text("token-of-the-test")
    lender = Lender()
    async with lender.listening():
        settings = VaultStore(
            kind="vault",
            address=lender.url,
            mount="database",
            engine="lease",
            path="creds/{group}",
            token_file=folder / "token",
        )
        store = VaultSecrets(settings, lambda _: None)
        yield lender, store
        await store.close()


async def test_an_outage_ends_no_lease(tmp_path: Path) -> None:
    """Or every outage would leave a user of the database behind, which nobody renews and nobody ends."""
    async with _lent(tmp_path) as (lender, store):
        first = await store.fetch("creds/readonly")
        lender.faults = [(503, {}), (503, {})]
        with pytest.raises(SecretsUnavailable):
            await store.fetch("creds/readonly")
        assert not lender.faults
        assert await store.fetch("creds/readonly") == first
        lender.faults = [(400, {})]  # this lease has ended
        second = await store.fetch("creds/readonly")
        lender.faults = [(503, {})]
        with pytest.raises(SecretsUnavailable):
            await store.fetch("creds/readonly", is_refused=True)
        third = await store.fetch("creds/readonly")  # what was refused stays refused
        lender.faults = [(400, {}), (404, {})]
        assert await store.fetch("creds/readonly") is None
        fourth = await store.fetch("creds/readonly")
    users = [each and each.value("username") for each in (first, second, third, fourth)]
    assert users == [f"v-outboard-{number}" for number in (1, 2, 3, 4)]


async def test_a_lease_is_renewed_until_it_grants_too_little_or_a_platform_refuses_what_was_lent(
    tmp_path: Path,
) -> None:
    async with _lent(tmp_path) as (lender, store):
        users = []
        for grants_s, is_refused in ((600, False), (600, False), (600, True), (20, False), (600, False)):
            lender.grants_s = grants_s
            found = await store.fetch("creds/readonly", is_refused=is_refused)
            assert found is not None
            assert found.lifetime_s == 600
            users.append(found.value("username"))
    assert users == ["v-outboard-1", "v-outboard-1", "v-outboard-2", "v-outboard-3", "v-outboard-3"]
