"""Rules, keys, tokens and settings of access, each for itself."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError

from outboard.errors import InvalidSettings
from outboard.service import ServiceSettings
from outboard.service.access import AccessSettings
from outboard.service.access.identities import Ambiguous, address_of, bearer, forwarded_names
from outboard.service.access.jwts import Jwts, KeyWanted, WrongToken
from outboard.service.access.keys import IssuerKeys, KeysUnknown
from outboard.service.access.rules import Rules, Subject
from outboard.service.access.settings import CallerSettings, IssuerSettings, RuleSettings
from outboard.service.access.tokens import StaticTokens
from outboard.service.access.watched_files import WatchedFile

ISSUER = "https://login.example.com"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(kid: str = "k1", **fields: Any) -> dict[str, Any]:
    made = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    return {**made, "kid": kid, "use": "sig", **fields}


def token(kid: str | None = "k1", algorithm: str = "RS256", **claims: Any) -> str:
    now = int(time.time())
    body = {"iss": ISSUER, "aud": "outboard", "sub": "me", "exp": now + 600, **claims}
    return jwt.encode(body, KEY, algorithm=algorithm, headers={} if kid is None else {"kid": kid})


def jwts(tmp_path: Path, keys: list[dict[str, Any]], **issuer: Any) -> Jwts:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    settings = {
        "callers": {"me": {"jwt": {"issuer": ISSUER, "audience": "outboard", "claims": {"sub": "me"}}}},
        "issuers": {ISSUER: {"jwks_file": str(path), **issuer}},
    }
    return Jwts(AccessSettings.model_validate(settings))


class Site:
    """An issuer's web site, and how often it was asked."""

    def __init__(self, *keys: dict[str, Any], issuer: str = ISSUER) -> None:
        self.keys = keys
        self.issuer = issuer
        self.asked: list[str] = []
        self.is_down = False

    async def __call__(self, url: str) -> Mapping[str, Any]:
        self.asked.append(url)
        await asyncio.sleep(0)
        if self.is_down:
            raise OSError("it cannot be reached")
        if url.endswith("openid-configuration"):
            return {"issuer": self.issuer, "jwks_uri": f"{ISSUER}/keys"}
        return {"keys": list(self.keys)}


async def test_keys_are_found_by_discovery_and_asked_for_once_however_many_want_them() -> None:
    site = Site(jwk())
    keys = IssuerKeys(ISSUER, IssuerSettings(), site)
    with pytest.raises(KeysUnknown):
        keys.find("k1")
    found = await asyncio.gather(*(keys.ask("k1", 3) for _ in range(20)))
    assert all(each[0]["kid"] == "k1" for each in found)
    assert site.asked == [f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/keys"]


async def test_an_outage_of_the_issuer_keeps_what_is_known() -> None:
    site, now = Site(jwk()), [1000.0]
    keys = IssuerKeys(ISSUER, IssuerSettings(refresh_s=10), site, clock=lambda: now[0])
    await keys.ask("k1", 3)
    site.is_down = True
    now[0] += 1000
    assert keys.find("k1")  # and behind it, it is asked
    await asyncio.sleep(0.01)
    assert len(site.asked) == 3
    assert keys.find("k1")
    with pytest.raises(KeysUnknown):
        await keys.ask("k2", 0.01)
    await keys.close()


async def test_a_key_that_is_gone_from_the_issuer_is_gone_here() -> None:
    site, now = Site(jwk("old")), [1000.0]
    keys = IssuerKeys(ISSUER, IssuerSettings(), site, clock=lambda: now[0])
    await keys.ask("old", 3)
    site.keys = (jwk("new"),)
    now[0] += 100
    assert await keys.ask("new", 3)
    with pytest.raises(KeysUnknown):
        keys.find("old")
    now[0] += 100
    assert await keys.ask("old", 3) == ()
    assert keys.changes == 2


async def test_another_issuers_discovery_is_not_believed() -> None:
    keys = IssuerKeys(ISSUER, IssuerSettings(), Site(jwk(), issuer="https://evil.example.com"))
    with pytest.raises(KeysUnknown):
        await keys.ask("k1", 3)


async def test_the_clusters_own_issuer_is_asked_with_the_pods_own_token() -> None:
    name = "https://kubernetes.default.svc.cluster.local"
    keys = IssuerKeys(name, IssuerSettings(), Site())
    settings = keys._settings
    assert settings.jwks_uri == "https://kubernetes.default.svc/openid/v1/jwks"
    assert str(settings.ca_file) == "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    assert str(settings.token_file) == "/var/run/secrets/kubernetes.io/serviceaccount/token"


def test_a_token_is_good_by_its_key_time_audience_and_claims(tmp_path: Path) -> None:
    found = jwts(tmp_path, [jwk()])
    now = int(time.time())
    assert found.find(token()) == "me"
    assert found.find(token(exp=now - 30)) == "me"  # clocks may differ by a minute
    for reason, wrong in {
        "expired": token(exp=now - 90),
        "not_yet_valid": token(nbf=now + 90),
        "audience": token(aud=["another"]),
        "issuer": token(iss="https://evil.example.com"),
        "claims": token(sub="you"),
        "key": token("k2"),
        "algorithm": token(algorithm="RS512"),
    }.items():
        with pytest.raises(WrongToken) as raised:
            found.find(wrong)
        assert raised.value.reason == reason


def test_a_good_token_ends_when_its_time_or_its_key_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = jwts(tmp_path, [jwk()])
    good = token()
    assert found.find(good) == "me"
    found.keys[ISSUER]._take((jwk("k2"),))
    with pytest.raises(WrongToken, match="does not have"):
        found.find(good)
    found.keys[ISSUER]._take((jwk("k1"),))
    assert found.find(good) == "me"
    found.keys[ISSUER]._keys = ()  # whoever looks at keys from now on finds none
    assert found.find(good) == "me"
    late = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: late)
    with pytest.raises(WrongToken):
        found.find(good)


