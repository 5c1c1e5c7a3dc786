"""A round: lives of one data directory with kills between them, and the evidence they leave."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import attrs

from nanobot.archive.conversation import Archive
from nanobot.archive.reading import Reader
from nanobot.journal import names, segment
from nanobot.messages import Effect, Outbound, SessionKey
from nanobot.processes import lifeline
from nanobot.session.codec import decode, decode_session
from nanobot.session.records import Queued, Restarted, TurnStarted
from nanobot.session.state import AwaitingTool, Consolidating, Idle, Session, Stopping, Thinking
from tests.crash.house import KEY, REPLIES
from tests.crash.lives import Died, Life, Stuck
from tests.crash.plans import EFFECTS, Message, Round

GONE_S = 2.0
"""The lifeline ends what is left within milliseconds; a loaded machine gets more."""
NOT_WRITTEN, WRITTEN = "reply sent, not yet written", "reply written, not yet delivered"
THINKING, WRITING, READING = "Thinking", "AwaitingTool, a writing call started", "AwaitingTool, reading"


@attrs.frozen
class Met:
    """What a kill found on disk. `state` names it, `session` is its fold.

    `resumed`: how often its turn had been taken up after a crash, counted from the records and not from the session.
    """

    state: str
    session: Session
    resumed: int = 0


@attrs.define
class Evidence:
    folder: Path
    acknowledged: list[Message] = attrs.field(factory=list)
    met: list[Met] = attrs.field(factory=list)
    troubles: list[str] = attrs.field(factory=list)
    """What went wrong while the round was played."""

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    @property
    def archive(self) -> Archive:
        found = Reader(str(self.folder / "journals")).conversation(str(KEY), everything=True)
        assert found is not None, "there is no journal"
        return found

    @property
    def replies(self) -> list[dict[str, object]]:
        """What the terminal showed, in order."""
        path = self.folder / REPLIES
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def effects(self) -> Counter[str]:
        """How often each token is in the file; a file of its own counts, too."""
        path = self.folder / "ws" / EFFECTS
        files = Counter(file.stem for file in path.parent.glob("T*T.txt"))
        return files + Counter(path.read_text().split()) if path.exists() else files


def play(plan: Round, folder: Path, base: str) -> Evidence:
    """Play a round against the model service at `base`."""
    evidence = Evidence(folder)
    settle(folder, plan.wire, base)
    todo = list(plan.messages)
    for n, kill in enumerate((*plan.kills, None)):
        shown = len(evidence.replies)
        life = Life.start(evidence.config, kill, recovering=n > 0)
        try:
            _live(life, plan, todo, evidence, recovering=n > 0)
        except Died:
            pass
        except Stuck as stuck:
            evidence.troubles.append(f"life {n + 1} is stuck: {stuck}")
            life.kill()
        else:
            if kill is not None:
                life.kill()
        _bury(life, evidence, killed=kill is not None)
        if kill is not None:
            evidence.met.append(_met(evidence, shown))
        if (kill is None or plan.look_at_once) and (left := left_behind(plan.mark)):
            evidence.troubles.append(f"after life {n + 1} there are still {left}")
    return evidence


def settle(folder: Path, wire: str, base: str) -> None:
    """Make the data directory."""
    workspace = folder / "ws"
    workspace.mkdir(parents=True)
    (workspace / "notes.txt").write_text("one\ntwo\nthree\n")
    config = {
        "configVersion": 1,
        "memory": {"consolidate": False},
        "agents": {"defaults": {"workspace": str(workspace), "provider": wire, "model": "m"}},
        "providers": {wire: {"apiKey": "k", "apiBase": base}},
    }
    (folder / "config.json").write_text(json.dumps(config))


def left_behind(mark: str) -> list[str]:
    """Command lines of the round's processes that are still there after `GONE_S`; they are ended then."""
    until = time.monotonic() + GONE_S
    while (left := dict(_with_mark(mark))) and time.monotonic() < until:
        time.sleep(0.005)
    for pid in left:
        lifeline.kill(pid)
    return list(left.values())


