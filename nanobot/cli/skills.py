"""`nanobot skills`: what the assistant is taught for kinds of work, what that needs, and what it proposes to change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import App, Parameter
from loguru import logger

from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import Opened, ask, opened, say, say_json, tell, tell_warnings
from nanobot.cli.texts import plain
from nanobot.errors import NanobotError
from nanobot.security.ledger import Ledger
from nanobot.skills.catalog import Entry, Source, State
from nanobot.skills.installing import run_install
from nanobot.skills.places import REQUIREMENTS
from nanobot.skills.reading import Corner
from nanobot.skills.shelf import Shelf
from nanobot.tools.plain import one_line
from nanobot.wire import JsonObject

app = App(name="skills", help="See, check and install what the assistant is taught.", version_flags=[])
app.command(
    "nanobot.cli.skills_proposals:app",
    name="proposals",
    help="Accept or reject changes that the assistant proposes to itself.",
    sort_key=6,
)
NameArgument = Annotated[str, Parameter(help="The skill, as `nanobot skills list` shows it.")]
YesOption = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Ask nothing.")]
SHOWN_DESCRIPTION = 70


class SkillTrouble(NanobotError):
    """There is no such skill, or it cannot be used so; the text says what to do."""


@attrs.frozen
class _Shop:
    """The skills of an instance, as a command uses them."""

    instance: Opened
    corner: Corner
    shelf: Shelf


def _shop(option: Path | None) -> _Shop:
    instance = opened(option)
    tell_warnings(instance.warnings)
    workspace = instance.places.workspace(instance.config)
    corner = Corner(workspace, instance.places.data, Ledger(instance.places.tainted, workspace))
    return _Shop(instance, corner, Shelf(corner, os.environ, instance.config))


def _found(shop: _Shop, name: str) -> Entry:
    """Raises: SkillTrouble."""
    entry = shop.shelf.find(name)
    if entry is None:
        raise SkillTrouble(f"There is no skill {one_line(name[:80])}. See which there are: nanobot skills list")
    return entry


@app.command(name="list", sort_key=1)
def list_(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the skills, where they come from and whether they can be used."""
    catalog = _shop(config).shelf.look()
    if json:
        say_json([_as_json(entry) for entry in catalog.entries])
        return
    width = max((len(entry.name) for entry in catalog.entries), default=0)
    for entry in catalog.entries:
        about = entry.skill.front.description if entry.offered else entry.why
        about = about if len(about) <= SHOWN_DESCRIPTION else f"{about[: SHOWN_DESCRIPTION - 1]}…"
        say(plain(f"{entry.name:<{width}}  {entry.skill.source:<9}  {_state(entry):<8}  {about}"))
    for remark in catalog.remarks:
        tell(f"warning: {remark}")


