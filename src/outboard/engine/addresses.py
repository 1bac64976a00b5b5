"""Addresses of agent services: what gRPC dials, and how long to wait for each operation there.

An address is written in one of the forms that FlytePropeller accepts. gRPC itself dials `dns:///host:port`, `unix:path`
and `host:port`. `k8s://service.namespace:port` is FlytePropeller's own (it watches the Kubernetes API); here it becomes
the service's DNS name, which resolves inside the cluster only. `passthrough:///host:port` becomes `host:port`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from typing_extensions import Self

from outboard.engine.credentials import NOTHING, Credentials
from outboard.errors import InvalidSettings

_FORMS: Final = "host:port, dns:///host:port, k8s://service.namespace:port or unix:/path"
_HOST_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):([0-9]{1,5})")
_DNS_DEFAULT_PORT: Final = 443  # what gRPC's dns resolver takes when a name carries no port
_LISTING_NAMES: Final = {"ListConnectors": "ListAgents"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddress:
    """Where an agent service answers and how to call it; the client of it is an `outboard.domain.endpoints.Endpoint`.

    Attributes:
        name: What routes, warnings and the journal call it.
        target: What gRPC dials.
        written: The address as the file or the user wrote it.
        insecure: Plain text instead of TLS.
        timeouts: Per operation, by the RPC's name; the listing is `ListAgents` for both of Flyte's sections.
        default_timeout: For operations without their own; None is no deadline.
        service_config: A gRPC service configuration as JSON text.
        credentials: How the client knows the service and shows who it is, beyond the system's authorities.
    """

    name: str
    target: str
    written: str = ""
    insecure: bool = False
    timeouts: Mapping[str, timedelta] = field(default_factory=dict)
    default_timeout: timedelta | None = None
    service_config: str | None = None
    credentials: Credentials = NOTHING

    def timeout(self, operation: str) -> timedelta | None:
        """Return how long to wait for an operation (`CreateTask`, `ListAgents` ...); None is no deadline.

        As for FlytePropeller, an operation's own timeout goes first, and zero means none.
        """
        limit = self.timeouts.get(_LISTING_NAMES.get(operation, operation), self.default_timeout)
        return limit or None

    @classmethod
    def at(
        cls,
        address: str,
        *,
        name: str | None = None,
        insecure: bool | None = None,
        credentials: Credentials | None = None,
    ) -> Self:
        """Return the endpoint at an address a user typed.

        It is plain text on loopback and TLS elsewhere, or where credentials are about TLS, unless told.

        Raises:
            InvalidSettings: The address has none of the known forms.

        >>> ServiceAddress.at("127.0.0.1:8000").insecure
        True
        """
        try:
            target = parse_target(address)
        except ValueError as error:
            raise InvalidSettings(str(error), field="endpoint") from None
        known = credentials if credentials is not None else NOTHING
        plain = is_local(target) and not known.is_about_tls if insecure is None else insecure
        return cls(name=name or address, target=target, written=address, insecure=plain, credentials=known)


def parse_target(address: str) -> str:
    """Return what gRPC dials for an address in one of FlytePropeller's forms.

    Raises:
        ValueError: It has none of the known forms; the message says which there are.

    >>> parse_target("k8s://agents.flyte:8000")
    'dns:///agents.flyte.svc.cluster.local:8000'
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        if address.startswith("unix:") and len(address) > len("unix:"):
            return address
        return _host_port(address.removeprefix("dns:"), address)
    if scheme in ("http", "https"):
        raise ValueError(
            f"'{address}' is a web address: write host:port, and `insecure: true` for a service without TLS"
        )
    if scheme == "unix" and rest.startswith("/"):
        return address
    if scheme == "k8s":
        return _service_name(rest, address)
    authority, slash, name = rest.partition("/")
    if scheme == "dns" and slash:
        return f"dns://{authority}/{_host_port(name, address, _DNS_DEFAULT_PORT)}"
    if scheme == "passthrough" and slash:
        return _host_port(name, address)
    raise ValueError(f"'{address}' is no address of an agent service: write {_FORMS}")


def is_cluster_only(address: str) -> bool:
    """Tell whether an address names a Kubernetes service, which resolves inside the cluster only."""
    return address.startswith("k8s://")


def _host_port(text: str, address: str, default_port: int | None = None) -> str:
    if default_port and ":" not in text.rpartition("]")[2]:
        text = f"{text}:{default_port}"
    found = _HOST_PORT.fullmatch(text)
    if found is None or not 0 < int(found.group(2)) < 2**16:
        raise ValueError(f"'{address}' does not name a host and a port: write {_FORMS}")
    return text


def _service_name(rest: str, address: str) -> str:
    """Map FlytePropeller's three spellings of a Kubernetes service to its DNS name."""
    namespace, slash, service = rest.partition("/")
    if slash and namespace:  # k8s://namespace/service:port
        service, _, port = service.partition(":")
    else:  # k8s://service.namespace:port and k8s:///service.namespace:port
        full, _, port = (service if slash else rest).partition(":")
        service, _, namespace = full.partition(".")
        namespace = namespace.partition(".")[0]
    if not service or not namespace:
        raise ValueError(f"'{address}' names no service and namespace: write k8s://service.namespace:port")
    return "dns:///" + _host_port(f"{service}.{namespace}.svc.cluster.local:{port}", address)


def is_local(target: str) -> bool:
    """Return whether a target is on this machine: a Unix socket, or an address of the loopback interface.

    >>> is_local("dns:///localhost:8000")
    True
    """
    if target.startswith("unix:"):
        return True
    host = target.rpartition("/")[2].rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
