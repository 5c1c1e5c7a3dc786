"""Whether text of strangers stands in a conversation: what a policy must know before it believes an order.

A record is tainted that holds such text: a result (a page, a file that came from outside, the output of a command with a
network), a message whose text its sender did not write, the end of an errand, and every answer of the model that was given
with such a record before it, because it may say again what that said. For the owner, all that others have said in the same
chat is text of strangers, too. It ends when the records leave (`/new`, `/undo`), or by the owner's word (`/trust`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nanobot.messages import Entry, Exchange, Note, Reply, Said, TurnNumber


def tainted(
    exchanges: Sequence[Exchange], turn: Iterable[Entry], trusted: TurnNumber, principal: str, owns: Callable[[str], bool]
) -> bool:
    """Whether what the model is shown for a turn of `principal` holds text of strangers.

    trusted: turns before this one were found harmless. owns: whether a principal owns this assistant.
    """
    shown = [*turn, *(entry for exchange in exchanges if exchange.turn >= trusted for entry in exchange.shown)]
    if any(map(_tainted, shown)):
        return True
    others = {entry.principal for entry in shown if isinstance(entry, Said)} - {principal}
    return bool(others) and owns(principal) and not all(map(owns, others))


def _tainted(entry: Entry) -> bool:
    match entry:
        case Said(tainted=of_strangers) | Note(tainted=of_strangers):
            return of_strangers
        case Reply(tainted=of_strangers, calls=calls):
            return of_strangers or any(call.tainted for call in calls)
