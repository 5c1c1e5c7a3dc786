"""The token of the page: whose it is, where it is kept, and where there must be one."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from nanobot.config.schema import GatewayConfig, Secret
from nanobot.errors import ConfigError
from nanobot.web import token
from nanobot.web.token import FILE, is_loopback, token_of


def test_a_configured_token_is_the_token(tmp_path: Path) -> None:
    assert token_of(GatewayConfig(token=Secret("sesame-sesame"), host="0.0.0.0"), tmp_path) == "sesame-sesame"
    assert not (tmp_path / FILE).exists()


def test_without_one_it_is_made_once_and_only_for_us(tmp_path: Path) -> None:
    first = token_of(GatewayConfig(), tmp_path)
    assert len(first) >= 40
    assert token_of(GatewayConfig(), tmp_path) == first
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_it_is_never_there_for_others_to_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        token._make(tmp_path / FILE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_two_houses_make_two_tokens(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert token.kept(tmp_path / "a") != token.kept(tmp_path / "b")


def test_a_file_that_others_could_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("sesame-sesame\n")
    (tmp_path / FILE).chmod(0o644)
    assert token.kept(tmp_path) == "sesame-sesame"
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_of_many_that_make_it_at_once_all_have_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(8)
    make = token._make

    def make_together(path: Path) -> None:
        together.wait(10)  # every thread has seen that there is none
        make(path)

    monkeypatch.setattr(token, "_make", make_together)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(token.kept(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("text", ["", "\n", "with a space", "ümlaut", "two\nlines"])
def test_a_file_that_holds_no_token_is_a_mistake_not_an_open_door(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match="delete it"):
        token.kept(tmp_path)


@pytest.mark.parametrize("text", [" ", "with a space", "ümlaut"])
def test_a_configured_token_that_no_header_can_carry(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.token"):
        token_of(GatewayConfig(token=Secret(text)), tmp_path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_where_others_can_reach_it_the_token_must_be_chosen(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=r"set gateway\.token to a long random text"):
        token_of(GatewayConfig(host=host), tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LocalHost"])
def test_what_loopback_is(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "localhost.example.org", "127.0.0.1.example.org"])
def test_what_loopback_is_not(host: str) -> None:
    assert not is_loopback(host)
