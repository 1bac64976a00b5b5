"""Authorities, certificates and the folders in which they are renewed, for tests that speak TLS."""

from __future__ import annotations

import os
import shutil
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

YESTERDAY: Final = datetime.now(timezone.utc) - timedelta(days=1)
SECRET: Final = ("tls.crt", "tls.key", "ca.crt")


class Authority:
    """Issues certificates."""

    def __init__(self, name: str = "tests") -> None:
        self._ca = trustme.CA(organization_name=name)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self._ca.cert_pem.bytes()

    def pair(
        self, *names: str, common_name: str | None = None, is_rsa: bool = False, expired: bool = False
    ) -> tuple[bytes, bytes]:
        """Return a certificate and its key."""
        issued = self._ca.issue_cert(
            *(names or ("localhost", "127.0.0.1")),
            common_name=common_name,
            key_type=trustme.KeyType.RSA if is_rsa else trustme.KeyType.ECDSA,
            not_after=YESTERDAY if expired else None,
        )
        return b"".join(each.bytes() for each in issued.cert_chain_pems), issued.private_key_pem.bytes()

    def show(self, context: ssl.SSLContext, *names: str) -> None:
        """Let a client with this context show a certificate of this authority."""
        self._ca.issue_cert(*names).configure_cert(context)

    def trusting(self) -> ssl.SSLContext:
        """Return what a client that trusts this authority uses."""
        return ssl.create_default_context(cadata=self.pem.decode())


def self_signed(uri: str) -> tuple[bytes, bytes]:
    """Return a certificate that vouches for itself, with a URI for a name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "itself")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(YESTERDAY)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), secret


class Mount:
    """A secret as Kubernetes mounts it: `..data` leads to the files, and all of them are exchanged by moving that link."""

    def __init__(self, folder: Path, certificate: bytes = b"", key: bytes = b"", ca: bytes = b"") -> None:
        self.folder = folder
        self._round = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.put(certificate, key, ca)
        for name in SECRET:
            (folder / name).symlink_to(Path("..data") / name)

    def put(self, certificate: bytes, key: bytes, ca: bytes) -> None:
        """Exchange all files at once."""
        self._round += 1
        version = self.folder / f"..{self._round}"
        version.mkdir()
        for name, data in zip(SECRET, (certificate, key, ca), strict=True):
            (version / name).write_bytes(data)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        os.replace(link, self.folder / "..data")  # noqa: PTH105 - the system call that Kubernetes makes
        shutil.rmtree(self.folder / f"..{self._round - 1}", ignore_errors=True)

    @property
    def certificate(self) -> Path:
        """Where the certificate is."""
        return self.folder / SECRET[0]

    @property
    def key(self) -> Path:
        """Where its key is."""
        return self.folder / SECRET[1]

    @property
    def ca(self) -> Path:
        """Where the authorities are."""
        return self.folder / SECRET[2]
