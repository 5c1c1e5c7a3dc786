"""What came of a message: the turn that answered it, its calls, what it cost. Pure."""

from __future__ import annotations

from nanobot.messages import Call, Exchange, MessageId, Outbound, Reply, Said, Usage
from nanobot.session.state import Session
from nanobot.wire import JsonObject


def answers(reply: Outbound, message: MessageId | None) -> bool:
    """Whether `reply` is what was waited for."""
    return message is not None and message in (reply.reply_to, *reply.also_answers)


def exchange_of(session: Session, message: MessageId | None) -> Exchange | None:
    """The closed turn that a message was answered in."""
    for exchange in reversed(session.exchanges):
        if any(isinstance(entry, Said) and entry.id == message for entry in exchange.entries):
            return exchange
    return None


def told(session: Session, reply: Outbound, message: MessageId | None) -> JsonObject:
    """Text, whether it failed, tokens and calls, as `nanobot chat --json` prints them."""
    exchange = exchange_of(session, message)
    usage = _usage_of(exchange) if exchange else Usage()
    made = _calls_of(exchange) if exchange else ()
    return {
        "text": reply.text,
        "failed": reply.failed,
        "usage": {"input": usage.input, "output": usage.output, "cached": usage.cached},
        "tools": [{"name": call.name, "state": call.state.value} for call in made],
    }


def _usage_of(exchange: Exchange) -> Usage:
    return sum((entry.usage for entry in exchange.entries if isinstance(entry, Reply)), Usage())


def _calls_of(exchange: Exchange) -> tuple[Call, ...]:
    return tuple(call for entry in exchange.entries if isinstance(entry, Reply) for call in entry.calls)
