"""Logins at servers by OAuth, on the SDK's flow: kept in a file, renewed when they expire, never begun without a person.

`stored` is for a server that is started in the background: it uses and renews the tokens that are there, and where they are good
no more it ends in NoLogin instead of opening a browser. `login` is for `nanobot mcp login`: it finds the place to log in,
registers us there, shows its address and waits for the browser to come back.

What the SDK does not keep, the file does: when a token expires, and where it is renewed. Of two processes that renew at the same
time one wins, and the other begins anew with what that one got.

This module loads the SDK; import it in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import attrs
import httpx2
import trio
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
)
from pydantic import AnyUrl, ValidationError

from nanobot.mcp.auth_file import AuthFile, Login
from nanobot.mcp.callback import HOST, PATH, Callback
from nanobot.mcp.errors import NoLogin, ServerError
from nanobot.wire import JsonObject

T = TypeVar("T", OAuthToken, OAuthClientInformationFull, OAuthMetadata)
AHEAD_S = 30.0
"""Seconds before its end that a token is renewed: a request and a clock that is a little wrong."""


@attrs.define(eq=False)
class Keeper:
    """Fills the SDK's TokenStorage for one server."""

    file: AuthFile
    name: str
    url: str
    login: Login | None
    client: OAuthClientInformationFull | None = None
    metadata: Callable[[], OAuthMetadata | None] = lambda: None

    async def get_tokens(self) -> OAuthToken | None:
        """Those in the file now: another process may have renewed them."""
        self.login = await trio.to_thread.run_sync(self.file.of, self.name, self.url) if self.login else None
        return _parsed(OAuthToken, self.login.tokens) if self.login else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        found = self.metadata()
        kept = self.login.metadata if self.login else None
        login = Login(
            self.url,
            tokens.model_dump(mode="json", exclude_none=True),
            self.client.model_dump(mode="json", exclude_none=True) if self.client else {},
            found.model_dump(mode="json", exclude_none=True) if found else kept,
            time.time() + tokens.expires_in - AHEAD_S if tokens.expires_in else None,
        )
        over = self.login.generation if self.login else None
        self.login = await trio.to_thread.run_sync(partial(self.file.put, self.name, login, over=over))

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        if self.client is None and self.login is not None:
            self.client = _parsed(OAuthClientInformationFull, self.login.client)
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Provider(OAuthClientProvider):
    """The SDK's, which forgets when tokens expire and where they are renewed."""

    def __init__(
        self,
        keeper: Keeper,
        redirect: str,
        show: Callable[[str], Awaitable[None]],
        wait: Callable[[], Awaitable[AuthorizationCodeResult]],
    ) -> None:
        asked = OAuthClientMetadata(
            client_name="nanobot",
            redirect_uris=[AnyUrl(redirect)],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        )
        super().__init__(keeper.url, asked, keeper, show, wait)
        self._keeper = keeper
        keeper.metadata = lambda: self.context.oauth_metadata

    async def _initialize(self) -> None:
        await super()._initialize()
        login = self._keeper.login
        if login is None:
            return
        self.context.token_expiry_time = login.expires_at
        if self.context.oauth_metadata is None and login.metadata is not None:
            self.context.oauth_metadata = _parsed(OAuthMetadata, login.metadata)


def stored(file: AuthFile, name: str, url: str, login: Login) -> httpx2.Auth:
    """For a server in the background."""
    keeper = Keeper(file, name, url, login)

    async def no_browser(_address: str) -> None:
        newer = await trio.to_thread.run_sync(file.of, name, url)
        if newer is not None and keeper.login is not None and newer.generation != keeper.login.generation:
            raise ServerError("its login was renewed by another process")
        raise NoLogin(f"its login is not good any more: nanobot mcp login {name}")

    async def no_answer() -> AuthorizationCodeResult:
        raise NoLogin(f"its login is not good any more: nanobot mcp login {name}")

    return Provider(keeper, _redirect(login) or f"http://{HOST}{PATH}", no_browser, no_answer)


def login(
    file: AuthFile, name: str, url: str, callback: Callback, show: Callable[[str], Awaitable[None]]
) -> tuple[httpx2.Auth, Callable[[], bool]]:
    """For a person. Also whether a login was made by then."""
    before = file.of(name, url)
    keeper = Keeper(file, name, url, None)
    if before is not None and _redirect(before) == callback.address:  # they know us under this address
        keeper.client = _parsed(OAuthClientInformationFull, before.client)

    async def opened(address: str) -> None:
        callback.state = parse_qs(urlsplit(address).query).get("state", [""])[0]
        await show(address)

    async def answered() -> AuthorizationCodeResult:
        found = await callback.wait()
        return AuthorizationCodeResult(code=found.code, state=found.state, iss=found.issuer)

    return Provider(keeper, callback.address, opened, answered), lambda: keeper.login is not None


def port_of(login: Login | None) -> int:
    """The port under which a server knows us, 0 if none does."""
    parts = urlsplit(_redirect(login) or "") if login else None
    return (parts.port or 0) if parts and parts.hostname == HOST else 0


def _redirect(login: Login) -> str | None:
    uris = login.client.get("redirect_uris")
    return str(uris[0]) if isinstance(uris, list) and uris else None


def _parsed(kind: type[T], value: JsonObject) -> T | None:
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None
