"""Who may use the HTTP server: every request passes here before any of it is acted upon.

In this order: the Host must be one of ours (`gateway.allowedHosts`: a name for any port, or name:port), which is what keeps a
foreign page from reaching us by a name of its own that points here; an Origin, where there is one, must be that host, so that
no foreign page speaks to us; no body is taken; and the token must be right for everything but what is listed as open.
Open are `/health`, the files of the page, which hold no secret, and `/ws`, whose first frame brings the token.

The page gets the token in the fragment of its address (`/#token=...`), which a browser neither sends nor logs, and gives it
in a header. No cookie, so that there is nothing a foreign page could ride on.

Guessing is slow: at most `CHECKS` tokens are looked at in `WRONG_S` seconds, for all clients together, in the order they came.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, MutableMapping

import attrs
import trio
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

WRONG_S = 0.5
CHECKS = 8
HEADERS: Mapping[bytes, bytes] = {
    b"content-security-policy": b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
"""Of every answer. There are no CORS headers: no other origin reads anything."""
_DEFAULT_PORTS = (":80", ":443")


class Doorman:
    """Knows the token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._checks = trio.Semaphore(CHECKS)

    async def admits(self, token: str) -> bool:
        """Whether this is the token. A wrong one takes its time, and holds up those behind it."""
        if not token:
            return False
        async with self._checks:
            if hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token):
                return True
            await trio.sleep(WRONG_S)
            return False


@attrs.frozen
class Refusal:
    status: int
    code: str
    text: str
    headers: Mapping[str, str] = {}


@attrs.frozen
class Guard:
    """The application, guarded. `open_paths` need no token."""

    app: ASGIApp
    doorman: Doorman
    allowed_hosts: Collection[str]
    open_paths: Collection[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the client sees 403
        else:
            answer = refused(refusal)
            await answer(scope, receive, _with_headers(send))

    async def _refusal(self, scope: Scope) -> Refusal | None:
        headers = _single(scope)
        host = headers.get("host", "")
        if not hosted(host, self.allowed_hosts):
            return Refusal(403, "host", "this name is not one of gateway.allowedHosts")
        if "origin" in headers and not same_origin(headers["origin"], host):
            return Refusal(403, "origin", "pages of other sites may not use nanobot")
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return Refusal(413, "body", "no request here has a body", {"connection": "close"})
        if scope["path"] in self.open_paths or await self.doorman.admits(bearer(headers.get("authorization", ""))):
            return None
        why = "give the token of `nanobot web` as `Authorization: Bearer TOKEN`"
        return Refusal(401, "token", why, {"www-authenticate": "Bearer"})


def refused(refusal: Refusal) -> JSONResponse:
    return JSONResponse({"error": refusal.text, "code": refusal.code}, refusal.status, refusal.headers)


def hosted(host: str, allowed: Collection[str]) -> bool:
    """Whether a Host header names one of the allowed hosts: `name` with any port, or exactly `name:port`."""
    wanted = {entry.lower() for entry in allowed}
    host = host.lower()
    name, port = _split(host)
    return port and (name in wanted or name.strip("[]") in wanted or host in wanted)


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of `origin` came from `host`. The scheme may differ: a proxy may have spoken TLS with the browser."""
    scheme, separator, authority = origin.lower().partition("://")
    return bool(separator) and scheme in ("http", "https") and _plain(authority) == _plain(host.lower())


def bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _split(host: str) -> tuple[str, bool]:
    """The name of a host, and whether what follows it is a port or nothing."""
    end = host.find("]") + 1 if host.startswith("[") else host.find(":")
    name, rest = (host, "") if end < 0 else (host[:end], host[end:])
    return name, not rest or (rest.startswith(":") and rest[1:].isascii() and rest[1:].isdigit())


def _plain(authority: str) -> str:
    for port in _DEFAULT_PORTS:
        authority = authority.removesuffix(port)
    return authority


def _single(scope: Scope) -> dict[str, str]:
    """Headers by name; one that stands there twice is joined, and so equals nothing that is allowed."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1")
        text = value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            _add(message)
        await send(message)

    return guarded


def _add(message: MutableMapping[str, object]) -> None:
    given = message.get("headers", [])
    message["headers"] = [*given, *HEADERS.items()] if isinstance(given, list) else list(HEADERS.items())
