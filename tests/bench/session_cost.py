"""What the session machine and its journal cost as a conversation grows, and how long a stop takes.

    python -m tests.bench.session_cost [--stops N]

* a `step` (decide and book) in microseconds with 1,000 and 10,000 live messages;
* opening a session with 10,000 old turns beside one with 100;
* /stop at drawn moments of turns that think, read, or run commands: from the command to the delivered answer, when nothing
  of the turn runs any more.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import trio

from nanobot.agent.context import Budget, keep_from
from nanobot.journal.disk import RealDisk
from nanobot.journal.journal import Journals
from nanobot.messages import Call, CallId, CallState, Effect, Exchange, MessageId, Reply, Said, TurnEnd, TurnNumber
from nanobot.session import events as ev
from nanobot.session.actor import owes
from nanobot.session.codec import decode, decode_session, encode, encode_session
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.session.state import Session
from tests.fakes.llm import Asked
from tests.fakes.llm_wire import Answer, Scripted, ToolCall
from tests.fakes.talk import talking

KEY = "cli:default:bench"
PAUSE_S = 300.0
"""Between two turns: 10,000 of them are five weeks, so the dedupe window is at its bound of 2,000 ids."""


def said(number: int) -> Said:
    return Said(MessageId(f"m{number}"), f"question {number}: " + "what is it? " * 8, number * PAUSE_S, "p")


def live(messages: int) -> Session:
    """A session whose prompt holds so many messages, in mid-turn with a call under way."""
    exchanges = tuple(
        Exchange(TurnNumber(n), "p", (said(n), Reply(f"answer {n}")), TurnEnd.ANSWERED) for n in range(1, messages // 2 + 1)
    )
    session = Session(KEY, exchanges=exchanges, next_turn=TurnNumber(messages))
    call = Call(CallId("c"), "read_file", "{}", Effect.READS)
    for event in (ev.Received(said(messages)), ev.ModelAnswered(TurnNumber(messages), 1, 0.0, Reply("", (call,)))):
        session = apply_all(session, step(session, event).records)
    return session


def steps(messages: int) -> dict[str, float]:
    """Microseconds of a step, decided and booked, by event."""
    session, turn = live(messages), TurnNumber(messages)
    events: dict[str, Callable[[int], ev.Event]] = {
        "a message in mid-turn": lambda n: ev.Received(said(messages + 1 + n)),
        "the end of a call": lambda _n: ev.CallEnded(turn, CallId("c"), 0.0, CallState.DONE, "result"),
    }
    return {name: _microseconds(session, make) for name, make in events.items()}


def _microseconds(session: Session, make: Callable[[int], ev.Event]) -> float:
    taken = []
    for number in range(2000):
        event = make(number)
        begun = time.perf_counter_ns()
        plan = step(session, event)
        taken.append(time.perf_counter_ns() - begun)
        apply_all(session, plan.records)
    return statistics.median(taken) / 1e3


class Unsynced(RealDisk):
    """Makes the long conversation quickly: nobody pulls the plug here."""

    def fsync(self, fd: int, site: str) -> None:
        pass


def write_conversation(root: Path, turns: int) -> None:
    """A conversation as the house would have left it: history jumps at 100 messages."""
    journals = Journals(str(root), Unsynced())
    journals.prepare()
    journal, _ = journals.open(KEY)
    session = Session(KEY)
    for number in range(1, turns + 1):
        turn, at = session.next_turn, number * PAUSE_S
        for event in (
            ev.Received(said(number)),
            ev.ModelAnswered(turn, 1, at, Reply(f"answer {number}: " + "it is so. " * 20)),
            ev.PartDelivered(f"o{number}", 0, at),  # type: ignore[arg-type]
        ):
            records = step(session, event).records
            session = apply_all(session, records)
            journal.append(encode(records), owes=owes(session), at=at, snapshot_after=partial(encode_session, session))
        leaving = keep_from(session.exchanges, [0.0] * len(session.exchanges), Budget(1e9, 100))
        if leaving or journal.oversize:
            session = Session(
                KEY,
                exchanges=session.exchanges[leaving:],
                base=session.base + leaving,
                seen=session.pruned(at).seen,
                next_turn=session.next_turn,
                next_out=session.next_out,
            )
            journal.cut(encode_session(session), owes=None, at=at)
    journal.sleep(owes=None, at=turns * PAUSE_S)
    journal.close()


def opening(turns: int) -> float:
    """Milliseconds to open a journal and fold it, median of 31."""
    with tempfile.TemporaryDirectory() as folder:
        write_conversation(Path(folder), turns)
        taken = []
        for _ in range(31):
            begun = time.perf_counter()
            journal, loaded = Journals(folder).open(KEY)
            assert loaded.snapshot is not None
            apply_all(decode_session(loaded.snapshot), decode(loaded.records))
            taken.append(time.perf_counter() - begun)
            journal.close()
    return statistics.median(taken) * 1e3


def busy(asked: Asked) -> Scripted:
    """A model that keeps a turn busy in every state."""
    draw = random.Random(asked.number)
    match draw.randrange(4):
        case 0:
            return Answer("thinking for long", stall="middle")
        case 1:
            return Answer("", calls=(ToolCall("exec", {"command": "sleep 30 & sleep 30"}),))
        case 2:
            return Answer("", calls=tuple(ToolCall("list_dir", {"path": ".", "max_entries": n + 1}) for n in range(4)))
        case _:
            return Answer("", calls=(ToolCall("grep", {"pattern": "x+", "path": "."}),))


async def stops(rounds: int) -> list[float]:
    """Seconds from a /stop to its answer."""
    taken: list[float] = []
    draw, numbers = random.Random(1), count()
    with tempfile.TemporaryDirectory() as folder:
        async with talking(Path(folder), busy) as talk:
            while len(taken) < rounds:
                await talk.tell(f"work {next(numbers)}")
                await trio.sleep(draw.uniform(0.0, 0.12))
                begun = time.perf_counter()
                reply = await talk.say("/stop")
                if reply.text.startswith("Stopped"):
                    taken.append(time.perf_counter() - begun)
                await talk.say("/new")
    return sorted(taken)


def main(rounds: int) -> None:
    for messages in (1000, 10_000):
        for name, cost in steps(messages).items():
            print(f"step at {messages:6} live messages, {name:22} {cost:6.1f} µs (goal at 1,000: 10)")
    short, long = opening(100), opening(10_000)
    print(f"opening: 100 old turns {short:.2f} ms, 10,000 old turns {long:.2f} ms, ratio {long / short:.2f} (goal: 1.2)")
    taken = trio.run(stops, rounds)
    p99 = taken[int(len(taken) * 0.99)]
    print(
        f"/stop at {len(taken)} drawn moments: median {statistics.median(taken):.3f} s, p99 {p99:.3f} s, most {taken[-1]:.3f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=200)
    main(parser.parse_args().stops)
