"""What a call shows of who makes it: its address, its client certificate, a bearer token, what a proxy says.

gRPC has checked a client certificate against the CA before a call gets here; what it says can be believed. A header can be
believed only when a proxy beside us wrote it: Envoy, and with it Istio, puts the certificate that it has checked into
`x-forwarded-client-cert`, as the last element, and removes what clients send where there was none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

_AUTHORIZATION: Final = "authorization"
_BEARER: Final = "bearer "
_LONGEST: Final = 16 * 1024
_KINDS: Final = {"URI": "uri", "DNS": "dns", "Subject": "subject"}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Ambiguous(Exception):
    """A call that shows two identities of one kind, which no honest client does."""


@lru_cache(maxsize=4096)
def address_of(peer: str) -> Address | None:
    """Return the address in gRPC's name of a peer; None for a Unix socket, and for what is no address.

    >>> address_of("ipv4:10.0.0.7:51234"), address_of("ipv6:%5B::1%5D:51234"), address_of("unix:")
    (IPv4Address('10.0.0.7'), IPv6Address('::1'), None)
    """
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    try:
        found = ipaddress.ip_address(rest.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def bearer(metadata: Sequence[tuple[str, str | bytes]]) -> str | None:
    """Return the bearer token of a call; None where it brings none.

    Raises:
        Ambiguous: It brings several authorizations.
    """
    found = [value for name, value in metadata if name == _AUTHORIZATION]
    if len(found) > 1:
        raise Ambiguous
    if not found:
        return None
    value = found[0]
    text = value if isinstance(value, str) else value.decode("latin-1")
    return text[len(_BEARER) :].strip() if text[: len(_BEARER)].lower() == _BEARER else None


def certificate_names(auth_context: Mapping[str, Sequence[bytes]]) -> tuple[str, ...]:
    """Return what a client certificate says, as `kind:name`, out of gRPC's auth context; none where there is none."""
    names = [
        f"{kind}:{value.decode(errors='replace')}"
        for kind, key in (("uri", "peer_uri"), ("dns", "peer_dns"), ("email", "peer_email"), ("cn", "x509_common_name"))
        for value in auth_context.get(key, ())
    ]
    names += [f"subject:{value.decode(errors='replace')}" for value in auth_context.get("x509_subject", ())]
    return tuple(names)


def forwarded_names(metadata: Sequence[tuple[str, str | bytes]], header: str) -> tuple[str, ...]:
    """Return what a proxy says of a client certificate, as `kind:name`; none where it says nothing.

    Raises:
        Ambiguous: There are several such headers, or one that cannot be read.
    """
    found = [value for name, value in metadata if name == header]
    if len(found) > 1:
        raise Ambiguous
    if not found:
        return ()
    value = found[0]
    text = value if isinstance(value, str) else value.decode("latin-1")
    if len(text) > _LONGEST:
        raise Ambiguous
    elements = list(_split(text, ","))
    names: list[str] = []
    for pair in _split(elements[-1], ";"):
        key, _, word = pair.partition("=")
        if key.strip() in _KINDS and word:
            names.append(f"{_KINDS[key.strip()]}:{_unquoted(word.strip())}")
    return tuple(names)


def spelled(pattern: str) -> str:
    """Return a pattern of the settings as names are spelled here.

    >>> spelled("spiffe://cluster.local/ns/flyte/sa/*"), spelled("propeller.flyte"), spelled("cn:propeller")
    ('uri:spiffe://cluster.local/ns/flyte/sa/*', 'dns:propeller.flyte', 'cn:propeller')
    """
    if "://" in pattern and not pattern.startswith("uri:"):
        return f"uri:{pattern}"
    return pattern if pattern.startswith(("uri:", "dns:", "email:", "cn:", "subject:")) else f"dns:{pattern}"


def within(networks: Sequence[str]) -> Callable[[Address], bool]:
    """Return what tells whether an address is in one of these networks."""
    parsed = [ipaddress.ip_network(text) for text in networks]
    return lambda address: any(address.version == each.version and address in each for each in parsed)


def _split(text: str, mark: str) -> Iterator[str]:
    """Split a text at marks that do not stand in quotes."""
    part: list[str] = []
    is_quoted = is_escaped = False
    for character in text:
        if is_escaped:
            is_escaped = False
        elif character == "\\" and is_quoted:
            is_escaped = True
        elif character == '"':
            is_quoted = not is_quoted
        elif character == mark and not is_quoted:
            yield "".join(part)
            part = []
            continue
        part.append(character)
    if is_quoted:
        raise Ambiguous
    yield "".join(part)


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text


def shown(names: Sequence[str]) -> str:
    """Return names for a log line."""
    return "certificate " + ", ".join(name[:120] for name in names[:4])


def metadata_of(context: Any) -> Sequence[tuple[str, str | bytes]]:
    """Return a call's metadata."""
    return context.invocation_metadata() or ()
