"""WhatsApp's pure parts: who is who, and how texts look there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nanobot.channels.port import SendRefused
from nanobot.channels.whatsapp.link import Address
from nanobot.channels.whatsapp.people import People, address_of, names_of, user_of
from nanobot.channels.whatsapp.text import length, render

PN, LID = "4915112345678@s.whatsapp.net", "111222333444555@lid"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([(LID, PN), (PN, ""), (LID, ""), (PN, PN)], PN),
        ([(PN, PN), (LID, PN), (LID, "")], PN),
        ([(LID, ""), (LID, PN), (PN, ""), (LID, "")], LID),
        ([(LID, "")], LID),
    ],
    ids=["LID with number first", "number first", "LID alone first", "LID alone"],
)
def test_a_person_is_one_whatever_whatsapp_writes(tmp_path: Path, messages: list[tuple[str, str]], expected: str) -> None:
    """Also when each message is read by a new life."""
    path = tmp_path / "whatsapp" / "people.json"
    people = People.load(path)
    for address, number in messages:
        assert people.person(address, number) == expected
        if people.changed:
            people.save()
        assert people.changed is False
        people = People.load(path)


def test_two_people_are_two(tmp_path: Path) -> None:
    people = People.load(tmp_path / "people.json")
    assert people.person(LID, PN) != people.person("5@lid", "49@s.whatsapp.net")


def test_who_is_spoken_of_is_not_learned_of(tmp_path: Path) -> None:
    """Else a stranger's quotation of the owner would make the owner somebody else."""
    people = People.load(tmp_path / "people.json")
    assert people.known(LID) == LID
    assert people.person(LID, PN) == people.known(LID) == PN


@pytest.mark.parametrize(
    "messages",
    [[(LID, ""), (LID, PN), ("5@lid", PN)], [(LID, ""), (LID, PN), ("5@lid", PN), (PN, "")]],
    ids=["under another LID", "by number, the LID known"],
)
def test_who_gets_a_number_of_somebody_else_gets_no_right_of_a_lid(tmp_path: Path, messages: list[tuple[str, str]]) -> None:
    people = People.load(tmp_path / "people.json")
    seen = [people.person(address, number) for address, number in messages]
    assert seen[-1] != LID


def test_who_changes_the_number_is_answered_at_the_new_one(tmp_path: Path) -> None:
    people = People.load(tmp_path / "people.json")
    assert people.person(LID, PN) == PN
    assert people.person(LID, "49@s.whatsapp.net") == "49@s.whatsapp.net"
    assert people.person(LID, "") == "49@s.whatsapp.net"


@pytest.mark.parametrize("damage", ["{", "[]", '{"a": 1}'])
def test_a_damaged_file_counts_as_empty(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "people.json"
    path.write_text(damage)
    assert People.load(path).person(LID, PN) == PN


def test_it_is_bounded_and_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.whatsapp.people.MOST", 3)
    people = People.load(tmp_path / "people.json")
    for n in range(5):
        people.person(f"{n}@lid", f"{n}@s.whatsapp.net")
    people.save()
    assert (tmp_path / "people.json").stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "people.json").read_text().split(",")) == 3


def test_names() -> None:
    assert (user_of(PN), user_of(LID)) == ("4915112345678", LID)
    assert names_of(PN, LID, PN, "") == (PN, "4915112345678", "+4915112345678", LID)
    assert [address_of(chat) for chat in ("+4915112345678", PN, LID, "1@g.us")] == [PN, PN, LID, "1@g.us"]


@pytest.mark.parametrize(
    "chat", ["", "Ann", "+49 151 12345678", "1@example.com", "../@lid", "1:2@lid", "status@broadcast", f"{PN}\n"]
)
def test_no_chat(chat: str) -> None:
    with pytest.raises(SendRefused, match="international form"):
        address_of(chat)


def test_an_address_in_an_address() -> None:
    assert [str(Address.of(f"ws://{host}:5")) for host in ("localhost", "[::1]")] == ["127.0.0.1:5", "[::1]:5"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**bold** and __bold__", "*bold* and *bold*"),
        ("*italic* and _italic_", "_italic_ and _italic_"),
        ("**bold *and italic***", "*bold _and italic_*"),
        ("~~gone~~", "~gone~"),
        ("# Title\ntext", "*Title*\ntext"),
        ("## A **bold** title ##", "*A bold title*"),
        ("* one\n* two\n  + three", "- one\n- two\n  - three"),
        ("1. one\n2. two", "1. one\n2. two"),
        ("[here](https://a.b/c) ![pic](https://a.b/d.png)", "here (https://a.b/c) pic (https://a.b/d.png)"),
        ("[https://a.b](https://a.b)", "https://a.b"),
        ("`**code**` and **bold**", "`**code**` and *bold*"),
        ("```python\nx = a * b * c\n# no title\n```\n**b**", "```\nx = a * b * c\n# no title\n```\n*b*"),
        ("2 * 3 * 4 and a_b_c and __init__.py", "2 * 3 * 4 and a_b_c and *init*.py"),
        ("```\nnever closed **x**", "```\nnever closed **x**"),
        ("````\necho ```**x**```\n````\n**b**", "```\necho `\u2060`\u2060`**x**`\u2060`\u2060`\n```\n*b*"),
        ("> said\nplain", "> said\nplain"),
    ],
)
def test_how_a_text_looks(text: str, shown: str) -> None:
    assert render(text) == shown
    assert length(text) == len(shown)


@pytest.mark.parametrize("piece", ["[", "[a](", "**a ", "~~a ", "*a ", "`", "# ", "__a ", "```\n", "_", "# \t", "\ue000", "> "])
def test_no_text_takes_long(piece: str) -> None:
    began = time.process_time()
    render(piece * (60_000 // len(piece)))
    assert time.process_time() - began < 2.0


def test_nothing_stands_for_a_bold_asterisk_but_ours() -> None:
    assert render("\ue000x\ue000 `\ue000`") == "\ufffdx\ufffd `\ue000`"