@pytest.mark.parametrize(
    "key",
    [
        {**jwk(), "alg": "RS512"},
        {**jwk(), "use": "enc"},
        {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode(), "kid": "k1"},
        {
            **json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())),
            "kid": "k1",
        },
    ],
    ids=["another algorithm", "for encryption", "secret", "another kind"],
)
def test_a_key_signs_only_what_it_is_for(tmp_path: Path, key: dict[str, Any]) -> None:
    found = jwts(tmp_path, [key, jwk("other")])
    with pytest.raises(WrongToken):
        found.find(token())


def test_a_key_that_is_not_known_yet_is_asked_for() -> None:
    settings = {"callers": {"me": {"jwt": {"issuer": ISSUER, "audience": "outboard"}}}}
    with pytest.raises(KeyWanted):
        Jwts(AccessSettings.model_validate(settings)).find(token())


def test_outputs_prefixes_end_where_a_name_does() -> None:
    rules = Rules("me", RuleSettings(output_prefixes=("s3://b/{project}-{domain}-*", "s3://c")))
    mine = Subject("t", "p", "d", "")
    for prefix in ("s3://b/p-d-e1", "s3://b/p-d-e1/n0/0", "s3://c/x", "s3://c"):
        assert rules.judge_prefix(mine, prefix) is None, prefix
    for prefix in ("s3://b/q-d-e1", "s3://cc", "s3://b/p-d-e1/../x", "s3://b", "S3://c/x"):
        assert rules.judge_prefix(mine, prefix) is not None, prefix
    for project in ("*", "p/../q", "", "{domain}"):  # a name that is a pattern or a path
        assert rules.judge_prefix(Subject("t", project, "d", ""), f"s3://b/{project}-d-e1") is not None, project


def test_each_rule_is_judged_by_its_own_field() -> None:
    rules = RuleSettings(task_types=("t*",), projects=("p",), domains=("d",), namespaces=("p-d",))
    found = Rules("me", rules)
    good = Subject("t1", "p", "d", "p-d")
    assert found.judge(good) is None
    for field, value in (("task_type", "x"), ("project", "q"), ("domain", "e"), ("namespace", "q-d")):
        verdict = found.judge(good._replace(**{field: value}))
        assert verdict is not None
        assert verdict.reason == field
        missing = found.judge(good._replace(**{field: ""}))
        assert missing is not None
        assert missing.reason == "no_identity"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("By=x;Hash=y;URI=spiffe://a/b", ("uri:spiffe://a/b",)),
        ("URI=spiffe://a/b,URI=spiffe://c/d", ("uri:spiffe://c/d",)),
        ('Subject="CN=a,O=\\"b\\"";DNS=x;DNS=y', ('subject:CN=a,O="b"', "dns:x", "dns:y")),
        ('Subject="a,URI=spiffe://evil/e";URI=spiffe://c/d', ("subject:a,URI=spiffe://evil/e", "uri:spiffe://c/d")),
        ("", ()),
    ],
)
def test_a_proxys_word_is_read_as_envoy_writes_it(text: str, names: tuple[str, ...]) -> None:
    assert forwarded_names([("x-forwarded-client-cert", text)], "x-forwarded-client-cert") == names


def test_what_says_two_things_is_not_believed() -> None:
    with pytest.raises(Ambiguous):
        forwarded_names([("x", "URI=a"), ("x", "URI=b")], "x")
    with pytest.raises(Ambiguous):
        forwarded_names([("x", 'Subject="open')], "x")
    with pytest.raises(Ambiguous):
        bearer([("authorization", "Bearer a"), ("authorization", "Bearer b")])


