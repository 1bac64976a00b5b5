"""Kubernetes' Secrets over its API: namespaces, the rotating token, and what the server refuses."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from certificates import Authority, Mount
from outboard.domain.identity import Scope
from outboard.domain.secret_refs import SecretRef, SecretScope
from outboard.errors import MissingSecret, SecretsUnavailable
from outboard.host import SecretSettings
from outboard.host.secrets import Redactor, SecretSource
from outboard.host.secrets.ports import Reader
from outboard.host.secrets.stores.kubernetes import KubernetesSecrets
from outboard.host.store_settings import KubernetesStore
from secret_servers import KubernetesStandIn, fill

A = Reader(scope=Scope(project="a", domain="production"))
B = Reader(scope=Scope(project="b", domain="production"))
REF = SecretRef("password", "warehouse")
TOKEN, NEXT_TOKEN = "first-service-account-token", "second-service-account-token"

_opened: list[SecretSource] = []


@pytest.fixture
async def cluster() -> AsyncIterator[KubernetesStandIn]:
    stand_in = KubernetesStandIn(TOKEN)
    stand_in.allowed = {"a-production"}
    stand_in.secrets["a-production", "warehouse"] = {"password": "of-project-a", "user": "a"}
    stand_in.secrets["b-production", "warehouse"] = {"password": "of-project-b"}
    async with stand_in.listening():
        yield stand_in
        while _opened:
            await _opened.pop().close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return path


def _source(cluster: KubernetesStandIn, token_file: Path, **settings: Any) -> SecretSource:
    store = {"kind": "kubernetes", "server": cluster.url, "token_file": str(token_file), "ca_file": None, **settings}
    _opened.append(SecretSource(SecretSettings(stores=[store]), Redactor(), {}))
    return _opened[-1]


async def _value(source: SecretSource, ref: SecretRef = REF, reader: Reader = A) -> str:
    await source.fetch([ref], reader, 5.0)
    return source.resolve(ref, reader.scope).get_secret_value()


async def test_a_tasks_secrets_are_in_the_namespace_of_its_project_and_domain(
    cluster: KubernetesStandIn, token_file: Path
) -> None:
    source = _source(cluster, token_file)
    assert await _value(source) == "of-project-a"
    assert await _value(source, SecretRef("user", "warehouse")) == "a"
    assert cluster.seen == ["GET /api/v1/namespaces/a-production/secrets/warehouse"]  # one question for both
    with pytest.raises(MissingSecret, match="b-production/warehouse#password in kubernetes, which denies it"):
        await _value(source, reader=B)


@pytest.mark.parametrize(
    "ref",
    [
        SecretRef("password", "../../b-production/secrets/warehouse"),
        SecretRef("password", "b-production", scope=SecretScope.PROJECT),
        SecretRef("password", "..%2fwarehouse"),
        SecretRef("password", "Warehouse_Of_A"),
        SecretRef("password"),
        SecretRef("password", "warehouse", "v2"),
    ],
)
async def test_no_name_leads_out_of_the_namespace(cluster: KubernetesStandIn, token_file: Path, ref: SecretRef) -> None:
    cluster.allowed.add("b-production")
    with pytest.raises(MissingSecret):
        await _value(_source(cluster, token_file), ref)
    assert not [path for path in cluster.seen if "/namespaces/a-production/secrets/" not in path]


async def test_references_without_a_group_are_in_a_secret_of_their_own(
    cluster: KubernetesStandIn, token_file: Path
) -> None:
    cluster.secrets["a-production", "outboard"] = {"token": "ungrouped"}
    assert await _value(_source(cluster, token_file, ungrouped="outboard"), SecretRef("token")) == "ungrouped"


async def test_the_token_that_the_kubelet_replaced_is_read_anew(cluster: KubernetesStandIn, token_file: Path) -> None:
    source = _source(cluster, token_file, refresh=0.01)
    assert await _value(source) == "of-project-a"
    cluster.token = NEXT_TOKEN
    cluster.secrets["a-production", "warehouse"] = {"password": "rotated-of-a"}
    await asyncio.sleep(0.05)
    await _value(source)
    await asyncio.sleep(0.1)
    assert await _value(source) == "of-project-a"  # refused: 401, and what was good is used on
    fill(token_file, NEXT_TOKEN)
    for _ in range(100):
        if await _value(source) == "rotated-of-a":
            break
        await asyncio.sleep(0.05)
    assert await _value(source) == "rotated-of-a"
    assert f"Bearer {NEXT_TOKEN}" in cluster.logins


async def test_a_secret_that_comes_in_many_pieces_is_read_whole_and_one_without_bounds_is_not_read(
    cluster: KubernetesStandIn, token_file: Path
) -> None:
    kept = cluster.secrets["a-production", "warehouse"]
    kept["certificates"] = "x" * 1_000_000  # about what Kubernetes takes
    assert await _value(_source(cluster, token_file)) == "of-project-a"
    kept["certificates"] = "x" * 4_000_000
    with pytest.raises(SecretsUnavailable, match="too large to be a secret"):
        await _value(_source(cluster, token_file))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ((401, {}), "refuses our login"),
        ((429, {"Retry-After": "7"}), "TooManyRequests"),
        ((503, {"Retry-After": "86400"}), "InternalError"),
        ((500, {}), "InternalError"),
        ((302, {"Location": "http://169.254.169.254/"}), "HTTP 302"),
    ],
)
async def test_what_is_no_answer_is_an_outage_and_no_missing_secret(
    cluster: KubernetesStandIn, token_file: Path, fault: tuple[int, dict[str, str]], words: str
) -> None:
    cluster.faults = [fault]
    with pytest.raises(SecretsUnavailable, match=words) as caught:
        await _value(_source(cluster, token_file))
    assert len(cluster.seen) == 1
    asked = caught.value.retry_after
    # A store that asks for a day is asked again in five minutes.
    assert (asked.total_seconds() if asked else None) == {429: 7.0, 503: 300.0}.get(fault[0])


async def test_a_token_that_is_replaced_while_it_is_refused_costs_one_question_more(token_file: Path) -> None:
    class Replacing(KubernetesStandIn):
        def refusal(self, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
            fill(token_file, NEXT_TOKEN)
            return super().refusal(status, headers)

    stand_in = Replacing(NEXT_TOKEN)
    stand_in.allowed, stand_in.secrets = {"a-production"}, {("a-production", "warehouse"): {"password": "of-project-a"}}
    async with stand_in.listening():
        source = _source(stand_in, token_file)
        assert await _value(source) == "of-project-a"
        assert stand_in.logins == [f"Bearer {TOKEN}", f"Bearer {NEXT_TOKEN}"]
        await _opened.pop().close()


async def test_a_project_that_makes_no_namespace_is_not_asked_for(cluster: KubernetesStandIn, token_file: Path) -> None:
    with pytest.raises(MissingSecret, match="make no namespace"):
        await _value(_source(cluster, token_file), reader=Reader(scope=Scope(project="A_b", domain="production")))
    assert not cluster.seen


async def test_an_authority_that_is_replaced_is_trusted_without_a_restart(token_file: Path, tmp_path: Path) -> None:
    stand_in, ca_file = KubernetesStandIn(TOKEN), tmp_path / "ca.crt"
    stand_in.allowed, stand_in.secrets = {"a-production"}, {("a-production", "warehouse"): {"password": "of-project-a"}}
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old, new = Authority("old"), Authority("new")
    for name, authority in (("old", old), ("new", new)):
        mount = Mount(tmp_path / name, *authority.pair(), authority.pem)
        tls.load_cert_chain(mount.certificate, mount.key)
        async with stand_in.listening(tls):
            if name == "old":
                fill(ca_file, old.pem.decode())
                settings = {"kind": "kubernetes", "server": stand_in.url, "token_file": token_file, "ca_file": ca_file}
                store = KubernetesSecrets(KubernetesStore.model_validate(settings), lambda _: None)
            else:
                store._server = stand_in.url
                with pytest.raises(SecretsUnavailable, match="certificate is not trusted"):
                    await store.fetch("a-production/warehouse")
                fill(ca_file, new.pem.decode())
            found = await store.fetch("a-production/warehouse")
            assert found is not None
            assert found.value("password") == "of-project-a"
    await store.close()


async def test_a_server_that_is_gone_and_a_token_that_is_not_there_are_outages(
    cluster: KubernetesStandIn, token_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(SecretsUnavailable, match=r"token_file .* cannot be read"):
        await _value(_source(cluster, tmp_path / "nowhere"))
    cluster.url = "http://127.0.0.1:1"
    with pytest.raises(SecretsUnavailable, match="cannot be reached"):
        await _value(_source(cluster, token_file))


async def test_flyte_2s_own_names_are_found_from_the_project_to_the_organization(
    cluster: KubernetesStandIn, token_file: Path
) -> None:
    cluster.allowed.add("flyte")
    for project, domain, value in (("a", "production", "of the project"), ("", "production", "of the domain")):
        name = f"u__org__flyte__domain__{domain}__project__{project}__key__token"
        cluster.secrets["flyte", hashlib.md5(name.encode()).hexdigest()] = {name: value}  # noqa: S324 - Flyte's own choice
    source = _source(cluster, token_file, layout="flyte2", namespace="flyte")
    assert await _value(source, SecretRef("token")) == "of the project"
    assert await _value(source, SecretRef("token"), B) == "of the domain"
    with pytest.raises(MissingSecret):
        await _value(source, SecretRef("token__project__b"))
