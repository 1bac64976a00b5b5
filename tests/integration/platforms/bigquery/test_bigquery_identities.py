"""As whom jobs run, and what becomes of them when keys, tokens and accounts change while they do."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from integration.platforms.bigquery.bigquery_hosts import TYPE, follow, host_for, rotate, sent, settings_for
from outboard.agent import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RunAs
from outboard.host import Host
from outboard.testing.cases.bigquery import query_task
from outboard.testing.ledger import Course
from outboard.testing.platforms.bigquery import FakeBigQuery, FakeQuery
from outboard.testing.virtual_time import virtually

ETL, BI = "etl@shop.iam.gserviceaccount.com", "bi@shop.iam.gserviceaccount.com"
AUDIENCE = "//iam.googleapis.com/projects/123456/locations/global/workloadIdentityPools/pool/providers/cluster"
LONG = {"SELECT long": FakeQuery(course=Course(running_s=None))}
TASK = query_task("SELECT long", Location="US")
OWN: dict[str, Any] = {"login": "token", "secret": "own"}


def key_file(key_id: str, token_uri: str) -> str:
    """Return the JSON key of a service account, as Google's console gives it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    fields = {"type": "service_account", "client_email": ETL, "private_key": pem, "private_key_id": key_id}
    return json.dumps({**fields, "token_uri": token_uri, "project_id": "shop"})


async def asked_until(host: Host, handle: bytes, phase: Phase, limit_s: float = 40.0) -> TaskStatus:
    """Poll until a phase is told; real time, since google-auth works in threads."""
    give_up = time.monotonic() + limit_s
    while True:
        status = await host.get_task(handle, task_type=TYPE, timeout_s=10)
        if status.phase is phase or time.monotonic() > give_up:
            return status
        await asyncio.sleep(0.1)


async def test_a_key_that_was_rotated_is_read_anew_while_jobs_run() -> None:
    async with FakeBigQuery(LONG) as server:
        server.accepted = set()
        settings = settings_for(server, login="google", secret="key")  # noqa: S106 - a name
        first, second = (key_file(key_id, settings.token_uri) for key_id in ("k1", "k2"))
        async with host_for(settings, {"key": first}) as host:
            handle = await host.create_task(sent(TASK), timeout_s=10)
            assert (await asked_until(host, handle, Phase.RUNNING)).phase is Phase.RUNNING
            server.revoked_keys.add("k1")
            server.accepted.clear()  # what the old key bought ends with it
            rotate(host, "key", second)
            give_up = time.monotonic() + 30
            while not server.accepted and time.monotonic() < give_up:
                status = await host.get_task(handle, task_type=TYPE, timeout_s=10)
                assert status.phase is Phase.RUNNING, "nobody sees that a key was rotated"
                await asyncio.sleep(0.1)
            assert server.accepted, "the new key was exchanged"
            await host.delete_task(handle, task_type=TYPE, timeout_s=10)
            assert server.ledger.live() == []
        assert len(server.ledger.jobs) == 1


@virtually
async def test_a_token_that_the_platform_ends_before_its_time_is_replaced_at_once() -> None:
    async with FakeBigQuery(LONG) as server:
        server.accepted = {"own"}
        async with host_for(settings_for(server, **OWN, impersonate=ETL), {"own": "own"}) as host:
            handle = await host.create_task(sent(TASK), timeout_s=10)
            await host.get_task(handle, task_type=TYPE, timeout_s=10)
            server.accepted = {"own"}  # as after a change of clocks, or of rights
            for _ in range(30):
                await asyncio.sleep(10)
                status = await host.get_task(handle, task_type=TYPE, timeout_s=10)
                assert status.phase is Phase.RUNNING
            assert server.accepted > {"own"}
            assert server.refused <= 2


@virtually
async def test_a_token_is_renewed_before_it_ends_as_long_as_jobs_run() -> None:
    async with FakeBigQuery(LONG) as server:
        server.accepted = {"own"}
        async with host_for(settings_for(server, **OWN, impersonate=ETL), {"own": "own"}) as host:
            handle = await host.create_task(sent(TASK), timeout_s=10)
            for _ in range(40):
                assert (
                    await host.get_task(handle, task_type=TYPE, timeout_s=10)
                ).phase is not Phase.WAITING_FOR_RESOURCES
                await asyncio.sleep(360)  # four hours
        assert server.refused == 0
        assert 4 <= len(server.issued) <= 6


