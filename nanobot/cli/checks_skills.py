"""What `nanobot doctor` says about skills: what cannot be used, what those of the workspace lack, what waits for an answer."""

from __future__ import annotations

from nanobot.cli.findings import UNREAD, Facts, Finding, ok, warn
from nanobot.security.ledger import Ledger
from nanobot.skills.catalog import Entry, Source, State
from nanobot.skills.proposals import Proposals, waiting
from nanobot.skills.reading import Corner
from nanobot.skills.shelf import Shelf

MOST_NAMED = 5


def skills(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    workspace = facts.places.workspace(facts.config)
    corner = Corner(workspace, facts.places.data, Ledger(facts.places.tainted, workspace))
    catalog = Shelf(corner, facts.environ, facts.config).look()
    wrong = [*catalog.remarks, *(line for entry in catalog.entries for line in _wrong(entry))]
    count = sum(entry.offered for entry in catalog.entries)
    open_ = sum(1 for _ in waiting(Proposals(corner)))
    told = f"; {open_} proposed change{'s wait' if open_ > 1 else ' waits'}: nanobot skills proposals list" if open_ else ""
    if wrong:
        more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        return warn(f"{'; '.join(wrong[:MOST_NAMED])}{more}. See: nanobot skills check{facts.option}{told}")
    return ok(f"{count} can be used{told}")


def _wrong(entry: Entry) -> list[str]:
    """What comes along may lack programs: nobody needs all of it."""
    if entry.state in (State.BROKEN, State.HELD):
        return [f"{entry.name}: {entry.why}"]
    if entry.skill.source is Source.BUILTIN or entry.state is State.DISABLED:
        return []
    return [f"{entry.name}: {line}" for line in ([entry.why] if entry.why else []) + list(entry.skill.remarks)]
