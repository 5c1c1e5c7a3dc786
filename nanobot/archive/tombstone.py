"""Deleting a conversation: a cut to a tombstone, behind which nothing of it is left on disk.

A tombstone keeps what protects others from the deletion: the dedupe window, so that a message which its network sends again
is not answered anew; what is owed to other journals; and the counters, so that no id is given twice.
"""

from __future__ import annotations

from nanobot.errors import JournalTooNew
from nanobot.journal.journal import Journals, Loaded
from nanobot.journal.segment import NOW
from nanobot.messages import TurnNumber
from nanobot.session.codec import UnknownFormat, decode, decode_session, encode_session
from nanobot.session.fold import apply_all
from nanobot.session.state import ImpossibleEvent, Session


def tombstone(session: Session, at: float) -> Session:
    """What stays of a session that is deleted at `at`, in seconds since the epoch."""
    kept = session.pruned(at)
    return Session(
        session.key,
        base=session.end + (session.turn is not None),
        owed=session.owed,
        seen=kept.seen,
        next_turn=session.next_turn,
        next_out=session.next_out,
        usage=session.usage,
    )


def is_tombstone(session: Session) -> bool:
    """Whether there is nothing in it that anybody said or waits for."""
    return session == tombstone(session, 0.0)


def delete(journals: Journals, key: str, at: float) -> None:
    """Forget the conversation of `key`, durably. Damaged journals can be deleted, those of a later version cannot.

    Raises: InUse while somebody works with it. JournalTooNew. JournalUnwritable, and then all of it may still be there.
        JournalError if it cannot be read.
    """
    journal, loaded = journals.open(key)
    try:
        kept = tombstone(_folded(key, loaded, at), at)
        owes = NOW if kept.owed else None
        journal.cut(encode_session(kept), owes=owes, at=at, accept_damage=True, forget=True)
        journal.sleep(owes=owes, at=at)
    finally:
        journal.close()


def _folded(key: str, loaded: Loaded, at: float) -> Session:
    """The session, as far as it can be read. Where a part cannot, its counters jump over what may have been given out."""
    session = Session(key)
    whole = loaded.damaged is None
    try:
        session = session if loaded.snapshot is None else decode_session(loaded.snapshot)
        session = apply_all(session, decode(loaded.records))
    except UnknownFormat as exc:
        raise JournalTooNew(f"the journal of {key}", str(exc)) from exc
    except ImpossibleEvent:
        whole = False
    if whole:
        return session
    beyond = int(at)
    turn, out = TurnNumber(max(session.next_turn, beyond)), max(session.next_out, beyond)
    return Session(key, base=session.end + 1, owed=session.owed, seen=session.seen, next_turn=turn, next_out=out)
