"""Addresses of pages as attackers write them, by the real client: nothing gets inside. And as decent people write them."""

from __future__ import annotations

import pytest

from nanobot.security.egress_address import AddressRules
from nanobot.security.egress_errors import Forbidden, Unreachable
from nanobot.security.egress_url import join, parse
from nanobot.security.egress_wire import Guard
from tests.security.egress.kit import INSIDE, Dialled, Names, client, config, trap

ATTACKS = [
    "http://127.0.0.2:{port}/",
    "http://2130706434:{port}/",  # decimal
    "http://0x7f000002:{port}/",
    "http://0X7F.0.0.2:{port}/",
    "http://0177.0.0.2:{port}/",
    "http://127.0.0.02:{port}/",
    "http://127.2:{port}/",  # short
    "http://127.0.2:{port}/",
    "http://127.0.0.2.:{port}/",  # trailing dot
    "http://127.0.0.2..:{port}/",
    "http://127.0.0.0x2:{port}/",
    "http://1.127.0.0.2:{port}/",
    "http://０x7f.0.0.2:{port}/",
    "http://１２７.０.０.２:{port}/",  # fullwidth
    "http://①②⑦.⓪.⓪.②:{port}/",
    "http://127。0。0。2:{port}/",  # other dots
    "http://127．0．0．2:{port}/",
    "http://127.0.0.٢:{port}/",  # arabic digits
    "http://%31%32%37.0.0.2:{port}/",  # escapes
    "http://127.0.0.2%00.site.example:{port}/",
    "http://127.0.0.2%23@site.example:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.2]:{port}/",
    "http://[::ffff:7f00:2]:{port}/",
    "http://[::127.0.0.2]:{port}/",
    "http://[64:ff9b::7f00:2]:{port}/",
    "http://[2002:7f00:2::]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[fe80::1%lo]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[v1.127.0.0.2]:{port}/",
    "http://[127.0.0.2]:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST.:{port}/",
    "http://loc\u00adalhost:{port}/",  # soft hyphen
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "http://site.example@127.0.0.2:{port}/",  # user names
    "http://site.example:pw@127.0.0.2:{port}/",
    "http://site.example\\@127.0.0.2:{port}/",
    "http://127.0.0.2:{port}\\@site.example/",
    "http://127.0.0.2\\.site.example:{port}/",
    "http://@127.0.0.2:{port}/",
    "http://site.example#@127.0.0.2:{port}/",
    "http://site.example:80:{port}/",
    "http://site.example:0/",
    "http://site.example:65536/",
    "http://site.example:８０/",
    "http://site.example:+80/",
    "http://site.example :{port}/",
    "http://127.0.0.2\t:{port}/",
    "http://127.0.0.2:{port}/\r\nHost: site.example",
    "\thttp://127.0.0.2:{port}/",
    "http://site.example/\x00",
    "http:///127.0.0.2:{port}/",
    "http:/127.0.0.2:{port}/",
    "http:127.0.0.2:{port}/",
    "//127.0.0.2:{port}/",
    "127.0.0.2:{port}/",
    "https://127.0.0.2:{port}/",
    "ftp://site.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.2:{port}/_x",
    "data:text/html,x",
    "javascript:fetch('//127.0.0.2')",
    "unix:///run/socket",
    "ws://127.0.0.2:{port}/",
    "jar:http://127.0.0.2:{port}/!/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/",
    "http://a..b.example/",
    "http://" + "a" * 64 + ".example/",
    "http://site.example/" + "a" * 20_000,
    "http://xn--a.xn--\u00e4.example/",
    "http://\u202eelpmaxe.etis/",
    "http://\ud800/",
    "",
    "http://",
]


@pytest.mark.parametrize("url", ATTACKS)
async def test_no_form_of_an_address_leads_inside(url: str) -> None:
    async with trap() as inside, client(Names()) as egress:
        with pytest.raises(Forbidden):
            await egress.fetch(url.format(port=inside.port), cap=1000)


def test_there_are_as_many_attacks_as_we_say() -> None:
    assert len(set(ATTACKS)) >= 60


async def test_the_trap_catches() -> None:
    """The tests above could pass by a trap that nobody can reach."""

    async def get_inside() -> None:
        async with trap() as inside, client(Names(), config(f"{INSIDE}/32")) as egress:
            _, body = await egress.fetch(f"http://inside.example:{inside.port}/", cap=1000)
            assert body == b"the secret of the inside"

    with pytest.raises(AssertionError):
        await get_inside()


