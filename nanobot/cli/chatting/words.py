"""Sentences of a chat, with a gateway and without one. Pure, and imports nothing of ours."""

from __future__ import annotations

RESUMING = "resuming what was unfinished…"
PUT_ASIDE = "The turn was put aside; the next nanobot chat of this session goes on with it."
PUT_ASIDE_THERE = "The turn was put aside; the gateway goes on with it when it is back."
EARLIER = "(an earlier reply, only delivered now)"
NOT_WRITTEN = "The answer cannot be written to standard output: {}. It is kept for the next nanobot chat."


def goes_on(session: str, *, network: bool) -> str:
    """Where the answer goes that nobody waits for here."""
    if network:
        return f"the answer goes to {session}."
    return f"the answer will be delivered to {session}: by the next nanobot chat there, or see nanobot sessions show {session}"


def waiting(what: str, until: float | None, now: float) -> str:
    """`again in 3 s: rate limited`: the reason may be long, and is cut first."""
    again = "" if until is None else f"again in {max(0, round(until - now))} s: "
    return f"{again}{what}"
