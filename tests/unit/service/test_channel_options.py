"""What gRPC is told of the settings: each option once, since of two it takes the first and says nothing."""

from __future__ import annotations

from pathlib import Path

from certificates import Authority, Mount
from outboard.service.settings import ServiceSettings
from outboard.service.tls.settings import TlsSettings


def test_the_time_for_a_handshake_is_what_was_set_and_no_option_is_given_twice(tmp_path: Path) -> None:
    authority = Authority("server")
    mount = Mount(tmp_path / "tls", *authority.pair(), authority.pem)
    tls = TlsSettings(certificate=mount.certificate, key=mount.key, handshake_s=3)
    for settings, told_ms in ((ServiceSettings(tls=tls, max_connections=90), 3_000), (ServiceSettings(), 20_000)):
        options = settings.channel_options()
        assert dict(options)["grpc.server_handshake_timeout_ms"] == told_ms
        assert len(dict(options)) == len(options)
