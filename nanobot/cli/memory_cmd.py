"""`nanobot memory`: what is remembered, how it came to be, and putting an earlier version on top.

Every command takes up first what was edited by hand, and works while a gateway runs: the store is made for several at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nanobot.agent.prompt_files import PromptFiles
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import Opened, opened, say, say_json, tell, tell_warnings
from nanobot.cli.texts import plain, when
from nanobot.errors import NanobotError
from nanobot.memory import checks
from nanobot.memory.port import HISTORY, MEMORY, PROMPT_FILES, REPORTED, Version
from nanobot.memory.rows import Logged
from nanobot.memory.store import MemoryStore
from nanobot.security.ledger import Ledger
from nanobot.wire import JsonObject

app = App(name="memory", help="See, search and put right what is remembered.", version_flags=[])
app.command("nanobot.cli.memory_search:search", name="search", help="Search HISTORY.md and conversations.", sort_key=6)
app.command("nanobot.cli.memory_proposals:app", name="proposals", help="Decide on updates that were not taken.", sort_key=7)
FileOption = Annotated[
    str, Parameter(name=["--file", "-f"], help="The file: MEMORY.md, SOUL.md, USER.md and others with versions.")
]
MOST_LOGGED = 30
USAGE = 2


class NotThere(NanobotError):
    """There is nothing of that name; the text says what there is."""


@contextmanager
def store(option: Path | None) -> Iterator[MemoryStore]:
    """Of the configured instance, with what was edited by hand taken up."""
    instance = opened(option)
    tell_warnings(instance.warnings)
    with store_of(instance) as memory:
        yield memory


@contextmanager
def store_of(instance: Opened) -> Iterator[MemoryStore]:
    workspace = instance.places.workspace(instance.config)
    memory = MemoryStore.of(instance.config, instance.places.memory, workspace, Ledger(instance.places.tainted, workspace))
    try:
        if trouble := memory.look():
            tell(f"warning: {plain(trouble)}")
        yield memory
    finally:
        memory.close()


def document(name: str, memory: MemoryStore) -> str:
    """The path in the workspace that a person means. Raises: NotThere."""
    known = dict.fromkeys((MEMORY, REPORTED, *PROMPT_FILES, *memory.documents()))
    short = {one.rpartition("/")[2]: one for one in known} | {one: one for one in known}
    if name not in short:
        there = ", ".join(one.removeprefix("memory/") for one in memory.documents()) or "none yet"
        raise NotThere(f"No versions are kept of {plain(name[:80])}. Of these they are: {there}")
    return short[name]


@app.command(sort_key=1)
def show(
    *,
    file: FileOption = "MEMORY.md",
    version: Annotated[int | None, Parameter(help="As it was then, by the number in `nanobot memory log`.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what is remembered."""
    with store(config) as memory:
        name = document(file, memory)
        found = memory.current(name) if version is None else memory.version(name, version)
    if json:
        say_json({**_as_json(found), "text": found.text, "facts": len(checks.facts(found.text))})
    elif found.text.strip():
        say(plain(found.text.rstrip("\n")))
    else:
        say("Nothing is remembered yet." if name == MEMORY else f"{name} is empty.")


@app.command(sort_key=2)
def log(
    *,
    file: Annotated[str | None, Parameter(name=["--file", "-f"], help="Only this file.")] = None,
    most: Annotated[int, Parameter(help="So many at most.")] = MOST_LOGGED,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the versions, the latest first."""
    with store(config) as memory:
        found = memory.versions(None if file is None else document(file, memory), max(1, most))
    if json:
        say_json([_logged_json(one) for one in found])
        return
    if not found:
        say("There are no versions yet.")
    for one in found:
        say(_line(one))


@app.command(sort_key=3)
def diff(
    before: Annotated[int | None, Parameter(help="A version; unset: the one before the last.")] = None,
    after: Annotated[int | None, Parameter(help="A later one; unset: the one behind it, or the last.")] = None,
    /,
    *,
    file: FileOption = "MEMORY.md",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the last version changed, or what lies between two."""
    with store(config) as memory:
        name = document(file, memory)
        last = memory.current(name).number
        old = max(0, last - 1) if before is None else before
        new = last if after is None else after
        text = memory.diff(name, old, new)
    if json:
        say_json({"file": name, "before": old, "after": new, "diff": text})
    else:
        say(plain(text) or "They say the same.")


@app.command(sort_key=4)
def restore(
    number: Annotated[int | None, Parameter(help="The version, as `nanobot memory log` shows it; HISTORY.md has none.")] = None,
    /,
    *,
    file: FileOption = "MEMORY.md",
    config: ConfigOption = None,
) -> int:
    """Put an earlier version on top; nothing is lost by it."""
    with store(config) as memory:
        if file in (HISTORY, "HISTORY.md"):
            say(f"Entries that were missing in {HISTORY}, and are there again: {memory.complete_history()}.")
            return 0
        if number is None:
            tell("Which version? See: nanobot memory log")
            return USAGE
        name = document(file, memory)
        version = memory.restore(name, number)
    say(f"{name} says what version {number} said; that is version {version.number} now.")
    return 0


@app.command(sort_key=5)
def trust(file: Annotated[str, Parameter(help="The file, such as SOUL.md.")], /, *, config: ConfigOption = None) -> int:
    """Take a file for your own word that was written while text of strangers was in the conversation."""
    instance = opened(config)
    with store_of(instance) as memory:
        name = document(file, memory)
    workspace = instance.places.workspace(instance.config)
    ledger = Ledger(instance.places.tainted, workspace)
    files = PromptFiles(workspace, instance.places.data, ledger)
    if not files.is_held(name):
        say(f"{name} is not held.")
        return 0
    with ledger.writing((workspace / name).resolve(), tainted=False, whole=True):
        pass
    if files.is_held(name):
        tell(f"Not done: {instance.places.tainted} cannot be written or is damaged; the log says how to mend it.")
        return 1
    say(f"{name} stands in prompts again.")
    return 0


def _line(one: Logged) -> str:
    who = f"{one.author}{f' in {one.session}' if one.session else ''}"
    why = f"  {one.reason}" if one.reason else ""
    name = one.document.removeprefix("memory/")
    return plain(f"{name} {one.number:<4} {when(one.at)}  +{one.added} -{one.dropped}  {who}{why}").replace("\n", " ")


def _logged_json(one: Logged) -> JsonObject:
    return {
        "file": one.document,
        "version": one.number,
        "author": str(one.author),
        "session": one.session,
        "reason": one.reason,
        "at": one.at,
        "added": one.added,
        "dropped": one.dropped,
    }


def _as_json(version: Version) -> JsonObject:
    return {
        "file": version.document,
        "version": version.number,
        "author": str(version.author),
        "session": version.session,
        "reason": version.reason,
        "at": version.at,
    }
