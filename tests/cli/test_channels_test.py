"""`nanobot channels test`, as a real process against the fake server; and what `doctor` says of Telegram."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from nanobot.cli.checks_telegram import telegram
from nanobot.cli.findings import Facts, Finding, Verdict
from nanobot.config.paths import Places
from nanobot.config.schema import ChannelsConfig, Config, Secret, TelegramConfig
from tests.cli.command import Ended, process
from tests.fakes.telegram import FakeTelegram, fake_telegram


async def asked(place: Path, fake: FakeTelegram, *words: str, **environ: str) -> Ended:
    def run() -> Ended:
        given = {"NANOBOT_CHANNELS__TELEGRAM__TOKEN": fake.token, "NANOBOT_CHANNELS__TELEGRAM__API_BASE": fake.url, **environ}
        return process("channels", "test", *words, home=place, **given)

    return await trio.to_thread.run_sync(run)


async def test_it_says_who_we_are_there_and_sends_nothing(tmp_path: Path) -> None:
    async with fake_telegram() as fake:
        ended = await asked(tmp_path, fake, "telegram")
        assert (ended.code, ended.out.splitlines()[0]) == (0, "It is @house_bot (House, id 123456789).")
        assert "privacy mode is on" in ended.out
        assert {call.method for call in fake.calls} == {"getMe", "getWebhookInfo"}


async def test_it_sends_where_it_is_told_to(tmp_path: Path) -> None:
    async with fake_telegram() as fake:
        ended = await asked(tmp_path, fake, "telegram", "--to", "42")
        assert (ended.code, len(fake.chat(42))) == (0, 1)


async def test_a_wrong_token_is_said_and_not_shown(tmp_path: Path) -> None:
    async with fake_telegram() as fake:
        ended = await asked(tmp_path, fake, "telegram", NANOBOT_CHANNELS__TELEGRAM__TOKEN="987654321:" + "x" * 35)
    assert (ended.code, "does not know the bot" in ended.err, "xxxx" in ended.err) == (1, True, False)


@pytest.mark.parametrize("name", ["fax", "web"])
def test_what_is_no_network(tmp_path: Path, name: str) -> None:
    ended = process("channels", "test", name, home=tmp_path)
    assert (ended.code, ended.err.startswith(f"There is no network {name}. There are: telegram")) == (1, True)


GOOD = "123456789:" + "A" * 35


@pytest.mark.parametrize(
    ("settings", "verdict", "says"),
    [
        ({"enabled": False}, Verdict.OK, "not enabled"),
        ({}, Verdict.OK, "nanobot channels test telegram"),
        ({"token": Secret()}, Verdict.BAD, "@BotFather gives you one"),
        ({"token": Secret(f" {GOOD}")}, Verdict.BAD, "is not like one"),
        ({"group_allow_from": ("1001",)}, Verdict.WARN, "'1001' is no group"),
        ({"allow_from": ("-1001",)}, Verdict.WARN, "-1001 is a group or a channel, and names what is written in its own name"),
        ({"allow_from": ("@ann",)}, Verdict.WARN, "'@ann' is a name"),
        ({"allow_from": ("42", "42|ann", "*"), "group_allow_from": ("-1001",)}, Verdict.OK, ""),
        ({"group_policy": "open"}, Verdict.WARN, "privacy mode"),
    ],
)
def test_what_doctor_says(tmp_path: Path, settings: dict[str, Any], verdict: Verdict, says: str) -> None:
    found = said_by_doctor(tmp_path, settings)
    assert (found.verdict, says in found.text, GOOD in found.text) == (verdict, True, False)


def test_what_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "telegram", None)
    assert said_by_doctor(tmp_path, {}).text.endswith("pip install 'nanobot[telegram]'")


def said_by_doctor(place: Path, settings: dict[str, Any]) -> Finding:
    section = TelegramConfig(**{"enabled": True, "token": Secret(GOOD), **settings})
    return telegram(Facts(Places(place / "config.json", named=True), {}, Config(channels=ChannelsConfig(telegram=section))))
