"""Ten calls of `web_fetch` in one answer, each of which a server takes 200 ms for: `python -m tests.bench.parallel_calls`.

Prints the milliseconds of such a turn, which has two model calls besides, and those of the same turn with one call.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from pathlib import Path

import attrs
import trio

from nanobot.messages import Reply
from tests.fakes.llm_wire import Answer, ToolCall
from tests.fakes.loopback import HttpRequest, Responder, loopback
from tests.fakes.talk import talking

CALLS = 10
TAKES_S = 0.2
ROUNDS = 10


@attrs.define(eq=False)
class Slow:
    """A server that answers after `TAKES_S`, or when `until` requests are there."""

    until: float = math.inf
    open: int = 0
    most: int = 0
    _full: trio.Event = attrs.field(factory=trio.Event)

    async def handle(self, _request: HttpRequest, responder: Responder) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        if self.most >= self.until:
            self._full.set()
        if self.until is math.inf:
            await trio.sleep(TAKES_S)
        else:
            await self._full.wait()
        self.open -= 1
        await responder.reply(200, b'{"fine": true}', kind="application/json")


async def answered(place: Path, slow: Slow, number: int = CALLS) -> float:
    """Seconds of a turn with the calls, both model calls included; a turn before it has brought all that is loaded once."""
    async with loopback(slow.handle) as server:
        calls = tuple(ToolCall("web_fetch", {"url": f"{server.url}/{n}"}) for n in range(number))
        script = [Answer("hello"), Answer("", calls=calls), Answer("done")]
        async with talking(place, script, tools={"ssrfWhitelist": ["127.0.0.1"]}) as talk:
            await talk.say("hello")
            start = time.monotonic()
            await talk.say("look at all of them")
            took = time.monotonic() - start
            results = [call.result for e in talk.session.exchanges[-1].entries if isinstance(e, Reply) for call in e.calls]
            assert len(results) == number
            assert all("fine" in result for result in results)
            return took


def main() -> None:
    for number in (1, CALLS):
        took = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                took.append(1000 * trio.run(answered, Path(folder), Slow(), number))
        middle, most = statistics.median(took), max(took)
        print(f"a turn with {number:2} calls of {1000 * TAKES_S:.0f} ms each: median {middle:.0f} ms, most {most:.0f}")


if __name__ == "__main__":
    main()
