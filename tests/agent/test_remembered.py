"""`/memory` in a chat: who is shown what is remembered, and where."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import attrs
import pytest

from nanobot.memory.port import MEMORY, user_document
from nanobot.memory.store import MemoryStore
from nanobot.messages import Inbound, MessageId, Principal, SessionKey
from tests.fakes.llm import hello
from tests.fakes.llm_wire import Answer, ToolCall
from tests.fakes.talk import ME, Talk, talking

EVE = Principal("telegram", "default", "7", "7")


def write(place: Path, document: str, text: str) -> None:
    file = place / "workspace" / document
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


async def test_the_owner_is_shown_what_is_remembered_and_since_when(tmp_path: Path) -> None:
    write(tmp_path, MEMORY, "# Person\n- likes tea\n- lives in Kiel\n")
    async with talking(tmp_path, []) as talk:
        first, *rest = (await talk.say("/memory")).text.splitlines()
    assert first.startswith("2 facts, 0.0 KiB; last changed 20")
    assert first.endswith(" by hand.")
    assert rest == ["", "# Person", "- likes tea", "- lives in Kiel"]


async def test_nothing_yet(tmp_path: Path) -> None:
    async with talking(tmp_path, []) as talk:
        assert (await talk.say("/memory")).text == "Nothing is remembered yet."


async def test_what_the_assistant_writes_is_told_from_what_people_do(tmp_path: Path) -> None:
    call = Answer("", calls=(ToolCall("write_file", {"path": "memory/MEMORY.md", "content": "- likes tea\n- and cake\n"}),))
    async with talking(tmp_path, [call, Answer("Noted.")]) as talk:
        write(tmp_path, MEMORY, "- likes tea\n")
        assert (await talk.say("Remember cake")).text == "Noted."
        assert " by assistant in cli:default:direct." in (await talk.say("/memory")).text
    with closing(MemoryStore(tmp_path / "memory.db", tmp_path / "workspace")) as store:
        found = [(one.author, one.session, one.reason, one.added) for one in reversed(store.versions(MEMORY))]
    assert found == [("hand", "", "", 1), ("assistant", "cli:default:direct", "write_file", 1)]


async def test_no_file_tool_reaches_what_is_kept(tmp_path: Path) -> None:
    """Of a version nobody but a person disposes: not by reading, not by writing, not by a link."""
    calls = [
        Answer("", calls=(ToolCall("read_file", {"path": str(tmp_path / "memory.db")}),)),
        Answer("", calls=(ToolCall("write_file", {"path": str(tmp_path / "memory.db"), "content": "mine"}),)),
        Answer("", calls=(ToolCall("read_file", {"path": "link"}),)),
        Answer("", calls=(ToolCall("write_file", {"path": "link", "content": "mine"}),)),
    ]
    write(tmp_path, MEMORY, "- a secret\n")
    (tmp_path / "workspace" / "link").symlink_to(tmp_path / "memory.db")
    async with talking(tmp_path, [*calls, Answer("I cannot.")]) as talk:
        assert "a secret" in (await talk.say("/memory")).text
        before = (tmp_path / "memory.db").stat()
        assert (await talk.say("Change what was")).text == "I cannot."
        results = [str(message["content"]) for message in talk.server.requests[-1].messages if message["role"] == "tool"]
        assert (tmp_path / "memory.db").stat() == before
    assert len(results) == len(calls)
    assert all("own data" in result for result in results)


def system_of(talk: Talk) -> str:
    return str(talk.server.requests[-1].messages[0]["content"])


async def test_what_is_remembered_of_a_person_is_in_their_own_prompts_alone(tmp_path: Path) -> None:
    write(tmp_path, user_document(EVE), "- Eve sings\n")
    async with talking(tmp_path, hello) as talk:
        for number, (who, direct, per_user) in enumerate(
            [(EVE, True, True), (EVE, False, True), (ME, True, True), (EVE, True, False)]
        ):
            memory = attrs.evolve(talk.config.memory, per_user=per_user)
            await talk.house.reconfigure(attrs.evolve(talk.config, memory=memory))
            message = MessageId(f"p{number}")
            await talk.house.deliver(Inbound(message, SessionKey("telegram", f"{number}"), who, "Hi", 0.0, direct=direct))
            await talk.reply_to(message)
            assert ("- Eve sings" in system_of(talk)) is (number == 0)


@pytest.mark.parametrize(
    ("who", "direct", "answer"),
    [
        (ME, False, "Ask me that in private: others read here, too."),
        (EVE, False, "Ask me that in private: others read here, too."),
        (EVE, True, "1 fact, 0.0 KiB; last changed"),
    ],
)
async def test_others_and_groups(tmp_path: Path, who: Principal, *, direct: bool, answer: str) -> None:
    write(tmp_path, MEMORY, "- the owner's secret\n")
    write(tmp_path, user_document(EVE), "- Eve sings\n")
    async with talking(tmp_path, []) as talk:
        await talk.house.deliver(Inbound(MessageId("e1"), SessionKey("telegram", "7"), who, "/memory", 0.0, direct=direct))
        said = (await talk.reply_to(MessageId("e1"))).text
    assert said.startswith(answer)
    assert "secret" not in said
    assert ("Eve sings" in said) is (who is EVE and direct)
