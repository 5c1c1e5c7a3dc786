"""Which IP addresses a request may go to: pure, a table and one question.

Only global unicast addresses, unless a network of `tools.ssrfWhitelist` holds the address. Two things a network does not
allow by itself: addresses where a cloud hands out the machine's keys (they must be named alone, `169.254.169.254/32`), and
an IPv4 address inside an IPv6 one (mapped, NAT64, 6to4 ...), which has to pass on its own as well.

The table is ours and not `ipaddress.is_global`, whose answers have changed between versions of Python; a test holds that
what passes here is global there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import attrs

from nanobot.errors import ConfigError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # ECS tasks
        "169.254.170.23",  # EKS pods
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",  # Google over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure, an address that looks public
        "192.0.0.192",  # Oracle
    )
)
"""Where clouds answer with keys of the machine."""

_V4: Sequence[tuple[str, str]] = (
    ("0.0.0.0/8", "this machine (0.0.0.0/8)"),
    ("10.0.0.0/8", "a private network"),
    ("100.64.0.0/10", "a carrier's or overlay network (100.64.0.0/10)"),
    ("127.0.0.0/8", "this machine (loopback)"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "a private network"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "a private network"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)
_V6: Sequence[tuple[str, str]] = (
    ("::/128", "this machine (::)"),
    ("::1/128", "this machine (loopback)"),
    ("fc00::/7", "a private network (unique local)"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "a private network (site-local)"),
    ("ff00::/8", "multicast"),
    ("2001:db8::/32", "for documentation"),
    ("3fff::/20", "for documentation"),
    ("2001:2::/48", "for benchmarks"),
    ("2001::/23", "reserved"),
)
_HIDING: Sequence[tuple[str, str, int]] = (
    ("::ffff:0:0/96", "an IPv4-mapped address", 0),
    ("::ffff:0:0:0/96", "an IPv4-translated address", 0),
    ("::/96", "an IPv4-compatible address", 0),
    ("64:ff9b::/96", "a NAT64 address", 0),
    ("64:ff9b:1::/48", "a local NAT64 address", 0),
    ("2002::/16", "a 6to4 address", 80),
)
"""Networks whose addresses hold an IPv4 address, by how many bits it is shifted to the left."""

_TABLE = [(ip_network(network), what) for network, what in (*_V4, *_V6)]
_HIDERS = [(IPv6Network(network), what, shift) for network, what, shift in _HIDING]
_TEREDO = IPv6Network("2001::/32")
_GLOBAL_V6 = IPv6Network("2000::/3")
_ISATAP = 0x5EFE


@attrs.frozen
class AddressRules:
    """The rules of one installation."""

    allowed: tuple[Network, ...] = ()

    def refusal(self, address: Address) -> str | None:
        """Why nothing is sent there, for people (`a private network`); None where it may be."""
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return "an address with a zone"
        hidden = _hidden(address)
        if hidden is None:
            return self._plain_refusal(address)
        what, inner = hidden
        if not self._named(address):
            return f"{what} ({inner})"
        return self._plain_refusal(inner)

    def _plain_refusal(self, address: Address) -> str | None:
        if address in METADATA:
            alone = any(network.num_addresses == 1 and address in network for network in self.allowed)
            return None if alone else "where a cloud hands out keys of this machine (metadata)"
        return None if self._named(address) else _special(address)

    def _named(self, address: Address) -> bool:
        return any(address in network for network in self.allowed)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """`tools.ssrfWhitelist` as networks; a single address is a network of one. Raises: ConfigError with every mistake."""
    found: list[Network] = []
    mistakes: list[str] = []
    for text in texts:
        try:
            found.append(ip_network(text.strip(), strict=False))
        except ValueError:
            mistakes.append(f"tools.ssrfWhitelist: {text!r} is no network; write it like 192.168.1.0/24 or fd12::/16")
    if mistakes:
        raise ConfigError(mistakes)
    return tuple(found)


def _special(address: Address) -> str | None:
    for network, what in _TABLE:
        if address in network:
            return what
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return "reserved"
    return None


def _hidden(address: Address) -> tuple[str, IPv4Address] | None:
    """The IPv4 address that an IPv6 address carries, and what such an address is called."""
    if isinstance(address, IPv4Address) or int(address) < 2:
        return None
    if address in _TEREDO:
        return "a Teredo address", IPv4Address(~int(address) & 0xFFFFFFFF)
    for network, what, shift in _HIDERS:
        if address in network:
            return what, IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    if int(address) >> 32 & 0xFFFF == _ISATAP and int(address) >> 48 & 0xFDFF == 0:
        return "an ISATAP address", IPv4Address(int(address) & 0xFFFFFFFF)
    return None
