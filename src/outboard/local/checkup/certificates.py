"""Certificates: whether those that the settings name are there, belong together, and are good for a while yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from outboard.errors import InvalidSettings, OutboardError
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject

CHECK: Final = "certificates"
_SOON: Final = timedelta(days=14)
_NAMES_SHOWN: Final = 5


async def check(subject: Subject) -> AsyncIterator[Finding]:
    """Read the files of the section `service.tls`."""
    section = subject.section("service").get("tls")
    if not isinstance(section, Mapping) or not section:
        yield Finding(
            check=CHECK, mark=Mark.SKIPPED, found="service.tls names no certificate: calls come in plain text"
        )
        return
    certificate, key = section.get("certificate"), section.get("key")
    if certificate:
        yield await _read(subject, "certificate", str(certificate), is_authority=False)
    if certificate and key:
        yield await _match(subject, str(certificate), str(key))
    authority = section.get("client_ca")
    if authority:
        yield await _read(subject, "client_ca", str(authority), is_authority=True)


async def _read(subject: Subject, name: str, path: str, *, is_authority: bool) -> Finding:
    field = f"service.tls.{name}"
    try:
        loaded = await subject.in_thread(lambda: _load(path), f"reading {path}")
    except (OSError, ValueError, OutboardError) as error:
        return _unreadable(field, path, error)
    if is_authority:
        loaded = sorted(loaded, key=lambda each: each.not_valid_after_utc)  # the first that ends
    first = loaded[0]
    now = datetime.now(timezone.utc)
    until: datetime = first.not_valid_after_utc
    said = f"{field}: {path} for {_names(first)}, good until {until:%Y-%m-%d %H:%M} UTC"
    if first.not_valid_before_utc > now:
        words = f"{said}, is not good before {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return Finding(check=CHECK, mark=Mark.PROBLEM, about=name, found=words, remedy="see this machine's clock")
    if until <= now:
        words = f"{said}, has expired"
        return Finding(check=CHECK, mark=Mark.PROBLEM, about=name, found=words, remedy="renew it")
    if until - now < _SOON:
        words = f"{said}, expires in {(until - now).days} days"
        return Finding(check=CHECK, mark=Mark.WARNING, about=name, found=words, remedy="see why it is not renewed")
    return Finding(check=CHECK, mark=Mark.OK, about=name, found=said)


async def _match(subject: Subject, certificate: str, key: str) -> Finding:
    field = "service.tls.key"
    try:
        is_own = await subject.in_thread(lambda: _belongs(certificate, key), f"reading {key}")
    except (OSError, ValueError, TypeError, OutboardError) as error:
        return _unreadable(field, key, error)
    if not is_own:
        words = f"{field}: {key} is not the key of {certificate}"
        return Finding(check=CHECK, mark=Mark.PROBLEM, about="key", found=words, remedy="put the two of one pair there")
    return Finding(check=CHECK, mark=Mark.OK, about="key", found=f"{field}: {key} belongs to the certificate")


def _unreadable(field: str, path: str, error: Exception) -> Finding:
    reason = (error.strerror or "unreadable").lower() if isinstance(error, OSError) else "it is no PEM of this kind"
    words = error.message if isinstance(error, OutboardError) else f"{field}: {path} cannot be read ({reason})"
    failure = InvalidSettings(words, field=field)
    remedy = "give the path of a PEM file that the service's user may read"
    return Finding(check=CHECK, mark=Mark.PROBLEM, about=field, found=words, remedy=remedy, error=failure)


def _load(path: str) -> list[Any]:
    from cryptography import x509  # noqa: PLC0415 - only where TLS is set

    return list(x509.load_pem_x509_certificates(Path(path).read_bytes()))


def _belongs(certificate: str, key: str) -> bool:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - only where TLS is set
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    own = load_pem_private_key(Path(key).read_bytes(), password=None).public_key().public_bytes(*form)
    told: bytes = _load(certificate)[0].public_key().public_bytes(*form)
    return own == told


def _names(certificate: Any) -> str:
    from cryptography import x509  # noqa: PLC0415 - only where TLS is set

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return certificate.subject.rfc4514_string() or "nobody"
    names = [str(each) for each in extension.value.get_values_for_type(x509.DNSName)]
    names += [str(each) for each in extension.value.get_values_for_type(x509.IPAddress)]
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more or "nobody"
