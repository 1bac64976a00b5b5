"""Key pairs: keys as they are stored, and tokens as Snowflake checks them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from outboard.errors import Unauthorized
from outboard.platforms.snowflake.logins import KeyPairLogin, TokenLogin, read_key
from outboard.testing.platforms.snowflake_access import fingerprint_of
from outboard.testing.virtual_time import virtually

rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa", reason="cryptography is not installed")
jwt = pytest.importorskip("jwt", reason="PyJWT is not installed")


def pem_of(key: Any, passphrase: str = "") -> str:
    from cryptography.hazmat.primitives import serialization

    lock: Any = serialization.NoEncryption()
    if passphrase:
        lock = serialization.BestAvailableEncryption(passphrase.encode())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(*form, lock).decode())


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_a_key_is_read_encrypted_or_not_with_blanks_around_it() -> None:
    for pem, passphrase in ((f"\n{pem_of(KEY)}\n", ""), (pem_of(KEY, "s3cret"), "s3cret")):
        assert read_key(pem, passphrase)[1] == fingerprint_of(KEY.public_key())


@pytest.mark.parametrize(
    ("pem", "passphrase", "words"),
    [
        ("no key", "", "cannot be read"),
        (pem_of(KEY, "right"), "", "encrypted"),
        (pem_of(KEY, "right"), "wrong", "cannot be read"),
        (pem_of(KEY), "needless", "passphrase"),
    ],
)
def test_a_key_that_cannot_be_used_is_told_without_its_content(pem: str, passphrase: str, words: str) -> None:
    with pytest.raises(Unauthorized) as raised:
        read_key(pem, passphrase)
    assert words in raised.value.message
    assert "PRIVATE KEY" not in raised.value.message
    assert passphrase == "" or passphrase not in raised.value.message.split()


def test_a_key_of_another_kind_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    with pytest.raises(Unauthorized, match="no RSA key"):
        read_key(pem_of(Ed25519PrivateKey.generate()), "")


@virtually
async def test_a_token_says_what_snowflake_wants_and_is_signed_anew_before_its_end() -> None:
    import asyncio

    login = KeyPairLogin("xy12345.eu-central-1", "jane", pem_of(KEY))
    first = await login.headers()
    assert first["X-Snowflake-Authorization-Token-Type"] == "KEYPAIR_JWT"
    token = first["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(
        token, KEY.public_key(), algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
    )
    assert claims["sub"] == "XY12345.JANE"
    assert claims["iss"] == f"XY12345.JANE.{fingerprint_of(KEY.public_key())}"
    assert 0 < claims["exp"] - claims["iat"] <= 3_600
    assert claims["iat"] <= time.time()
    await asyncio.sleep(2_990)
    assert await login.headers() == first
    await asyncio.sleep(20)
    again = await login.headers()
    assert again != first
    login.forget()
    await asyncio.sleep(1)
    assert await login.headers() != again


async def test_a_token_of_somebody_else_is_sent_as_it_is() -> None:
    headers = await TokenLogin("t0p", "OAUTH").headers()
    assert headers == {"Authorization": "Bearer t0p", "X-Snowflake-Authorization-Token-Type": "OAUTH"}
