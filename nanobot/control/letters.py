"""The outbox as people see it: what was given up, what may have arrived twice, and what still waits. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import attrs

from nanobot.errors import NanobotError
from nanobot.messages import Outbound, OutboundId, SessionKey
from nanobot.session.state import Pending, Session
from nanobot.wire import JsonObject

SHOWN_CHARS = 200
"""Of a message's text: enough to know it by. The session has all of it."""


class Kind(enum.StrEnum):
    DEAD = "dead"
    """Given up: it is sent again only when somebody says so."""
    DOUBLED = "doubled"
    """Sent again after an attempt without an answer: it may have arrived twice."""
    WAITING = "waiting"
    """On its way: its channel is down, or the network asked to wait."""


@attrs.frozen
class Letter:
    """One message to a chat, for lists."""

    id: str
    """`SESSION/OUTBOUND`, unique in the data directory."""
    kind: Kind
    at: float
    """When it was given up; of others, when it was written. Seconds since the epoch."""
    why: str
    text: str
    perhaps_delivered: bool = False
    until: float | None = None
    """When it is tried again, if that is known."""


class UnknownLetter(NanobotError):
    """There is no message of that id in an outbox."""


def letter_id(session: str, outbound: OutboundId) -> str:
    try:
        return f"{SessionKey.parse(session).short}/{outbound}"
    except ValueError:  # a journal under a name that is not ours: shown, and left alone
        return f"{session}/{outbound}"


def parse_id(text: str) -> tuple[SessionKey, OutboundId]:
    """The session and the message of a letter's id. Raises: UnknownLetter."""
    session, _, outbound = text.rpartition("/")
    try:
        return SessionKey.parse(session), OutboundId(outbound)
    except ValueError:
        raise UnknownLetter(f"{text} is no id of a message. See: nanobot outbox list") from None


def letters_of(session: Session) -> Iterator[Letter]:
    """What is to be said of the outbox of one session, oldest first within its kind."""
    for dead in session.dead:
        yield _letter(session, Kind.DEAD, dead.outbound, dead.at, dead.reason, perhaps_delivered=dead.perhaps_delivered)
    for outbound in session.doubled:
        yield _letter(session, Kind.DOUBLED, outbound, outbound.at, "an attempt had no answer, and it was sent once more")
    for pending in session.outbox:
        yield attrs.evolve(
            _letter(session, Kind.WAITING, pending.outbound, pending.outbound.at, _waits(pending)), until=pending.retry_at
        )


def as_json(letter: Letter) -> JsonObject:
    """Keys in camelCase, all of them always."""
    return {
        "id": letter.id,
        "kind": letter.kind.value,
        "at": letter.at,
        "why": letter.why,
        "text": letter.text,
        "perhapsDelivered": letter.perhaps_delivered,
        "until": letter.until,
    }


def from_json(said: JsonObject) -> Letter:
    """What `as_json` said. Raises: UnknownLetter for anything else, such as what a later version says."""
    match said:
        case {
            "id": str(id_),
            "kind": "dead" | "doubled" | "waiting" as kind,
            "at": int() | float() as at,
            "why": str(why),
            "text": str(text),
            "perhapsDelivered": bool(perhaps),
            "until": None | int() | float() as until,
        }:
            return Letter(id_, Kind(kind), at, why, text, perhaps, until)
        case _:
            raise UnknownLetter("the gateway lists messages in a way that this version does not understand")


def _letter(session: Session, kind: Kind, outbound: Outbound, at: float, why: str, *, perhaps_delivered: bool = False) -> Letter:
    return Letter(letter_id(session.key, outbound.id), kind, at, why, outbound.text[:SHOWN_CHARS], perhaps_delivered)


def _waits(pending: Pending) -> str:
    if pending.channel_down:
        return f"its channel is down: {pending.error}" if pending.error else "its channel is down"
    if pending.retry_at is not None:
        return f"attempt {pending.attempts} failed: {pending.error}"
    return "it is being sent" if pending.sending else "others are before it"
