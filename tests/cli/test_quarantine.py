"""`nanobot channels quarantine`, with and without a gateway."""

from __future__ import annotations

import json
import time

import pytest

from nanobot.channels.email.quarantine import Quarantine, Row
from tests.cli.command import CommandLine
from tests.fakes.gateway import FakeGateway, listening


@pytest.fixture
def store(nanobot: CommandLine) -> Quarantine:
    store = Quarantine(nanobot.home / ".nanobot" / "channels" / "email")
    row = Row("ab12cd34", 7, 1, "m@x", "Eve\x1b[2J <eve@x.example>", "Hello\u202e", time.time() - 120, "it may be forged")
    store.add([row, Row("00000000", 8, 1, "n@x", "bob@x.example", "", time.time(), "it is sent in bulk (Precedence)")])
    return store


def test_nothing_is_there(nanobot: CommandLine) -> None:
    assert nanobot("channels", "quarantine", "list").out == "No mail is in quarantine.\n"
    ended = nanobot("channels", "quarantine", "release", "ab12cd34")
    assert (ended.code, ended.err) == (
        1,
        "There is no mail ab12cd34 in quarantine. See: nanobot channels quarantine list\n",
    )


def test_list(nanobot: CommandLine, store: Quarantine) -> None:
    out = nanobot("channels", "quarantine", "list").out
    assert "\x1b" not in out
    assert [line.strip() for line in out.splitlines()][2:5:2] == ["it may be forged", "(no subject)"]
    assert [row["id"] for row in json.loads(nanobot("channels", "quarantine", "list", "--json").out)] == ["ab12cd34", "00000000"]


@pytest.mark.parametrize("running", [True, False])
def test_release(nanobot: CommandLine, store: Quarantine, running: bool) -> None:
    if running:
        with listening(nanobot.home / ".nanobot", FakeGateway()) as gateway:
            ended = nanobot("channels", "quarantine", "release", "ab12cd34")
        assert gateway.asked == ["restart_channel email"]
    else:
        ended = nanobot("channels", "quarantine", "release", "ab12cd34")
        assert ended.out == "It will be passed on when the gateway runs.\n"
    assert ended.code == 0
    assert [row.released for row in store.rows()] == [True, False]


@pytest.mark.parametrize("command", ["release", "drop"])
def test_of_several_mails_all_or_none_are_changed(nanobot: CommandLine, store: Quarantine, command: str) -> None:
    ended = nanobot("channels", "quarantine", command, "ab12cd34", "ffffffff")
    assert (ended.code, "no mail ffffffff" in ended.err) == (1, True)
    assert [row.released for row in store.rows()] == [False, False]


def test_drop(nanobot: CommandLine, store: Quarantine) -> None:
    assert nanobot("channels", "quarantine", "drop").code == 2
    assert nanobot("channels", "quarantine", "drop", "00000000").code == 0
    assert [row.id for row in store.rows()] == ["ab12cd34"]
    assert nanobot("channels", "quarantine", "drop", "--all").code == 0
    assert store.rows() == ()


def test_a_damaged_file_holds_nothing_and_is_written_anew(nanobot: CommandLine, store: Quarantine) -> None:
    (store.folder / "quarantine.json").write_text('[{"id": 1}, "x"')
    assert nanobot("channels", "quarantine", "list").out == "No mail is in quarantine.\n"
    store.add([Row("ab12cd34", 7, 1, "m@x", "a", "b", 0.0, "c")])
    assert len(store.rows()) == 1
