"""What to do when no connection comes to stand, told by what gRPC says of it.

gRPC's servers close the connection on a client whose certificate they do not take, without a word; so what is left to say is what
may be wrong, by what this client has shown.
"""

from __future__ import annotations

from typing import Final

from outboard.engine.addresses import ServiceAddress, is_cluster_only
from outboard.engine.credentials import Credentials

_NO_NAME: Final = "hostname verification check failed"
_NOT_VERIFIED: Final = "certificate_verify_failed"
_NOT_TLS: Final = "wrong_version_number"
_CLOSED: Final = ("socket closed", "connection reset", "broken pipe")


def remedy(address: ServiceAddress, details: str, problem: str = "") -> str:
    """Return what to do about a service that cannot be reached.

    Args:
        address: Where it should be.
        details: gRPC's words.
        problem: What is wrong with this client's own files, as they are now.
    """
    words = details.lower()
    return (_of_tls(address, words) or _of_the_way(address)) + (f"; and {problem}" if problem else "")


def _of_tls(address: ServiceAddress, words: str) -> str | None:
    if address.insecure:
        return (
            "it closed the connection: if it speaks TLS, set `insecure: false` (--tls)" if _is_closed(words) else None
        )
    if _NO_NAME in words:
        return "its certificate has another name: call it by that, or give it as client.server_name (--tls-server-name)"
    if _NOT_VERIFIED in words:
        return _of_verification(address.credentials, words)
    if _NOT_TLS in words:
        return "it speaks plain text: set `insecure: true` (--insecure)"
    return _of_refusal(address.credentials) if _is_closed(words) else None


def _of_verification(own: Credentials, words: str) -> str:
    if "expired" in words:
        return "its certificate has expired: renew it there"
    if "not yet valid" in words:
        return "its certificate is not valid yet: compare the clocks of both machines"
    known = "the system knows" if own.ca is None else f"{own.ca} holds"
    return f"its certificate is of no authority that {known}: give that authority's file as client.ca (--tls-ca)"


def _of_refusal(own: Credentials) -> str:
    if own.certificate is None:
        options = "client.certificate and client.key (--tls-certificate, --tls-key)"
        return f"it ended the handshake, and may require a client certificate: give {options}"
    return (
        f"it ended the handshake: the certificate in {own.certificate} must be valid, and of an authority that it knows"
    )


def _of_the_way(address: ServiceAddress) -> str:
    if is_cluster_only(address.written):
        return "the name resolves inside its cluster only: forward the port, and give localhost and that port"
    if address.insecure:
        return "start the service or correct the address; if it speaks TLS, set `insecure: false`"
    return "start the service or correct the address; if it speaks plain text, set `insecure: true`"


def _is_closed(words: str) -> bool:
    return any(sign in words for sign in _CLOSED)
