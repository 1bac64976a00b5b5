"""Certificates and keys that do not serve are refused with the setting, the file and the remedy."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from certificates import Authority
from outboard.errors import InvalidSettings
from outboard.tls.pairs import Pair, read_authorities, read_pair

AUTHORITY = Authority()
GOOD = AUTHORITY.pair("agents.example", "10.0.0.1")
OTHER = AUTHORITY.pair("other.example")


def write(folder: Path, certificate: bytes, key: bytes) -> Pair:
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)
    return read_pair(folder / "tls.crt", folder / "tls.key", section="service.tls")


def own(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> tuple[bytes, bytes]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now + timedelta(hours=1 if isinstance(key, rsa.RSAPrivateKey) else -1))
        .not_valid_after(now + timedelta(hours=2))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), secret


def with_passphrase(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


def test_a_pair_says_whom_it_is_for_and_until_when_and_never_shows_its_key(tmp_path: Path) -> None:
    pair = write(tmp_path, *GOOD)
    assert pair.names == ("agents.example", "10.0.0.1")
    assert pair.begins_at < pair.renewal_is_late_at < pair.expires_at
    assert "PRIVATE" not in repr(pair)


def test_one_file_may_hold_both_and_rsa_is_as_good(tmp_path: Path) -> None:
    certificate, key = AUTHORITY.pair(is_rsa=True)
    both = tmp_path / "both.pem"
    both.write_bytes(key + certificate)
    assert read_pair(both, both, section="client").names == ("localhost", "127.0.0.1")


@pytest.mark.parametrize(
    ("certificate", "key", "field", "words"),
    [
        (GOOD[0], OTHER[1], "key", "tls.key is not the key of the certificate in .*tls.crt; give the two of one issue"),
        (OTHER[0] + GOOD[0], GOOD[1], "certificate", "the certificate of the key must be the first in"),
        (GOOD[0][:-40], GOOD[1], "certificate", "is cut off or holds something else"),
        (GOOD[0] + OTHER[0][:-40], GOOD[1], "certificate", "is cut off or holds something else"),
        (GOOD[0], GOOD[1][:-40], "key", "holds no whole private key"),
        (b"", GOOD[1], "certificate", "holds no certificate"),
        (GOOD[1], GOOD[1], "certificate", "holds no certificate"),
        (GOOD[0], b"", "key", "holds no whole private key"),
        (GOOD[0], with_passphrase(GOOD[1]), "key", "has a passphrase; give the key without one"),
        (*AUTHORITY.pair(expired=True), "certificate", "expired at .* UTC; renew it"),
        (*own(rsa.generate_private_key(65537, 2048)), "certificate", "is not valid before .* UTC; wait, or set"),
        (*own(rsa.generate_private_key(65537, 1024)), "certificate", "a kind of key that not all gRPC clients take"),  # noqa: S505
        (*own(ec.generate_private_key(ec.SECP521R1())), "certificate", "issue it with RSA of 2048 bits or more, or"),
        (*own(ed25519.Ed25519PrivateKey.generate()), "certificate", "a kind of key that not all gRPC clients take"),
        (b"x" * (1024 * 1024 + 1), GOOD[1], "certificate", "is larger than 1 MiB"),
    ],
)
def test_what_does_not_serve_is_refused(tmp_path: Path, certificate: bytes, key: bytes, field: str, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words) as refused:
        write(tmp_path, certificate, key)
    assert refused.value.field == f"service.tls.{field}"
    assert str(refused.value).startswith(f"service.tls.{field}: ")
    assert "PRIVATE" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"client.certificate: .*none.crt cannot be read \(no such file"):
        read_pair(tmp_path / "none.crt", tmp_path / "none.key", section="client")


def test_authorities_last_as_long_as_the_last_of_them(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_bytes(AUTHORITY.pair(expired=True)[0] + AUTHORITY.pem)
    assert read_authorities(bundle, field="f").expires_at > datetime.now(timezone.utc)
    bundle.write_bytes(AUTHORITY.pair(expired=True)[0])
    with pytest.raises(InvalidSettings, match=r"f: all of .*ca.crt expired by"):
        read_authorities(bundle, field="f")
