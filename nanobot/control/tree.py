"""Sessions, what they ask their owner, and journals as nodes of the live tree. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import attrs

from nanobot.journal.writers import WriterStats
from nanobot.messages import CallState, Note, Said, SessionKey
from nanobot.security.approvals import buttons
from nanobot.session.errands import background, open_approvals
from nanobot.session.registry import Failing
from nanobot.session.state import AwaitingTool, Consolidating, Errand, Idle, Session, Stopping, Thinking
from nanobot.supervise.status import Node
from nanobot.tools.spawn import NAME as SPAWN

MOST_SESSIONS = 100
"""Sessions that the tree names, those with something to do first: a page for people, not a dump of a thousand chats."""
SHOWN_CHARS = 80


def sessions_node(
    live: Mapping[str, Session],
    failing: Mapping[str, Failing],
    since: float,
    asking: Mapping[str, tuple[Errand, ...]] | None = None,
) -> Node:
    """The group of the sessions that are awake, fail to be, or (`asking`) sleep while their owner is asked something."""
    asking = asking or {}
    nodes = [session_node(session) for session in live.values()]
    busy = sum(node.state != "idle" for node in nodes)
    nodes += [_asleep_node(key, errands) for key, errands in asking.items() if key not in failing]
    failed = [_failing_node(key, failed, asking.get(key, ())) for key, failed in failing.items() if key not in live]
    nodes = [*failed, *sorted(nodes, key=_rank)]
    more = (("not shown", str(len(nodes) - MOST_SESSIONS)),) if len(nodes) > MOST_SESSIONS else ()
    facts = (("awake", str(len(live))), ("at work", str(busy)), *more)
    return Node("sessions", "group", "up", since, facts=facts, children=tuple(nodes[:MOST_SESSIONS]))


def _rank(node: Node) -> tuple[bool, bool, float]:
    return not node.children, node.state == "idle", -node.since


def _failing_node(key: str, failed: Failing, asked: tuple[Errand, ...]) -> Node:
    at, times, below = failed.times[-1], len(failed.times), tuple(map(_approval_node, asked))
    return Node(_short(key), "session", "waiting", at, times, failed.why, "to be opened again", failed.until, children=below)


def _asleep_node(key: str, errands: tuple[Errand, ...]) -> Node:
    return Node(_short(key), "session", "idle", 0.0, children=tuple(map(_approval_node, errands)))


def _approval_node(errand: Errand) -> Node:
    what = " ".join(f"{errand.tool} {errand.text}".split())
    what = what if len(what) <= SHOWN_CHARS else f"{what[: SHOWN_CHARS - 1]}…"
    answers = " or ".join(button.says for button in buttons(errand.id))
    facts = (("answer", f"{answers} in a chat of the owner"),)
    return Node(errand.id, "approval", "waiting", 0.0, waiting=f"the owner's word: {what}", until=errand.expires_at, facts=facts)


def _running_node(errand: Errand) -> Node:
    return Node(errand.id, "subagent" if errand.tool == SPAWN else "process", "working", 0.0, waiting=errand.title)


def session_node(session: Session) -> Node:
    """What it does, what it waits for, and what it asks its owner."""
    state, doing, since = _doing(session)
    asked = (*map(_approval_node, open_approvals(session)), *map(_running_node, background(session)))
    node = Node(_short(session.key), "session", state, since, waiting=doing, facts=_facts(session), children=asked)
    head = session.outbox[0] if session.outbox else None
    if head is None or not head.error:
        return node
    return attrs.evolve(node, error=head.error, waiting=doing or "to send its reply", until=head.retry_at)


def _doing(session: Session) -> tuple[str, str, float]:
    entries = session.exchanges[-1].entries if session.exchanges else ()
    at = max((entry.at for entry in entries if isinstance(entry, Said | Note)), default=0.0)
    match session.state:
        case Idle():
            return ("working", "its reply to be delivered", session.outbox[0].outbound.at) if session.outbox else ("idle", "", at)
        case Thinking(turn):
            return "working", "the model", turn.at
        case AwaitingTool(turn):
            running = [call.name for call in turn.open_calls if call.state is CallState.STARTED]
            return "working", ", ".join(running), turn.at
        case Stopping(turn):
            return "stopping", "its work to end", turn.at
        case Consolidating():
            return "working", "memory", at
        case _ as never:
            assert_never(never)


def _facts(session: Session) -> tuple[tuple[str, str], ...]:
    counts = {
        "waiting": len(session.inbox),
        "to deliver": len(session.outbox),
        "given up": len(session.dead),
        "open requests": len(session.errands),
        "owed": len(session.owed),
    }
    return tuple((name, str(count)) for name, count in counts.items() if count)


def journals_node(stats: WriterStats, since: float) -> Node:
    facts = (("p50", f"{stats.p50_ms:.1f} ms"), ("p99", f"{stats.p99_ms:.1f} ms"), ("queued", str(stats.queued)))
    slow = "; ".join(stats.slow)[:SHOWN_CHARS]
    state, waiting = ("waiting", f"the disk: {slow}") if slow else ("up", "")
    return Node("journals", "journals", state, since, waiting=waiting, facts=facts)


def _short(key: str) -> str:
    try:
        return SessionKey.parse(key).short
    except ValueError:
        return key
