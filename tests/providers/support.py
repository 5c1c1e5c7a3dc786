"""What the provider tests share: a service on loopback with a provider pointed at it, and conversations to send."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anthropic  # noqa: F401  # loaded here, so that no deadline in a test pays for an import
import httpx2  # noqa: F401
import openai  # noqa: F401

from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, ProviderConfig, Secret
from nanobot.messages import Attachment, Call, CallId, CallState, Entry, MessageId, Reply, Said
from nanobot.providers.client import SharedHttp, open_http
from nanobot.providers.factory import open_provider
from nanobot.providers.port import Provider, Request, ToolSpec
from nanobot.providers.registry import select
from tests.fakes.llm import ModelServer, Script, model_server

WIRES = ("openai", "anthropic")
TOOLS = (
    ToolSpec("exec", "Run a command.", '{"type":"object","properties":{"command":{"type":"string"}}}'),
    ToolSpec("read_file", "Read a file.", '{"type":"object","properties":{"path":{"type":"string"}}}'),
)
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82"
)


@asynccontextmanager
async def service(wire: str, script: Script, *, strict: bool = True) -> AsyncIterator[tuple[ModelServer, Provider]]:
    """A scripted service and the provider that talks to it. Leaving checks every request that was made."""
    async with model_server(script, strict=strict) as server, open_http() as http:
        yield server, provider_at(wire, server.base, http)


def provider_at(wire: str, base: str, http: SharedHttp) -> Provider:
    settings = {wire: ProviderConfig(api_key=Secret("k-secret"), api_base=base)}
    config = Config(agents=AgentsConfig(AgentDefaults(provider=wire, model="m")), providers=settings)
    return open_provider(select(config, {}), config, http)


def said(text: str, *, identity: str = "1", attachments: tuple[Attachment, ...] = ()) -> Said:
    return Said(MessageId(identity), text, 0.0, "p", attachments)


def done(identity: str, result: str = "ok", *, name: str = "exec", arguments: str = '{"command": "ls"}') -> Call:
    return Call(CallId(identity), name, arguments, state=CallState.DONE, result=result)


def ask(*entries: Entry, stream: bool = True, runtime: str = "Time: noon") -> Request:
    return Request("m", "You are helpful.", entries or (said("hello"),), TOOLS, runtime=runtime, stream=stream)


def rounds(count: int) -> tuple[Entry, ...]:
    """A conversation of so many messages, each answered after one call."""
    entries: list[Entry] = []
    for n in range(count):
        entries += [said(f"question {n}", identity=str(n)), Reply("", (done(f"call_{n}"),)), Reply(f"answer {n}")]
    return tuple(entries)
