"""What goes over the connection beside the body, and what a connection that dies while it is idle does: nothing that one sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import httpx2
import pytest

from nanobot.providers.anthropic import Anthropic
from nanobot.providers.client import open_http
from nanobot.providers.openai_chat import OpenAIChat
from nanobot.providers.port import Completion, TransportFailed
from nanobot.providers.registry import BY_NAME, Selection
from tests.fakes.llm import Answer, ModelServer, model_server
from tests.fakes.llm_wire import anthropic_body, openai_body
from tests.fakes.loopback import HttpRequest, Responder, loopback
from tests.providers.support import WIRES, ask, provider_at

WIRE = pytest.mark.parametrize("wire", WIRES)
BODIES = {"openai": openai_body, "anthropic": anthropic_body}

# --- the SDKs' environment ---

ENVIRONMENT = {
    "OPENAI_ORG_ID": "org-leak",
    "OPENAI_PROJECT_ID": "project-leak",
    "OPENAI_ADMIN_KEY": "admin-leak",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/leak",
    "OPENAI_CUSTOM_HEADERS": "x-custom: leak\nAuthorization: Bearer leak",
    "ANTHROPIC_AUTH_TOKEN": "token-leak",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9/leak",
    "ANTHROPIC_CUSTOM_HEADERS": "x-custom: leak\nAuthorization: Bearer leak",
    "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content",
}


@WIRE
async def test_nothing_of_the_sdks_environment_reaches_a_strangers_address(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    async with model_server([Answer("yes")]) as server, open_http() as http:
        provider = provider_at(wire, server.base, http)
        await provider.complete(ask(), lambda _delta: None)
        (asked,) = server.requests
        assert "leak" not in str(asked.headers)
        assert asked.headers["authorization"] == "Bearer k-secret"
        client = provider._client  # type: ignore[attr-defined]
        assert getattr(client, "open_telemetry", {"traces": {"enabled": False}})["traces"]["enabled"] is False


@asynccontextmanager
async def vendors_own(wire: str) -> AsyncIterator[tuple[ModelServer, OpenAIChat | Anthropic]]:
    """A provider of the vendor's row, whose own address is the scripted server's."""
    async with model_server([Answer("yes")]) as server, open_http() as http:
        base = server.base if wire == "openai" else server.url
        row = attrs.evolve(BY_NAME[wire], base=base)
        selection = Selection(row, "m", "", provider_at(wire, base, http).selection.key, base)  # type: ignore[attr-defined]
        yield server, (OpenAIChat if wire == "openai" else Anthropic)(selection, http, 5.0)


@WIRE
async def test_openai_itself_is_told_organization_and_project_alone(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    async with vendors_own(wire) as (server, provider):
        await provider.complete(ask(), lambda _delta: None)
        headers = server.requests[0].headers
    told = {name: value for name, value in headers.items() if "leak" in value}
    own = {"openai-organization": "org-leak", "openai-project": "project-leak"}
    assert told == (own if wire == "openai" else {})


# --- idle connections ---


@attrs.define
class Dying:
    """A server that breaks connections without a word: those that have served `lives` requests, or every one."""

    wire: str
    lives: int = 1
    requests: list[int] = attrs.field(factory=list)
    """Number of the request on its connection, in the order they came."""
    served: dict[int, int] = attrs.field(factory=dict)

    async def handle(self, _request: HttpRequest, respond: Responder) -> None:
        number = self.served.get(id(respond.stream), 0) + 1
        self.served[id(respond.stream)] = number
        self.requests.append(number)
        if number > self.lives:
            await respond.cut()
        else:
            await respond.reply(200, BODIES[self.wire](Answer("yes"), "m", 1))


@WIRE
async def test_a_connection_that_died_while_idle_is_not_noticed(wire: str) -> None:
    dying = Dying(wire)
    async with loopback(dying.handle) as server, open_http() as http:
        provider = provider_at(wire, f"{server.url}/v1", http)
        for _ in range(2):
            assert isinstance(await provider.complete(ask(stream=False), lambda _delta: None), Completion)
    assert dying.requests == [1, 2, 1]


@WIRE
async def test_a_new_connection_that_breaks_is_a_failure(wire: str) -> None:
    dying = Dying(wire, lives=0)
    async with loopback(dying.handle) as server, open_http() as http:
        with pytest.raises(TransportFailed):
            await provider_at(wire, f"{server.url}/v1", http).complete(ask(), lambda _delta: None)
    assert dying.requests == [1]


async def test_local_servers_get_a_connection_for_each_request() -> None:
    async with model_server(lambda _asked: Answer("yes")) as server, open_http() as http:
        provider = provider_at("ollama", server.base, http)
        for _ in range(3):
            await provider.complete(ask(), lambda _delta: None)
        client: httpx2.AsyncClient = await http.client()
        assert client._transport._pool.connections == []  # type: ignore[attr-defined]
        assert server.http.accepted == 3
