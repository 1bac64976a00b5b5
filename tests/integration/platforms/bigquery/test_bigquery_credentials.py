"""Access tokens: off the event loop, renewed in time, one renewal at once; keys, and acting as another account."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import ValidationError

from integration.platforms.bigquery.bigquery_hosts import follow, host_for, sent, settings_for
from outboard.agent import Phase
from outboard.domain.provided import Provided
from outboard.domain.tasks import RunAs
from outboard.errors import Sent, Unauthorized, Unavailable
from outboard.platforms.bigquery.credentials import RenewedToken, key_info
from outboard.platforms.bigquery.settings import BigQuerySettings
from outboard.testing.cases.bigquery import query_task
from outboard.testing.faults import Refuse
from outboard.testing.ledger import Course
from outboard.testing.platforms.bigquery import FakeBigQuery, FakeQuery
from outboard.testing.virtual_time import virtually

EMAIL = "etl@shop.iam.gserviceaccount.com"
QUICK = {"SELECT quick": FakeQuery(course=Course(running_s=0.0))}
OWN: dict[str, Any] = {"login": "token", "secret": "own"}
TASK = query_task("SELECT quick", Location="US")


class Issuer:
    """Gives out tokens that last an hour, after a second."""

    def __init__(self) -> None:
        self.fetches = 0
        self.error: Exception | None = None

    async def fetch(self) -> tuple[str, float]:
        self.fetches += 1
        await asyncio.sleep(1)
        if self.error is not None:
            raise self.error
        return f"t{self.fetches}", 3600.0


@virtually
async def test_many_callers_wait_for_one_token() -> None:
    issuer = Issuer()
    token = RenewedToken(issuer.fetch)
    assert await asyncio.gather(*(token.token() for _ in range(50))) == ["t1"] * 50
    assert issuer.fetches == 1


@virtually
async def test_a_token_is_renewed_behind_before_it_ends() -> None:
    issuer = Issuer()
    token = RenewedToken(issuer.fetch)
    await token.token()
    await asyncio.sleep(3100)
    began = time.monotonic()
    assert await token.token() == "t1"
    assert time.monotonic() == began, "nobody waits for the renewal"
    await asyncio.sleep(2)
    assert (await token.token(), issuer.fetches) == ("t2", 2)


@virtually
async def test_a_renewal_that_fails_is_tried_again_while_the_old_token_lasts() -> None:
    issuer = Issuer()
    token = RenewedToken(issuer.fetch)
    await token.token()
    issuer.error = Unavailable("down", sent=Sent.NO)
    await asyncio.sleep(3100)
    for _ in range(40):
        assert await token.token() == "t1"
        await asyncio.sleep(2)
    assert issuer.fetches == 4, "once, and every half a minute"
    await asyncio.sleep(600)
    with pytest.raises(Unavailable):
        await token.token()
    issuer.error = None
    assert await token.token() == f"t{issuer.fetches}"
    await token.close()


@virtually
async def test_closing_ends_a_renewal_that_hangs() -> None:
    async def never() -> tuple[str, float]:
        await asyncio.sleep(10_000)
        raise AssertionError

    token = RenewedToken(never)
    asked = asyncio.ensure_future(token.token())
    await asyncio.sleep(1)
    await token.close()
    with pytest.raises(asyncio.CancelledError):
        await asked


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_file(private_key: rsa.RSAPrivateKey, token_uri: str, **more: Any) -> str:
    """Return the JSON key of a service account, as Google's console gives it."""
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    fields = {"type": "service_account", "client_email": EMAIL, "private_key": pem, "private_key_id": "k1"}
    return json.dumps({**fields, "token_uri": token_uri, "project_id": "shop", **more})


