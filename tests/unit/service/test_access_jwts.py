"""Tokens of issuers, and the issuers' keys: what is good, for how long, and what is asked for when."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from outboard.errors import InvalidSettings
from outboard.service.access import AccessSettings
from outboard.service.access.jwts import Jwts, KeyWanted, WrongToken
from outboard.service.access.keys import IssuerKeys, KeysUnknown
from outboard.service.access.settings import IssuerSettings

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


async def test_an_answer_to_an_earlier_question_makes_no_token_a_wrong_one() -> None:
    now, gate, asked = [1000.0], asyncio.Event(), asyncio.Event()

    async def slow(url: str) -> Mapping[str, Any]:
        assert url == f"{ISSUER}/keys"
        asked.set()
        await gate.wait()
        return {"keys": [jwk("k1")]}

    keys = IssuerKeys(ISSUER, IssuerSettings(jwks_uri=f"{ISSUER}/keys"), slow, clock=lambda: now[0])
    first = asyncio.ensure_future(keys.ask("k1", 3))
    await asked.wait()
    now[0] += 0.1  # the issuer may have another key by now
    known, unknown = (asyncio.ensure_future(keys.ask(kid, 3)) for kid in ("k1", "k2"))
    await asyncio.sleep(0)
    gate.set()
    assert [each["kid"] for found in (await first, await known) for each in found] == ["k1", "k1"]
    with pytest.raises(KeysUnknown):
        await unknown
    now[0] += 10
    assert await keys.ask("k2", 3) == ()


async def test_no_more_than_five_hundred_calls_wait_for_an_issuer() -> None:
    gate = asyncio.Event()

    async def slow(url: str) -> Mapping[str, Any]:
        await gate.wait()
        return {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "keys": [jwk(url)]}

    keys = IssuerKeys(ISSUER, IssuerSettings(), slow)
    waiting = [asyncio.ensure_future(keys.ask("k2", 30)) for _ in range(500)]
    await asyncio.sleep(0)
    with pytest.raises(KeysUnknown):
        await keys.ask("k2", 30)
    assert not any(each.done() for each in waiting)
    gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert found[0] == ()  # and after it there is room again
    again = asyncio.ensure_future(keys.ask("k2", 0.01))
    await asyncio.wait({again})
    await keys.close()
    with pytest.raises(KeysUnknown):
        await again
    assert not keys._waiting


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


def test_a_key_that_left_its_file_is_withdrawn_from_a_token_that_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outboard.service.access.watched_files._LOOKED_S", 0.0)
    found, good = jwts(tmp_path, [jwk()]), token()
    assert [found.find(good), found.find(good)] == ["me", "me"]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk("another")]}))
    with pytest.raises(WrongToken, match="does not have"):
        found.find(good)


async def test_a_key_that_its_issuer_withdrew_is_withdrawn_from_a_token_that_is_remembered() -> None:
    settings = {
        "callers": {"me": {"jwt": {"issuer": ISSUER, "audience": "outboard"}}},
        "issuers": {ISSUER: {"refresh_s": 10}},
    }
    site, now, good = Site(jwk()), [1000.0], token()
    found = Jwts(AccessSettings.model_validate(settings))
    keys = found.keys[ISSUER] = IssuerKeys(ISSUER, IssuerSettings(refresh_s=10), site, clock=lambda: now[0])
    await keys.ask("k1", 3)
    assert found.find(good) == "me"
    site.keys = (jwk("another"),)
    now[0] += 9
    assert found.find(good) == "me"
    assert len(site.asked) == 2  # not yet
    now[0] += 2
    assert found.find(good) == "me"  # asked behind the call
    await asyncio.gather(*[keys._fetching] if keys._fetching is not None else [])
    with pytest.raises(KeyWanted):
        found.find(good)
    assert len(site.asked) == 4


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


@pytest.mark.parametrize("lacking", ["exp", "aud", "iss"])
def test_a_token_must_say_until_when_for_whom_and_by_whom_it_is(tmp_path: Path, lacking: str) -> None:
    claims = {"iss": ISSUER, "aud": "outboard", "sub": "me", "exp": int(time.time()) + 600}
    del claims[lacking]
    with pytest.raises(WrongToken) as raised:
        jwts(tmp_path, [jwk()]).find(jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "k1"}))
    assert raised.value.reason == ("issuer" if lacking == "iss" else "claims")


def test_a_token_that_demands_more_than_is_understood_is_refused(tmp_path: Path) -> None:
    claims = {"iss": ISSUER, "aud": "outboard", "sub": "me", "exp": int(time.time()) + 600}
    for headers in ({"crit": ["b64"], "b64": True}, {"crit": ["mine"], "mine": 1}):
        demanding = jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "k1", **headers})
        with pytest.raises(WrongToken):
            jwts(tmp_path, [jwk()]).find(demanding)


def test_a_token_of_many_kilobytes_is_not_even_read(tmp_path: Path) -> None:
    found = jwts(tmp_path, [jwk()])
    assert found.find(token(more="x" * 8_000)) == "me"
    with pytest.raises(WrongToken):
        found.find(token(more="x" * 16_000))


def test_a_key_that_could_be_broken_signs_nothing(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - it is what is refused
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(weak.public_key()))
    signed = token().rpartition(".")[0]
    signature = weak.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    forged = f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    with pytest.raises(WrongToken) as raised:
        jwts(tmp_path, [{**public, "kid": "k1"}]).find(forged)
    assert raised.value.reason == "key"


def test_a_token_that_names_no_key_is_tried_with_all(tmp_path: Path) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(other.public_key()))
    assert jwts(tmp_path, [{**public, "kid": "k0"}, jwk()]).find(token(kid=None)) == "me"
    with pytest.raises(WrongToken) as raised:
        jwts(tmp_path, [{**public, "kid": "k0"}]).find(token(kid=None))
    assert raised.value.reason == "signature"


def test_a_token_is_the_callers_whose_issuer_and_audience_it_has(tmp_path: Path) -> None:
    """All of one issuer's audiences are let in by its signature; whose it is, is another question."""
    elsewhere, path = "https://elsewhere.example.com", tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk()]}))
    callers = {
        "a": {"jwt": {"issuer": ISSUER, "audience": "for-a"}},
        "b": {"jwt": {"issuer": ISSUER, "audience": ["for-b", "for-both"]}},
        "c": {"jwt": {"issuer": elsewhere, "audience": ["for-b", "for-c"]}},
    }
    issuers = {name: {"jwks_file": str(path)} for name in (ISSUER, elsewhere)}
    found = Jwts(AccessSettings.model_validate({"callers": callers, "issuers": issuers}))
    for name, audience, whose in (
        (ISSUER, "for-a", "a"),
        (ISSUER, "for-b", "b"),
        (ISSUER, ["x", "for-both"], "b"),
        (elsewhere, "for-b", "c"),
    ):
        assert found.find(token(iss=name, aud=audience)) == whose
    for name, audience in ((ISSUER, "for-c"), (elsewhere, "for-a")):
        with pytest.raises(WrongToken) as raised:
            found.find(token(iss=name, aud=audience))
        assert raised.value.reason == "audience"


def test_no_more_tokens_are_remembered_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outboard.service.access.jwts._REMEMBERED", 3)
    found = jwts(tmp_path, [jwk()])
    for number in range(10):
        assert found.find(token(jti=str(number))) == "me"
        assert len(found._good) <= 3


def test_a_file_of_more_keys_than_any_issuer_has_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"no set of keys \(JWKS\)"):
        jwts(tmp_path, [jwk(f"k{number}") for number in range(201)])
