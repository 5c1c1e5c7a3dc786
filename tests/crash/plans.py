"""What a round does, drawn from its seed: messages with the model's plan for each, and where the process is killed. Pure.

A message carries its plan as text, so that the scripted model needs no memory: `plan {"steps": […], "answer": "…"}`.
Every writing call has a token of its own; its command appends the token to a file, which is the effect that is counted.
"""

from __future__ import annotations

import json
import random
from typing import Literal

import attrs

Wire = Literal["openai", "anthropic"]
Aim = Literal["", "thinking", "writing", "shown"]
"""The state that a kill should meet; the campaign steers by it."""
Inside = Literal["write", "torn", "fsync", "synced", "rename", "think", "writing", "reading", "stop", "send", "shown"]
Outside = Literal["time", "start", "accepted", "answer", "acked", "drain"]
Point = Inside | Outside
"""Where a kill is placed: at a journal operation, when an effect has begun, after a time, or by what a client sees.

`torn` writes half of a line, `synced` is behind the fsync, `send` before the reply is written and `shown` behind it; `start` is
a time after the fork, `accepted` and `answer` when a client reads that, `acked` when it has written it, `drain` after SIGTERM.
"""
PLACED: tuple[Point, ...] = ("write", "torn", "fsync", "synced", "rename", "think", "writing", "reading", "stop", "send", "shown")
AT_RECOVERY: tuple[Point, ...] = ("write", "torn", "fsync", "synced", "rename", "think", "reading", "send", "shown", "time")
EFFECTS = "effects.log"
MARK_DIGITS = 9


@attrs.frozen
class ScriptedCall:
    """A call that the model will ask for. Without a token it only reads. `pause` in seconds, before or after the effect."""

    token: str = ""
    pause: float = 0.0
    late: bool = False
    """The effect comes after the pause."""
    file: bool = False
    """It writes a file named by the token, and does not pause."""
    leaves: bool = False
    """It leaves a process of its own session behind, which would live on for a minute."""


@attrs.frozen
class Message:
    """`wait`: seconds after the message before it has been acknowledged."""

    id: str
    text: str
    wait: float = 0.0


@attrs.frozen
class Kill:
    """At the `n`-th time that `point` is reached (from 1), `delay` seconds later; `time`: that long after arming."""

    point: Point
    n: int = 1
    delay: float = 0.0
    grace: float = 0.0
    """Seconds between SIGTERM and the kill, for `drain`."""


@attrs.frozen
class Round:
    seed: int
    wire: Wire
    messages: tuple[Message, ...]
    kills: tuple[Kill, ...]
    """The first is armed by the first acknowledge, each further one by the next start."""
    copies: int
    """Of the acknowledged messages so many are delivered again after a start."""
    look_at_once: bool
    """Look for processes left behind before the restart; else the restart comes at once."""

    @property
    def mark(self) -> str:
        """Digits that stand in the command line of every process the round's tools start."""
        return mark_of(self.seed)


def mark_of(seed: int) -> str:
    return f"{seed % 10**MARK_DIGITS:0{MARK_DIGITS}d}"


def draw(seed: int, aim: Aim = "") -> Round:
    dice = random.Random(f"{seed} {aim}")
    messages = tuple(message(dice, seed, n, aim) for n in range(dice.randint(1, 3)))
    if aim == "" and dice.random() < 0.35:
        order = dice.choice(("/stop", "/stop", "/new"))
        messages = (*messages, Message(f"{seed}-order", order, dice.uniform(0.0, 0.2)))
        messages = (*messages, *([message(dice, seed, len(messages), aim)] if dice.random() < 0.5 else []))
    kills: tuple[Kill, ...] = (_first_kill(dice, aim, stops=any(m.text == "/stop" for m in messages)),)
    while dice.random() < 0.25 and len(kills) < 3:
        kills = (*kills, Kill(dice.choice(AT_RECOVERY), dice.choice((1, 1, 2, 3)), dice.uniform(0.0, 0.1)))
    wire: Wire = dice.choice(("openai", "openai", "anthropic"))
    return Round(seed, wire, messages, kills, dice.choice((0, 0, 1, 2)), dice.random() < 0.5)


def _first_kill(dice: random.Random, aim: Aim, *, stops: bool) -> Kill:
    match aim:
        case "thinking":
            return Kill("think", dice.choice((1, 2)), dice.uniform(0.0, 0.08))
        case "writing":
            return Kill("writing", dice.choice((1, 2)), dice.uniform(0.0, 0.25))
        case "shown":
            return Kill("shown", 1)
        case "" if stops and dice.random() < 0.4:
            return Kill("stop", 1, dice.choice((0.0, dice.uniform(0.0, 0.05))))
        case "" if dice.random() < 0.5:
            return Kill("time", 1, dice.uniform(0.0, 0.6))
        case "":
            at_once = dice.random() < 0.5
            return Kill(dice.choice(PLACED), dice.choice((1, 1, 2, 3, 4)), 0.0 if at_once else dice.uniform(0.0, 0.1))


def message(dice: random.Random, seed: int, n: int, aim: Aim = "", *, files: float = 0.0, longer: int = 0) -> Message:
    """What somebody says, with its plan.

    `files`: the share of calls that write a file instead of running a command. `longer`: ten characters each for the answer.
    """
    count = dice.choice((0, 1, 1, 2)) if aim != "writing" else 2
    steps = [_step(dice, f"{seed}-{n}-{index}", aim, files) for index in range(count)]
    plan = {"steps": steps, "think": _think(dice, aim), "answer": f"answer {seed}-{n}", "longer": longer}
    wait = dice.choice((0.0, 0.0, dice.uniform(0.0, 0.3)))
    return Message(f"{seed}-{n}", f"plan {json.dumps(plan)}", wait)


def _think(dice: random.Random, aim: Aim) -> float:
    return 0.12 if aim == "thinking" else dice.choice((0.0, 0.0, 0.02, 0.1))


def _step(dice: random.Random, name: str, aim: Aim, files: float) -> dict[str, object]:
    calls = [attrs.asdict(_call(dice, f"{name}-{n}", aim, files)) for n in range(dice.choice((1, 1, 2, 3)))]
    return {"think": _think(dice, aim), "calls": calls}


def _call(dice: random.Random, token: str, aim: Aim, files: float) -> ScriptedCall:
    if files and dice.random() < files:
        return ScriptedCall(f"T{token}T", file=True)
    if aim != "writing" and dice.random() < 0.35:
        return ScriptedCall()
    pause = dice.choice((0.0, 0.05, 0.3)) if aim != "writing" else 0.3
    return ScriptedCall(f"T{token}T", pause, dice.random() < 0.5, leaves=pause > 0.1 and dice.random() < 0.7)
