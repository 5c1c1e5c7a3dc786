"""How much of what a model service reads is, byte for byte, the beginning of an earlier request: what its cache can hold.

    python -m tests.bench.prefix_share [--turns 200] [--seed 7] [--window N]

One conversation, drawn from the seed: 200 turns, in each 0 to 3 rounds of tools, each result 100 to 1,500 tokens long; history
goes to memory by the house's own rules meanwhile. The house is the real one, the model a script on loopback. Bytes are counted
and no time is measured, so the figures are the same on each machine. A request is taken in the order in which services read
it: tools, system prompt, messages.

The ceiling is what would be reached if a cache held each tool, line of the system prompt and message that it had ever seen,
wherever that stands: what is new in a request, and its runtime block, nobody can have. What is missing to it is the price of
consolidation: the half of the history that stays is read once more, behind a new memory.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import attrs
import trio

from nanobot.config.schema import AgentDefaults
from nanobot.session import records as r
from nanobot.session.ports import Adopted, Progress
from tests.fakes.llm import Asked
from tests.fakes.llm_wire import Answer, Scripted, ToolCall
from tests.fakes.talk import talking

CHARS = 4
"""Of the script's English a token, about."""
WORDS = ("the", "a", "of", "to", "plan", "note", "meeting", "budget", "train", "paper", "review", "garden", "letter", "list")
GOAL = 0.95
TOKENS = 400_000
"""The model's window: so large that history leaves by the number of messages, which is the same on each machine."""
BLOCK = "[Runtime context"
LAST = 8
"""Earlier requests that are looked at: the longest common beginning is with one of the latest."""


@attrs.frozen
class Share:
    """Bytes of all requests, and how many of them a cache can have had."""

    requests: int
    consolidations: int
    all: int
    cached: int
    ceiling: int
    """Bytes that had stood in an earlier request, anywhere."""
    memory: int
    """Bytes of the requests of consolidation itself; not among `all`."""

    def __str__(self) -> str:
        return (
            f"{self.cached / self.all:.1%} of {self.all / CHARS / 1e6:.2f} million tokens in {self.requests} requests "
            f"begin an earlier one (goal: {GOAL:.0%}; ceiling of this script {self.ceiling / self.all:.1%}); "
            f"{self.consolidations} consolidations; with their own requests {self.cached / (self.all + self.memory):.1%}"
        )


@attrs.define
class Talker:
    """The model of the script: tools in the drawn number of rounds, an answer, and a memory that grows."""

    dice: random.Random
    workspace: Path
    rounds: int = 0
    results: int = 0
    facts: int = 0

    def begin(self) -> str:
        """What the person says next."""
        self.rounds = self.dice.randint(0, 3)
        return self._prose(self.dice.randint(10, 60))

    def __call__(self, asked: Asked) -> Scripted:
        if is_memory(asked):
            return self._remembered(asked)
        if not self.rounds:
            return Answer(self._prose(self.dice.randint(30, 200)))
        self.rounds, self.results = self.rounds - 1, self.results + 1
        file = f"{self.results}.txt"
        (self.workspace / file).write_text(self._prose(self.dice.randint(100, 1500)))
        return Answer("", calls=(ToolCall("read_file", {"path": file}),))

    def _remembered(self, asked: Asked) -> Scripted:
        before = asked.texts[0].partition("## Conversation")[0].removeprefix("## Present memory").strip()
        fresh = [f"- fact {self.facts + n}: {self._prose(12)}" for n in range(self.dice.randint(1, 5))]
        self.facts += len(fresh)
        update = "\n".join([*([] if before == "(empty)" else [before]), *fresh])
        arguments = {"history_entry": f"[2026-01-01 10:00] {self._prose(60)}", "memory_update": update}
        return Answer("", calls=(ToolCall("save_memory", arguments),))

    def _prose(self, tokens: int) -> str:
        words: list[str] = []
        length = 0
        while length < tokens * CHARS:
            words.append(self.dice.choice(WORDS) + (str(self.dice.randint(0, 9999)) if self.dice.random() < 0.1 else ""))
            length += len(words[-1]) + 1
        return " ".join(words)


def is_memory(asked: Asked) -> bool:
    return [tool["function"]["name"] for tool in asked.body.get("tools", ())] == ["save_memory"]


def pieces(asked: Asked) -> tuple[list[bytes], bytes]:
    """A request in the order in which it is read, and the runtime block at its end."""
    body: dict[str, Any] = asked.body
    texts = [json.dumps(tool) for tool in body.get("tools", ())]
    for message in body["messages"]:
        text = message["content"] or ""
        lines = text.splitlines(keepends=True) if message["role"] == "system" else [text]
        rest = {name: value for name, value in message.items() if name != "content"}
        texts += [json.dumps(rest), *lines]
    last, mark, runtime = texts[-1].rpartition(BLOCK)
    assert mark
    return [text.encode() for text in [*texts[:-1], last]], (mark + runtime).encode()


def share(requests: list[Asked], consolidations: int) -> Share:
    """What a cache can have had that holds every request that was ever made."""
    own = [asked for asked in requests if not is_memory(asked)]
    whole = cached = ceiling = 0
    earlier: deque[bytes] = deque(maxlen=LAST)
    seen: set[bytes] = set()
    for asked in own:
        parts, runtime = pieces(asked)
        text = b"".join((*parts, runtime))
        whole += len(text)
        cached += max((common(text, one) for one in earlier), default=0)
        ceiling += sum(len(part) for part in parts if part in seen)
        earlier.append(text)
        seen.update(parts)
    return Share(len(own), consolidations, whole, cached, ceiling, sum(len(asked.raw) for asked in requests if is_memory(asked)))


def common(one: bytes, other: bytes) -> int:
    """Bytes that both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


async def converse(place: Path, turns: int, seed: int, window: int) -> Share:
    """Have the conversation, and count. window: `memoryWindow`."""
    talker = Talker(random.Random(seed), place / "workspace")
    async with talking(place, talker, memory={"idleS": 0}, memoryWindow=window, contextWindow=TOKENS) as talk:
        talk.server.check = False
        for _ in range(turns):
            await talk.say(talker.begin())
            await talk.until(lambda: sum(e.messages for e in talk.session.exchanges) <= window)  # or memory is on its way
            talk.progress[:-1] = [one for one in talk.progress[:-1] if _tells(one)]
        consolidations = sum(map(_tells, talk.progress))
        return share(talk.server.requests, consolidations)


def _tells(progress: Progress) -> bool:
    """Whether a consolidation was done."""
    ended = [one for one in progress.records if isinstance(one, r.ConsolidationEnded)] if isinstance(progress, Adopted) else []
    return any(one.how == "done" for one in ended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--window", type=int, default=AgentDefaults().memory_window)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(trio.run(converse, Path(place), given.turns, given.seed, given.window))


if __name__ == "__main__":
    main()
