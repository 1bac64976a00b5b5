"""`make attack`: what strangers, tenants and broken clients send, what it is answered, and that the service stays healthy."""

from __future__ import annotations

from importlib.util import find_spec
from types import MappingProxyType
from typing import Final

from tables.reporting import Report

_PARTS: Final = MappingProxyType(
    {
        "tls": "TLS and client certificates",
        "access": "Who may call",
        "secrets": "Secrets",
        "log_injection": "Log injection",
        "connections": "Connections",
        "messages": "Messages",
        "fuzz": "Random bytes",
        "ports": "The HTTP ports",
        "addresses": "Addresses that tasks choose",
        "rolling": "Rolling replacement",
    }
)

REPORT: Final = Report(
    target="attack",
    about=__doc__ or "",
    parts={name: title for name, title in _PARTS.items() if find_spec(f"attack.{name}") is not None},
)
