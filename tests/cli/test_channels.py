"""`nanobot channels`, with and without a gateway."""

from __future__ import annotations

import json
import time
from pathlib import Path

from nanobot.errors import NanobotError
from nanobot.supervise.status import Node
from tests.cli.command import CommandLine
from tests.fakes.gateway import FakeGateway, listening, tree


def data(nanobot: CommandLine) -> Path:
    return nanobot.home / ".nanobot"


def shown(out: str) -> list[str]:
    """Its lines, however wide the columns are."""
    return [" ".join(line.split()) for line in out.splitlines()]


def test_without_a_gateway_the_configuration_speaks(nanobot: CommandLine) -> None:
    ended = nanobot("channels", "status")
    assert (ended.code, shown(ended.out)[0]) == (0, "web enabled")
    assert ended.out.endswith("\n\nThe gateway is not running. Start it: nanobot gateway\n")
    assert "telegram disabled" in shown(ended.out)
    off = nanobot("channels", "status", NANOBOT_CHANNELS__WEB__ENABLED="false")
    assert shown(off.out)[0] == "web disabled"
    told = json.loads(nanobot("channels", "status", "--json").out)
    assert told["running"] is False
    assert told["channels"][0] == {"name": "web", "enabled": True, "live": None}


def test_the_gateway_says_how_they_are(nanobot: CommandLine) -> None:
    web = Node("web", "channel", "up", time.time() - 50)
    other = Node("fake", "channel", "parked", time.time() - 7200, 10, "the token was revoked")
    with listening(data(nanobot), FakeGateway(tree(web, other))):
        ended = nanobot("channels", "status")
        told = json.loads(nanobot("channels", "status", "--json").out)
    assert shown(ended.out)[0] == "web enabled up 50 s"
    assert shown(ended.out)[-1] == "fake disabled parked 2 h 10 restarts; last error: the token was revoked"
    assert told["running"] is True
    live = [(channel["name"], channel["live"]["state"]) for channel in told["channels"] if channel["live"]]
    assert live == [("web", "up"), ("fake", "parked")]


def test_restart(nanobot: CommandLine) -> None:
    with listening(data(nanobot), FakeGateway()) as gateway:
        ended = nanobot("channels", "restart", "web")
    assert (ended.code, ended.out) == (0, "web was started again. See how it is: nanobot channels status\n")
    assert gateway.asked == ["restart_channel web"]


def test_restart_of_what_is_not_there(nanobot: CommandLine) -> None:
    with listening(data(nanobot), FakeGateway(error=NanobotError("There is no channel wbe. Did you mean web?"))):
        ended = nanobot("channels", "restart", "wbe")
    assert (ended.code, ended.err) == (1, "There is no channel wbe. Did you mean web?\n")


def test_restart_without_a_gateway(nanobot: CommandLine) -> None:
    ended = nanobot("channels", "restart", "web")
    assert (ended.code, ended.err) == (1, "The gateway is not running. Start it: nanobot gateway\n")


def test_pairing_is_mounted(nanobot: CommandLine) -> None:
    assert nanobot("channels", "pair", "list").code == 0


def test_a_tree_without_times(nanobot: CommandLine) -> None:
    with listening(data(nanobot), FakeGateway(tree(Node("web", "channel", "disabled", 0.0)))):
        assert shown(nanobot("channels", "status").out)[0] == "web enabled disabled"
