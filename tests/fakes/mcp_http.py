"""An MCP server behind an address, and the place where one logs in to it, on loopback; it misbehaves on request.

    async with mcp_site() as site:
        McpServerConfig(url=site.url, networks=...)

It speaks the protocol of 2025 with a session, answers in JSON, and knows the tools `echo` and whatever stands in `answers`. With
`login` set it takes only tokens that it has given, which are good for `token_s` seconds.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import trio

from tests.fakes.loopback import HttpRequest, Loopback, Responder, loopback

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}
Answer = Callable[[HttpRequest, Responder, Any], Awaitable[None]]
"""Answers a call; told the id of the request."""


@attrs.define(eq=False)
class Site:
    server: Loopback = None  # type: ignore[assignment]  # it needs the site first
    answers: dict[str, Answer] = attrs.field(factory=dict)
    first: Answer | None = None
    """Answers everything, where it is set."""
    login: bool = False
    token_s: int = 3600
    session: int = 0
    """The one that it knows; another one is forgotten."""
    seen: list[HttpRequest] = attrs.field(factory=list)
    tokens: list[str] = attrs.field(factory=list)
    """Those that are good now."""
    registered: list[dict[str, Any]] = attrs.field(factory=list)
    grants: list[str] = attrs.field(factory=list)
    """How tokens were got."""
    _number: int = 0

    @property
    def url(self) -> str:
        return f"{self.server.url}/mcp"

    def calls(self) -> list[str]:
        bodies = (json.loads(one.body) for one in self.seen if one.method == "POST" and one.path == "/mcp")
        return [body["params"]["name"] for body in bodies if body.get("method") == "tools/call"]

    async def serve(self, request: HttpRequest, to: Responder) -> None:
        self.seen.append(request)
        path = urlsplit(request.path).path
        if path == "/mcp":
            await self._mcp(request, to)
        elif self.login:
            await self._authority(path, request, to)
        else:
            await to.reply(404, b"not here", kind="text/plain")

    # --- the server

    async def _mcp(self, request: HttpRequest, to: Responder) -> None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.login and bearer not in self.tokens:
            where = f'Bearer resource_metadata="{self.server.url}/.well-known/oauth-protected-resource/mcp"'
            await to.reply(401, b"who are you?", [("www-authenticate", where)], kind="text/plain")
        elif request.method == "GET":
            await to.reply(405, b"")
        elif request.method == "DELETE":
            await to.reply(200, b"")
        else:
            await self._post(json.loads(request.body), request, to)

    async def _post(self, message: dict[str, Any], request: HttpRequest, to: Responder) -> None:
        number, params = message.get("id"), message.get("params") or {}
        if self.first is not None:
            await self.first(request, to, number)
        elif message["method"] == "initialize":
            self.session += 1
            who = {"name": "site", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": who}
            await self.say(to, number, result, [("mcp-session-id", str(self.session))])
        elif number is None:
            await to.reply(202, b"")
        elif message["method"] == "server/discover":
            await to.reply(404, b"no such method", kind="text/plain")
        elif request.headers.get("mcp-session-id") != str(self.session):
            await to.reply(404, b"no such session", kind="text/plain")
        elif message["method"] == "tools/list":
            names = ("echo", *self.answers)
            await self.say(to, number, {"tools": [{"name": name, "inputSchema": SCHEMA} for name in names]})
        elif params["name"] == "echo":
            await self.say(to, number, {"content": [{"type": "text", "text": params["arguments"]["text"]}]})
        else:
            await self.answers[params["name"]](request, to, number)

    async def say(self, to: Responder, number: Any, result: Any, headers: list[tuple[str, str]] | None = None) -> None:
        await to.reply(200, json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode(), headers or [])

    # --- where one logs in

    async def _authority(self, path: str, request: HttpRequest, to: Responder) -> None:
        base = self.server.url
        match path:
            case "/.well-known/oauth-protected-resource/mcp":
                await self._json(to, {"resource": self.url, "authorization_servers": [base]})
            case "/.well-known/oauth-authorization-server":
                about = {
                    "issuer": base,
                    "authorization_endpoint": f"{base}/authorize",
                    "token_endpoint": f"{base}/deep/token",
                    "registration_endpoint": f"{base}/register",
                    "response_types_supported": ["code"],
                    "code_challenge_methods_supported": ["S256"],
                }
                await self._json(to, about)
            case "/register":
                self.registered.append(json.loads(request.body))
                await self._json(to, {**self.registered[-1], "client_id": f"client-{len(self.registered)}"}, 201)
            case "/deep/token":
                await self._token({key: values[0] for key, values in parse_qs(request.body.decode()).items()}, to)
            case _:
                await to.reply(404, b"{}")

    async def _token(self, asked: dict[str, str], to: Responder) -> None:
        good = asked.get("code") == "the-code" or asked.get("refresh_token") == f"refresh-{self._number}"
        if not good:
            await self._json(to, {"error": "invalid_grant"}, 400)
            return
        self._number += 1
        self.grants.append(asked["grant_type"])
        self.tokens = [f"access-{self._number}"]
        given = {"access_token": self.tokens[0], "token_type": "Bearer", "expires_in": self.token_s}
        await self._json(to, {**given, "refresh_token": f"refresh-{self._number}"})

    async def _json(self, to: Responder, value: Any, status: int = 200) -> None:
        await to.reply(status, json.dumps(value).encode())


async def browse(address: str, **instead: str) -> int:
    """What a browser does when somebody agrees: it goes to where the login sends it. Returns the status there."""
    asked = {key: values[0] for key, values in parse_qs(urlsplit(address).query).items()}
    answer = {"code": "the-code", "state": asked["state"], **instead}
    back = urlsplit(f"{asked['redirect_uri']}?{urlencode(answer)}")
    stream = await trio.open_tcp_stream("127.0.0.1", back.port or 0)
    async with stream:
        await stream.send_all(f"GET {back.path}?{back.query} HTTP/1.1\r\nHost: {back.netloc}\r\n\r\n".encode())
        return int((await stream.receive_some()).split()[1])


@asynccontextmanager
async def mcp_site(*, login: bool = False, token_s: int = 3600) -> AsyncIterator[Site]:
    site = Site(login=login, token_s=token_s)
    async with loopback(site.serve) as site.server:
        yield site
