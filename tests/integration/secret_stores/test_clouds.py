"""The clouds' stores through their own libraries: AWS on moto's server, Google and Azure on stand-ins."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from integration.platforms.athena.athena_moto import moto
from outboard.domain.identity import Scope
from outboard.domain.secret_refs import SecretRef
from outboard.errors import MissingSecret, SecretsUnavailable
from outboard.host import SecretSettings
from outboard.host.secrets import Redactor, SecretSource
from outboard.host.secrets.ports import Reader
from outboard.host.secrets.stores.azure import AzureSecrets
from outboard.host.store_settings import AzureStore
from real_parts import environment
from secret_servers import AzureStandIn, GoogleStandIn

A = Reader(scope=Scope(project="a", domain="production"))
REF = SecretRef("password", "warehouse")
KEY_ID, KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def _source(**store: Any) -> tuple[SecretSource, Redactor]:
    redactor = Redactor()
    return SecretSource(SecretSettings(stores=[store]), redactor, {}), redactor


async def _value(source: SecretSource, ref: SecretRef = REF, reader: Reader = A) -> str:
    await source.fetch([ref], reader, 10.0)
    return source.resolve(ref, reader.scope).get_secret_value()


async def _until(source: SecretSource, wanted: str, ref: SecretRef = REF) -> None:
    for _ in range(200):
        if await _value(source, ref) == wanted:
            return
        await asyncio.sleep(0.05)
    assert await _value(source, ref) == wanted


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with moto(environment("athena")) as url:
        yield url


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def _aws_client(url: str) -> Any:
    import botocore.session

    return botocore.session.Session().create_client("secretsmanager", "eu-west-1", endpoint_url=url)


@pytest.mark.usefixtures("logged_in")
async def test_aws_secrets_are_read_whole_by_field_and_by_version(aws: str) -> None:
    client = _aws_client(aws)
    client.create_secret(Name="warehouse/password", SecretString="the-first-password")
    client.create_secret(Name="a/production/warehouse", SecretString=json.dumps({"password": "in-json", "port": 5432}))
    source, redactor = _source(kind="aws", region="eu-west-1", endpoint=aws, refresh=0.05)
    assert await _value(source) == "the-first-password"
    client.put_secret_value(SecretId="warehouse/password", SecretString="the-second-password")
    await _until(source, "the-second-password")
    previous = SecretRef("password", "warehouse", "AWSPREVIOUS")
    assert await _value(source, previous) == "the-first-password"
    with pytest.raises(MissingSecret, match="gone in aws"):
        await _value(source, SecretRef("gone"))
    assert redactor(f"signed with {KEY}") == "signed with [redacted]"
    fields, _ = _source(
        kind="aws",
        region="eu-west-1",
        endpoint=aws,
        secret="{project}/{domain}/{group}",  # noqa: S106 - a name
        field="{key}",
    )
    assert await _value(fields) == "in-json"
    assert await _value(fields, SecretRef("port", "warehouse")) == "5432"
    with pytest.raises(MissingSecret):
        await _value(fields, SecretRef("user", "warehouse"))
    await source.close()
    await fields.close()


@pytest.mark.usefixtures("logged_in")
async def test_aws_a_deleted_secret_is_missing_and_a_gone_endpoint_an_outage(aws: str) -> None:
    client = _aws_client(aws)
    client.create_secret(Name="deleted", SecretString="soon-to-be-gone")
    client.delete_secret(SecretId="deleted")
    source, _ = _source(kind="aws", region="eu-west-1", endpoint=aws)
    with pytest.raises(MissingSecret):
        await _value(source, SecretRef("deleted"))
    away, _ = _source(kind="aws", region="eu-west-1", endpoint="http://127.0.0.1:1", timeout=2)
    with pytest.raises(SecretsUnavailable, match="cannot be reached"):
        await _value(away)
    await source.close()
    await away.close()


async def test_aws_without_credentials_is_an_outage_that_says_so_and_ends_with_it(
    monkeypatch: pytest.MonkeyPatch, aws: str
) -> None:
    """An instance's metadata may answer late, and only after the service has started."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    source, _ = _source(kind="aws", region="eu-west-1", endpoint=aws)
    with pytest.raises(SecretsUnavailable, match="finds no credentials"):
        await _value(source, SecretRef("late"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    _aws_client(aws).create_secret(Name="late", SecretString="here-by-now")
    for _ in range(200):
        with suppress(SecretsUnavailable):
            await _until(source, "here-by-now", SecretRef("late"))
            break
        await asyncio.sleep(0.05)
    assert await _value(source, SecretRef("late")) == "here-by-now"
    await source.close()


def _google_key(folder: Path, url: str) -> Path:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "key.json"
    info = {"type": "service_account", "client_email": "o@p.iam.gserviceaccount.com", "token_uri": f"{url}/token"}
    path.write_text(json.dumps({**info, "private_key": pem.decode(), "private_key_id": "1", "project_id": "p"}))
    return path


async def test_google_secrets_are_read_by_name_and_version_with_a_token_that_is_renewed(tmp_path: Path) -> None:
    google = GoogleStandIn()
    google.secrets["team-a", "warehouse__password"] = ["the-first-password", "the-second-password"]
    async with google.listening():
        source, redactor = _source(
            kind="gcp",
            project="team-{project}",
            endpoint=google.url,
            credentials_file=str(_google_key(tmp_path, google.url)),
            refresh=0.05,
        )
        assert await _value(source) == "the-second-password"
        assert await _value(source, SecretRef("password", "warehouse", "1")) == "the-first-password"
        assert redactor(f"with {google.token}!") == "with [redacted]!"
        google.tokens += 1  # the token that was given is no good any more
        google.secrets["team-a", "warehouse__password"].append("the-third-password")
        await _until(source, "the-third-password")
        with pytest.raises(MissingSecret):
            await _value(source, SecretRef("gone", "warehouse"))
        with pytest.raises(MissingSecret, match="separates the parts"):
            await _value(source, SecretRef("x__y", "warehouse"))
        google.faults = [(429, {"Retry-After": "9"})]
        with pytest.raises(SecretsUnavailable, match="HTTP 429") as caught:
            await _value(source, SecretRef("other", "warehouse"))
        assert caught.value.retry_after is not None
        google.faults = [(403, {})]
        with pytest.raises(MissingSecret, match="which denies it"):
            await _value(source, SecretRef("denied", "warehouse"))
        await source.close()


class _Login:
    """A credential with one token."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *scopes: str, **_: Any) -> Any:
        assert scopes == ("https://vault.azure.net/.default",)
        return SimpleNamespace(token=self.token, expires_on=2**33)

    def close(self) -> None:
        pass


async def test_azure_secrets_are_read_by_name_and_never_beyond_their_end(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    vault, token = AzureStandIn("entra-token-of-the-test"), "entra-token-of-the-test"
    vault.secrets = {"a--my-group--the-key": ("the-value", {}), "a--brief": ("soon-over", {"exp": 1})}
    async with vault.listening(tls):
        settings = AzureStore(kind="azure", vault=vault.url, secret="{project}--{group}--{key}")  # noqa: S106 - a name
        learned: list[str] = []
        store = AzureSecrets(
            settings,
            learned.append,
            credential=_Login(token),
            verify_challenge_resource=False,
            connection_verify=str(tmp_path / "ca.pem"),
        )
        place = store.places(SecretRef("The_Key", "my.group"), A)[0]
        found = await store.fetch(place.document)
        assert found is not None
        assert found.value(place.field) == "the-value"
        assert learned == [token]
        brief = await store.fetch("a--brief")
        assert brief is not None
        assert brief.lifetime_s is not None
        assert brief.lifetime_s < 0
        assert await store.fetch("a--gone") is None
        vault.token = "another"  # noqa: S105 - of a stand-in
        with pytest.raises(Exception, match="Azure refuses our credentials"):
            await store.fetch("a--brief")
        await store.close()
