"""What an operator decides about a service.

The keepalive defaults answer three facts. Flyte 2's client pings every 30 s, which a gRPC server's own default (one ping in 5
minutes) punishes by closing the connection. Go clients resolve an address anew only when they lose a connection, so without a
largest age of connections a replica that was added gets no calls. And inputs may exceed gRPC's default of 4 MB.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from outboard.errors import InvalidSettings
from outboard.service.departure import connection_age_s
from outboard.service.tls.settings import TlsSettings
from outboard.service.when_given import WhenGiven

if TYPE_CHECKING:
    from outboard.service.access.settings import AccessSettings

_MIB: Final = 1024 * 1024
_BOUNDS: Final = (
    # gRPC's protection against calls that are begun and reset counts calls that were answered and not yet tidied up, and so
    # cuts off clients that keep to `max_streams_per_connection`, which does protect.
    ("grpc.http.overload_protection", 0),
    # Calls that came and were not yet taken up. Beyond a thousand gRPC answers some with CANCELLED, anybody's, before we see
    # them; FlytePropeller would count that against a task, and a burst of its own is enough.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    # Bit 0 is "not compressed": a few KiB would become `max_receive_bytes` of zeros here, as often as somebody likes.
    ("grpc.compression_enabled_algorithms_bitset", 1),
)
"""Bounds on what strangers may do to gRPC's own code, before any of ours runs; tried by `make attack`."""
_PLAIN_HANDSHAKE_S: Final = 20.0
_LONGEST_S: Final = 2_000_000.0
"""gRPC counts milliseconds in 31 bits: 24 days."""
_MOST: Final = 2**31 - 1
_LOOPBACK: Final = re.compile(r"127(\.\d{1,3}){3}|\[?::1\]?")


if TYPE_CHECKING:
    _Access = AccessSettings | None
else:
    _Access = Annotated[Any, WhenGiven("outboard.service.access.settings:AccessSettings")]


