"""Names: looked up once, every address checked, and the connection made to one that was."""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence

import pytest
import trio

from nanobot.security.egress_address import AddressRules
from nanobot.security.egress_errors import EgressError, Forbidden, TimedOut, Unreachable
from nanobot.security.egress_wire import Guard, system_resolver
from tests.security.egress.kit import INSIDE, OUTSIDE, PATIENCE, Dialled, Names, answer, client, config, says, scripted, trap

GLOBAL = "8.8.8.8"


async def dialled(*addresses: str) -> list[str]:
    """What is dialled for a name with these addresses, on a network where nobody answers."""
    network = Dialled()
    try:
        await Guard(AddressRules(), resolver=Names(x_example=[addresses]), network=network).connect_tcp("x.example", 80)
    except Unreachable:
        pass
    return network.addresses


@pytest.mark.parametrize(
    "addresses",
    [
        [INSIDE],
        [GLOBAL, INSIDE],
        [INSIDE, GLOBAL],
        [GLOBAL, "1.1.1.1", "::1"],
        [GLOBAL, "::ffff:127.0.0.2"],
        [GLOBAL, "fe80::1%1"],
        [*[GLOBAL] * 20, "10.0.0.1"],
        ["64:ff9b::7f00:2"],
    ],
)
async def test_one_bad_address_refuses_the_name(addresses: Sequence[str]) -> None:
    with pytest.raises(Forbidden):
        await dialled(*addresses)


async def test_every_address_is_tried_in_both_families() -> None:
    assert await dialled(GLOBAL, "1.1.1.1", "2606:4700::1111") == [GLOBAL, "2606:4700::1111", "1.1.1.1"]


async def test_no_more_than_a_few_addresses_are_tried() -> None:
    assert len(await dialled(*(f"8.8.8.{n}" for n in range(100)))) == 8


async def test_rebinding_between_check_and_connection_changes_nothing() -> None:
    """The name leads outside when it is checked and inside ever after: it is not looked up again."""
    names = Names(site_example=[[OUTSIDE], [INSIDE]])
    async with trap(), scripted(says(answer(b"outside"))) as server, client(names) as egress:
        _, body = await egress.fetch(f"http://site.example:{server.port}/", cap=1000)
        assert (body, names.asked) == (b"outside", ["site.example"])


async def test_rebinding_between_two_requests_is_seen() -> None:
    names = Names(site_example=[[OUTSIDE], [INSIDE]])
    async with scripted(says(answer(b"x", "Connection: close"))) as server, client(names) as egress:
        await egress.fetch(f"http://site.example:{server.port}/", cap=1000)
        with pytest.raises(Forbidden, match=INSIDE):
            await egress.fetch(f"http://site.example:{server.port}/", cap=1000)


async def test_rebinding_between_redirects_is_seen() -> None:
    names = Names(site_example=[[OUTSIDE], [INSIDE]])
    onward = answer(b"", "Location: /again", "Connection: close", status="302 Found")
    async with trap(), scripted(says(onward)) as server, client(names) as egress:
        with pytest.raises(Forbidden, match=INSIDE):
            await egress.fetch(f"http://site.example:{server.port}/", cap=1000)
        assert server.visits == 1


async def test_a_name_that_stands_for_another_counts_by_its_addresses() -> None:
    """An alias of a name inside comes as that one's addresses."""
    async with trap() as inside, client(Names(alias_example=[["10.1.2.3", INSIDE]])) as egress:
        with pytest.raises(Forbidden, match=r"10\.1\.2\.3, which is a private network"):
            await egress.fetch(f"http://alias.example:{inside.port}/", cap=1000)


async def test_localhost_by_the_real_resolver() -> None:
    async with client(None, config("10.0.0.0/8")) as egress:
        egress._resolver = system_resolver
        with pytest.raises(Forbidden, match="loopback"):
            await egress.fetch("http://localhost/", cap=1000)


@pytest.mark.parametrize("form", ["127.0.0.1", "127.1", "0x7f000001", "2130706433"])
async def test_what_the_system_makes_of_a_number_is_checked_too(form: str) -> None:
    """Past the parser: the way to the network does not rely on it."""
    with pytest.raises(Forbidden, match="loopback"):
        await Guard(AddressRules(), network=Dialled()).connect_tcp(form, 80)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError(), None])
async def test_a_name_without_an_address(error: Exception | None) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        if error is not None:
            raise error
        return []

    with pytest.raises(Unreachable, match=r"no address for the name x\.example"):
        await Guard(AddressRules(), resolver=resolver).connect_tcp("x.example", 80)


async def test_a_look_up_that_does_not_end(autojump_clock: trio.testing.MockClock) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        await trio.sleep(math.inf)
        return []

    with pytest.raises(TimedOut, match="within 10 s"):
        await Guard(AddressRules(), resolver=resolver).connect_tcp("x.example", 80)


class Deaf(Dialled):
    """Takes no connection and refuses none."""

    async def connect_tcp(self, host: str, port: int, **_options: object) -> object:  # type: ignore[override]
        self.addresses.append(host)
        await trio.sleep(math.inf)
        return None


async def test_a_connection_that_is_not_taken(autojump_clock: trio.testing.MockClock) -> None:
    network = Deaf()
    guard = Guard(AddressRules(), resolver=Names(x_example=[[GLOBAL, "1.1.1.1"]]), network=network)
    with pytest.raises(TimedOut):
        await guard.connect_tcp("x.example", 80)
    assert (network.addresses, trio.current_time() < PATIENCE) == ([GLOBAL, "1.1.1.1"], True)


async def test_a_dead_address_does_not_hold_up_a_live_one() -> None:
    """The first address refuses the connection at once; the second answers."""
    names = Names(site_example=[["127.0.0.3", OUTSIDE]])
    async with scripted(says(answer(b"alive"))) as server, client(names, config("127.0.0.0/8")) as egress:
        assert (await egress.fetch(f"http://site.example:{server.port}/", cap=1000))[1] == b"alive"


async def test_sockets_of_this_machine_are_no_way() -> None:
    with pytest.raises(Forbidden):
        await Guard(AddressRules()).connect_unix_socket("/run/docker.sock")


async def test_a_closed_port_is_a_sentence() -> None:
    async with client() as egress:
        with pytest.raises(EgressError, match=r"no connection to port 1 of 127\.0\.0\.1: .*refused"):
            await egress.fetch(f"http://{OUTSIDE}:1/", cap=1000)
