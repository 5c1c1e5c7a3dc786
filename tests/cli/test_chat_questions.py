"""A question that waits for an answer, in the terminal: it stands out, never in the middle of an answer, and Tab answers it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
import trio
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from trio.testing import wait_all_tasks_blocked

from nanobot.cli.chatting.prompting import Commands
from nanobot.cli.chatting.scene import Scene, Style
from nanobot.cli.chatting.screen import Printed
from nanobot.cli.chatting.status import Status
from nanobot.messages import Button, ErrandId, MessageId, Outbound, OutboundId, TurnEnd, TurnNumber
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.ports import Adopted, Shown
from nanobot.session.state import Errand, ErrandKind, Pending, Session
from tests.cli.chats import Around, home_with
from tests.cli.command import process
from tests.fakes.llm import Answer, Asked, Scripted, ToolCall, model_server
from tests.fakes.tty import terminal

ONE = TurnNumber(1)
RM = Errand(ErrandId("a1"), ErrandKind.APPROVAL, "rm -rf\nbuild", "", MessageId("m"), tool="exec")
OFFERS = {"/approve a1": "exec rm -rf build", "/deny a1": "exec rm -rf build"}
QUESTION = Outbound(OutboundId("o1"), "May I?\nrm", 0.0, buttons=(Button("Yes", "/approve a1"),))
SHOWN = "\n! ┃ May I?\n! ┃ rm\n"


@attrs.define(eq=False)
class FakeScreen:
    """Has at once whatever is posted."""

    posted: list[str] = attrs.field(factory=list)
    offered: list[Mapping[str, str]] = attrs.field(factory=list)

    def start(self) -> None: ...

    def post(self, text: str, printed: Printed | None = None) -> None:
        self.posted.append(text)
        if printed is not None:
            printed(True)

    def tail(self, text: str) -> None: ...

    def status(self, text: str, *, busy: bool) -> None: ...

    def commands(self, table: Mapping[str, str]) -> None: ...

    def offer(self, lines: Mapping[str, str]) -> None:
        self.offered.append(lines)

    def close(self) -> None: ...


@attrs.define
class Stage:
    screen: FakeScreen = attrs.field(factory=FakeScreen)
    scene: Scene = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.scene = Scene(
            self.screen, Style(str, str, lambda line: f"! {line}"), Status("", Session("cli:default:a")), lambda: 0.0
        )

    def adopt(self, *records: r.Record, errands: tuple[Errand, ...] = ()) -> None:
        self.scene.watch("cli:default:a", Adopted(records, Session("cli:default:a", errands=errands)))

    def stream(self, text: str, void: str = "") -> None:
        self.scene.watch("cli:default:a", Shown(ONE, text, void=void))

    async def ask(self) -> None:
        assert isinstance(await self.scene.send(Session("cli:default:a"), Pending(QUESTION), 0), ev.PartDelivered)


async def test_a_question_stands_in_lines_of_its_own() -> None:
    stage = Stage()
    stage.stream("only the tail is there, which is drawn below")
    await stage.ask()
    assert stage.screen.posted == [SHOWN]


@pytest.mark.parametrize("end", ["the turn ends", "it is withdrawn"])
async def test_a_question_waits_while_an_answer_is_half_printed(end: str) -> None:
    stage = Stage()
    async with trio.open_nursery() as nursery:
        stage.stream("first\n\nsec")
        nursery.start_soon(stage.ask)
        await wait_all_tasks_blocked()
        assert SHOWN not in stage.screen.posted
        if end == "the turn ends":
            stage.stream("ond")
            stage.adopt(r.TurnEnded(ONE, TurnEnd.ANSWERED, 0.0))
        else:
            stage.stream("", void="it was cut")
    assert stage.screen.posted[-1] == SHOWN
    assert stage.screen.posted[-2] == ("second" if end == "the turn ends" else "· the answer starts over (it was cut)")


def test_what_is_open_is_offered_until_it_is_answered() -> None:
    stage = Stage()
    stage.adopt(errands=(RM, attrs.evolve(RM, id=ErrandId("q"), kind=ErrandKind.QUESTION)))
    stage.adopt(errands=(RM,))
    stage.adopt(errands=(attrs.evolve(RM, started=True),))
    assert stage.screen.offered == [OFFERS, {}]


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("/app", ["/approve", "/approve a1"]),
        ("/approve ", ["/approve a1"]),
        ("/deny a", ["/deny a1"]),
        ("/approve b", []),
        ("please /approve", []),
        ("/model gpt", []),
    ],
)
def test_what_tab_completes(line: str, completed: list[str]) -> None:
    table = {"/approve": "let it run", "/deny": "do not", "/model": "choose", **OFFERS}
    found = Commands(lambda: table).get_completions(Document(line), CompleteEvent())
    assert [one.text for one in found] == completed


# --- the whole of it


def asks_first(asked: Asked) -> Scripted:
    """Wants to run a command, says that it has asked, and tells what came of it."""
    match asked.number:
        case 1:
            return Answer(calls=(ToolCall("exec", {"command": "echo made > made.txt"}),))
        case 2:
            return Answer("I have asked.")
        case _:
            return Answer("It is done.")


def asking_home(folder: Path, model: str) -> Path:
    file = home_with(folder, model) / ".nanobot/config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "tools": {"policy": [{"tool": "exec*", "decision": "ask"}]}}))
    return folder


async def test_an_approval_is_asked_for_completed_and_obeyed(around: Around, tmp_path: Path) -> None:
    async with (
        model_server(asks_first) as server,
        around(asking_home(tmp_path, server.base)) as home,
        terminal("chat", home=home) as tty,
    ):
        made = home / ".nanobot/workspace/made.txt"
        await tty.shows("/help lists the commands")
        await tty.types("make it\r")
        await tty.shows("┃ echo made > made.txt", "┃ Yes: /approve ", "\nI have asked.")
        assert not made.exists()
        await tty.shows("· exec echo made > made.txt: waits for the owner's word")
        await tty.types("/approve ")
        await tty.until(lambda: len(re.findall("/approve [0-9a-f]{6}", tty.screen.text)) == 2, "the id is offered")
        await tty.types("\t\r")
        await tty.shows("\nIt is done.")
        assert made.read_text() == "made\n"
        await tty.types("\x04")
        assert await tty.ended() == 0


ASKING = {"configVersion": 1, "tools": {"policy": [{"tool": "exec*", "decision": "ask"}]}}


def test_one_message_at_a_time_asks_is_answered_and_runs_it_once(tmp_path: Path) -> None:
    """Three processes, the question durable between them; the last answer is to the yes."""
    (tmp_path / ".nanobot").mkdir()
    (tmp_path / ".nanobot" / "config.json").write_text(json.dumps(ASKING))
    asked = process("chat", "-m", "run echo once >> made", home=tmp_path)
    assert "May I use exec for this?" in asked.err
    assert "echo once >> made" in asked.err
    (name,) = set(re.findall(r"/approve ([0-9a-f]{6})", asked.err))
    made = tmp_path / ".nanobot" / "workspace" / "made"
    assert not made.exists()
    allowed = process("chat", "-m", f"/approve {name}", home=tmp_path)
    assert (allowed.code, "has run" in allowed.out) == (0, True)
    again = process("chat", "-m", f"/approve {name}", home=tmp_path)
    assert again.out == "No call with that id waits for an answer.\n"
    assert made.read_text() == "once\n"
