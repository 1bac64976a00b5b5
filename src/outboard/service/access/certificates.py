"""Client certificates of calls: what they say, and how long that is so.

gRPC judges a certificate in the handshake, once: a connection may outlive it, and whoever resumes a TLS session shows none again.
So each call is judged by the certificate's own time. What is read of one is remembered by its PEM, which gRPC gives with each
call and has checked; so only who has a certificate of the authorities fills the memory.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from outboard.service.access.identities import certificate_names

_REMEMBERED: Final = 1024


class Expired(Exception):
    """A certificate whose time is over.

    Attributes:
        names: What it says.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.names = names


class _Seen(NamedTuple):
    names: tuple[str, ...]
    ends_at: float


class Certificates:
    """Client certificates that were seen lately."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[bytes, _Seen] = {}

    def names(self, auth_context: Mapping[str, Sequence[bytes]]) -> tuple[str, ...]:
        """Return what the certificate of a call says, as `kind:name`; none where there is no certificate.

        Args:
            auth_context: gRPC's, of the call.

        Raises:
            Expired: Its time is over.
        """
        found = auth_context.get("x509_pem_cert")
        if not found:
            return ()
        pem = found[0]
        seen = self._seen.get(pem)
        if seen is None:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            seen = self._seen[pem] = _Seen(certificate_names(auth_context), _ends_at(pem))
        if time.time() >= seen.ends_at:
            raise Expired(seen.names)
        return seen.names


def _ends_at(pem: bytes) -> float:
    from cryptography import x509  # noqa: PLC0415 - only who serves TLS pays for it, and has it loaded

    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
