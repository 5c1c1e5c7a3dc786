"""`nanobot channels pair`: let people in who wrote to the assistant, and out again.

It changes the file that a running gateway reads (security/pairing.py), so that it works with and without one, at once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json, tell, tell_warnings
from nanobot.security.pairing import FILE_NAME, Book, Pairing
from nanobot.security.pairing_order import perform
from nanobot.wire import Json

app = App(name="pair", help="Let people in who wrote to the assistant.", version_flags=[])
CodeArgument = Annotated[str, Parameter(help="The code that they were told.")]


@app.command(name="list", sort_key=1)
def list_(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List who waits to be let in, and who was."""
    if json:
        say_json(_as_json(_store(config)[0].book(), time.time()))
    else:
        _perform(config, "list")


@app.command(sort_key=2)
def approve(
    code: CodeArgument,
    /,
    *,
    owner: Annotated[bool, Parameter(negative="", help="Make them an owner of this assistant, too.")] = False,
    config: ConfigOption = None,
) -> None:
    """Let somebody in."""
    _perform(config, "approve", code, *(["owner"] if owner else []))


@app.command(sort_key=3)
def deny(code: CodeArgument, /, *, config: ConfigOption = None) -> None:
    """Make a code good for nothing."""
    _perform(config, "deny", code)


@app.command(sort_key=4)
def revoke(
    channel: Annotated[str, Parameter(help="The network, as `nanobot channels pair list` shows it.")],
    user: Annotated[str, Parameter(help="Their id there.")],
    /,
    *,
    config: ConfigOption = None,
) -> None:
    """Let somebody in no more."""
    _perform(config, "revoke", channel, user)


def _perform(option: Path | None, *words: str) -> None:
    pairing, configured = _store(option)
    say(perform(pairing, words, configured=configured, now=time.time()))


def _store(option: Path | None) -> tuple[Pairing, bool]:
    """The store, and whether the configuration names an owner."""
    instance = opened(option)
    tell_warnings(instance.warnings)
    return Pairing(instance.places.data / FILE_NAME, tell), bool(instance.config.gateway.owners)


def _as_json(book: Book, now: float) -> Json:
    return {
        "waiting": [
            {"code": r.code, "channel": r.who.channel, "chat": r.who.chat, "user": r.who.user, "expiresAt": r.expires_at}
            for r in book.waiting(now)
        ],
        "approved": [{"channel": channel, "user": user} for channel, user in sorted(book.approved)],
        "owners": list[Json](sorted(book.owners)),
    }
