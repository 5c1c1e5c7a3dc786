"""What can be said about pairing, and what is answered: `/pairing …` in a chat of the owner, `nanobot channels pair …`.

    list | approve CODE [owner] | deny CODE | revoke CHANNEL USER

It knows no sessions and no command line; whoever asks has seen to it that it is the owner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import attrs

from nanobot.messages import Principal
from nanobot.security.pairing import Approval, Pairing, PairingError

USAGE = "It goes: /pairing list, /pairing approve CODE, /pairing deny CODE, /pairing revoke CHANNEL USER."
NOBODY = "Nobody waits to be let in, and nobody was let in by pairing."


class NoSuchOrder(PairingError):
    """Words that mean nothing here."""


class Run(Protocol):
    """Runs what blocks in a thread (journal/writers.py)."""

    async def __call__(self, what: str, work: Callable[[], str], /) -> str: ...


@attrs.frozen
class PairingOrder:
    """The slash command `/pairing`. `configured`: whether the configuration names an owner."""

    pairing: Pairing
    configured: Callable[[], bool]
    run: Run
    clock: Callable[[], float]

    async def __call__(self, rest: str, principal: Principal) -> str:
        """The answer, also to what cannot be done."""
        words = rest.split()
        if len(words) == 2 and words[0] == "revoke":
            words.insert(1, principal.channel)
        work = partial(perform, self.pairing, words, configured=self.configured(), now=self.clock())
        try:
            return await self.run("pairing", work)
        except PairingError as exc:
            return str(exc)


def perform(pairing: Pairing, words: Sequence[str], *, configured: bool, now: float) -> str:
    """Do it and say what was done. Blocks. Raises: PairingError."""
    match words:
        case [] | ["list"]:
            return listing(pairing, now)
        case ["approve", code]:
            return _approved(pairing.approve(code, now), code, configured=configured)
        case ["approve", code, "owner"]:
            return _approved(pairing.approve(code, now, owner=True), code, configured=configured)
        case ["deny", code]:
            return f"{_name(pairing.deny(code, now))} is not let in, and that code is good for nothing any more."
        case ["revoke", channel, user]:
            pairing.revoke(channel, user, now)
            return f"{one_line(user)} on {one_line(channel)} is let in no more by pairing."
        case _:
            raise NoSuchOrder(USAGE)


def listing(pairing: Pairing, now: float) -> str:
    """Who waits, who was let in, who owns."""
    book = pairing.book()
    lines = [
        f"{r.code}  {_name(r.who)}, waits to be let in, {max(1, round((r.expires_at - now) / 60))} minutes left"
        for r in book.waiting(now)
    ]
    owners = {(who.channel, who.user) for who in map(_principal, book.owners) if who is not None}
    for channel, user in sorted(book.approved | owners):
        also = " and an owner" if (channel, user) in owners else ""
        lines.append(f"{one_line(user)} on {one_line(channel)}, let in{also}")
    return "\n".join(lines) or NOBODY


def one_line(text: str) -> str:
    """What strangers chose, so that it cannot pass for a line of ours."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:80]


def _approved(approval: Approval, code: str, *, configured: bool) -> str:
    name = _name(approval.who)
    if approval.owner:
        return f"{name} is let in, and owns this assistant in that chat."
    if configured or approval.owned:
        return f"{name} is let in, in private chats."
    return (
        f"{name} is let in, in private chats. No chat is an owner's yet; if that one is yours, make it so within ten minutes: "
        f"/pairing approve {code} owner, or nanobot channels pair approve {code} --owner"
    )


def _name(who: Principal) -> str:
    return f"{one_line(who.user)} on {one_line(who.channel)}"


def _principal(text: str) -> Principal | None:
    try:
        return Principal.parse(text)
    except ValueError:
        return None
