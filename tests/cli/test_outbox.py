"""`nanobot outbox`, from a gateway and from the journals."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from nanobot.cli.texts import when
from nanobot.control.letters import Kind, Letter
from nanobot.journal import names
from nanobot.session import events as ev
from tests.cli.command import CommandLine
from tests.fakes.gateway import STARTED, FakeGateway, listening
from tests.session.talks import Talk, journals_in, written

DEAD = Letter("telegram:42/o7", Kind.DEAD, STARTED, "blocked by the user", "Good morning!")
MAYBE = Letter("telegram:42/o8", Kind.DEAD, STARTED, "no answer", "a\nb" + "x" * 100, perhaps_delivered=True)
DOUBLED = Letter("web:a/o1", Kind.DOUBLED, STARTED, "sent once more", "hi\x1b[2J")
OUTBOX = [DEAD, MAYBE, DOUBLED]


def data(nanobot: CommandLine) -> Path:
    return nanobot.home / ".nanobot"


def test_nothing_to_list(nanobot: CommandLine) -> None:
    assert nanobot("outbox", "list").out == "Nothing waits, and nothing was given up.\n"
    assert json.loads(nanobot("outbox", "list", "--json").out) == []
    assert not data(nanobot).exists()


def test_list_from_the_gateway(nanobot: CommandLine) -> None:
    waiting = Letter("telegram:43/o1", Kind.WAITING, STARTED, "HTTP 502", "hello", until=time.time() + 300.5)
    with listening(data(nanobot), FakeGateway(outbox=[*OUTBOX, waiting])):
        lines = nanobot("outbox", "list").out.splitlines()
    at = when(STARTED)
    assert lines == [
        f"telegram:42/o7  not delivered  {at}  blocked by the user",
        "    Good morning!",
        f"telegram:42/o8  not delivered, perhaps it arrived  {at}  no answer",
        f"    a b{'x' * 57}…",
        f"web:a/o1  perhaps twice  {at}  sent once more",
        "    hi\\x1b[2J",
        f"telegram:43/o1  waits  {at}  HTTP 502; again in 5 min",
        "    hello",
    ]


def test_list_as_json(nanobot: CommandLine) -> None:
    with listening(data(nanobot), FakeGateway(outbox=[DEAD])):
        (told,) = json.loads(nanobot("outbox", "list", "--json").out)
    assert told == {
        "id": "telegram:42/o7",
        "kind": "dead",
        "at": STARTED,
        "why": "blocked by the user",
        "text": "Good morning!",
        "perhapsDelivered": False,
        "until": None,
    }


def refused_and_down(one: Talk) -> None:
    """The first reply is refused by the network, the second waits for its channel."""
    for answer in ("one", "two"):
        one.ask("hi")
        one.answer(answer)
        out = one.session.outbox[0].outbound.id
        one.tell(ev.SendRefused(out, 0, one.at, "no such chat") if answer == "one" else ev.ChannelDown(out, 0, one.at, "offline"))


def test_list_without_a_gateway_reads_the_journals_and_changes_nothing(nanobot: CommandLine) -> None:
    journals = journals_in(nanobot.home)
    written(journals, "telegram:default:42", refused_and_down)
    bad = Path(journals.root) / names.encode("cli:default:new")
    bad.mkdir()
    (bad / "00000001.jsonl").write_bytes(b'{"crc":"00000000","format":9,"least":9}\n')
    before = {path: path.read_bytes() for path in data(nanobot).rglob("*") if path.is_file()}
    ended = nanobot("outbox", "list", "--json")
    assert [(told["id"], told["kind"], told["why"], told["text"]) for told in json.loads(ended.out)] == [
        ("telegram:42/o1", "dead", "no such chat", "one"),
        ("telegram:42/o2", "waiting", "its channel is down: offline", "two"),
    ]
    assert "was written by a newer nanobot" in ended.err
    assert {path: path.read_bytes() for path in data(nanobot).rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "asked", "out"),
    [
        (["retry", "telegram:42/o7"], ["retry telegram:42/o7"], "1 message will be sent again.\n"),
        (["retry", "--all"], ["letters", "retry telegram:42/o7 telegram:42/o8"], "2 messages will be sent again.\n"),
        (["drop", "web:a/o1", "telegram:42/o7"], ["drop web:a/o1 telegram:42/o7"], "2 messages forgotten.\n"),
        (["drop", "--all"], ["letters", "drop telegram:42/o7 telegram:42/o8 web:a/o1"], "3 messages forgotten.\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_retry_and_drop(nanobot: CommandLine, words: list[str], asked: list[str], out: str) -> None:
    with listening(data(nanobot), FakeGateway(outbox=OUTBOX)) as gateway:
        ended = nanobot("outbox", *words)
    assert (ended.code, ended.out, gateway.asked) == (0, out, asked)


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_where_it_is_not_said_which_or_there_is_nobody_to_do_it(nanobot: CommandLine, command: str) -> None:
    with listening(data(nanobot), FakeGateway()) as gateway:
        which = nanobot("outbox", command)
        none = nanobot("outbox", command, "--all")
    alone = nanobot("outbox", command, "telegram:42/o7")
    assert (which.code, which.err) == (2, f"Which? nanobot outbox {command} ID, as nanobot outbox list shows it, or --all\n")
    assert (none.code, none.out, gateway.asked) == (0, "Nothing was given up.\n", ["letters"])
    assert (alone.code, alone.err) == (1, "The gateway is not running. Start it: nanobot gateway\n")
