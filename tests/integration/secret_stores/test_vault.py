"""Vault, on OpenBao's real server: versions, rotation, policies, logins that end, and an outage."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from outboard.domain.identity import Scope
from outboard.domain.secret_refs import SecretRef
from outboard.errors import MissingSecret, SecretsUnavailable
from outboard.host import SecretSettings
from outboard.host.secrets import Redactor, SecretSource
from outboard.host.secrets.ports import Reader
from outboard.host.secrets.stores.vault import VaultSecrets
from real_parts import environment
from secret_servers import ROOT_TOKEN, Bao, bao, content, fill

HERE = Reader(scope=Scope(project="a", domain="production"))
PASSWORD = SecretRef("password", "warehouse")
READ = {"secret/data/a/*": ["read"]}
FIRST, SECOND = "the-first-of-the-passwords", "the-second-of-the-passwords"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def running() -> Iterator[Bao]:
    with bao(environment("openbao"), _free_port()) as server:
        yield server


def _source(server: Bao, redactor: Redactor | None = None, **settings: Any) -> SecretSource:
    store = {"kind": "vault", "address": server.url, "path": "{project}/{domain}/{group}", **settings}
    return SecretSource(SecretSettings(stores=[store]), redactor or Redactor(), {})


def _token(source: SecretSource) -> str:
    """Return the token that a login by role got."""
    (vault,) = (each.remote.store for each in source._stores if each.remote is not None)
    assert isinstance(vault, VaultSecrets)
    assert vault._held
    return vault._held


async def _value(source: SecretSource, ref: SecretRef = PASSWORD, reader: Reader = HERE) -> str:
    await source.fetch([ref], reader, 5.0)
    return source.resolve(ref, reader.scope).get_secret_value()


@pytest.fixture
def token_file(running: Bao, tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(running.token("reads-a", READ))
    return path


async def test_a_secret_and_its_versions_are_read(running: Bao, token_file: Path) -> None:
    for value in (FIRST, SECOND):
        running.put("a/production/warehouse", password=value, port="5432")
    source = _source(running, token_file=token_file)
    assert await _value(source) == SECOND
    assert await _value(source, SecretRef("port", "warehouse")) == "5432"
    assert await _value(source, SecretRef("password", "warehouse", "1")) == FIRST
    for nowhere in (SecretRef("password", "elsewhere"), SecretRef("user", "warehouse"), SecretRef("password")):
        with pytest.raises(MissingSecret):
            await _value(source, nowhere)
    with pytest.raises(MissingSecret, match="no number of a version"):
        await _value(source, SecretRef("password", "warehouse", "newest"))
    await source.close()


async def test_another_projects_path_is_never_even_asked_for(running: Bao, token_file: Path) -> None:
    running.put("b/production/warehouse", password="of-another-project")  # noqa: S106 - a canary
    fill(token_file, ROOT_TOKEN)
    source = _source(running, token_file=token_file)
    for ref in (
        SecretRef("password", "../b"),
        SecretRef("password", "b/production/warehouse"),
        SecretRef("password", "%2e%2e"),
    ):
        with pytest.raises(MissingSecret, match="cannot be part"):
            await _value(source, ref)
    other = Reader(scope=Scope(project="b", domain="production"))
    assert await _value(source, reader=other) == "of-another-project"
    await source.close()


async def test_a_rotated_secret_is_found_without_a_restart(running: Bao, token_file: Path) -> None:
    running.put("a/production/warehouse", password=FIRST)
    source = _source(running, token_file=token_file, refresh=0.05)
    assert await _value(source) == FIRST
    running.put("a/production/warehouse", password=SECOND)
    for _ in range(100):
        if await _value(source) == SECOND:
            break
        await asyncio.sleep(0.05)
    assert await _value(source) == SECOND
    await source.close()


async def test_what_the_policy_denies_is_missing_and_says_so(running: Bao, token_file: Path) -> None:
    running.put("c/production/warehouse", password=FIRST)
    source = _source(running, token_file=token_file)
    with pytest.raises(MissingSecret, match="c/production/warehouse#password in vault, which denies it"):
        await _value(source, reader=Reader(scope=Scope(project="c", domain="production")))
    await source.close()


async def test_a_token_that_ended_is_an_outage_until_its_file_has_a_new_one(running: Bao, token_file: Path) -> None:
    running.put("a/production/warehouse", password=FIRST)
    token = content(token_file)
    source = _source(running, token_file=token_file, refresh=0.05)
    assert await _value(source) == FIRST
    running.ask("POST", "auth/token/revoke", {"token": token})
    running.put("a/production/warehouse", password=SECOND)
    with structlog.testing.capture_logs() as lines:
        await asyncio.sleep(0.1)
        await _value(source)
        await asyncio.sleep(0.5)
        assert await _value(source) == FIRST  # what was good is used on
    assert "it refuses our token; put a new one in token_file" in str(lines)
    assert token not in str(lines)
    fresh = _source(running, token_file=token_file)
    with pytest.raises(SecretsUnavailable, match="refuses our token"):
        await _value(fresh)
    fill(token_file, running.token("reads-a", READ))
    await asyncio.sleep(1.1)
    assert await _value(fresh) == SECOND
    await source.close()
    await fresh.close()


async def test_a_login_by_role_is_renewed_and_made_anew(running: Bao, tmp_path: Path) -> None:
    running.put("a/production/warehouse", password=FIRST)
    running.token("reads-a", READ)
    if "approle/" not in running.ask("GET", "sys/auth")["data"]:
        running.ask("POST", "sys/auth/approle", {"type": "approle"})
    role = {"token_policies": ["reads-a"], "token_ttl": "1s", "token_max_ttl": "3s"}
    running.ask("POST", "auth/approle/role/outboard", role)
    role_id = running.ask("GET", "auth/approle/role/outboard/role-id")["data"]["role_id"]
    secret = tmp_path / "secret-id"
    fill(secret, running.ask("POST", "auth/approle/role/outboard/secret-id", {})["data"]["secret_id"])
    login = {"role_id": role_id, "secret_id_file": str(secret)}
    redact = Redactor()
    source = _source(running, redact, app_role=login, refresh=0.01)
    for value in (FIRST, SECOND, FIRST):
        running.put("a/production/warehouse", password=value)
        await asyncio.sleep(1.1)  # the token that was had has ended
        await _value(source)
        await asyncio.sleep(0.3)
        assert await _value(source) == value
        assert redact(_token(source)) == "[redacted]"
    fill(secret, "no-secret-id-at-all")
    refused = _source(running, app_role=login)
    with pytest.raises(SecretsUnavailable, match="refuses our login"):
        await _value(refused)
    await source.close()
    await refused.close()


async def test_key_values_of_version_1(running: Bao, token_file: Path) -> None:
    if "old/" not in running.ask("GET", "sys/mounts")["data"]:
        running.ask("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
    running.ask("POST", "old/a/production/warehouse", {"password": FIRST})
    fill(token_file, running.token("reads-old", {"old/a/*": ["read"]}))
    source = _source(running, mount="old", engine="kv1", token_file=token_file)
    assert await _value(source) == FIRST
    await source.close()


async def test_the_last_good_value_outlives_the_server(tmp_path: Path) -> None:
    port = _free_port()
    token_file = tmp_path / "token"
    with bao(environment("openbao"), port) as server:
        server.put("a/production/warehouse", password=FIRST)
        fill(token_file, server.token("reads-a", READ))
        source = _source(server, token_file=token_file, refresh=0.05)
        assert await _value(source) == FIRST
        server.stop()
        for _ in range(5):
            await asyncio.sleep(0.1)
            assert await _value(source) == FIRST
        with pytest.raises(SecretsUnavailable, match="cannot be reached"):
            await _value(source, SecretRef("password", "other"))
        server.start()
        server.put("a/production/warehouse", password=SECOND)
        fill(token_file, server.token("reads-a", READ))
        for _ in range(100):
            if await _value(source) == SECOND:
                break
            await asyncio.sleep(0.1)
        assert await _value(source) == SECOND
        await source.close()
