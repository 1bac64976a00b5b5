"""The warning of a service that anybody may call: said once, by whoever holds the port."""

from __future__ import annotations

from outboard.host.logs import TaskLog
from outboard.service.settings import ServiceSettings, is_private


def tell_if_open(settings: ServiceSettings) -> None:
    """Warn where whoever reaches the port may do everything: it is not on loopback, and nothing asks who calls."""
    asks = settings.access is not None or (settings.tls is not None and settings.tls.asks_clients)
    if not asks and not is_private(settings.host):
        TaskLog().warning(
            "anyone may call",
            address=settings.address,
            remedy="let only the engine reach this port (NetworkPolicy, mesh), or set service.access",
        )
