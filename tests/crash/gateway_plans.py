"""What a round through the gateway does, drawn from its seed. Pure.

Several people, each at a chat of their own, speak over several connections: plain messages, some of them into a running turn,
`/new`, `/stop`, and the page's stop button. A kill falls at a moment that the process knows (a write, an effect), that a client
sees (an acknowledgement, an answer), or that a clock says, also while it starts and while it ends.
"""

from __future__ import annotations

import random
from typing import get_args

import attrs

from tests.crash.plans import Inside, Kill, Message, Point, Wire, mark_of, message

OUTSIDE: tuple[Point, ...] = (
    "time",
    "time",
    "time",
    "start",
    "accepted",
    "accepted",
    "answer",
    "answer",
    "acked",
    "drain",
    "drain",
)
"""`time` is what users live through most."""
INSIDE: tuple[Point, ...] = (*(point for point in get_args(Inside) if point != "shown"), "writing", "writing", "reading")
INSTALLED_SHARE = 0.1
"""Of the rounds go through the installed command, which takes seconds to start."""
CROWD_SHARE = 0.12
CROWD = 30
"""Chats of a round in which a start has many sessions to open, and a page much to show."""
MOST_KILLS = 5
"""Beyond the third start without a farewell nothing resumes by itself: that must be reached."""
LONG = 8000
"""Tens of characters: what a slow reader takes a while for."""


@attrs.frozen
class Say:
    """Somebody says something in a chat; with an empty `id` it is the stop button."""

    chat: str
    id: str
    text: str
    wait: float
    """Seconds after what was said before it, by anybody."""


@attrs.frozen
class Round:
    seed: int
    wire: Wire
    chats: tuple[str, ...]
    tabs: int
    """Connections. A chat is at one of them, but now and then its message comes by another."""
    script: tuple[Say, ...]
    kills: tuple[Kill, ...]
    installed: bool
    withheld: float
    """Share of the answers that are not acknowledged in a life that will be killed."""

    @property
    def mark(self) -> str:
        return mark_of(self.seed)


def draw(seed: int) -> Round:
    dice = random.Random(f"gateway {seed}")
    crowd = dice.random() < CROWD_SHARE
    installed = not crowd and dice.random() < INSTALLED_SHARE
    chats = tuple(f"chat-{n}" for n in range(CROWD if crowd else dice.choice((1, 2, 2, 3, 4))))
    if crowd:
        script = tuple(_short(dice, seed, n, chat) for n, chat in enumerate((*chats, *chats)))
    else:
        script = tuple(_say(dice, seed, n, dice.choice(chats)) for n in range(dice.randint(2, 7)))
    kills: tuple[Kill, ...] = (_kill(dice, installed),)
    while dice.random() < 0.45 and len(kills) < MOST_KILLS:
        kills = (*kills, _kill(dice, installed))
    wire: Wire = dice.choice(("openai", "openai", "anthropic"))
    return Round(seed, wire, chats, dice.choice((1, 2, 2, 3)), script, kills, installed, dice.choice((0.15, 0.15, 0.15, 0.9)))


def _short(dice: random.Random, seed: int, n: int, chat: str) -> Say:
    """Something that is answered at once."""
    if dice.random() < 0.2:
        return Say(chat, f"{seed}-{n}", "/stop", 0.0)
    return Say(
        chat, f"{seed}-{n}", f'plan {{"steps": [], "think": 0.0, "answer": "answer {seed}-{n}"}}', dice.choice((0.0, 0.01))
    )


def _say(dice: random.Random, seed: int, n: int, chat: str) -> Say:
    wait = dice.choice((0.0, 0.0, dice.uniform(0.0, 0.4)))
    match dice.choices(("plan", "/new", "/stop", "button"), (80, 6, 6, 8))[0]:
        case "plan":
            said = message(dice, seed, n, files=0.25, longer=dice.choice((0, 0, 0, 0, LONG)))
        case "button":
            said = Message("", "")
        case order:
            said = Message(f"{seed}-{n}", order)
    return Say(chat, said.id, said.text, wait)


def _kill(dice: random.Random, installed: bool) -> Kill:
    point = dice.choice(OUTSIDE if installed or dice.random() < 0.6 else INSIDE)
    match point:
        case "time":
            return Kill(point, 1, dice.uniform(0.0, 1.5))
        case "start":
            return Kill(point, 1, dice.uniform(0.0, 2.0 if installed else 0.25))
        case "drain":
            return Kill(point, 1, dice.uniform(0.0, 0.8), dice.choice((0.0, dice.uniform(0.0, 0.1), dice.uniform(0.0, 0.5))))
        case "accepted" | "answer" | "acked":
            return Kill(point, dice.choice((1, 1, 2, 3)), dice.choice((0.0, 0.0, dice.uniform(0.0, 0.01))))
        case _:
            return Kill(point, dice.choice((1, 1, 1, 2, 3, 5)), dice.choice((0.0, dice.uniform(0.0, 0.1))))