@app.command(sort_key=2)
def show(name: NameArgument, /, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show the text of a skill, and where it is."""
    entry = _found(_shop(config), name)
    if json:
        say_json({**_as_json(entry), "text": entry.skill.body})
        return
    say(plain(f"{entry.name}: {entry.skill.front.description}"))
    say(plain(f"{entry.skill.source}, {_state(entry)}, {entry.skill.file}"))
    for line in _told(entry):
        say(plain(f"- {line}"))
    say()
    say(plain(entry.skill.body))


@app.command(sort_key=3)
def check(name: Annotated[str | None, Parameter(help="The skill; none: all.")] = None, /, *, config: ConfigOption = None) -> int:
    """Say what is wrong with skills and what they lack. Exit code 1 if something is broken; for one skill, if it is not ready."""
    shop = _shop(config)
    catalog = shop.shelf.look()
    entries = catalog.entries if name is None else (_found(shop, name),)
    told = [(entry, line) for entry in entries for line in _told(entry)]
    for entry, line in told:
        say(plain(f"{entry.name}: {line}"))
    for remark in catalog.remarks if name is None else ():
        say(plain(remark))
    if not told and (name is not None or not catalog.remarks):
        say("All is well." if name is None else f"{name} is ready.")
    if name is not None:
        return int(entries[0].state is not State.READY)
    return int(any(entry.state in (State.BROKEN, State.HELD) for entry in entries))


@app.command(sort_key=4)
def install(name: NameArgument, /, *, yes: YesOption = False, config: ConfigOption = None) -> None:
    """Install the Python packages of a skill into an environment of its own."""
    shop = _shop(config)
    entry = _found(shop, name)
    needed = entry.skill.requirements
    if entry.state in (State.HELD, State.BROKEN):
        raise SkillTrouble(f"Not installed: {name}: {entry.why}. See: nanobot skills check {name}")
    if entry.skill.bad_requirements:
        raise SkillTrouble(f"Not installed: {entry.skill.bad_requirements}")
    if needed is None:
        raise SkillTrouble(f"{name} needs no Python packages: there is no {REQUIREMENTS} in {entry.skill.file.parent}")
    for line in needed.lines:
        tell(plain(f"  {line}"))
    if not needed.pinned:
        tell("Not all of them are pinned by version and hash, so the index decides what they are.")
    if not yes:
        _confirm(f"Install these for {name}?")
    _install(shop, entry)


def _install(shop: _Shop, entry: Entry) -> None:
    assert entry.skill.requirements is not None
    logger.remove()
    place = run_install(shop.corner.data, entry.name, entry.skill.requirements, os.environ, tell)
    say(f"Installed in {place}. Commands have it with skill: {entry.name}.")


@app.command(sort_key=5)
def trust(name: NameArgument, /, *, config: ConfigOption = None) -> None:
    """Take a skill for your own word that was written while text of strangers was in the conversation."""
    shop = _shop(config)
    entry = _found(shop, name)
    if entry.state is not State.HELD:
        raise SkillTrouble(f"{name} is not held: it is {_state(entry)}")
    assert shop.corner.ledger is not None
    for file in (entry.skill.file, entry.skill.file.with_name(REQUIREMENTS)):
        with shop.corner.ledger.writing(Path(os.path.realpath(file)), tainted=False, whole=True):
            pass
    if (after := _found(shop, name)).state is State.HELD:
        raise SkillTrouble(
            f"Not done: {shop.instance.places.tainted} cannot be written or is damaged; the log says how to mend it"
        )
    say(f"{name} is {_state(after)}.")


def _confirm(question: str) -> None:
    """Raises: SkillTrouble."""
    if not sys.stdin.isatty():
        raise SkillTrouble("Nothing was installed. Without a terminal to ask in: --yes")
    if ask(f"{question} yes or no", "no").lower() not in ("y", "yes"):
        raise SkillTrouble("Nothing was installed.")


def _state(entry: Entry) -> str:
    return "always" if entry.state is State.READY and entry.skill.front.always else str(entry.state)


def _told(entry: Entry) -> Iterator[str]:
    """What is wrong with it, or missing."""
    if entry.why:
        yield f"{entry.why}{_way_out(entry)}"
    yield from entry.skill.remarks


def _way_out(entry: Entry) -> str:
    if entry.state is State.HELD:
        return f". Read it (nanobot skills show {entry.name}), then: nanobot skills trust {entry.name}"
    if entry.state is State.BROKEN and entry.skill.source is Source.WORKSPACE:
        return f". Mend {entry.skill.file}"
    return ""


def _as_json(entry: Entry) -> JsonObject:
    return {
        "name": entry.name,
        "source": str(entry.skill.source),
        "state": str(entry.state),
        "always": entry.skill.front.always,
        "description": entry.skill.front.description,
        "file": str(entry.skill.file),
        "lacks": list(entry.lacks),
        "why": entry.why,
        "remarks": list(entry.skill.remarks),
        "requirements": list(entry.skill.requirements.lines) if entry.skill.requirements else [],
    }
