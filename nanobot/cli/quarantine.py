"""`nanobot channels quarantine`: mails that were not passed on to the assistant, and why.

It changes the file of the e-mail channel (channels/email/quarantine.py), so that it works with and without a gateway. What is
released is fetched by the channel when it starts; so a gateway that runs is asked to start it again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import App, Parameter

from nanobot.channels.email.quarantine import Quarantine, Row
from nanobot.cli import live
from nanobot.cli.live import ago
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json, tell, tell_warnings
from nanobot.cli.texts import plain
from nanobot.control.client import NotRunning
from nanobot.journal import names
from nanobot.wire import JsonObject

NAME = "email"
USAGE = 2

app = App(name="quarantine", help="See the mails that were not passed on, and let one in.", version_flags=[])
IdsArgument = Annotated[str, Parameter(help="The mails, as `nanobot channels quarantine list` shows them.")]


@app.command(name="list", sort_key=1)
def list_(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the mails that were not passed on, with the reason."""
    rows = _store(config)[0].rows()
    if json:
        say_json([_as_json(row) for row in rows])
        return
    if not rows:
        say("No mail is in quarantine.")
    for row in rows:
        for line in _lines(row, time.time()):
            say(line)


@app.command(sort_key=2)
def release(*ids: IdsArgument, config: ConfigOption = None) -> int:
    """Pass a mail on after all. It counts as text of strangers, as nobody has proven who wrote it."""
    if not ids:
        return _which("release")
    store, folder = _store(config)
    store.release(*ids)
    try:
        live.restart(folder, NAME)
        say("The channel was started again, and passes it on now.")
    except NotRunning:
        say("It will be passed on when the gateway runs.")
    return 0


@app.command(sort_key=3)
def drop(
    *ids: IdsArgument,
    every: Annotated[bool, Parameter(name="--all", negative="", help="All of them.")] = False,
    config: ConfigOption = None,
) -> int:
    """Forget a mail here. It stays in the mailbox."""
    if not ids and not every:
        return _which("drop")
    store, _ = _store(config)
    if every:
        store.clear()
    else:
        store.drop(*ids)
    say("Forgotten. The mails stay in the mailbox.")
    return 0


def _which(command: str) -> int:
    tell(f"Which? nanobot channels quarantine {command} ID, as nanobot channels quarantine list shows it")
    return USAGE


def _store(option: Path | None) -> tuple[Quarantine, Path]:
    """And the data directory."""
    instance = opened(option)
    tell_warnings(instance.warnings)
    data = instance.places.data
    return Quarantine(data / "channels" / names.encode(NAME)), data


def _lines(row: Row, now: float) -> Iterator[str]:
    released = ", to be passed on" if row.released else ""
    yield f"{row.id}  {plain(row.sender)}, {ago(now - row.at)} ago{released}"
    yield f"          {plain(row.subject) or '(no subject)'}"
    yield f"          {plain(row.why)}"


def _as_json(row: Row) -> JsonObject:
    return attrs.asdict(row)
