"""`nanobot memory proposals`: updates of memory that were not taken, and the person's answer."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from nanobot.cli.memory_cmd import store
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import say, say_json
from nanobot.cli.texts import plain, when
from nanobot.memory.rows import Proposal, Verdict
from nanobot.memory.store import difference
from nanobot.wire import JsonObject

app = App(name="proposals", help="Decide on updates that were not taken.", version_flags=[])
IdArgument = Annotated[str, Parameter(help="The proposal, as `nanobot memory proposals list` shows it.")]


@app.command(name="list", sort_key=1)
@app.default
def list_(
    *,
    every: Annotated[bool, Parameter(name="--all", negative="", help="Those that were decided, too.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the updates that wait for an answer, and why they were not taken."""
    with store(config) as memory:
        found = memory.proposals(None if every else Verdict.OPEN)
    if json:
        say_json([_as_json(one) for one in found])
        return
    if not found:
        say("No proposal waits.")
    for one in found:
        say(plain(f"{one.id}  {when(one.at)}  {one.verdict:<8}  {one.document}: {one.why}").replace("\n", " "))


@app.command(sort_key=2)
def show(id: IdArgument, /, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show what a proposal would change."""
    with store(config) as memory:
        one = memory.proposal(id)
        base = memory.version(one.document, one.base)
    text = difference(base.text, one.text, f"{one.document} {one.base}", f"proposal {one.id}")
    if json:
        say_json({**_as_json(one), "text": one.text, "diff": text})
        return
    say(plain(f"{one.id}: {one.document}, {one.verdict}, from {one.session}, {when(one.at)}\n{one.why}.\n"))
    say(plain(text) or "It says what the file said already.")


@app.command(sort_key=3)
def accept(id: IdArgument, /, *, config: ConfigOption = None) -> None:
    """Make it the file's next version, with what has changed since kept."""
    with store(config) as memory:
        version = memory.accept(id)
    say(f"Accepted: it is version {version.number} of {version.document}.")


@app.command(sort_key=4)
def refuse(id: IdArgument, /, *, config: ConfigOption = None) -> None:
    """Turn it down; the file stays as it is."""
    with store(config) as memory:
        memory.refuse(id)
    say("Refused; the file stays as it is.")


def _as_json(one: Proposal) -> JsonObject:
    return {
        "id": one.id,
        "file": one.document,
        "base": one.base,
        "session": one.session,
        "why": one.why,
        "at": one.at,
        "verdict": str(one.verdict),
    }
