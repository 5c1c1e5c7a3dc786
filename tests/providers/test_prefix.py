"""What the server received: each request begins with the bytes of the one before, but for its runtime block and cache marks."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from nanobot.messages import Attachment, Entry, Reply
from nanobot.providers.port import Provider, Request
from tests.fakes.llm import Answer, Asked, ModelServer
from tests.providers.support import PNG, WIRES, ask, done, said, service

MARK = re.compile(rb',"cache_control":\{"type":"ephemeral"\}')
RUNTIME = "RUNTIME-BLOCK"


def prefix(asked: Asked) -> bytes:
    """Everything before the runtime block, without cache marks and what opens the block itself."""
    before, found, _ = MARK.sub(b"", asked.raw).partition(RUNTIME.encode())
    assert found
    ends = (rb"\n\n", b',{"role":"user","content":"', b',{"type":"text","text":"', b'{"type":"text","text":"')
    return next(before.removesuffix(end) for end in ends if before.endswith(end))


def opened(before: bytes) -> bytes:
    """Up to the last text: what closes the message comes after the runtime block."""
    return before.removesuffix(b"]").removesuffix(b'"')


async def send(provider: Provider, *entries: Entry, runtime: str, stream: bool = True) -> None:
    request: Request = ask(*entries, runtime=f"{RUNTIME} {runtime}", stream=stream)
    await provider.complete(attrs.evolve(request, cache_key="s"), lambda _delta: None)


@pytest.mark.parametrize("wire", WIRES)
async def test_prefix_is_the_same_bytes_from_call_to_call(wire: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    picture = Attachment(str(tmp_path / "a.png"), "image/png", "a.png", len(PNG))
    steps: list[Entry] = [
        said("look at this", attachments=(picture,)),
        Reply("I look.", (done("one"), attrs.evolve(done("two"), attachments=(picture,)))),
        Reply("", (done("three", "ünïcode \ud800"),)),
        Reply("Done."),
        said("thanks", identity="2"),
        Reply("", (done("one"),)),  # a model that uses an id again
        Reply("Welcome."),
        said("bye", identity="3"),
    ]
    async with service(wire, lambda _asked: Answer("ok")) as (server, provider):
        for count in range(1, len(steps) + 1):
            await send(provider, *steps[:count], runtime=f"call {count}")
        for earlier, later in zip(server.requests, server.requests[1:], strict=False):
            assert prefix(later).startswith(opened(prefix(earlier)))
        assert_it_can_fail(server)


def assert_it_can_fail(server: ModelServer) -> None:
    """The check sees a changed word in the history."""
    first, last = server.requests[0], server.requests[-1]
    changed = attrs.evolve(last, raw=last.raw.replace(b"look at this", b"look at that"))
    assert not prefix(changed).startswith(opened(prefix(first)))