class ServiceSettings(BaseModel):
    """Settings of a service; times in seconds.

    Attributes:
        host: Name or address to listen on; `0.0.0.0` and `::` are all of them, `unix:/path` is a socket without a port.
            Loopback unless told.
        port: 0 lets the system choose; `Service.port` tells which.
        metrics_port: Where Prometheus may scrape; None opens no port.
        admin_port: Where probes and operators may ask (see `admin`); None opens no port.
        admin_token_file: A file with the bearer token that changes on the admin port need; without one, they are taken from this
            machine only.
        wedged_after_s: How long the event loop may stand still before the admin port says that this process must be replaced.
        callbacks_port: Where platforms may call when a job changes; None opens no port.
        max_receive_bytes: The largest request that is taken; larger ones are RESOURCE_EXHAUSTED.
        max_answer_bytes: The largest answer that is sent; Go clients refuse 4 MiB.
        max_calls: How many calls may run at once; further ones are RESOURCE_EXHAUSTED. Health checks do not count.
        stream_patience_s: How long ExecuteTaskSync waits for the next message of its request.
        linger_s: How long new calls are still served after SIGTERM, for load balancers to notice; 15 suits Kubernetes.
        drain_s: How long calls in flight may go on after that.
        min_ping_interval_s: How often a client may ping.
        max_connection_age_s: When a connection is closed for the client to resolve anew; 0 is never. With `linger_s`, after
            less than half of that, so that clients leave while it lingers.
        max_connection_age_grace_s: How long calls on such a connection may go on.
        processes: How many worker processes share the port under `outboard serve`; a `Service` made by hand is one of them and
            lets others listen beside it. 1 is this process alone.
        isolate: Platforms (entry points, or `module:Platform`) whose agents run in a process of their own each.
        isolate_memory_bytes: Resident memory beyond which such a process is drained and started anew; None is no limit.
        tls: Certificates; None is plain text.
        access: Who may call, and do what; None lets everybody do everything.
        max_metadata_bytes: The largest headers of a call; larger ones are RESOURCE_EXHAUSTED.
        max_streams_per_connection: How many calls may run on one connection; further ones wait at the client. Without a
            bound, calls that are begun and reset as fast as a wire carries them crowd out everybody else's (CVE-2023-44487).
        max_connections: How many connections may be open at once, in each process; None is no limit.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8000, ge=0, le=65535)
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    admin_port: int | None = Field(default=None, ge=0, le=65535)
    admin_token_file: Path | None = None
    wedged_after_s: float = Field(default=60.0, ge=5, le=_LONGEST_S)
    callbacks_port: int | None = Field(default=None, ge=0, le=65535)
    max_receive_bytes: int = Field(default=64 * _MIB, ge=4096, lt=2**31)
    max_answer_bytes: int = Field(default=7 * _MIB // 2, ge=4096, lt=2**31)
    max_calls: int = Field(default=2000, ge=1, le=_MOST)
    stream_patience_s: float = Field(default=30.0, gt=0, le=_LONGEST_S)
    linger_s: float = Field(default=0.0, ge=0, le=_LONGEST_S)
    drain_s: float = Field(default=60.0, ge=0, le=_LONGEST_S)
    min_ping_interval_s: float = Field(default=10.0, gt=0, le=_LONGEST_S)
    max_connection_age_s: float = Field(default=300.0, ge=0, le=_LONGEST_S)
    max_connection_age_grace_s: float = Field(default=60.0, ge=0, le=_LONGEST_S)
    processes: int = Field(default=1, ge=1, le=256)
    isolate: tuple[str, ...] = ()
    isolate_memory_bytes: int | None = Field(default=None, ge=64 * _MIB)
    tls: TlsSettings | None = None
    access: _Access = None
    max_metadata_bytes: int = Field(default=16 * 1024, ge=4096, le=_MIB)
    max_streams_per_connection: int = Field(default=1000, ge=10, le=_MOST)
    max_connections: int | None = Field(default=None, ge=10, le=_MOST)

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        ports = {name: getattr(self, name) for name in ("metrics_port", "admin_port", "callbacks_port")}
        if not self.host.startswith("unix:"):
            ports["port"] = self.port
        names: dict[int, str] = {}
        for name, number in ports.items():
            other = names.setdefault(number, name) if number else name  # 0 is another one each time
            if other != name:
                raise ValueError(f"{other} and {name} are both {number}; give each its own")
        return self

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if self.tls is not None and self.host.startswith("unix:"):
            raise ValueError(
                "a Unix socket has no TLS: whoever may enter its folder may call; leave tls out, or listen on a port"
            )
        return self

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        access = self.access
        if access is None or access.proxy is not None or (self.tls is not None and self.tls.asks_clients):
            return self
        name = next((name for name, caller in access.callers.items() if caller.is_certified_alone), None)
        if name is not None:
            raise ValueError(
                f"access.callers.{name} is known by its certificate, and nobody is asked for one; "
                "set service.tls.client_ca, or access.proxy where a proxy on this machine sees certificates"
            )
        return self

    @classmethod
    def parse(cls, **values: Any) -> Self:
        """Return settings of these values; `InvalidSettings` names the one that is wrong."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            words = first["msg"].removeprefix("Value error, ")
            raise InvalidSettings(f"service setting {field or 'of a port'}: {words}; correct it", field=field) from None

    @property
    def address(self) -> str:
        """Host and port as gRPC listens on them."""
        return address(self.host, self.port)

    def channel_options(self) -> list[tuple[str, int]]:
        """Return gRPC's options for these settings."""
        handshake_s = _PLAIN_HANDSHAKE_S if self.tls is None else self.tls.handshake_s
        options = [
            ("grpc.max_receive_message_length", self.max_receive_bytes),
            ("grpc.max_send_message_length", -1),
            *_BOUNDS,
            # Two services on one port would share its calls silently; the second must fail instead. Only the workers of one
            # parent share, and it sees to it that there is no second one.
            ("grpc.so_reuseport", int(self.processes > 1)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", int(self.min_ping_interval_s * 1000)),
            ("grpc.http2.max_ping_strikes", 0),
            # gRPC refuses at random between the two bounds, unless they are one.
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
            ("grpc.max_concurrent_streams", self.max_streams_per_connection),
            # Counts from the connection to the client's first frames. Of an option that is given twice gRPC takes the first.
            ("grpc.server_handshake_timeout_ms", int(handshake_s * 1000)),
        ]
        if self.max_connections is not None:
            options.append(("grpc.max_allowed_incoming_connections", self.max_connections))
        age_s = connection_age_s(self.max_connection_age_s, self.linger_s)
        if age_s:
            options += [
                ("grpc.max_connection_age_ms", int(age_s * 1000)),
                ("grpc.max_connection_age_grace_ms", int(self.max_connection_age_grace_s * 1000)),
            ]
        return options


def address(host: str, port: int) -> str:
    """Return host and port as one text.

    >>> address("::1", 8000), address("localhost", 8000), address("unix:/run/outboard.sock", 0)
    ('[::1]:8000', 'localhost:8000', 'unix:/run/outboard.sock')
    """
    if host.startswith("unix:"):
        return host
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def is_private(host: str) -> bool:
    """Tell whether only this machine can reach a host: loopback, or a Unix socket.

    >>> is_private("127.0.0.1"), is_private("unix:/run/outboard.sock"), is_private("0.0.0.0")
    (True, True, False)
    """
    return host == "localhost" or host.startswith("unix:") or _LOOPBACK.fullmatch(host) is not None
