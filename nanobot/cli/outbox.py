"""`nanobot outbox`: what was not delivered, may have arrived twice or still waits, in all sessions.

`list` asks the gateway, or reads the journals where none runs. `retry` and `drop` are done by the gateway, which has the
sessions: what is to be sent again can be sent by nobody else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nanobot.archive.reading import Reader
from nanobot.cli.live import ago
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json, tell, tell_warnings
from nanobot.cli.texts import plain, when
from nanobot.config.paths import Places
from nanobot.control.client import NotRunning, ask
from nanobot.control.letters import Kind, Letter, as_json, from_json, letters_of
from nanobot.errors import JournalError

ASK_S = 65.0
"""Seconds: sessions that sleep are opened one after the other, and the gateway gives up before."""
USAGE = 2
SHOWN_CHARS = 60
SAID = {"retry": "will be sent again", "drop": "forgotten"}
SAYS = {Kind.DEAD: "not delivered", Kind.DOUBLED: "perhaps twice", Kind.WAITING: "waits"}

app = App(name="outbox", help="See what was not delivered, and send it again.", version_flags=[])
IdsArgument = Annotated[str, Parameter(help="The messages, as `nanobot outbox list` shows them.")]
AllOption = Annotated[bool, Parameter(name="--all", negative="", help="All that were given up.")]


@app.command(name="list", sort_key=1)
def list_(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List what was given up, what may have arrived twice and what still waits, with the reason."""
    found = _letters(_places(config))
    if json:
        say_json([as_json(letter) for letter in found])
        return
    if not found:
        say("Nothing waits, and nothing was given up.")
    for letter in found:
        for line in _lines(letter, time.time()):
            say(line)


@app.command(sort_key=2)
def retry(*ids: IdsArgument, every: AllOption = False, config: ConfigOption = None) -> int:
    """Send again what was given up. What perhaps arrived may then be there twice."""
    return _order("retry", ids, _places(config), (Kind.DEAD,) if every else ())


@app.command(sort_key=3)
def drop(*ids: IdsArgument, every: AllOption = False, config: ConfigOption = None) -> int:
    """Forget what was given up, and what may have arrived twice. It stays in its conversation."""
    return _order("drop", ids, _places(config), (Kind.DEAD, Kind.DOUBLED) if every else ())


def _order(do: str, ids: Sequence[str], places: Places, kinds: Sequence[Kind]) -> int:
    """For these, or for all of these kinds; returns the exit code. Raises: NotRunning, NotAnswering, Refused."""
    if not ids and not kinds:
        tell(f"Which? nanobot outbox {do} ID, as nanobot outbox list shows it, or --all")
        return USAGE
    if kinds:
        ids = [letter.id for letter in _letters(places) if letter.kind in kinds]
    if not ids:
        say("Nothing was given up.")
        return 0
    count = ask(places.data, {"do": do, "ids": list(ids)}, ASK_S)
    say(f"{count} {'message' if count == 1 else 'messages'} {SAID[do]}.")
    return 0


def _places(option: Path | None) -> Places:
    instance = opened(option)
    tell_warnings(instance.warnings)
    return instance.places


def _letters(places: Places) -> list[Letter]:
    """From the gateway, else from the journals. Raises: NotAnswering, Refused, JournalError."""
    try:
        found = ask(places.data, {"do": "letters"}, ASK_S)
    except NotRunning:
        return list(_read(Reader(str(places.journals))))
    return [from_json(said) for said in found if isinstance(said, dict)] if isinstance(found, list) else []


def _read(reader: Reader) -> Iterator[Letter]:
    for seen in reader.sessions():
        try:
            live = reader.live(seen.key)
        except JournalError as exc:
            tell(f"warning: {plain(str(exc))}")
            continue
        if live is not None:
            yield from letters_of(live.session)


def _lines(letter: Letter, now: float) -> Iterator[str]:
    perhaps = ", perhaps it arrived" if letter.perhaps_delivered else ""
    again = "" if letter.until is None else f"; again in {ago(letter.until - now)}"
    yield f"{plain(letter.id)}  {SAYS[letter.kind]}{perhaps}  {when(letter.at)}  {plain(letter.why)}{again}"
    text = plain(letter.text.replace("\n", " "))
    yield f"    {text[:SHOWN_CHARS]}{'…' if len(text) > SHOWN_CHARS else ''}"
