"""What must be true of a round, whatever was killed when. Pure: evidence in, sentences about what is broken out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nanobot.gateway import starts
from nanobot.messages import Call, CallState, Effect, Exchange, Reply, Said, TurnEnd
from nanobot.session.sentences import CRASHED_TWICE, NOT_RESUMED
from nanobot.session.state import AwaitingTool, Session, Thinking
from tests.crash.plans import Message
from tests.crash.rounds import Evidence, Met


def broken(evidence: Evidence) -> list[str]:
    """Every promise that the round saw broken."""
    archive = evidence.archive
    past = [closed.exchange for closed in archive.past]
    replies = [(str(reply["id"]), reply["answers"]) for reply in evidence.replies]
    return [
        *evidence.troubles,
        *archive.troubles,
        *at_rest(archive.session),
        *kept(past, evidence.met),
        *said_once(past, archive.session, evidence.acknowledged),
        *_answered_once(replies, archive.session, evidence),
        *_shown_often_enough(replies, archive.session, evidence.met),
        *calls_settled(past, evidence.effects),
        *effects_once(evidence),
        *ended_by_second_crash(past, evidence.met),
    ]


def at_rest(session: Session) -> Iterator[str]:
    if session.inbox or session.outbox or session.turn or session.errands or session.owed:
        yield f"something is left: {session}"


def kept(past: Iterable[Exchange], met: Iterable[Met]) -> Iterator[str]:
    """What was closed before a kill stands as it stood."""
    final = {exchange.turn: exchange for exchange in past}
    for before in met:
        for exchange in before.session.exchanges:
            if final.get(exchange.turn) != exchange:
                yield f"turn {exchange.turn} was {exchange}, now it is {final.get(exchange.turn)}"


def said_once(past: Iterable[Exchange], session: Session, acknowledged: Iterable[Message]) -> Iterator[str]:
    said = Counter(entry.id for exchange in past for entry in exchange.entries if isinstance(entry, Said))
    for message in acknowledged:
        if message.id not in session.seen:
            yield f"{message.id} was acknowledged and is forgotten"
        if not message.text.startswith("/") and said[message.id] != 1:  # type: ignore[index]
            yield f"{message.id} is in the conversation {said[message.id]} times"  # type: ignore[index]


def _answered_once(replies: Iterable[tuple[str, object]], session: Session, evidence: Evidence) -> Iterator[str]:
    """Each message has one reply; a reply that was perhaps shown is listed as such."""
    shown = dict(replies)
    dead = {str(d.outbound.id): [d.outbound.reply_to, *d.outbound.also_answers] for d in session.dead if d.perhaps_delivered}
    answered = Counter(answer for answers in {**dead, **shown}.values() if isinstance(answers, list) for answer in answers)
    for message in evidence.acknowledged:
        if answered[message.id] != 1:
            yield f"{message.id} was acknowledged and has {answered[message.id]} replies"


def _shown_often_enough(replies: Iterable[tuple[str, object]], session: Session, met: Iterable[Met]) -> Iterator[str]:
    """A reply is shown once, and once more for each kill that fell into its sending."""
    times = Counter(out for out, _ in replies)
    doubts = Counter(str(m.session.outbox[0].outbound.id) for m in met if m.session.outbox and m.session.outbox[0].sending)
    for out, count in times.items():
        if count > 1 + doubts[out]:
            yield f"reply {out} was shown {count} times, and {doubts[out]} kills fell into its sending"
    for letter in session.dead:
        if doubts[str(letter.outbound.id)] < 2:
            yield f"reply {letter.outbound.id} was given up: {letter.reason}"


def calls_settled(past: Iterable[Exchange], effects: Counter[str]) -> Iterator[str]:
    for exchange in past:
        for call in _calls(exchange):
            if not call.state.settled:
                yield f"call {call.id} of turn {exchange.turn} has no outcome: {call.state}"
            if call.effect is Effect.WRITES:
                yield from _says_what_happened(call, effects[_token(call)])


def _says_what_happened(call: Call, times: int) -> Iterator[str]:
    if call.state is CallState.DONE and times == 0:
        yield f"{call.arguments} is {call.state} and has no effect"
    if call.state in (CallState.NOT_RUN, CallState.REFUSED) and times > 0:
        yield f"{call.arguments} is {call.state} and took effect"
    if call.state is CallState.FAILED:
        yield f"{call.arguments} failed: {call.result}"


def effects_once(evidence: Evidence) -> Iterator[str]:
    for token, times in evidence.effects.items():
        if times > 1:
            yield f"{token} took effect {times} times"


def ended_by_second_crash(past: Iterable[Exchange], met: Sequence[Met], deaths: int | None = None) -> Iterator[str]:
    """The second kill in a turn ends it with a sentence, and nothing else does, but for too many starts without a farewell.

    `deaths`: how many kills there were, if some are not in `met`.
    """
    second = {m.session.turn.number for m in met if m.session.turn is not None and _resumed_before(m)}
    for exchange in past:
        if exchange.answer == NOT_RESUMED and (deaths or len(met)) >= starts.MOST:
            continue
        crashed = (exchange.end, exchange.answer) == (TurnEnd.CRASHED, CRASHED_TWICE)
        if crashed != (exchange.turn in second):
            yield f"turn {exchange.turn} ended as {exchange.end}; killed again after its restart: {exchange.turn in second}"


def _resumed_before(met: Met) -> bool:
    return isinstance(met.session.state, Thinking | AwaitingTool) and met.resumed > 0


def _calls(exchange: Exchange) -> Iterator[Call]:
    for entry in exchange.entries:
        if isinstance(entry, Reply):
            yield from entry.calls


def _token(call: Call) -> str:
    found = re.search(r"T\d[\d-]*T", call.arguments)
    return found[0] if found else ""
