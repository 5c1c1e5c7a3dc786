"""Redirects: each one is a new address, and nothing of the caller's goes along to another origin."""

from __future__ import annotations

import pytest

from nanobot.security.egress import Ask, redirected
from nanobot.security.egress_errors import Forbidden, TooManyRedirects
from nanobot.security.egress_url import parse
from tests.fakes.loopback import Handler, HttpRequest, Responder, loopback
from tests.security.egress.kit import INSIDE, client, trap

CAP = 10_000
KEYS = {"Authorization": "Bearer k", "Cookie": "a=b", "X-Subscription-Token": "k", "Accept-Language": "de"}


def to(location: str, status: int = 302) -> Handler:
    """Every path but /end leads to `location`."""

    async def handler(request: HttpRequest, responder: Responder) -> None:
        if request.path.startswith("/end"):
            told = [request.method, *sorted(request.headers), request.body.decode()]
            await responder.reply(200, "\n".join(told).encode())
        else:
            await responder.reply(status, b"moved", [("location", location.encode())])  # type: ignore[list-item]  # bare UTF-8

    return handler


INWARD = [
    "http://{inside}/",
    "//{inside}/",
    "http://127.2:{port}/",
    "http://0x7f000002:{port}/",
    "http://2130706434:{port}/",
    "http://[::ffff:127.0.0.2]:{port}/",
    "http://inside.example:{port}/",
    "http://site.example@{inside}/",
    "http://{inside}\\@site.example/",
    "HTTP://{inside}/",
    "http://１２７.0.0.2:{port}/",
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "https://{inside}/",
    "file:///etc/passwd",
    "ftp://{inside}/",
    "gopher://{inside}/",
    "data:text/plain,x",
    "http:{inside}",
    "http:\t//{inside}/",
    "http://",
    "http://user:password@site.example/",
]


@pytest.mark.parametrize("location", INWARD)
async def test_no_redirect_leads_inside(location: str) -> None:
    async with trap() as inside, client() as egress:
        where = location.format(inside=f"{INSIDE}:{inside.port}", port=inside.port)
        async with loopback(to(where)) as server:
            with pytest.raises(Forbidden):
                await egress.fetch(f"http://site.example:{server.port}/", cap=CAP)


async def test_a_redirect_in_a_redirect_leads_no_further() -> None:
    async with trap() as inside, client() as egress, loopback(to(f"http://{INSIDE}:{inside.port}/")) as second:  # noqa: SIM117
        async with loopback(to(f"http://other.example:{second.port}/")) as first:  # needs the port of the second
            with pytest.raises(Forbidden):
                await egress.fetch(f"http://site.example:{first.port}/", cap=CAP)
            assert (first.accepted, second.accepted) == (1, 1)


async def test_a_loop_ends() -> None:
    async with loopback(to("/again")) as server, client() as egress:
        with pytest.raises(TooManyRedirects, match="more than 5"):
            await egress.fetch(f"http://site.example:{server.port}/", cap=CAP)
        assert server.accepted == 6


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["/end", "end", "http://other.example:{port}/end", "//site.example:{port}/end#part", "/ä/../end"]
)
async def test_a_decent_redirect_is_followed(status: int, location: str) -> None:
    async with loopback(to("", status)) as server, client() as egress:
        server.handler = to(location.format(port=server.port), status)
        page, body = await egress.fetch(f"http://site.example:{server.port}/", cap=CAP)
        assert (page.status, page.url[-4:], body[:3]) == (200, "/end", b"GET")


@pytest.mark.parametrize("status", [300, 305])
async def test_other_answers_are_no_redirects(status: int) -> None:
    async with loopback(to("/end", status)) as server, client() as egress:
        page, _ = await egress.fetch(f"http://site.example:{server.port}/", cap=CAP)
        assert page.status == status


async def sent_on(location: str) -> set[str]:
    """The caller's headers that arrive at the end of a redirect from site.example."""
    async with loopback(to("")) as server, client() as egress:
        server.handler = to(location.format(port=server.port))
        _, body = await egress.fetch(f"http://site.example:{server.port}/", cap=CAP, headers=KEYS)
        return set(body.decode().splitlines()) & {name.lower() for name in KEYS}


async def test_keys_stay_with_the_origin_they_are_for() -> None:
    assert await sent_on("/end") == {name.lower() for name in KEYS}
    assert await sent_on("http://other.example:{port}/end") == {"accept-language"}
    assert await sent_on("http://www.site.example:{port}/end") == {"accept-language"}


def asked(url: str = "https://site.example/", method: str = "GET", body: bytes = b"") -> Ask:
    headers = {"authorization": "k", "accept": "*/*", "content-type": "a/b", "accept-encoding": "gzip"}
    return Ask(parse(url), method, headers, body)


@pytest.mark.parametrize(
    "location",
    [
        "http://site.example/",
        "https://site.example:444/",
        "https://other.example/",
        "https://a.site.example/",
        "//site.example:80/",
    ],
)
def test_what_is_another_origin(location: str) -> None:
    """A step down from https above all."""
    assert redirected(asked(), 302, location).headers.keys() == {"accept", "accept-encoding"}


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "POST", "GET", b""),
        (302, "POST", "GET", b""),
        (303, "POST", "GET", b""),
        (303, "HEAD", "HEAD", b""),
        (307, "POST", "POST", b"{}"),
        (308, "POST", "POST", b"{}"),
        (301, "PUT", "PUT", b"{}"),
        (302, "GET", "GET", b""),
    ],
)
def test_the_method_after_a_redirect(status: int, method: str, then: str, body: bytes) -> None:
    after = redirected(asked(method=method, body=b"{}" if method in ("POST", "PUT") else b""), status, "/next")
    assert (after.method, after.body) == (then, body)
    assert ("content-type" in after.headers) is (bool(body) or (status == 302 and method == "GET"))


def test_a_body_is_not_sent_on_to_another_origin() -> None:
    with pytest.raises(Forbidden, match=r"meant for site\.example"):
        redirected(asked(method="POST", body=b"secret"), 307, "https://other.example/")
