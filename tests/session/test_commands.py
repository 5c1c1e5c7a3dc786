"""How a message is read as a command."""

from __future__ import annotations

import pytest

from nanobot.messages import ErrandId
from nanobot.session import events as ev
from nanobot.session.commands import TABLE, read


def check(model: str) -> str:
    return "" if model == "good" else f"no key for {model}"


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/new", ev.New()),
        ("  /STOP  ", ev.Stop()),
        ("/stop@my_bot", ev.Stop()),
        ("/undo", ev.Undo()),
        ("/retry", ev.Retry()),
        ("/retry yes", ev.Retry(confirmed=True)),
        ("/retry please", ev.Retry()),
        ("/model", ev.Ask("/model")),
        ("/model good", ev.ChooseModel("good")),
        ("/model bad", ev.ChooseModel("bad", "no key for bad")),
        ("/model default", ev.ChooseModel(None)),
        ("/status", ev.Ask("/status")),
        ("/sessions", ev.Ask("/sessions")),
        ("/approve 3FA92C.", ev.Approve(ErrandId("3fa92c"))),
        ("/deny `3fa92c`\n\nsent from my telephone", ev.Deny(ErrandId("3fa92c"))),
        ("/approve", ev.Approve(ErrandId(""))),
        ("/trust", ev.Trust()),
        ("hello /new", None),
        ("/etc/passwd says what?", None),
        ("/", None),
        ("// a comment", None),
        ("/2", None),
        ("", None),
    ],
)
def test_reading(text: str, command: ev.Command | None) -> None:
    assert read(text, check) == command


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    assert read("/sesions", check) == ev.Tell("There is no command /sesions. Did you mean /sessions? /help lists them.")


def test_help_lists_every_command() -> None:
    told = read("/help", check)
    assert isinstance(told, ev.Tell)
    assert all(name in told.text for name in TABLE)