def _with_mark(mark: str) -> Iterator[tuple[int, str]]:
    for pid in lifeline.processes():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if mark.encode() in command:
            yield pid, command.replace(b"\0", b" ").decode()


def _live(life: Life, plan: Round, todo: list[Message], evidence: Evidence, *, recovering: bool) -> None:
    """Deliver what is left, and wait until nothing is under way. Raises: Died, Stuck."""
    dice = random.Random(plan.seed)
    copies = dice.sample(evidence.acknowledged, min(plan.copies, len(evidence.acknowledged))) if recovering else []
    for copy in copies:
        life.deliver(copy)
    while todo:
        life.wait(0.0 if recovering else todo[0].wait)
        life.deliver(todo[0])
        evidence.acknowledged.append(todo.pop(0))
    life.rest()


def _bury(life: Life, evidence: Evidence, *, killed: bool) -> None:
    try:
        status = life.ended()
    except Stuck as stuck:
        evidence.troubles.append(str(stuck))
        return
    if status not in ((-signal.SIGKILL,) if killed else (0,)) and not evidence.troubles:
        evidence.troubles.append(f"it ended by itself with {status}, see {evidence.folder / 'stderr'}")


def _met(evidence: Evidence, shown: int) -> Met:
    live = Reader(str(evidence.folder / "journals")).live(str(KEY))
    if live is None:
        return Met("no journal", Session(str(KEY)))
    return Met(name_of(live.session, {reply["id"] for reply in evidence.replies[shown:]}), live.session, resumed(evidence.folder))


def name_of(session: Session, shown: Collection[object]) -> str:
    """The state for the table: a reply under way before the turn, which may be the next one already."""
    head = session.outbox[0] if session.outbox else None
    if head is not None:
        return WRITTEN if head.outbound.id in shown else NOT_WRITTEN
    match session.state:
        case AwaitingTool(turn):
            writes = any(call.effect is Effect.WRITES and call.state == "started" for call in turn.open_calls)
            return WRITING if writes else READING
        case Thinking():
            return THINKING
        case Idle() | Stopping() | Consolidating():
            return type(session.state).__name__


def resumed(folder: Path, key: SessionKey = KEY) -> int:
    """How often the turn that is under way was taken up after a crash."""
    count = 0
    for file in journal_files(folder, key):
        for record in decode(segment.read(file.read_bytes(), str(file)).records):
            match record:
                case TurnStarted():
                    count = 0
                case Restarted(crashed=True):
                    count += 1
                case _:  # says nothing of turns or starts
                    pass
    return count


def journal_files(folder: Path, key: SessionKey = KEY) -> list[Path]:
    """The segments, oldest first."""
    return sorted((folder / "journals" / names.encode(str(key))).glob("*.jsonl"))


def promised(folder: Path, key: SessionKey = KEY) -> list[Outbound]:
    """Every message to the chat that the journal has promised, oldest first."""
    found: dict[str, Outbound] = {}
    for file in journal_files(folder, key):
        read = segment.read(file.read_bytes(), str(file))
        waiting = [pending.outbound for pending in decode_session(read.header.snapshot).outbox]
        queued = [record.outbound for record in decode(read.records) if isinstance(record, Queued)]
        found |= {out.id: out for out in (*waiting, *queued)}
    return list(found.values())


def trace(folder: Path) -> str:
    """The journals, a line an append: its number and the records in it."""
    lines = []
    for file in sorted((folder / "journals").glob("*/*.jsonl")):
        header, *rest = file.read_bytes().split(b"\n")
        lines.append(f"{file.parent.name}/{file.name}: snapshot at {segment.read_header(header, file.name).n}")
        for text in filter(None, rest):
            line = segment.read_line(text)
            lines.append("  torn" if line is None else f"  {line.n} {' '.join(map(_short, line.records))}{' slept' * line.slept}")
    return "\n".join(lines)


def _short(record: object) -> str:
    assert isinstance(record, dict)
    details = [str(record[name]) for name in ("turn", "id", "call", "state", "end", "calls", "why") if name in record]
    return f"{record['t']}({' '.join(details)})"
