"""A port for several processes and for nobody else."""

from __future__ import annotations

import socket

import pytest

from outboard.errors import InvalidSettings
from outboard.service.processes.ports import reserved


def listener(port: int, *, shared: bool) -> socket.socket:
    """Listen as gRPC does."""
    found = socket.socket()
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(("127.0.0.1", port))
        found.listen()
    except OSError:
        found.close()
        raise
    return found


def test_all_workers_listen_and_only_they_get_connections() -> None:
    with reserved("127.0.0.1", 0) as port, listener(port, shared=True) as one, listener(port, shared=True) as other:
        for _ in range(40):
            socket.create_connection(("127.0.0.1", port), 5).close()
        for each in (one, other):
            each.settimeout(5)
            each.accept()[0].close()


def test_a_reserved_port_is_nobody_elses_before_workers_listen_and_while_they_do() -> None:
    with reserved("127.0.0.1", 0) as port:
        with pytest.raises(InvalidSettings, match="address already in use"), reserved("127.0.0.1", port):
            pass
        with listener(port, shared=True):
            with pytest.raises(OSError, match="in use"):
                listener(port, shared=False)
            with pytest.raises(InvalidSettings, match="address already in use"), reserved("127.0.0.1", port):
                pass
    with reserved("127.0.0.1", port) as again:
        assert again == port


def test_a_port_on_which_somebody_listens_cannot_be_reserved() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        words = f"127.0.0.1 port {port} .address already in use"
        with pytest.raises(InvalidSettings, match=words), reserved("127.0.0.1", port):
            pass


@pytest.mark.parametrize("host", ["unix:/tmp/x", "192.0.2.7", "no.such.host.invalid"])
def test_a_host_that_cannot_be_listened_on_is_a_wrong_setting(host: str) -> None:
    with pytest.raises(InvalidSettings), reserved(host, 0):
        pass


def test_systems_that_do_not_share_ports_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outboard.service.processes.ports.sys.platform", "darwin")
    with pytest.raises(InvalidSettings, match="needs Linux"), reserved("127.0.0.1", 0):
        pass
