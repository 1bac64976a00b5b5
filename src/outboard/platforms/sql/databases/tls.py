"""TLS as a connection's settings have it, for drivers that take a context."""

from __future__ import annotations

import ssl

from outboard.platforms.sql.databases.port import Target


def tls_context(target: Target) -> ssl.SSLContext | None:
    """Return how a target is spoken to; None in clear text, and without any check where `require` asks for none."""
    if target.tls == "disable":
        return None
    context = ssl.create_default_context(cafile=target.tls_ca_file or None)
    if target.tls == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
