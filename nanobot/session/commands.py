"""Slash commands: the table, and how a message is read as one. Pure.

A message is a command if its first word is one of ours, or looks like one (a slash and a single word that is no path); an
unknown one is answered with the nearest known, never given to the model.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from nanobot.messages import ErrandId
from nanobot.session import events as ev

TABLE = {
    "/new": "start a new conversation",
    "/stop": "stop what is running",
    "/undo": "take the last exchange out of the conversation",
    "/retry": "ask the last question again",
    "/model": "show the model, or choose one for this session: /model NAME, /model default",
    "/status": "show what this session does and which model it uses",
    "/sessions": "list the sessions",
    "/memory": "show what is remembered, and since when",
    "/usage": "show what was used up in tokens, and in money if prices are configured",
    "/approve": "let a call run that waits for the owner's word (owner only): /approve ID",
    "/deny": "do not let it run (owner only): /deny ID",
    "/trust": "take what was read in this conversation for harmless (owner only)",
    "/restart": "restart the gateway (owner only)",
    "/pairing": "let people in who asked (owner only): /pairing list, approve CODE, deny CODE, revoke CHANNEL USER",
    "/help": "list the commands",
}
"""Name and line of help, in the order of `/help`."""

_WORD = re.compile(r"/[A-Za-z][A-Za-z0-9_-]*(?:@\w+)?$")

ModelCheck = Callable[[str], str]
"""Why a model cannot be used, empty if it can."""


def read(text: str, check_model: ModelCheck) -> ev.Command | None:
    """The command that a message is, None for a message to the model."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if not _WORD.match(word):
        return None
    match word.partition("@")[0].lower():
        case "/new":
            return ev.New()
        case "/stop":
            return ev.Stop()
        case "/undo":
            return ev.Undo()
        case "/retry":
            return ev.Retry(confirmed=rest.lower() in ("yes", "y"))
        case "/help" | "/start":
            return ev.Tell(help_text())
        case "/model" if rest:
            return ev.ChooseModel(None) if rest == "default" else ev.ChooseModel(rest, check_model(rest))
        case "/model" | "/status" | "/sessions" | "/memory" | "/usage":
            return ev.Ask(word.partition("@")[0].lower())
        case "/restart" | "/pairing" as order:
            return ev.Ask(f"{order} {rest}".strip())
        case "/approve" | "/deny" as answer:
            return (ev.Approve if answer == "/approve" else ev.Deny)(ErrandId(_name(rest)))
        case "/trust":
            return ev.Trust()
        case unknown:
            return ev.Tell(_unknown(unknown))


def _name(rest: str) -> str:
    """An id as people write it: with what is around it, a full stop or a signature behind it."""
    first = next(iter(rest.split()), "")
    return first.strip("`.,:'\"").lower()


def help_text() -> str:
    width = max(map(len, TABLE))
    return "\n".join(f"{name:<{width}}  {line}" for name, line in TABLE.items())


def _unknown(word: str) -> str:
    near = difflib.get_close_matches(word, TABLE, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"There is no command {word}.{hint} /help lists them."
