"""Servers that answer too much, too little, too slowly or not at all; and how decent ones are read."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest
import trio

from nanobot.security.egress_errors import BadAnswer, EgressError, TooLarge
from tests.fakes.loopback import HttpRequest, Responder, loopback
from tests.security.egress.kit import CAP, OUTSIDE, Script, answer, client, head_of, says, scripted

PAGE = b"<html>" + b"hello " * 2000
PACKED = gzip.compress(PAGE)
BARE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
DEFLATED = BARE.compress(PAGE) + BARE.flush()
BOMB = gzip.compress(b"\0" * 20_000_000)
EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"
GZIP = "Content-Encoding: gzip"
CHUNKED = "Transfer-Encoding: chunked"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


BAD: list[tuple[bytes, type[EgressError]]] = [
    (answer(b"x" * (CAP + 1)), TooLarge),
    (answer(BOMB, GZIP), TooLarge),
    (answer(gzip.compress(BOMB), "Content-Encoding: gzip, gzip"), BadAnswer),
    (answer(b"\x1f\x8b\x08" + b"\0" * 7 + EMPTY_BLOCK * CAP, GZIP), TooLarge),  # unpacks to nothing for ever
    (answer(PACKED[:-20], GZIP), BadAnswer),
    (answer(b"not packed at all", GZIP), BadAnswer),
    (answer(PACKED[:50] + b"????" + PACKED[54:], GZIP), BadAnswer),
    (answer(b"x", "Content-Encoding: br"), BadAnswer),
    (answer(b"short", "Content-Length: 500"), BadAnswer),
    (answer(b"x", "Content-Length: -1"), BadAnswer),
    (answer(b"x", "Content-Length: 1", "Content-Length: 2"), BadAnswer),
    (answer(b"zz\r\n", CHUNKED), BadAnswer),
    (answer(chunk(b"cut"), CHUNKED), BadAnswer),
    (answer(b"f" * 40 + b"\r\n", CHUNKED), BadAnswer),
    (answer(b"", *(f"X-{n}: {'x' * 1000}" for n in range(500))), BadAnswer),  # a flood of headers
    (answer(b"", "X: " + "x" * 500_000), BadAnswer),
    (b"HTTP/1.1 200 " + b"O" * 500_000, BadAnswer),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", BadAnswer),
    (b"", BadAnswer),
    (answer(chunk(b"x") + b"0\r\n" + b"T: x\r\n" * 100_000, CHUNKED), BadAnswer),  # a flood of trailers
]


@pytest.mark.parametrize(("data", "error"), BAD, ids=range(len(BAD)))
async def test_a_hostile_answer_is_an_error_of_ours(data: bytes, error: type[EgressError]) -> None:
    async with scripted(says(data)) as server, client() as egress:
        with pytest.raises(error):
            await egress.fetch(f"http://{OUTSIDE}:{server.port}/", cap=CAP)


async def test_no_more_than_the_cap_is_given() -> None:
    """What came before the cap can be used by who wants it."""
    async with scripted(says(answer(BOMB, GZIP))) as server, client() as egress:
        pieces: list[bytes] = []

        async def collect() -> None:
            async with egress.open(f"http://{OUTSIDE}:{server.port}/", cap=CAP) as page:
                async for piece in page.chunks:
                    pieces.append(piece)

        with pytest.raises(TooLarge):
            await collect()
        assert len(b"".join(pieces)) == CAP


async def for_ever(stream: trio.abc.Stream) -> None:
    await head_of(stream)
    await stream.send_all(answer(b"", "Content-Length: 999999999999"))
    while True:
        await stream.send_all(b"x" * 65536)


async def informs(stream: trio.abc.Stream) -> None:
    await head_of(stream)
    while True:
        await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        await trio.lowlevel.checkpoint()


async def drips(stream: trio.abc.Stream) -> None:
    await head_of(stream)
    await stream.send_all(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        await stream.send_all(b"x")
        await trio.sleep(0.01)


async def keeps_silent(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def test_an_endless_body_is_cut() -> None:
    async with scripted(for_ever) as server, client() as egress:
        with pytest.raises(TooLarge):
            await egress.fetch(f"http://{OUTSIDE}:{server.port}/", cap=CAP)


@pytest.mark.parametrize("script", [informs, drips, keeps_silent])
async def test_a_slow_one_ends_with_its_callers_deadline(script: Script) -> None:
    gone = trio.Event()

    async def watched(stream: trio.abc.Stream) -> None:
        try:
            await script(stream)
        finally:
            gone.set()

    async with scripted(watched) as server, client() as egress:
        with trio.move_on_after(0.3) as scope:
            await egress.fetch(f"http://{OUTSIDE}:{server.port}/", cap=CAP)
        assert scope.cancelled_caught
        if script is not keeps_silent:
            await gone.wait()  # the connection is closed: the server's next word fails


GOOD = [
    answer(PAGE),
    answer(PACKED, GZIP),
    answer(PACKED, "Content-Encoding: X-GZIP"),
    answer(PACKED[:500] + PACKED[500:] + gzip.compress(b""), GZIP),
    answer(gzip.compress(PAGE[:100]) + gzip.compress(PAGE[100:]), GZIP),
    answer(zlib.compress(PAGE), "Content-Encoding: deflate"),
    answer(DEFLATED, "Content-Encoding: deflate"),
    answer(PAGE, "Content-Encoding: identity"),
    answer(b"".join(chunk(PACKED[n : n + 7]) for n in range(0, len(PACKED), 7)) + b"0\r\n\r\n", CHUNKED, GZIP),
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + answer(PAGE),
    b"HTTP/1.0 200 OK\r\n\r\n" + PAGE,
]


@pytest.mark.parametrize("data", GOOD, ids=range(len(GOOD)))
async def test_a_decent_answer_is_read(data: bytes) -> None:
    async with scripted(says(data)) as server, client() as egress:
        page, body = await egress.fetch(f"http://{OUTSIDE}:{server.port}/", cap=CAP)
        assert (page.status, body) == (200, PAGE)


async def test_exactly_the_cap_is_not_too_much() -> None:
    async with scripted(says(answer(b"x" * CAP))) as server, client() as egress:
        assert len((await egress.fetch(f"http://{OUTSIDE}:{server.port}/", cap=CAP))[1]) == CAP


async def echo(request: HttpRequest, responder: Responder) -> None:
    told = {**request.headers, "method": request.method, "path": request.path, "body": request.body.decode()}
    text = "\n".join(f"{name}={value}" for name, value in told.items()).encode()
    await responder.reply(
        200, b"" if request.method == "HEAD" else text, [("set-cookie", "id=1; Path=/")], "Text/Plain; charset=x"
    )


async def test_connections_are_kept_and_cookies_are_not() -> None:
    async with loopback(echo) as server, client() as egress:
        for _ in range(2):
            await egress.fetch(server.url, cap=CAP)
        page, body = await egress.fetch(f"{server.url}/?format=x&a=%2e%2e#part", cap=CAP)
        assert (server.accepted, page.kind, page.url) == (1, "text/plain", f"{server.url}/?format=x&a=%2e%2e")
        told = dict(line.split("=", 1) for line in body.decode().splitlines())
        assert told.keys() == {"host", "user-agent", "accept", "accept-encoding", "method", "path", "body"}
        assert (told["path"], told["user-agent"][:8]) == ("/?format=x&a=%2e%2e", "nanobot/")


async def test_head_and_post() -> None:
    async with loopback(echo) as server, client() as egress:
        async with egress.open(server.url, cap=CAP, method="HEAD") as page:
            assert (page.status, await page.read()) == (200, b"")
        async with egress.open(server.url, cap=CAP, method="POST", body=b"{}", headers={"Content-Type": "a/b"}) as page:
            assert b"content-type=a/b" in (text := await page.read())
            assert b"body={}" in text


async def test_proxies_of_the_environment_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.2:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with loopback(echo) as server, client() as egress:
        assert (await egress.fetch(server.url, cap=CAP))[0].status == 200


# --- into a file


async def test_a_download_is_a_file_of_ours(tmp_path: Path) -> None:
    async with scripted(says(answer(PACKED, GZIP))) as server, client() as egress:
        await egress.download(f"http://{OUTSIDE}:{server.port}/", tmp_path / "a", cap=CAP)
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "a").stat().st_mode & 0o777) == (PAGE, 0o600)


FAILS: list[tuple[bytes, type[EgressError]]] = [
    (answer(b"", f"Content-Length: {CAP + 1}"), TooLarge),  # before anything of it is loaded
    (answer(BOMB, GZIP), TooLarge),
    (answer(b"x", "Content-Length: 9"), BadAnswer),
]


@pytest.mark.parametrize(("data", "error"), FAILS, ids=range(len(FAILS)))
async def test_a_download_that_fails_leaves_nothing(tmp_path: Path, data: bytes, error: type[EgressError]) -> None:
    async with scripted(says(data)) as server, client() as egress:
        with pytest.raises(error):
            await egress.download(f"http://{OUTSIDE}:{server.port}/", tmp_path / "a", cap=CAP)
    assert list(tmp_path.iterdir()) == []


async def test_a_download_never_writes_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    async with scripted(says(answer(b"theirs"))) as server, client() as egress:
        with pytest.raises(FileExistsError):
            await egress.download(f"http://{OUTSIDE}:{server.port}/", tmp_path / "a", cap=CAP)
    assert (tmp_path / "a").read_text() == "mine"
