"""`make attack`: what strangers, tenants and broken clients send, what it is answered, and that the service stays healthy."""

from __future__ import annotations

from typing import Final

from tables.reporting import Report

REPORT: Final = Report(
    target="attack",
    about=__doc__ or "",
    parts={
        "tls": "TLS and client certificates",
        "access": "Who may call",
        "secret_stores": "Secrets",
        "log_injection": "Log injection",
        "connections": "Connections",
        "messages": "Messages",
        "fuzz": "Random bytes",
        "ports": "The HTTP ports",
        "admin": "The admin port",
        "addresses": "Addresses that tasks choose",
        "rolling": "Rolling replacement",
    },
)
