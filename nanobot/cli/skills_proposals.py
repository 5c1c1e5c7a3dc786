"""`nanobot skills proposals`: what the assistant proposes to change in SOUL.md and in skills, and the person's answer."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nanobot.cli.memory_cmd import store_of
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json, tell_warnings
from nanobot.cli.texts import plain, when
from nanobot.memory.port import Author
from nanobot.memory.projections import Changer
from nanobot.security.ledger import Ledger
from nanobot.skills.proposals import Proposal, Proposals, Verdict
from nanobot.skills.reading import Corner
from nanobot.wire import JsonObject

app = App(name="proposals", help="Accept or reject changes that the assistant proposes to itself.", version_flags=[])
IdArgument = Annotated[str, Parameter(help="The proposal, as `nanobot skills proposals list` shows it.")]


def _store(option: Path | None) -> Proposals:
    instance = opened(option)
    tell_warnings(instance.warnings)
    workspace = instance.places.workspace(instance.config)
    return Proposals(Corner(workspace, instance.places.data, Ledger(instance.places.tainted, workspace)))


@app.command(name="list", sort_key=1)
def list_(
    *,
    all: Annotated[bool, Parameter(negative="", help="Those that were decided, too.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the proposals that wait for an answer."""
    found = [one for one in _store(config).all() if all or one.verdict is Verdict.OPEN]
    if json:
        say_json([_as_json(one) for one in found])
        return
    if not found:
        say("No proposal waits.")
    for one in found:
        say(plain(f"{one.id}  {when(one.at)}  {one.verdict:<8}  {one.path}: {one.reason}").replace("\n", " "))


@app.command(sort_key=2)
def show(id: IdArgument, /, *, config: ConfigOption = None) -> None:
    """Show what a proposal would change."""
    store = _store(config)
    one = store.get(id)
    say(plain(f"{one.id}: {one.path}, {one.verdict}, proposed {when(one.at)} in {one.session}\n{one.reason}\n"))
    now = store.present(one.path)
    before, after = ("" if now is None else now).splitlines(), store.new_text(one).splitlines()
    name = one.path if now is not None else "(there is none yet)"
    lines = list(difflib.unified_diff(before, after, name, "proposed", lineterm=""))
    say(plain("\n".join(lines) or "It says what the file says already."))


@app.command(sort_key=3)
def accept(id: IdArgument, /, *, config: ConfigOption = None) -> None:
    """Put a proposal in force; the version before is kept."""
    with store_of(opened(config)) as memory:
        store = _store(config)
        old = store.accept(id)
        memory.look(Changer(Author.PROPOSAL, store.get(id).session, f"proposal {id} accepted"))
    say(f"{store.get(id).path} is the proposed version now." + (f" The one before is kept in {old}." if old else ""))


@app.command(sort_key=4)
def reject(id: IdArgument, /, *, config: ConfigOption = None) -> None:
    """Turn a proposal down."""
    store = _store(config)
    store.reject(id)
    say(f"Rejected; {store.get(id).path} stays as it is.")


def _as_json(one: Proposal) -> JsonObject:
    return {
        "id": one.id,
        "path": one.path,
        "reason": one.reason,
        "at": one.at,
        "session": one.session,
        "verdict": str(one.verdict),
    }
