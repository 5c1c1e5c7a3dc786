"""Memory under kill -9: `python -m tests.memory.kills --rounds 1000 [--seed N]`.

Each round two processes save for a chat each, and are killed: half of them at the n-th of their writes (each statement of SQLite,
each write of a file, which is then half done, each fsync, each rename), the others after some microseconds, wherever that is.
Then it is looked at what is there:

* before anything puts it right, the database has whole saves only: a cursor, its entries and its facts say the same, all that
  was acknowledged is there, and at most one more;
* after one look the files are what the database says: MEMORY.md is its latest version, with every fact of every save and of
  every edit by hand, and HISTORY.md has each entry once.

Now and then a person edits the files in between.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from nanobot import database
from nanobot.memory import checks, rows
from nanobot.memory.port import HISTORY, MEMORY, Author, Save, Saved, Update
from tests.memory.kit import AT, Place

CHATS = ("cli:default:one", "cli:default:two")
SAVES = 3
"""Of a process, if it lives so long."""
POINTS = 150
"""Writes of one that does: about."""
MOST_S = 0.25
"""Seconds that such a one takes: about."""
FILLING = "word " * 300
"""So that an entry is more than a page of memory can hide."""


def entry_of(chat: str, number: int) -> str:
    return f"[2026-11-23 00:00] {chat} {number} {FILLING}{chat} {number} ended"


def fact_of(chat: str, number: int) -> str:
    return f"{chat} says number {number}"


# --- the process that is killed


@attrs.define
class Fuse:
    """Kills the process at its n-th write."""

    left: int

    def burn(self) -> bool:
        """Whether this one is the last."""
        self.left -= 1
        return self.left == 0

    def before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.burn():
                die()
            return real(*args, **kwargs)

        return call

    def half(self, real: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
        def write(file: int, data: bytes) -> int:
            if self.burn():
                real(file, data[: len(data) // 2])
                die()
            return real(file, data)

        return write

    def connect(self, real: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection = real(*args, **kwargs)
            connection.set_trace_callback(lambda _statement: die() if self.burn() else None)
            return connection

        return connect

    def light(self) -> None:
        os.fsync, os.rename = self.before(os.fsync), self.before(os.rename)
        os.write = self.half(os.write)  # type: ignore[assignment]
        sqlite3.connect = self.connect(sqlite3.connect)  # type: ignore[assignment]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def work(place: Place, chat: str, acknowledge: Callable[[], object]) -> None:
    store = place.store()
    for _ in range(SAVES):
        number, now = store.cursor(chat), store.current()
        update = Update(MEMORY, now.number, f"{now.text}- {fact_of(chat, number)}\n")
        taken = store.save(Save(chat, number, number + 1, entry_of(chat, number), AT, update))
        assert isinstance(taken, Saved), taken
        assert not taken.behind, taken
        acknowledge()


def started(place: Place, chat: str, fuse: int) -> tuple[int, int]:
    """The process, and where it acknowledges."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    try:
        say = os.write
        if fuse:
            Fuse(fuse).light()
        work(place, chat, lambda: say(theirs, b"."))
    except BaseException as error:
        print(f"{chat}: {error!r}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


# --- the rounds


@attrs.define
class Campaign:
    place: Place
    draw: random.Random
    saved: dict[str, int] = attrs.field(factory=dict)
    edits: list[str] = attrs.field(factory=list)
    edits_of_history: list[str] = attrs.field(factory=list)
    killed: int = 0
    between: int = 0
    """Rounds that left the files behind the database."""
    saves: int = 0

    def begin(self, folder: Path) -> None:
        self.place, self.saved, self.edits, self.edits_of_history = Place(folder), dict.fromkeys(CHATS, 0), [], []
        folder.mkdir()
        self.place.store().close()
        self.place.write("")
        self.place.write("", HISTORY)

    def round(self, number: int) -> None:
        fuses = [self.draw.randint(1, POINTS) if self.draw.random() < 0.5 else 0 for _ in CHATS]
        children = [started(self.place, chat, fuse) for chat, fuse in zip(CHATS, fuses, strict=True)]
        if not all(fuses):
            time.sleep(self.draw.uniform(0, MOST_S))
        for (pid, _), fuse in zip(children, fuses, strict=True):
            if not fuse:
                os.kill(pid, signal.SIGKILL)
        for chat, (pid, acknowledged) in zip(CHATS, children, strict=True):
            self.ended(chat, pid, acknowledged)
        self.check_database()
        if self.draw.random() < 0.2:
            self.edit(f"by hand in round {number}")
        self.check_files()
        if self.draw.random() < 0.1:
            self.append(f"noted in round {number}")

    def ended(self, chat: str, pid: int, acknowledged: int) -> None:
        _, status = os.waitpid(pid, 0)
        assert status in (0, signal.SIGKILL), f"{chat} failed with {status}"
        self.killed += status == signal.SIGKILL
        with os.fdopen(acknowledged, "rb") as pipe:
            told = self.saved[chat] + len(pipe.read())
        there = self.place.store().cursor(chat)
        assert told <= there <= told + (status == signal.SIGKILL), f"{chat}: {told} acknowledged, {there} there"
        self.saves += there - self.saved[chat]
        self.saved[chat] = there

    def check_database(self) -> None:
        with reading(self.place) as db:
            entries = {entry.text for entry in (*rows.entries(db, shown=True), *rows.entries(db, shown=False))}
            text = rows.latest(db, MEMORY).version.text
            self.between += (
                bool(rows.entries(db, shown=False)) or rows.shown(db, MEMORY) != rows.latest(db, MEMORY).version.number
            )
            pending = [one.text for one in rows.proposals(db, rows.Verdict.OPEN)]
        assert entries == set(self.entries()), "an entry without its cursor, or a cursor without its entry"
        assert set(self.facts()) <= set(checks.facts(text)), "a cursor without its fact"
        assert set(checks.facts(text)) <= set(self.facts()) | {*map(str.casefold, self.edits)}, "a fact without its cursor"
        assert not pending

    def check_files(self) -> None:
        store = self.place.store()
        assert store.look() == ""
        text = self.place.read()
        assert text == store.current().text
        assert set(checks.facts(text)) == set(self.facts()) | {*map(str.casefold, self.edits)}
        by_hand = [one for one in store.versions(MEMORY, most=1000) if one.author is Author.HAND]
        assert len(by_hand) == len(self.edits), "what we were about to write was taken for an edit"
        there = [one.strip() for one in self.place.read(HISTORY).split("\n\n") if one.strip()]
        assert sorted(there) == sorted([*self.entries(), *self.edits_of_history]), "HISTORY.md has not each entry once"

    def entries(self) -> list[str]:
        return [entry_of(chat, number) for chat in CHATS for number in range(self.saved[chat])]

    def facts(self) -> list[str]:
        return [fact_of(chat, number) for chat in CHATS for number in range(self.saved[chat])]

    # --- a person

    def edit(self, line: str) -> None:
        text = self.place.read() if (self.place.workspace / MEMORY).exists() else ""
        self.place.write(f"- {line}\n{text}")
        self.edits.append(line)

    def append(self, line: str) -> None:
        with (self.place.workspace / HISTORY).open("a") as file:
            file.write(f"{line}\n")
        self.edits_of_history.append(line)


@contextlib.contextmanager
def reading(place: Place) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(database.Database(place.path / "memory.db", rows.SCHEMA)) as db, db.reading() as connection:
        yield connection


def run(folder: Path, rounds: int, seed: int, renew: int = 25) -> Campaign:
    """A new folder every `renew` rounds, so that memory stays small."""
    campaign = Campaign(Place(folder), random.Random(seed))
    for number in range(rounds):
        if number % renew == 0:
            campaign.begin(folder / str(number))
        campaign.round(number)
    return campaign


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = run(Path(folder), given.rounds, given.seed)
    seconds = time.monotonic() - begun
    print(f"{given.rounds} rounds, {done.saves} saves, {done.killed} kills, files behind {done.between} times, {seconds:.0f} s")
    print("nothing lost, nothing twice")


if __name__ == "__main__":
    main()
