"""Where addresses that a task chose may lead: by default to the public internet, and nowhere inside.

A URL in a task is a stranger's wish that *our* machine talks to somebody. The machine stands where strangers do not: beside a
cloud's metadata service, which gives credentials away to whoever asks, and inside a cluster's network. So what is decided on is
the address that a socket is about to be connected to, never the text of a URL: names, their spellings, and what a name's server
answers this time and not the next are then all one.

An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4, Teredo) leads wherever either of the two leads.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address, and it leads nowhere else. Clusters that speak only IPv6 reach the rest so."""
_INSIDE: Final[tuple[Network, ...]] = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments; Oracle's metadata service is 192.0.0.192
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's platform address, which looks public
    ipaddress.IPv6Network("fec0::/10"),  # site-local, deprecated
)
"""What Python takes for global, in some of its versions or in all, and is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """What an operator lets tasks' own addresses reach.

    Attributes:
        allow_hosts: Names that may lead anywhere, as `hooks.corp.example` or `*.corp.example`, in small letters.
        allow_networks: Networks that may be reached although they are inside.
        deny_networks: Networks that may not, although they are public or allowed.
    """

    allow_hosts: Sequence[str] = ()
    allow_networks: Sequence[Network] = ()
    deny_networks: Sequence[Network] = ()

    def trusts(self, host: str) -> bool:
        """Tell whether the operator allows a name, wherever it leads.

        >>> Egress(allow_hosts=("*.corp.example",)).trusts("Hooks.corp.example.")
        True
        """
        name = host.rstrip(".").lower()
        return any(fnmatchcase(name, pattern) for pattern in self.allow_hosts)

    def reaches(self, address: str) -> bool:
        """Tell whether a socket may be connected to an address; what is no address may not be.

        >>> [Egress().reaches(each) for each in ("1.1.1.1", "169.254.169.254", "::ffff:10.0.0.1", "fe80::1%eth0", "0x7f.1")]
        [True, False, False, False, False]
        """
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return all(self._is_open(each) for each in _meant(found))

    def _is_open(self, address: _Address) -> bool:
        if _lies_in(address, self.deny_networks):
            return False
        if _lies_in(address, self.allow_networks):
            return True
        is_public = address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
        return is_public and not _lies_in(address, _INSIDE)


def _lies_in(address: _Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _meant(address: _Address) -> Iterator[_Address]:
    """Yield the addresses that one leads to: itself, unless it is only another spelling, and those that it carries."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        return
    yield address
    yield from (each for each in (address.sixtofour, *(address.teredo or ())) if each is not None)
