"""A model service on loopback, scripted, speaking OpenAI's and Anthropic's real wire formats to their real SDKs.

In a test:

    async with model_server([Answer("hello"), rate_limited("1"), Answer(calls=(ToolCall("exec", {"command": "ls"}),))]) as server:
        ...  # server.url + "/v1" is the base of both wires
        assert server.requests[0].body["model"] == "m"

A script is a list, each entry answering one request in the order they come, or a function `Asked -> Answer | Fault | Garbage`
(it may be async: then it can wait for the test). When a list has run out, status 400 says so. Leaving the block asserts
that every request was legal (`legal.py`) and came from the vendor's own SDK; `strict=False` leaves `violations` to the test.

As a process of its own, for tests of processes: `python -m tests.fakes.llm --port-file F --script NAME [--log F]`. NAME is
a key of `SCRIPTS` or `module:function`; the port is in the file as soon as it is complete; each request is a line in the log.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.fakes import llm_wire
from tests.fakes.legal import check_anthropic, check_openai
from tests.fakes.llm_wire import OVERLOADED, Answer, Fault, Garbage, Piece, Scripted, ToolCall, Wire
from tests.fakes.loopback import HttpRequest, Loopback, Responder, loopback

__all__ = [
    "Answer",
    "Asked",
    "Fault",
    "Garbage",
    "ModelServer",
    "Script",
    "Scripted",
    "ToolCall",
    "model_server",
    "refused_port",
]

PATHS: dict[str, Wire] = {"/v1/chat/completions": "openai", "/v1/messages": "anthropic"}
SDK_HEADERS: dict[Wire, tuple[str, ...]] = {
    "openai": ("authorization", "x-stainless-lang", "x-stainless-package-version", "x-stainless-retry-count"),
    "anthropic": ("authorization", "anthropic-version", "x-stainless-lang", "x-stainless-package-version"),
}


@attrs.define(slots=False)
class Asked:
    """One request as it came. `number` counts from 1."""

    number: int
    wire: Wire
    headers: dict[str, str]
    raw: bytes

    @cached_property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages

    @cached_property
    def texts(self) -> list[str]:
        """Every text of the conversation, oldest first, results of tools included, the system prompt left out.

        On OpenAI's wire the runtime block is the end of the last one, after a blank line.
        """
        return [text for message in self.messages if message["role"] != "system" for text in _texts(message["content"])]

    @property
    def results(self) -> list[str]:
        """The results of tools that stand in the last message or at the end of the messages."""
        return list(_last_results(self.messages))


Script = Sequence[Scripted] | Callable[[Asked], Scripted | Awaitable[Scripted]]


@attrs.define
class ModelServer:
    script: Script
    check: bool = True
    """Check every request against the rules; costs time, so benchmarks leave it out."""
    models: tuple[str, ...] = ("model-one", "model-two")
    requests: list[Asked] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    on_request: Callable[[Asked], None] = lambda _asked: None
    http: Loopback = attrs.field(init=False)
    _arrival: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self) -> str:
        """Without `/v1`."""
        return self.http.url

    @property
    def base(self) -> str:
        """With `/v1`: what `apiBase` holds."""
        return f"{self.http.url}/v1"

    async def received(self, count: int) -> Asked:
        """Wait for the request number `count` (from 1)."""
        while len(self.requests) < count:
            await self._arrival.wait()
        return self.requests[count - 1]

    async def handle(self, request: HttpRequest, respond: Responder) -> None:
        path = request.path.partition("?")[0]
        if path == "/v1/models":
            listed = [{"id": name, "object": "model", "created": 1795000000, "owned_by": "test"} for name in self.models]
            await respond.reply(200, json.dumps({"object": "list", "data": listed}).encode())
        elif path in PATHS:
            await self._answer(self._book(PATHS[path], request), respond)
        else:
            self.violations.append(f"no such path: {request.method} {request.path}")
            await respond.reply(404, b'{"error":{"message":"Not Found","type":"invalid_request_error"}}')

    def _book(self, wire: Wire, request: HttpRequest) -> Asked:
        asked = Asked(len(self.requests) + 1, wire, request.headers, request.body)
        self.requests.append(asked)
        if self.check:
            self.violations += [f"request {asked.number}: {fault}" for fault in _faults(asked)]
        self.on_request(asked)
        self._arrival.set()
        self._arrival = trio.Event()
        return asked

    async def _next(self, asked: Asked) -> Scripted:
        if not callable(self.script):
            past_end = Fault(400, {"message": "the script has run out"}, {"message": "the script has run out"})
            return self.script[asked.number - 1] if asked.number <= len(self.script) else past_end
        scripted = self.script(asked)
        return await scripted if inspect.isawaitable(scripted) else scripted

    async def _answer(self, asked: Asked, respond: Responder) -> None:
        match await self._next(asked):
            case Fault() as fault:
                await respond.reply(fault.status, fault.body(asked.wire), fault.headers)
            case Garbage() as garbage:
                await respond.reply(200, garbage.body, kind=garbage.kind)
            case Answer() as answer if asked.stream:
                await _stream(asked, answer, respond)
            case Answer() as answer:
                await _whole(asked, answer, respond)


@asynccontextmanager
async def model_server(script: Script, *, strict: bool = True, check: bool = True) -> AsyncIterator[ModelServer]:
    """Serve the script until the block is left."""
    server = ModelServer(script, check=check)
    async with loopback(server.handle) as server.http:
        yield server
    assert not (strict and server.violations), server.violations


async def refused_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def _faults(asked: Asked) -> Iterator[str]:
    yield from (f"header {name} is missing" for name in SDK_HEADERS[asked.wire] if not asked.headers.get(name))
    yield from (check_openai if asked.wire == "openai" else check_anthropic)(asked.body)


async def _whole(asked: Asked, answer: Answer, respond: Responder) -> None:
    if answer.stall:
        await trio.sleep_forever()
    if answer.fault_in_stream:
        await respond.reply(OVERLOADED.status, OVERLOADED.body(asked.wire))
        return
    render = llm_wire.openai_body if asked.wire == "openai" else llm_wire.anthropic_body
    body = render(answer, asked.body["model"], asked.number)
    if answer.delay:
        await trio.sleep(answer.delay)
    if answer.cut:
        await respond.head(200, [("content-type", "application/json"), ("content-length", str(len(body)))])
        await respond.data(body[: len(body) // 2])
        await respond.cut()
    else:
        await respond.reply(200, body)


async def _stream(asked: Asked, answer: Answer, respond: Responder) -> None:
    if answer.stall == "before":
        await trio.sleep_forever()
    render = llm_wire.openai_events if asked.wire == "openai" else llm_wire.anthropic_events
    await respond.head(200, [("content-type", "text/event-stream; charset=utf-8")])
    with closing(render(answer, asked.body["model"], asked.number)) as pieces:  # type: ignore[type-var]  # a generator
        if answer.burst:
            await respond.data(b"".join(piece.data for piece in pieces))
        elif await _send(pieces, answer, respond):
            return
    if answer.keep_open:
        await trio.sleep_forever()
    await respond.end()


async def _send(pieces: Iterator[Piece], answer: Answer, respond: Responder) -> bool:
    """True if the script cut the connection."""
    for piece in pieces:
        if answer.delay:
            await trio.sleep(answer.delay)
        await respond.data(piece.data)
        if answer.stall and piece.carries == "text":
            await trio.sleep_forever()
        if answer.cut and piece.carries == {"middle": "text", "call": "call"}[answer.cut]:
            await respond.cut()
            return True
    return False


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in content if isinstance(content, list) else []:
        if block["type"] == "text":
            yield block["text"]
        elif block["type"] == "tool_result":
            yield from _texts(block["content"])


def _last_results(messages: list[dict[str, Any]]) -> Iterator[str]:
    since = max((n for n, message in enumerate(messages) if message["role"] == "assistant"), default=len(messages))
    for message in messages[since + 1 :]:
        if message["role"] == "tool":
            yield from _texts(message["content"])
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block["type"] == "tool_result":
                yield " ".join(_texts(block["content"]))


# --- as a process ---


def hello(_asked: Asked) -> Scripted:
    return Answer("Hello from the scripted model.", burst=True)


def echo(asked: Asked) -> Scripted:
    """Repeats the line of the last text that begins with `say `, else tells the number of the request."""
    said = [text.partition("\n")[0] for text in asked.texts if text.startswith("say ")]
    return Answer(said[-1].removeprefix("say ") if said else f"answer {asked.number}", burst=True)


def one_call(asked: Asked) -> Scripted:
    """Runs a command for each message, then reports its result."""
    if asked.results:
        return Answer(f"It printed: {asked.results[-1]}", burst=True)
    return Answer(calls=(ToolCall("exec", {"command": "echo done"}),), burst=True)


SCRIPTS: dict[str, Script] = {"hello": hello, "echo": echo, "one_call": one_call}


def find_script(name: str) -> Script:
    if name in SCRIPTS:
        return SCRIPTS[name]
    module, _, attribute = name.partition(":")
    script: Script = getattr(importlib.import_module(module), attribute)
    return script


async def serve(port_file: Path, script: Script, log: Path | None, port: int = 0) -> None:
    """Serve until killed. The port file is complete as soon as it exists."""
    server = ModelServer(script, check=log is not None)
    if log is not None:
        server.on_request = lambda asked: _append(log, asked.raw)
    async with loopback(server.handle, port) as server.http:
        half = port_file.with_suffix(".half")
        half.write_text(str(server.http.port))
        half.replace(port_file)
        await trio.sleep_forever()


def _append(log: Path, line: bytes) -> None:
    with log.open("ab", buffering=0) as file:
        file.write(line + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted model service on loopback.")
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--script", default="hello")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    try:
        trio.run(serve, options.port_file, find_script(options.script), options.log, options.port)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