def claims_of(assertion: str, private_key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Return what a signed assertion says, its signature verified."""
    signed, _, signature = assertion.rpartition(".")
    private_key.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    found: dict[str, Any] = json.loads(_decoded(signed.partition(".")[2]))
    return found


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_service_accounts_key_is_exchanged_for_a_token_that_the_calls_carry(
    private_key: rsa.RSAPrivateKey,
) -> None:
    async with FakeBigQuery(QUICK) as server:
        server.accepted = set()
        settings = settings_for(server, login="google", secret="bq-key")  # noqa: S106 - a name
        secrets = {"bq-key": key_file(private_key, settings.token_uri)}
        async with host_for(settings, secrets) as host:
            handle = await host.create_task(sent(TASK), timeout_s=10)
            assert (await follow(host, handle, every_s=0.1))[-1].phase is Phase.SUCCEEDED
        (assertion,) = server.issued.values()
        assert server.calls["tokens"] == 1, "one token for all calls"
    claims = claims_of(assertion, private_key)
    assert (claims["iss"], claims["aud"]) == (EMAIL, "https://oauth2.googleapis.com/token")
    assert claims["scope"] == "https://www.googleapis.com/auth/bigquery"


async def test_the_key_that_flyte_2_sends_goes_before_the_operators(private_key: rsa.RSAPrivateKey) -> None:
    async with FakeBigQuery(QUICK) as server:
        server.accepted = set()
        settings = settings_for(server, login="google", secret="bq-key")  # noqa: S106 - a name
        own = key_file(private_key, settings.token_uri, client_email="team@shop.iam.gserviceaccount.com")
        provided = Provided(secrets={"google_application_credentials": own})
        task = query_task("SELECT quick", Location="US", secrets={"google_application_credentials": "team-key"})
        async with host_for(settings, {"bq-key": key_file(private_key, settings.token_uri)}) as host:
            handle = await host.create_task(replace(sent(task), provided=provided), timeout_s=10)
            statuses = await follow(host, handle, every_s=0.1, provided=provided)
        assert statuses[-1].phase is Phase.SUCCEEDED
        (assertion,) = server.issued.values()
        assert b"BEGIN" not in handle
    assert claims_of(assertion, private_key)["iss"] == "team@shop.iam.gserviceaccount.com"


@virtually
async def test_a_task_acts_as_the_service_account_that_it_asks_for_and_the_operator_allows() -> None:
    async with FakeBigQuery(QUICK) as server:
        server.accepted = {"own"}
        settings = settings_for(server, **OWN, allowed_service_accounts=["etl@*"])
        async with host_for(settings, {"own": "own"}) as host:
            for role in (EMAIL, "arn:aws:iam::1:role/x"):
                task = replace(sent(TASK, node=role[:3]), run_as=RunAs(iam_role=role))
                handle = await host.create_task(task, timeout_s=10)
                assert (await follow(host, handle))[-1].phase is Phase.SUCCEEDED
        assert server.issued == {"fake-token-1": EMAIL}
        assert {job.authorization for job in server.jobs.values()} == {"Bearer fake-token-1", "Bearer own"}


@virtually
async def test_a_flyte_projects_jobs_act_as_its_account() -> None:
    async with FakeBigQuery(QUICK) as server:
        server.accepted = {"own"}
        by_project = {"shop-production": EMAIL, "shop": "other@shop.iam.gserviceaccount.com"}
        settings = settings_for(server, **OWN, impersonate_by_project=by_project)
        async with host_for(settings, {"own": "own"}) as host:
            await follow(host, await host.create_task(sent(TASK), timeout_s=10))
        assert list(server.issued.values()) == [EMAIL]


@virtually
async def test_an_account_that_may_not_be_acted_as_is_told_with_the_role_that_is_missing() -> None:
    async with FakeBigQuery(QUICK) as server:
        server.faults.add(Refuse(status=403, code="PERMISSION_DENIED", words="Permission denied"), "impersonate")
        settings = settings_for(server, **OWN, impersonate=EMAIL)
        async with host_for(settings, {"own": "own"}) as host:
            status = (await follow(host, await host.create_task(sent(TASK), timeout_s=10)))[-1]
        assert server.calls["jobs.insert"] == 0
    assert status.phase is Phase.RETRYABLE_FAILED
    assert "roles/iam.serviceAccountTokenCreator" in status.message


@pytest.mark.parametrize(
    "key", ["", "no json", "[]", json.dumps({"type": "external_account"}), json.dumps({"type": "service_account"})]
)
def test_a_secret_that_is_no_service_accounts_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        key_info(key, "https://oauth2.googleapis.com/token")
    assert not key or key not in str(caught.value)
    assert caught.value.sent is Sent.NO


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": "http://bigquery.internal"},
        {"endpoint": "ftp://127.0.0.1"},
        {"login": "none"},
        {"login": "token"},
        {"impersonate": "somebody@example.com"},
        {"maximum_bytes_billed": 0},
        {"price_per_tib": "-1"},
        {"locaton": "EU"},
    ],
)
def test_settings_that_would_be_unsafe_or_wrong_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BigQuerySettings.model_validate(fields)
