"""Logins: with a person, kept, renewed, bound to their address, and never begun in the background."""

from __future__ import annotations

import json
import stat
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import pytest
import trio

from nanobot.config.redaction import clean
from nanobot.config.schema import McpAuth, McpServerConfig, ToolsConfig
from nanobot.errors import NanobotError
from nanobot.mcp.auth_file import AuthFile, Login
from nanobot.mcp.callback import PATH, Returned, open_callback
from nanobot.mcp.login import logged_in
from tests.fakes.mcp_http import Site, browse, mcp_site
from tests.mcp.kit import HERE, configured, keeping


async def log_in(folder: Path, site: Site, **instead: str) -> str:
    """As the command does, with a person who agrees."""
    file, config = AuthFile.below(folder), McpServerConfig(url=site.url, networks=HERE)

    def show(address: str) -> None:
        trio.from_thread.run(partial(browse, address, **instead))

    with trio.fail_after(20):
        return await logged_in(file, "one", config, ToolsConfig(), show)


def kept_login(folder: Path, site: Site) -> Login:
    login = AuthFile.below(folder).of("one", site.url)
    assert login is not None
    return login


def config_for(site: Site, auth: McpAuth = "auto") -> McpServerConfig:
    return McpServerConfig(url=site.url, networks=HERE, auth=auth)


async def test_a_login_is_made_kept_and_used(tmp_path: Path) -> None:
    async with mcp_site(login=True) as site:
        assert await log_in(tmp_path, site) == "You are logged in: site 1, protocol 2025-11-25."
        file = tmp_path / "auth" / "mcp.json"
        assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
        assert clean("access-1 and refresh-1") == "*** and ***"
        async with keeping(tmp_path, configured(one=config_for(site))) as kept:
            await kept.until_up()
            assert (await kept.call("mcp_one_echo", text="hello")).text == "hello"
        assert site.grants == ["authorization_code"]
        [client] = site.registered
        assert client["client_name"] == "nanobot"
        assert urlsplit(client["redirect_uris"][0]).path == PATH


async def test_a_server_without_a_login(tmp_path: Path) -> None:
    async with mcp_site() as site:
        assert await log_in(tmp_path, site) == "It asks for no login: site 1, protocol 2025-11-25."


async def test_a_token_that_expires_is_renewed_where_it_came_from(tmp_path: Path) -> None:
    async with mcp_site(login=True, token_s=1) as site:
        await log_in(tmp_path, site)
        assert kept_login(tmp_path, site).expires_at is not None
        async with keeping(tmp_path, configured(one=config_for(site))) as kept:
            await kept.until_up()
            assert (await kept.call("mcp_one_echo", text="hello")).text == "hello"
        assert "refresh_token" in site.grants
        assert kept_login(tmp_path, site).tokens["access_token"] == site.tokens[0]
        assert kept_login(tmp_path, site).generation == len(site.grants)


async def test_the_second_login_is_by_the_same_registration(tmp_path: Path) -> None:
    async with mcp_site(login=True) as site:
        await log_in(tmp_path, site)
        await log_in(tmp_path, site)
        assert (len(site.registered), site.grants) == (1, ["authorization_code"] * 2)


async def test_in_the_background_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    async with mcp_site(login=True) as site, keeping(tmp_path, configured(one=config_for(site))) as kept:
        await kept.until(lambda: kept.node().state == "parked")
        assert kept.node().error == "it refuses us (HTTP 401): nanobot mcp login one"
        assert site.registered == []
        await log_in(tmp_path, site)
        site.tokens.clear()  # and refuses what it gave
        monkeypatch.setattr(site, "_number", 99)
        await kept.servers.restart("one")
        await kept.until(lambda: kept.node().state == "parked" and "login is not good" in kept.node().error)
        assert kept.node().error == "its login is not good any more: nanobot mcp login one"
        assert len(site.registered) == 1
    assert opened == []


async def test_what_another_process_renewed_is_used(tmp_path: Path) -> None:
    async with mcp_site(login=True) as site:
        await log_in(tmp_path, site)
        async with keeping(tmp_path, configured(one=config_for(site))) as kept:
            await kept.until_up()
            file, before = AuthFile.below(tmp_path), kept_login(tmp_path, site)
            site.tokens = ["access-of-another"]
            file.put("one", attrs.evolve(before, tokens={**before.tokens, "access_token": "access-of-another"}))
            site._number = 99
            await kept.call("mcp_one_echo", text="x")
            await kept.until_up()
            assert (await kept.call("mcp_one_echo", text="hello")).text == "hello"


