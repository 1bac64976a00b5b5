"""Who may change something on the admin port.

With a token file, whoever brings its token, from wherever; the file is read anew each time, so a token is exchanged by writing
another one. Without, whoever is on this machine: `kubectl exec`, or `kubectl port-forward`, which asks Kubernetes for leave.
What a proxy passes on does not count as such: a mesh's sidecar hands strangers' requests over from the loopback, and a browser
can be made to ask the loopback under another name.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Final

from outboard.files import read_small
from outboard.service.admin.http_server import Answer, Request, plain

_LOOPBACK: Final = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
_NAMES: Final = ("127.0.0.1", "localhost", "[::1]", "")
_OF_PROXIES: Final = (
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "via",
    "x-envoy-external-address",
    "x-request-id",
    "origin",
)
_LONGEST_TOKEN: Final = 4096


def refusal(request: Request, token_file: Path | None) -> Answer | None:
    """Return why a request may change nothing; None where it may."""
    if token_file is None:
        name, _, port = request.headers.get("host", "").rpartition(":")
        name = name if port.isdecimal() else request.headers.get("host", "")
        is_here = request.peer in _LOOPBACK and name.lower() in _NAMES
        if is_here and not any(name in request.headers for name in _OF_PROXIES):
            return None
        return plain(
            403, "changes are taken from this machine only; or set service.admin_token_file and send its token"
        )
    try:
        token = read_small(token_file, _LONGEST_TOKEN).strip()
    except (OSError, ValueError):
        token = b""
    if not token:
        return plain(503, "service.admin_token_file cannot be read, is empty or too large; nothing can be changed")
    scheme, _, brought = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(brought.strip().encode("utf-8", "replace"), token):
        return None
    return plain(401, "bring the token of service.admin_token_file", **{"WWW-Authenticate": "Bearer"})
