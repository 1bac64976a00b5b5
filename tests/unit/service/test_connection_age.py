"""When connections are closed, so that at the end of a service none is left whose calls would be lost."""

from __future__ import annotations

import pytest

from outboard.service.settings import ServiceSettings


@pytest.mark.parametrize(
    ("age_s", "linger_s", "told_ms"),
    [(300, 0, 300_000), (300, 22, 10_000), (0, 22, 10_000), (5, 22, 5_000), (0, 0, None)],
)
def test_all_connections_end_while_the_service_lingers(age_s: float, linger_s: float, told_ms: int | None) -> None:
    settings = ServiceSettings(max_connection_age_s=age_s, linger_s=linger_s)
    assert dict(settings.channel_options()).get("grpc.max_connection_age_ms") == told_ms
