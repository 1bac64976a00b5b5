"""Where access keys come from: AWS's own ways through botocore, roles through STS; and that calls are really signed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from integration.platforms.athena.athena_hosts import KEY, host_for, run
from outboard.agent import Phase
from outboard.errors import Forbidden, Unauthorized, Unavailable
from outboard.platforms.athena.credentials import FixedKeys, Keys, RenewedKeys, chain_keys, role_keys
from outboard.testing.cases.athena import presto_task, settings_for
from outboard.testing.ledger import Course
from outboard.testing.platforms.athena import KEY_ID, REGION, SECRET, FakeAthena
from outboard.testing.platforms.athena_queries import FakeQuery
from outboard.testing.virtual_time import virtually

ROLE = "arn:aws:iam::222222222222:role/team"
QUERIES = {"SELECT 1": FakeQuery(course=Course(running_s=1.0))}
_AWS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN"),
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
)


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in _AWS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.mark.parametrize("way", ["environment", "profile", "web identity", "container"])
async def test_each_of_awss_own_ways_gives_keys_that_the_platform_accepts(
    way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    more = {"login": "chain", "secret": "", "access_key_id": ""}
    async with FakeAthena(QUERIES) as server:
        match way:
            case "environment":
                monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
                monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
            case "profile":
                (tmp_path / "credentials").write_text(
                    f"[team]\naws_access_key_id={KEY_ID}\naws_secret_access_key={SECRET}\n"
                )
                more["profile"] = "team"
            case "web identity":
                (tmp_path / "token").write_text("a-web-token")
                server.web_tokens.add("a-web-token")
                monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
                monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
                monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
                monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
            case "container":
                monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/credentials")
        async with host_for(settings_for(server.url, **more), {}) as host:
            status = await run(host, presto_task("SELECT 1"), every_s=0.2)
        assert status.phase is Phase.SUCCEEDED, status.message
        assert len(server.keys) == (1 if way in ("environment", "profile") else 2)


async def test_a_machine_without_keys_says_what_to_do() -> None:
    with pytest.raises(Unauthorized, match=r"platforms\.athena\.login"):
        await chain_keys("", lambda _: None).keys()


async def test_a_role_that_may_not_be_assumed_says_what_it_needs_and_tells_no_key() -> None:
    learned: list[str] = []
    async with FakeAthena() as server:
        own = FixedKeys(Keys(KEY_ID, SECRET))
        source = role_keys(own, ROLE, REGION, endpoint=server.url, external_id="", learn=learned.append)
        with pytest.raises(Forbidden, match="sts:AssumeRole") as refused:
            await source.keys()
        server.roles[ROLE] = ""
        keys = await source.keys()
        wrong = role_keys(
            FixedKeys(Keys(KEY_ID, "wrong")), ROLE, REGION, endpoint=server.url, external_id="", learn=learned.append
        )
        with pytest.raises(Unauthorized, match="signature"):
            await wrong.keys()
    assert SECRET not in refused.value.message
    assert set(learned) == {keys.secret, keys.token}
    assert keys.secret not in repr(keys)


@virtually
async def test_keys_are_renewed_before_they_end_and_used_while_the_renewal_fails() -> None:
    lifetimes = iter([3600.0, None, 3600.0])
    fetched: list[Keys] = []

    async def fetch() -> Keys:
        lifetime = next(lifetimes)
        if lifetime is None:
            raise Unavailable("STS is down")
        fetched.append(Keys("id", f"secret-{len(fetched)}", "t", lifetime))
        return fetched[-1]

    source = RenewedKeys(fetch)
    first = await source.keys()
    await asyncio.sleep(2_900)
    assert await source.keys() is first
    await asyncio.sleep(150)
    assert await source.keys() is first, "the old keys last while new ones are had"
    await asyncio.sleep(1)
    assert await source.keys() is first, "a renewal that failed is tried again later"
    await asyncio.sleep(40)
    await source.keys()
    await asyncio.sleep(0.1)
    assert (await source.keys()).secret == "secret-1"  # noqa: S105 - of the test
    await source.close()


@pytest.mark.parametrize(
    ("secret", "change", "words"),
    [
        ("another-secret", "", "signature we calculated does not match"),
        (SECRET, "unknown", "security token included in the request is invalid"),
        (SECRET, "ended", "expired"),
        (SECRET, "denied", "least privileges"),
    ],
)
@virtually
async def test_what_signatures_prove_is_checked_and_refusals_are_worth_another_attempt(
    secret: str, change: str, words: str
) -> None:
    async with FakeAthena(QUERIES) as server, host_for(settings_for(server.url), {KEY: secret}) as host:
        match change:
            case "unknown":
                server.keys.clear()
            case "ended":
                server.keys[KEY_ID].has_ended = True
            case "denied":
                server.keys[KEY_ID].denied.add("athena:StartQueryExecution")
        status = await run(host, presto_task("SELECT 1"))
    assert status.phase is Phase.RETRYABLE_FAILED
    assert words in status.message
    assert SECRET not in status.message
