"""The same round through `nanobot chat -m`: real processes of the installed command, killed from outside.

Who types at a terminal has no acknowledge: a message counts as taken when the journal has it, and is typed again otherwise.
A kill falls when the screen shows an answer, when an effect is there, or when the journal has grown so many times, as far as
looking every millisecond can tell. The next command takes up what is unfinished and shows what is owed before its own answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import attrs

from nanobot.archive.reading import Reader
from nanobot.messages import Said
from nanobot.session.state import Session
from tests.crash.house import KEY
from tests.crash.plans import EFFECTS, Kill, Message, Round
from tests.crash.rounds import Evidence, Met, journal_files, left_behind, name_of, promised, resumed, settle

PATIENCE_S = 60.0
"""A command starts in about two seconds."""
LOOK_S = 0.001
GROWTHS = 3
"""Growths of the journal for each count of a kill: a turn has about five lines."""


@attrs.define
class Screens(Evidence):
    """Evidence of a round through the command: replies are what the terminals showed."""

    @property
    def shown(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.screen")))

    @property
    def replies(self) -> list[dict[str, object]]:
        said = promised(self.folder)
        same = Counter(out.text for out in said)
        return [
            {"id": out.id, "answers": [out.reply_to, *out.also_answers], "text": out.text}
            for out in said
            for _ in range(self.shown.count(out.text) // same[out.text])
        ]


def play(plan: Round, folder: Path, base: str) -> Evidence:
    """Play a round: its kills meet one command each, the last command is left alone."""
    evidence = Screens(folder)
    settle(folder, plan.wire, base)
    todo = [message for message in plan.messages if not message.text.startswith("/")]
    todo += [_plain(f"{plan.seed}-after-{n}") for n in range(len(plan.kills))]
    for n, kill in enumerate((*plan.kills, *(None for _ in todo))):
        before = evidence.shown
        status = _command(todo[0], kill, evidence, n)
        session = _session(folder)
        if todo[0].text in _texts(evidence):
            todo.pop(0)
        if kill is None and status != 0:
            evidence.troubles.append(f"command {n} ended with {status}")
        if kill is not None:
            new = evidence.shown.removeprefix(before)
            shown = {p.outbound.id for p in session.outbox if p.outbound.text in new}
            evidence.met.append(Met(name_of(session, shown), session, resumed(folder)))
        if (kill is None or plan.look_at_once) and (left := left_behind(plan.mark)):
            evidence.troubles.append(f"after command {n} there are still {left}")
        if not todo:
            break
    evidence.acknowledged = [Message(str(identity), "plan") for identity, _ in _session(folder).seen]
    evidence.troubles += [f"said {count} times: {text}" for text, count in _texts(evidence).items() if count != 1]
    return evidence


def _plain(name: str) -> Message:
    return Message(name, f'plan {{"steps": [], "think": 0.0, "answer": "answer {name}"}}')


def _command(message: Message, kill: Kill | None, evidence: Evidence, n: int) -> int:
    """Run `nanobot chat -m` to its end, or to the kill; its exit status."""
    arguments = ("chat", "-m", message.text, "-s", KEY.short, "--config", str(evidence.config))
    environ = {"HOME": str(evidence.folder), "PATH": os.environ["PATH"]}
    with (evidence.folder / f"{n}.screen").open("wb") as screen:
        process = subprocess.Popen(
            [sys.executable, "-m", "nanobot", *arguments], stdin=subprocess.DEVNULL, stdout=screen, stderr=screen, env=environ
        )
        if kill is not None:
            _wait_for(kill, process, evidence, Path(screen.name))
            process.kill()
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            evidence.troubles.append(f"command {n} is stuck")
            return process.wait()


def _wait_for(kill: Kill, process: subprocess.Popen[bytes], evidence: Evidence, screen: Path) -> None:
    """Until the place of the kill is reached, or the command has ended."""
    looks = {"shown": [screen], "writing": [evidence.folder / "ws" / EFFECTS]}
    growths = 1 if kill.point in looks else kill.n * GROWTHS
    size, until = -1, time.monotonic() + PATIENCE_S
    while growths and process.poll() is None and time.monotonic() < until:
        time.sleep(LOOK_S)
        files = looks.get(kill.point) or journal_files(evidence.folder)
        now = sum(file.stat().st_size for file in files if file.exists())
        growths, size = growths - (size not in (-1, now)), now
    if kill.point not in looks:
        time.sleep(kill.delay)


def _session(folder: Path) -> Session:
    live = Reader(str(folder / "journals")).live(str(KEY))
    return Session(str(KEY)) if live is None else live.session


def _texts(evidence: Evidence) -> Counter[str]:
    """What was said, and how often it is in the conversation."""
    session = _session(evidence.folder)
    turn = session.turn.entries if session.turn else ()
    entries = (*(entry for exchange in session.exchanges for entry in exchange.entries), *turn, *session.inbox)
    return Counter(entry.text for entry in entries if isinstance(entry, Said))
