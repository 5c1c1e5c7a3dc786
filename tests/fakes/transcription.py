"""A service on loopback that turns sound files into text, as OpenAI's `audio/transcriptions` does: multipart in, JSON out.

    async with transcriptions("hello") as server:
        ...  # server.base is what `apiBase` holds
        assert server.heard[0].fields["model"] == "whisper-1"

A script is a list of answers (a text, `(status, body)` or a function to await), each for one request in the order they come; the
last one answers all that follow.
"""

from __future__ import annotations

import email.parser
import email.policy
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from tests.fakes.loopback import HttpRequest, Loopback, Responder, loopback

Scripted = str | tuple[int, bytes] | Callable[[Responder], Awaitable[None]]


@attrs.frozen
class Heard:
    """One upload."""

    path: str
    headers: dict[str, str]
    fields: dict[str, str]
    name: str
    """Of the file."""
    mime: str
    data: bytes


@attrs.define
class TranscriptionServer:
    script: tuple[Scripted, ...]
    heard: list[Heard] = attrs.field(factory=list)
    now: int = 0
    """Uploads that are being answered."""
    most: int = 0
    http: Loopback = attrs.field(init=False)
    _arrival: trio.Event = attrs.field(factory=trio.Event)

    @property
    def base(self) -> str:
        return f"{self.http.url}/v1"

    async def received(self, count: int) -> None:
        """Wait for so many uploads."""
        while len(self.heard) < count:
            await self._arrival.wait()

    async def handle(self, request: HttpRequest, respond: Responder) -> None:
        self.heard.append(_read(request))
        answer = self.script[min(len(self.heard), len(self.script)) - 1]
        self._arrival.set()
        self._arrival = trio.Event()
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            match answer:
                case str():
                    await respond.reply(200, json.dumps({"text": answer}).encode())
                case (status, body):
                    await respond.reply(status, body)
                case _:
                    await answer(respond)
        finally:
            self.now -= 1


@asynccontextmanager
async def transcriptions(*script: Scripted) -> AsyncIterator[TranscriptionServer]:
    server = TranscriptionServer(script)
    async with loopback(server.handle) as server.http:
        yield server


def _read(request: HttpRequest) -> Heard:
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    fields, file = {}, None
    for part in form.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is None:
            fields[str(name)] = part.get_content().strip()
        else:
            assert name == "file"
            file = part
    assert file is not None
    data = file.get_payload(decode=True)
    assert isinstance(data, bytes)
    return Heard(request.path, request.headers, fields, str(file.get_filename()), file.get_content_type(), data)


def ogg(seconds: float = 3.0, size: int = 500) -> bytes:
    """The frame of a voice message in Opus that says it is so long."""
    first = b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead\x01\x01" + bytes(9)
    return first + bytes(size) + b"OggS\x00\x04" + int(seconds * 48_000).to_bytes(8, "little") + bytes(13)
