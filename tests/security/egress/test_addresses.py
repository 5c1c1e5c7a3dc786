"""Which addresses a request may go to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.errors import ConfigError
from nanobot.security.egress_address import METADATA, AddressRules, networks

REFUSED = [
    ("0.0.0.0", "this machine"),
    ("0.1.2.3", "this machine"),
    ("10.0.0.1", "private"),
    ("100.64.0.1", "overlay"),
    ("100.127.255.255", "overlay"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("169.254.1.1", "link-local"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.8", "reserved"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4"),
    ("192.168.0.1", "private"),
    ("198.18.0.1", "benchmarks"),
    ("198.19.255.255", "benchmarks"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("169.254.169.254", "metadata"),
    ("169.254.170.2", "metadata"),
    ("100.100.100.200", "metadata"),
    ("168.63.129.16", "metadata"),
    ("fd00:ec2::254", "metadata"),
    ("fd20:ce::254", "metadata"),
    ("::", "this machine"),
    ("::1", "loopback"),
    ("::ffff:10.0.0.1", "IPv4-mapped"),
    ("::ffff:8.8.8.8", "IPv4-mapped"),
    ("::ffff:0:127.0.0.1", "IPv4-translated"),
    ("::127.0.0.1", "IPv4-compatible"),
    ("64:ff9b::a00:1", "NAT64"),
    ("64:ff9b::808:808", "NAT64"),
    ("64:ff9b:1::a00:1", "local NAT64"),
    ("2002:a00:1::1", "6to4"),
    ("2002:808:808::1", "6to4"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
    ("2a00:1450:4001:81b:0:5efe:a00:1", "ISATAP"),
    ("fe80::1", "link-local"),
    ("fe80::1%2", "zone"),
    ("2a00::1%2", "zone"),
    ("febf::1", "link-local"),
    ("fec0::1", "site-local"),
    ("fc00::1", "unique local"),
    ("fdff::1", "unique local"),
    ("ff02::1", "multicast"),
    ("2001:db8::1", "documentation"),
    ("3fff::1", "documentation"),
    ("2001:2::1", "benchmarks"),
    ("2001:10::1", "reserved"),
    ("100::1", "reserved"),
    ("4000::1", "reserved"),
]
TAKEN = ["8.8.8.8", "1.1.1.1", "9.255.255.255", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1"]
TAKEN += ["192.167.0.1", "198.17.0.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001:81b::200e", "2003::1"]


@pytest.mark.parametrize(("address", "what"), REFUSED)
def test_what_is_not_global_is_refused(address: str, what: str) -> None:
    assert what in (AddressRules().refusal(ip_address(address)) or "")


@pytest.mark.parametrize("address", TAKEN)
def test_what_is_global_is_not(address: str) -> None:
    assert AddressRules().refusal(ip_address(address)) is None


@given(st.one_of(st.builds(IPv4Address, st.integers(0, 2**32 - 1)), st.builds(IPv6Address, st.integers(0, 2**128 - 1))))
def test_nothing_passes_that_python_does_not_call_global(address: IPv4Address | IPv6Address) -> None:
    assert AddressRules().refusal(address) is not None or address.is_global


ALLOWED = [
    (["10.0.0.0/8"], "10.1.2.3", True),
    (["10.0.0.0/8"], "192.168.0.1", False),
    (["192.168.1.7"], "192.168.1.7", True),
    (["192.168.1.7"], "192.168.1.8", False),
    (["fd12::/16"], "fd12::1", True),
    (["127.0.0.0/8"], "::1", False),
    (["10.0.0.0/8"], "::ffff:10.0.0.1", False),
    (["64:ff9b::/96"], "64:ff9b::808:808", True),
    (["64:ff9b::/96"], "64:ff9b::a00:1", False),
    (["64:ff9b::/96", "10.0.0.0/8"], "64:ff9b::a00:1", True),
    (["::/0", "0.0.0.0/0"], "::ffff:169.254.169.254", False),
    (["169.254.169.254/31"], "169.254.169.254", False),
    (["169.254.169.254/32"], "169.254.169.254", True),
    (["fd00:ec2::254"], "fd00:ec2::254", True),
]


@pytest.mark.parametrize(("allowed", "address", "may"), ALLOWED)
def test_the_allow_list(allowed: list[str], address: str, *, may: bool) -> None:
    assert (AddressRules(networks(allowed)).refusal(ip_address(address)) is None) is may


@pytest.mark.parametrize("address", METADATA)
def test_no_wide_network_opens_the_addresses_of_metadata(address: IPv4Address | IPv6Address) -> None:
    assert "metadata" in (AddressRules(networks(["0.0.0.0/0", "::/0"])).refusal(address) or "")


def test_every_mistake_in_the_allow_list_is_named() -> None:
    with pytest.raises(ConfigError) as raised:
        networks(["10.0.0.0/8", "10.0.0.0/33", "intranet"])
    assert [line.split()[1] for line in raised.value.mistakes] == ["'10.0.0.0/33'", "'intranet'"]
