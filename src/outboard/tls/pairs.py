"""A certificate chain with its key, and the authorities that vouch for others: read from PEM files, and checked.

Everything that would only show in somebody's handshake is found here, with the file and the remedy: a key of another certificate,
a file that is cut off, a certificate whose time is over, kinds of keys that gRPC's TLS library (BoringSSL) or others refuse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from outboard.errors import InvalidSettings
from outboard.files import read_file

_BEGIN: Final = re.compile(rb"^-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----", re.MULTILINE)
_WEAKEST_RSA: Final = 2048
_CURVES: Final = ("secp256r1", "secp384r1")
_KINDS: Final = "RSA of 2048 bits or more, or ECDSA on P-256 or P-384"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate chain and the key of its first certificate.

    Attributes:
        chain: PEM, the certificate itself first.
        key: PEM.
        names: DNS names and addresses that the certificate is for.
        begins_at: When it began to be valid.
        expires_at: When it is valid no more.
    """

    chain: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    begins_at: datetime
    expires_at: datetime

    @property
    def renewal_is_late_at(self) -> datetime:
        """From when on a successor should have been there: a sixth of its time is left; cert-manager renews at a third."""
        return self.expires_at - (self.expires_at - self.begins_at) / 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """Certificates of authorities, of which one must vouch for the other side.

    Attributes:
        pem: As the file holds them.
        expires_at: When the last of them is valid no more.
    """

    pem: bytes
    expires_at: datetime


def read_pair(certificate: Path, key: Path, *, section: str) -> Pair:
    """Return the certificate and the key that two files hold; one file may hold both.

    Args:
        certificate: PEM; intermediate certificates follow the own one.
        key: PEM, without a passphrase.
        section: Where the settings `certificate` and `key` stand, for errors.

    Raises:
        InvalidSettings: They cannot be read, do not belong together, are not valid now, or of a kind that others refuse.
    """
    at, key_at = f"{section}.certificate", f"{section}.key"
    chain = read_file(certificate, at)
    secret = read_file(key, key_at)
    first, *others = _certificates(chain, certificate, at)
    public = _public_part(secret, key, key_at)
    if not _is_taken_by_all(first):
        words = f"{certificate} has a kind of key that not all gRPC clients take; issue it with {_KINDS}"
        raise InvalidSettings(f"{at}: {words}", field=at)
    if _spelled(first.public_key()) != public:
        if any(_is_taken_by_all(other) and _spelled(other.public_key()) == public for other in others):
            words = f"the certificate of the key must be the first in {certificate}; put the others after it"
            raise InvalidSettings(f"{at}: {words}", field=at)
        words = f"{key} is not the key of the certificate in {certificate}; give the two of one issue"
        raise InvalidSettings(f"{key_at}: {words}", field=key_at)
    pair = Pair(
        chain=chain,
        key=secret,
        names=_names(first),
        begins_at=first.not_valid_before_utc,
        expires_at=first.not_valid_after_utc,
    )
    _check_time(pair, certificate, at)
    return pair


def read_authorities(path: Path, *, field: str) -> Authorities:
    """Return the authorities that a file holds.

    Raises:
        InvalidSettings: It cannot be read or holds none, or the time of all of them is over.
    """
    pem = read_file(path, field)
    expires_at = max(each.not_valid_after_utc for each in _certificates(pem, path, field))
    if expires_at <= _now():
        raise InvalidSettings(
            f"{field}: all of {path} expired by {expires_at:%Y-%m-%d %H:%M} UTC; renew it", field=field
        )
    return Authorities(pem=pem, expires_at=expires_at)


def _certificates(pem: bytes, path: Path, field: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        found = []
    if not found or len(found) != len(_BEGIN.findall(pem)):
        words = "is cut off or holds something else" if _BEGIN.search(pem) else "holds no certificate"
        raise InvalidSettings(f"{field}: {path} {words}; give certificates as PEM", field=field)
    return found


def _public_part(pem: bytes, path: Path, field: str) -> bytes:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise InvalidSettings(f"{field}: {path} has a passphrase; give the key without one", field=field) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidSettings(f"{field}: {path} holds no whole private key; give one as PEM", field=field) from None
    return _spelled(key.public_key())


def _spelled(key: object) -> bytes:
    spelled: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]  # all kinds have it
    return spelled


def _is_taken_by_all(certificate: x509.Certificate) -> bool:
    """Tell whether BoringSSL's and OpenSSL's clients take a certificate's kind of key; found by trying them."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _WEAKEST_RSA
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


def _check_time(pair: Pair, path: Path, field: str) -> None:
    now = _now()
    if pair.expires_at <= now:
        raise InvalidSettings(f"{field}: {path} expired at {pair.expires_at:%Y-%m-%d %H:%M} UTC; renew it", field=field)
    if pair.begins_at > now:
        words = f"{path} is not valid before {pair.begins_at:%Y-%m-%d %H:%M} UTC; wait, or set this machine's clock"
        raise InvalidSettings(f"{field}: {words}", field=field)


def _now() -> datetime:
    return datetime.now(timezone.utc)