@virtually
async def test_an_access_token_that_somebody_else_renews_may_end_while_jobs_run() -> None:
    async with FakeBigQuery(LONG) as server:
        server.accepted = {"first"}
        async with host_for(settings_for(server, **OWN), {"own": "first"}) as host:
            handle = await host.create_task(sent(TASK), timeout_s=10)
            await host.get_task(handle, task_type=TYPE, timeout_s=10)
            server.accepted = {"second"}
            phases = []
            for _ in range(60):
                await asyncio.sleep(10)
                phases.append((await host.get_task(handle, task_type=TYPE, timeout_s=10)).phase)
            assert Phase.FAILED not in phases
            assert phases[-1] is Phase.WAITING_FOR_RESOURCES, "after a while the user is told what is waited for"
            rotate(host, "own", "second")
            await asyncio.sleep(60)
            await host.get_task(handle, task_type=TYPE, timeout_s=10)
            await asyncio.sleep(10)
            assert (await host.get_task(handle, task_type=TYPE, timeout_s=10)).phase is Phase.RUNNING
            assert len(server.ledger.jobs) == 1


@virtually
async def test_tasks_act_each_as_its_own_account_and_are_followed_and_cancelled_as_it() -> None:
    async with FakeBigQuery(LONG) as server:
        server.accepted = {"own"}
        settings = settings_for(server, **OWN, allowed_service_accounts=["*@shop.iam.gserviceaccount.com"])
        async with host_for(settings, {"own": "own"}) as host:
            handles = [
                await host.create_task(replace(sent(TASK, node=f"n{n}"), run_as=RunAs(iam_role=email)), timeout_s=10)
                for n, email in enumerate((ETL, BI, ETL))
            ]
            whom = {server.issued[job.authorization.removeprefix("Bearer ")] for job in server.jobs.values()}
            assert (whom, len(server.issued)) == ({ETL, BI}, 2)
            server.accepted.discard(next(token for token, email in server.issued.items() if email == BI))
            await asyncio.sleep(30)
            for handle in handles:
                assert (await host.get_task(handle, task_type=TYPE, timeout_s=10)).phase is Phase.RUNNING
                await host.delete_task(handle, task_type=TYPE, timeout_s=10)
            assert server.ledger.live() == []


@pytest.fixture
def workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lay a workload's configuration out as `gcloud iam workload-identity-pools create-cred-config` writes it."""

    def configure(url: str, email: str = "") -> Path:
        subject = tmp_path / "subject.jwt"
        subject.write_text("a.workload.token")
        account = f"{url}/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
        config = {
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{url}/v1/token",
            "credential_source": {"file": str(subject)},
            **({"service_account_impersonation_url": account} if email else {}),
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "config.json"))
        return subject

    for name in ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert "HTTPS_PROXY" not in os.environ or os.environ.get("NO_PROXY"), "the loopback must not go through a proxy"
    return configure


@pytest.mark.parametrize("email", ["", ETL])
async def test_a_workload_exchanges_its_own_token_and_acts_as_its_account(workload: Any, email: str) -> None:
    async with FakeBigQuery(LONG) as server:
        workload(server.url, email)
        server.accepted, server.workloads = set(), {"a.workload.token": AUDIENCE}
        async with host_for(settings_for(server, login="google")) as host:
            handle = await host.create_task(sent(TASK), timeout_s=10)
            assert (await asked_until(host, handle, Phase.RUNNING)).phase is Phase.RUNNING
            await host.delete_task(handle, task_type=TYPE, timeout_s=10)
        (job,) = server.jobs.values()
        assert server.issued[job.authorization.removeprefix("Bearer ")] == (email or "a.workload.token")


async def test_a_workload_that_the_pool_does_not_know_is_told_so_and_starts_nothing(workload: Any) -> None:
    async with FakeBigQuery(LONG) as server:
        workload(server.url)
        server.accepted = set()
        async with host_for(settings_for(server, login="google")) as host:
            handle = await host.create_task(sent(TASK), timeout_s=10)
            status = (await follow(host, handle, every_s=0.1))[-1]
        assert server.calls["jobs.insert"] == 0
    assert status.phase is Phase.RETRYABLE_FAILED
    assert "not for this audience" in status.message
    assert "a.workload.token" not in status.message


async def test_acting_as_another_account_starts_from_the_workload(workload: Any) -> None:
    async with FakeBigQuery(LONG) as server:
        workload(server.url)
        server.accepted, server.workloads = set(), {"a.workload.token": AUDIENCE}
        async with host_for(settings_for(server, login="google", impersonate=BI)) as host:
            handle = await host.create_task(sent(TASK), timeout_s=10)
            assert (await asked_until(host, handle, Phase.RUNNING)).phase is Phase.RUNNING
            await host.delete_task(handle, task_type=TYPE, timeout_s=10)
        assert list(server.issued.values()) == ["a.workload.token", BI]