async def test_a_login_is_for_its_address(tmp_path: Path) -> None:
    async with mcp_site(login=True) as site, mcp_site() as other:
        await log_in(tmp_path, site)
        async with keeping(tmp_path, configured(one=config_for(other))) as kept:
            await kept.until_up()
        assert all("authorization" not in request.headers for request in other.seen)
        async with keeping(tmp_path, configured(one=config_for(site, auth="none"))) as kept:
            await kept.until(lambda: kept.node().state == "parked")


@pytest.mark.parametrize(
    ("instead", "said"),
    [({"error": "access_denied", "code": ""}, "The login was refused: access_denied"), ({"code": "another"}, "one: ")],
)
async def test_a_login_that_fails_keeps_nothing(tmp_path: Path, instead: dict[str, str], said: str) -> None:
    async with mcp_site(login=True) as site:
        with pytest.raises(NanobotError, match=said):
            await log_in(tmp_path, site, **instead)
        assert AuthFile.below(tmp_path).of("one", site.url) is None


# --- where the browser comes back to


async def visit(port: int, target: str, host: str = "") -> int:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: {host or f'127.0.0.1:{port}'}\r\n\r\n".encode())
        return int((await stream.receive_some()).split()[1])


async def test_only_the_answer_that_was_asked_for_is_taken() -> None:
    async with open_callback() as callback:
        assert await visit(callback.port, f"{PATH}?code=c&state=") == 404  # nothing is waited for yet
        callback.state = "right"
        assert await visit(callback.port, f"{PATH}?code=c&state=wrong") == 404
        assert await visit(callback.port, f"{PATH}?code=c") == 404
        assert await visit(callback.port, "/?code=c&state=right") == 404
        assert await visit(callback.port, f"{PATH}?code=c&state=right", host="evil.example") == 404
        assert await visit(callback.port, f"{PATH}?code=c&state=right&iss=i") == 200
        assert await visit(callback.port, f"{PATH}?code=late&state=right") == 200
        assert await callback.wait() == Returned("c", "right", "i")


async def test_who_says_nothing_and_who_says_too_much_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.mcp.callback.REQUEST_S", 0.2)
    async with open_callback() as callback:
        callback.state = "right"
        async with await trio.open_tcp_stream("127.0.0.1", callback.port) as silent:
            assert await silent.receive_some() == b""
        async with await trio.open_tcp_stream("127.0.0.1", callback.port) as loud:
            with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
                await loud.send_all(b"x" * 50_000_000)
        assert await visit(callback.port, f"{PATH}?code=c&state=right") == 200


def test_a_pasted_address_is_an_answer_too() -> None:
    from nanobot.mcp.callback import Callback

    callback = Callback(state="right")
    assert not callback.take("http://[::1")
    assert not callback.take("hello")
    assert callback.take(f"  http://127.0.0.1:1{PATH}?code=c&state=right\n")


# --- the file

LOGIN = Login("https://a.example/mcp", {"access_token": "token-of-a"}, {"client_id": "c"})


def test_what_is_kept_is_read(tmp_path: Path) -> None:
    file = AuthFile.below(tmp_path)
    assert file.of("a", LOGIN.url) is None
    assert file.put("a", LOGIN).generation == 1
    assert file.put("b", attrs.evolve(LOGIN, expires_at=7.0, metadata={"issuer": "i"})).generation == 1
    assert file.of("a", LOGIN.url) == attrs.evolve(LOGIN, generation=1)
    assert file.of("a", "https://other.example/mcp") is None
    file.remove("a")
    assert (file.of("a", LOGIN.url), getattr(file.of("b", LOGIN.url), "expires_at", None)) == (None, 7.0)


def test_who_holds_an_older_login_does_not_write_over_a_newer_one(tmp_path: Path) -> None:
    file = AuthFile.below(tmp_path)
    first = file.put("a", LOGIN)
    newer = file.put("a", attrs.evolve(LOGIN, tokens={"access_token": "newer-token"}), over=first.generation)
    assert file.put("a", attrs.evolve(LOGIN, tokens={"access_token": "late-token"}), over=first.generation) == newer


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"servers": 7}', '{"servers": {"a": {"url": 1}}}', "[" * 100_000], ids=str.__len__
)
def test_a_damaged_file_is_no_login(tmp_path: Path, text: str) -> None:
    file = AuthFile.below(tmp_path)
    file.path.parent.mkdir()
    file.path.write_text(text)
    assert file.of("a", LOGIN.url) is None
    file.put("a", LOGIN)
    assert json.loads(file.path.read_text())["servers"].keys() == {"a"}