BROKEN_RULES = [
    ("http://2130706434/", "unusual form"),
    ("http://127.2/", "unusual form"),
    ("http://0x7f.0.0.2/", "unusual form"),
    ("http://127.0.0.02/", "unusual form"),
    ("http://site.example.0x7f/", "unusual form"),
    ("http://user@site.example/", "user name"),
    ("http://user:pw@site.example/", "user name"),
    ("http://site.example\\@other.example/", "user name"),
    ("http://site.example\\other/", "no name"),
    ("http://site%2eexample/", "no name"),
    ("http://site..example/", "no name"),
    ("http://site.example../", "no name"),
    ("http://" + "a" * 64 + ".example/", "no name"),
    ("http://" + "a." * 127 + "example/", "no name"),
    ("http://\u202esite.example/", "no name"),
    ("http://[fe80::1%25lo]/", "zone"),
    ("http://[2606:4700::1111%251]/", "zone"),
    ("http://[1.2.3.4]/", "no IPv6"),
    ("http://site.example:0/", "no such port"),
    ("http://site.example:65536/", "no such port"),
    ("http://site.example:123456/", "host and port"),
    ("http://site.example:80:80/", "host and port"),
    ("http://site.example/\x00", "control"),
    ("http://site.example/\r\nX: y", "control"),
    ("http://site.example\t/", "control"),
    ("http://site.example/\x7f", "control"),
    ("http://site.example/\x85", "control"),
    ("http://site.example/\ud800", "control"),
    ("http://site.example/" + "a" * 20_000, "16,384 characters"),
    ("ftp://site.example/", "only http and https"),
    ("ws://site.example/", "only http and https"),
    ("http:site.example", "no host"),
    ("http:///site.example", "no host"),
    ("site.example/x", "no full address"),
]


@pytest.mark.parametrize(("url", "rule"), BROKEN_RULES)
def test_each_rule_stands_alone(url: str, rule: str) -> None:
    """Whatever the addresses behind it are."""
    with pytest.raises(Forbidden) as raised:
        parse(url)
    assert rule in raised.value.rule
    assert "pw" not in str(raised.value)


GOOD = [
    ("https://example.com", "https://example.com/"),
    ("HTTPS://Example.COM:443/A", "https://example.com/A"),
    ("http://example.com:8080/x", "http://example.com:8080/x"),
    ("http://example.com:/x", "http://example.com/x"),
    ("http://example.com./x", "http://example.com/x"),
    (" https://example.com/x ", "https://example.com/x"),
    ("https://example.com/a?b=c#d", "https://example.com/a?b=c"),
    ("https://example.com?b=c", "https://example.com/?b=c"),
    (
        "https://example.com/?format=json&url=http%3A%2F%2F127.0.0.1%2F",
        "https://example.com/?format=json&url=http%3A%2F%2F127.0.0.1%2F",
    ),
    ("https://example.com/a b\\c?q=ü", "https://example.com/a%20b%5Cc?q=%C3%BC"),
    ("https://example.com/wiki/Café_(x)", "https://example.com/wiki/Caf%C3%A9_(x)"),
    ("https://example.com/@user/100%25", "https://example.com/@user/100%25"),
    ("https://bücher.example/", "https://xn--bcher-kva.example/"),
    ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
    ("https://例え.テスト/", "https://xn--r8jz45g.xn--zckzah/"),
    ("https://my_host.example/", "https://my_host.example/"),
    ("https://1password.example/", "https://1password.example/"),
    ("https://3.example.com/", "https://3.example.com/"),
    ("http://8.8.8.8:53/", "http://8.8.8.8:53/"),
    ("http://[2606:4700:0:0::1111]:8080/", "http://[2606:4700::1111]:8080/"),
    ("https://example.com/?" + "q" * 8000, "https://example.com/?" + "q" * 8000),
]


@pytest.mark.parametrize(("url", "read"), GOOD)
def test_a_decent_address_is_read_as_it_is_meant(url: str, read: str) -> None:
    assert parse(url).url == read


JOINED = [
    ("../c", "https://site.example/c"),
    ("c", "https://site.example/a/c"),
    ("/c?d", "https://site.example/c?d"),
    ("?d=e", "https://site.example/a/b?d=e"),
    ("//other.example/c", "https://other.example/c"),
    ("http://other.example", "http://other.example/"),
    ("/ä", "https://site.example/%C3%A4"),
]


@pytest.mark.parametrize(("location", "read"), JOINED)
def test_where_a_redirect_leads(location: str, read: str) -> None:
    assert join(parse("https://site.example/a/b"), location).url == read


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "2a00:1450:4001:81b::200e"])
async def test_a_global_address_is_dialled_as_it_is(address: str) -> None:
    network, names = Dialled(), Names()
    with pytest.raises(Unreachable, match="nobody answers"):
        await Guard(AddressRules(), resolver=names, network=network).connect_tcp(address, 443)
    assert (network.addresses, names.asked) == ([address], [])
