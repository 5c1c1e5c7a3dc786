"""What `message` takes, and what it refuses before anybody is asked to send anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from nanobot.messages import SessionKey
from nanobot.tools import message
from nanobot.tools.port import Letter, Result
from tests.tools.kit import Kit


@attrs.define(eq=False)
class Box:
    """Keeps what it is given to send."""

    letters: list[Letter] = attrs.field(factory=list)

    async def __call__(self, letter: Letter) -> Result:
        self.letters.append(letter)
        return Result("Delivered.")


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def posting(kit: Kit, box: Box) -> Kit:
    return attrs.evolve(kit, turn=attrs.evolve(kit.turn, post=box, media=kit.turn.results.parent / "media" / "test"))


def guest(kit: Kit) -> Kit:
    principal = attrs.evolve(kit.turn.principal, owner=False)
    return attrs.evolve(kit, turn=attrs.evolve(kit.turn, principal=principal))


@pytest.mark.parametrize("to", [None, "", "test:1", "test:default:1"])
@pytest.mark.parametrize("whose", [guest, lambda kit: kit])
async def test_this_chat_is_everybodys(posting: Kit, box: Box, to: str | None, whose: Callable[[Kit], Kit]) -> None:
    assert await whose(posting).text("message", text="hi", to=to) == "Delivered."
    assert box.letters == [Letter("hi")]


async def test_another_chat_is_named(posting: Kit, box: Box) -> None:
    await posting.text("message", text="hi", to="telegram:7")
    assert box.letters == [Letter("hi", SessionKey("telegram", "7"))]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"text": " \n"}, "text is empty"),
        ({"text": "hi", "to": "telegram"}, "'telegram' is not a session key"),
        ({"text": "hi", "attachments": ["no.txt"]}, "no.txt"),
        ({"text": "hi", "attachments": ["../config.json"]}, "the assistant's own data"),
        ({"text": "hi", "attachments": ["/etc/passwd"]}, "outside the workspace"),
        ({"text": "hi", "attachments": ["a"] * (message.MOST_FILES + 1)}, "at most 10 files"),
    ],
)
async def test_what_cannot_be_sent_is_refused(posting: Kit, box: Box, arguments: dict[str, object], says: str) -> None:
    assert says in await posting.refused("message", **arguments)
    assert box.letters == []


async def test_a_file_is_copied_where_no_tool_writes(posting: Kit, box: Box) -> None:
    posting.put("table.csv", "1,2")
    await posting.text("message", text="hi", attachments=["table.csv"])
    (file,) = box.letters[0].attachments
    assert Path(file.path).parent == posting.turn.media
    assert (file.name, file.mime, file.size) == ("table.csv", "text/csv", 3)
    assert Path(file.path).stat().st_mode & 0o777 == 0o600


async def test_a_file_that_no_network_takes_is_refused(posting: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "LARGEST_FILE", 2)
    posting.put("a.bin", b"123")
    assert "a.bin is larger than" in await posting.refused("message", text="hi", attachments=["a.bin"])


async def test_where_there_is_no_way_to_a_chat_it_says_so(kit: Kit) -> None:
    assert "cannot be sent from here" in await kit.refused("message", text="hi")
