"""What must be true of a round through the gateway, whatever was killed when. Pure, but for what the evidence reads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from nanobot.messages import Outbound
from tests.crash.checks import at_rest, calls_settled, effects_once, ended_by_second_crash, kept, said_once
from tests.crash.gateway_plans import Say
from tests.crash.gateway_rounds import Look, Seen, key_of, wire_ids
from tests.crash.people import Heard
from tests.crash.plans import Message
from tests.crash.rounds import promised
from tests.crash.websocket import Frame


def broken(seen: Seen) -> list[str]:
    """Every promise that the round saw broken."""
    people = seen.people
    return [
        *seen.troubles,
        *people.troubles,
        *(f"in the log: {line}" for line in seen.log.splitlines() if " ERROR " in line or line.startswith("Traceback")),
        *(text for chat in people.plan.chats for text in _of_chat(seen, chat)),
        *_all_accepted(people.said, people.accepted),
        *_same_again(people.heard),
        *_settled_by_acknowledgement(seen.looks, people.acked),
        *_not_again(seen.looks, people.heard),
        *_again(seen.looks, people.heard),
        *effects_once(seen),
        *(f"call {call} began {times} times" for call, times in seen.began.items() if times > 1),
    ]


def _of_chat(seen: Seen, chat: str) -> Iterator[str]:
    """What is wrong in one chat."""
    archive = seen.conversation(chat)
    said = [say for say in seen.people.said.values() if say.chat == chat]
    if archive is None:
        yield from (f"{say.id} is lost: {chat} has no journal" for say in said)
        return
    past = [closed.exchange for closed in archive.past]
    met = seen.met_in(chat)
    outs = promised(seen.folder, key_of(chat))
    frames = [heard for heard in seen.people.heard if heard.frame["chat"] == chat]
    yield from archive.troubles
    yield from at_rest(archive.session)
    yield from kept(past, met)
    yield from said_once(past, archive.session, [Message(say.id, say.text) for say in said])
    yield from calls_settled(past, seen.effects)
    yield from ended_by_second_crash(past, met, deaths=sum(look.killed for look in seen.looks))
    yield from _answered_once(said, frames)
    yield from _as_promised(chat, outs, frames)
    yield from _in_order(wire_ids(chat, (out.id for out in outs)), frames)
    yield from (f"dead letter {letter}" for letter in (*archive.session.dead, *archive.session.doubled))


def _all_accepted(said: Iterable[str], accepted: set[str]) -> Iterator[str]:
    yield from (f"{id} was never accepted" for id in said if id not in accepted)


def _answered_once(said: Iterable[Say], heard: Iterable[Heard]) -> Iterator[str]:
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for one in heard:
        for id in (one.frame["replyTo"], *one.frame["alsoAnswers"]):
            answers[id].add(one.frame["id"])
    for say in said:
        if len(answers[say.id]) != 1:
            yield f"{say.id} was accepted and has {len(answers[say.id])} answers: {sorted(answers[say.id])}"


def _same_again(heard: Iterable[Heard]) -> Iterator[str]:
    """Every time that an answer came it was the same, to the last key."""
    first: dict[str, Frame] = {}
    for one in heard:
        if first.setdefault(one.frame["id"], one.frame) != one.frame:
            yield f"answer {one.frame['id']} was {first[one.frame['id']]}, and then {one.frame}"


def _as_promised(chat: str, outs: Iterable[Outbound], heard: Iterable[Heard]) -> Iterator[str]:
    """What came is what the journal says, under the id that follows from it."""
    texts = {f"{chat}/{out.id}": (out.text, out.failed) for out in outs}
    for one in heard:
        frame = one.frame
        if texts.get(frame["id"]) != (frame["text"], frame.get("failed", False)):
            yield f"answer {frame['id']} came as {frame}, and the journal has {texts.get(frame['id'])}"


def _in_order(order: list[str], heard: Iterable[Heard]) -> Iterator[str]:
    """Over each connection answers come once, in the order of the journal; and so do all first sights of one."""
    by_connection: defaultdict[str, list[str]] = defaultdict(list)
    for one in heard:
        by_connection[one.connection].append(one.frame["id"])
        by_connection["first sight"] += [] if one.frame["id"] in by_connection["first sight"] else [one.frame["id"]]
    for connection, ids in by_connection.items():
        places = [order.index(id) for id in ids if id in order]
        if any(before >= after for before, after in pairwise(places)):
            yield f"answers came as {ids} over {connection}"


def _settled_by_acknowledgement(looks: list[Look], acked: set[tuple[int, str]]) -> Iterator[str]:
    before: frozenset[str] = frozenset()
    for life, look in enumerate(looks):
        for id in look.settled - before:
            if (life, id) not in acked:
                yield f"answer {id} was noted as delivered in life {life}, where nobody acknowledged it"
        before = look.settled


def _not_again(looks: list[Look], heard: Iterable[Heard]) -> Iterator[str]:
    for one in heard:
        if one.life and one.frame["id"] in looks[one.life - 1].settled:
            yield f"answer {one.frame['id']} was delivered before life {one.life}, and came again in it"


def _again(looks: list[Look], heard: Iterable[Heard]) -> Iterator[str]:
    """What no kill let arrive came in the last life."""
    last = len(looks) - 1
    came = Counter(one.frame["id"] for one in heard if one.life == last)
    for id in looks[-2].waiting:
        if not came[id]:
            yield f"answer {id} waited before the last life, and did not come in it"
