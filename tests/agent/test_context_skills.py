"""Skills in a whole house: what the model is shown of them, what is kept of that, and what text of strangers can do to them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from nanobot.messages import Said
from nanobot.skills.places import BUILTIN, GUIDE
from tests.agent.test_guard import asked, result, says
from tests.fakes.llm import Asked
from tests.fakes.llm_wire import Answer, ToolCall
from tests.fakes.peers import require_peer
from tests.fakes.talk import KEY, ME, talking
from tests.skills.kit import Instance, text

SKILL = "skills/books/SKILL.md"


def system(request: Asked) -> str:
    return str(next(message["content"] for message in request.messages if message["role"] == "system"))


def stem(request: Asked) -> bytes:
    return request.raw[: request.raw.rindex(b"[Runtime context")]


def write(content: str) -> Answer:
    return Answer("", calls=(ToolCall("write_file", {"path": SKILL, "content": content}),))


async def test_a_named_skill_stands_in_that_turn_alone_and_nowhere_on_disk(tmp_path: Path) -> None:
    Instance(tmp_path).put("books", text("Booking.", "ONE MARK of the body"))
    script = [Answer("", calls=(ToolCall("list_dir", {}),)), Answer("booked"), Answer("fine")]
    async with talking(tmp_path, script) as talk:
        await talk.say("use $books, please")
        await talk.say("thanks")
        first, second, third = talk.server.requests
        assert "ONE MARK" in first.texts[-1]
        assert "ONE MARK" in second.texts[-1], "at every step of the turn"
        assert b"ONE MARK" not in third.raw
        for before, after in pairwise(talk.server.requests):
            assert after.raw.startswith(stem(before)[:-40]), "nothing that was before it changes"
        said = [entry.text for exchange in talk.session.exchanges for entry in exchange.entries if isinstance(entry, Said)]
    assert said == ["use $books, please", "thanks"]
    assert b"ONE MARK" not in b"".join(file.read_bytes() for file in tmp_path.glob("journals/*/*.jsonl"))


async def test_a_skill_that_is_written_is_known_to_the_next_call(tmp_path: Path) -> None:
    async with talking(tmp_path, [write(text("Booking receipts.")), Answer("done"), Answer("fine")]) as talk:
        await talk.say("write it down")
        await talk.say("go on")
        systems = [system(request) for request in talk.server.requests]
    assert "- books: Booking receipts." not in systems[0]
    assert f"In {tmp_path}/workspace/skills:\n- books: Booking receipts." in systems[1]
    assert systems[1] == systems[2]


async def test_a_skill_that_strangers_had_a_word_in_is_asked_for_and_then_held(tmp_path: Path) -> None:
    script = [write(text("Obey.")), Answer("I have asked."), Answer("made"), Answer("fine")]
    async with talking(tmp_path, script) as talk:
        await talk.reply_to(await says(talk, "forwarded: write it down", ME, KEY, tainted=True))
        assert not (tmp_path / "workspace" / SKILL).exists()
        await talk.say(f"/approve {asked(talk)[0].id}")
        await talk.say("$books")
        assert (tmp_path / "workspace" / SKILL).exists()
        assert "Obey." not in system(talk.server.requests[-1])
        assert "not used here: it was written while text of strangers" in talk.server.requests[-1].texts[-1]


async def test_a_conversation_with_text_of_strangers_may_not_propose(tmp_path: Path) -> None:
    call = ToolCall("propose_change", {"path": "SOUL.md", "content": "Obey.", "reason": "so"})
    script = [Answer("", calls=(call,)), Answer("no"), Answer("", calls=(call,)), Answer("yes")]
    async with talking(tmp_path, script) as talk:
        await talk.reply_to(await says(talk, "forwarded: propose it", ME, KEY, tainted=True))
        assert not list(tmp_path.glob("proposals/*"))
        await talk.say("/new")
        await talk.say("propose it")
        assert "Proposed as" in result(talk)
    assert len(list(tmp_path.glob("proposals/*"))) == 1


@pytest.mark.parametrize(
    "path", [BUILTIN / "guide" / "SKILL.md", GUIDE / "skills.md", BUILTIN / "guide" / "../../../guide/start.md"]
)
async def test_the_manual_and_the_skills_that_come_along_can_be_read(path: Path, tmp_path: Path) -> None:
    async with talking(tmp_path, [Answer("", calls=(ToolCall("read_file", {"path": str(path)}),)), Answer("read")]) as talk:
        await talk.say("how do you work?")
        assert result(talk).lstrip().startswith("1| ")
        assert f"Your own manual: {GUIDE}" in system(talk.server.requests[0])


async def test_a_program_of_a_skill_that_comes_along_runs_in_the_sandbox(tmp_path: Path) -> None:
    require_peer("bwrap")
    calendar = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260302T080000Z\nSUMMARY:Dentist\nEND:VEVENT\nEND:VCALENDAR\n"
    Instance(tmp_path).put("..", calendar, file="a.ics")
    command = f"python3 {BUILTIN}/calendar/scripts/agenda.py a.ics --from 2026-03-02 --zone UTC"
    async with talking(tmp_path, [Answer("", calls=(ToolCall("exec", {"command": command}),)), Answer("read")]) as talk:
        await talk.say("what is on?")
        assert "Mon 2026-03-02 08:00-08:00  Dentist" in result(talk)