def test_an_address_in_ipv6_clothes_is_the_address() -> None:
    assert str(address_of("ipv6:%5B::ffff:10.0.0.7%5D:1")) == "10.0.0.7"
    assert address_of("ipv6:%5Bfe80::1%25eth0%5D:1") is not None
    assert address_of("garbage") is None


def test_a_token_that_left_its_file_is_good_for_five_more_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "tokens", [0.0]
    path.write_text("# the old one\nold-token-of-twenty-characters\n")
    tokens = StaticTokens({path: "me"}, {}, clock=lambda: now[0])
    monkeypatch.setattr("outboard.service.access.watched_files._LOOKED_S", 0.0)
    assert tokens.find("old-token-of-twenty-characters") == "me"
    path.write_text("")  # half written: what was read last counts
    assert tokens.find("old-token-of-twenty-characters") == "me"
    path.write_text("new-token-of-twenty-characters\n")
    assert tokens.find("new-token-of-twenty-characters") == "me"
    now[0] = 4.9
    assert tokens.find("old-token-of-twenty-characters") == "me"
    now[0] = 5.1
    assert tokens.find("old-token-of-twenty-characters") is None
    path.unlink()
    assert tokens.find("new-token-of-twenty-characters") == "me"


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", "with spaces between the words\n"])
def test_a_file_that_holds_no_tokens_is_found_at_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(InvalidSettings) as raised:
        StaticTokens({path: "me"}, {})
    assert raised.value.field == "service.access.callers.me.token_file"
    assert "spaces between" not in str(raised.value)


def test_a_file_is_looked_at_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value"
    path.write_text("1")
    watched = WatchedFile(path, "field", int)
    path.write_text("22")
    assert not watched.is_changed()
    monkeypatch.setattr("outboard.service.access.watched_files._LOOKED_S", 0.0)
    assert watched.is_changed()
    assert watched.value == 22
    os.utime(path)
    assert not watched.is_changed()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "nobody may call"),
        ({"callers": {"a": {}}}, "nobody is this caller"),
        ({"callers": {"A b": {"networks": "10.0.0.0/8"}}}, "cannot be called"),
        ({"callers": {"anonymous": {"networks": "10.0.0.0/8"}}}, "cannot be called"),
        ({"callers": {"a": {"networks": "10.0.0.1/8"}}}, "is no network"),
        ({"callers": {"a": {"jwt": {"issuer": ISSUER}}}}, "audience"),
        ({"callers": {"a": {"jwt": {"issuer": "http://login.example.com", "audience": "x"}}}}, "no https"),
        ({"callers": {"a": {"token_sha256": "abc"}}}, "token_sha256"),
        ({"anonymous": {}, "issuers": {ISSUER: {"algorithms": ["HS256"]}}}, "HS256 cannot be taken"),
        ({"anonymous": {}, "issuers": {ISSUER: {"algorithms": ["none"]}}}, "none cannot be taken"),
        ({"anonymous": {}, "issuers": {ISSUER: {"jwks_uri": "http://login.example.com/keys"}}}, "over https"),
        ({"anonymous": {}, "proxy": {"networks": ["10.0.0.0/8"]}}, "not on this machine"),
        ({"anonymous": {"output_prefixes": "s3://{execution}"}}, "is not known"),
        ({"anonymous": {"burst": 3}}, "without calls_per_second"),
        ({"anonymous": {"project": "a"}}, "project"),
    ],
)
def test_settings_that_would_let_the_wrong_ones_in_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AccessSettings.model_validate(settings)


def test_a_service_without_rules_does_not_load_them() -> None:
    program = "import sys, outboard.service; print([name for name in sys.modules if 'service.access' in name])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_services_settings_name_what_is_wrong_in_the_section_and_have_its_schema() -> None:
    with pytest.raises(InvalidSettings, match=r"callers\.a: nobody is this caller"):
        ServiceSettings.parse(access={"callers": {"a": {}}})
    made = ServiceSettings.parse(access={"anonymous": {"projects": "a"}})
    assert ServiceSettings.model_validate(made.model_dump(mode="json")) == made
    assert json.loads(made.model_dump_json())["access"]["anonymous"]["projects"] == ["a"]
    schema = ServiceSettings.model_json_schema()
    assert {"AccessSettings", "CallerSettings", "JwtSettings"} <= schema["$defs"].keys()


def test_settings_survive_the_way_to_a_worker() -> None:
    caller = CallerSettings(certificate=("a",), jwt=({"issuer": ISSUER, "audience": "x"},))
    settings = AccessSettings(callers={"a": caller}, anonymous=RuleSettings(projects=("p",)))
    assert AccessSettings.model_validate(settings.model_dump(mode="json")) == settings
