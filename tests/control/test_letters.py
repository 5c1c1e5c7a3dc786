from __future__ import annotations

import attrs
import pytest

from nanobot.control.letters import Kind, Letter, UnknownLetter, as_json, from_json, letters_of, parse_id
from nanobot.messages import Outbound, OutboundId, SessionKey
from nanobot.session.state import DeadLetter, Pending, Session

KEY = "telegram:default:42"


def outbound(number: int, text: str = "hi") -> Outbound:
    return Outbound(OutboundId(f"o{number}"), text, float(number))


def test_what_there_is_to_say_of_an_outbox() -> None:
    session = Session(
        KEY,
        dead=(DeadLetter(outbound(1), "blocked", 9.0), DeadLetter(outbound(2), "no answer", 9.5, perhaps_delivered=True)),
        doubled=(outbound(3),),
        outbox=(Pending(outbound(4), attempts=3, retry_at=60.0, error="HTTP 502"),),
    )
    assert list(letters_of(session)) == [
        Letter("telegram:42/o1", Kind.DEAD, 9.0, "blocked", "hi"),
        Letter("telegram:42/o2", Kind.DEAD, 9.5, "no answer", "hi", perhaps_delivered=True),
        Letter("telegram:42/o3", Kind.DOUBLED, 3.0, "an attempt had no answer, and it was sent once more", "hi"),
        Letter("telegram:42/o4", Kind.WAITING, 4.0, "attempt 3 failed: HTTP 502", "hi", until=60.0),
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"channel_down": True, "error": "offline"}, "its channel is down: offline"),
        ({"channel_down": True}, "its channel is down"),
        ({"sending": True}, "it is being sent"),
        ({}, "others are before it"),
    ],
)
def test_what_a_message_waits_for(change: dict[str, object], why: str) -> None:
    pending = attrs.evolve(Pending(outbound(1)), **change)  # type: ignore[arg-type]
    assert [letter.why for letter in letters_of(Session(KEY, outbox=(pending,)))] == [why]


def test_it_survives_json() -> None:
    letter = Letter("telegram:42/o2", Kind.WAITING, 9.5, "no answer", "hi", perhaps_delivered=True, until=60.0)
    assert from_json(as_json(letter)) == letter
    with pytest.raises(UnknownLetter, match="does not understand"):
        from_json({**as_json(letter), "kind": "lost"})


def test_a_long_text_is_cut() -> None:
    (letter,) = letters_of(Session(KEY, doubled=(outbound(1, "x" * 1000),)))
    assert letter.text == "x" * 200


def test_an_id_leads_back_to_its_message() -> None:
    assert parse_id("matrix:#a/b%3Ac/o7") == (SessionKey("matrix", "#a/b:c"), OutboundId("o7"))
    for text in ("", "o7", "x/o7", "telegram:42"):
        with pytest.raises(UnknownLetter, match="is no id of a message"):
            parse_id(text)
