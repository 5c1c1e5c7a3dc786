"""The way to the Bot API: python-telegram-bot's `Bot`, run by Trio itself, over one httpx2 client of ours.

The SDK's are the calls with their names and parameters, the models of all that comes back, uploads, and most of its errors. Where
it would break a promise, this is done here instead:
* HTTP (`Http`, which is its extension point). Its own client says "timed out" or "network" whether or not a request went out;
  a send that never went out may be sent again at once, and one that did must not be (`NotSent`, `Broken`). An answer is read
  up to a cap. Deadlines are the callers' scopes.
* `Bot.get_updates` would read a whole batch at once, so that one update that it cannot read would hold up all behind it for ever:
  `raw_updates` hands them out one by one (tests/channels/test_telegram.py: an update that nobody can read).
* `Bot.initialize` and `shutdown` are asyncio's, and `telegram.ext` would end silently when a token is revoked: neither is used.

A file is fetched from `fileApiBase` through the same client, capped, with no redirects, and not through egress: the host is the
owner's word in the configuration, often a server of their own on this machine, which egress would refuse; of what Telegram
says only a plain path below it is taken. No model can aim there.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import trio

from nanobot.channels.port import ChannelFailed, SendError, SendLater, SendRefused, SendUnknown, Unreachable
from nanobot.channels.telegram.sdk import BaseRequest, RequestData, errors, httpx2, telegram
from nanobot.config.schema import TelegramConfig
from nanobot.supervise.policy import Cause
from nanobot.wire import Json, JsonObject

CONNECT_S = 10.0
"""For a connection to be made: what takes longer did not go out."""
KEEP_S = 20.0
"""Seconds that an idle connection is kept."""
CLOSE_S = 1.0
"""For closing connections; TLS peers need not answer."""
MOST_ANSWER = 32_000_000
"""Bytes: a hundred updates are less than one million."""
FLOOD_S = 5.0
"""Where Telegram says "too many" and not for how long."""
LONGEST_WAIT_S = 86_400.0
KINDS = ("message", "edited_message", "channel_post", "edited_channel_post", "callback_query")
"""Updates that are asked for."""
LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Where no proxy is asked: one's own Bot API server."""

NO_TOKEN = 'channels.telegram.token is empty. @BotFather gives you one (nanobot guide telegram): "token": "${TELEGRAM_TOKEN}"'
REVOKED = (
    "Telegram does not know the bot of channels.telegram.token ({}). Ask @BotFather for its token (/mybots, API Token), "
    "set it in the configuration, then: nanobot channels restart telegram"
)
CONFLICT = (
    "another program receives the messages of this bot, and only one can ({}). Stop the other one,"
    " or give this one a bot of its own"
)


class NotSent(errors.NetworkError):
    """No connection was made: nothing went out."""


class Broken(errors.NetworkError):
    """The connection broke while an answer was awaited, or what came is no answer of a Bot API server."""


class Unavailable(errors.NetworkError):
    """5xx, or something before the server has answered for it: it was not done."""


class NotFound(errors.BadRequest):
    """404: no such bot, or no such method."""


class TooLarge(errors.BadRequest):
    """413."""


class Flood(errors.TelegramError):
    """429. `retry_after`: seconds."""

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"Telegram wants to be left alone for {retry_after:g} s")


class Http(BaseRequest):
    """See the module. One for each life of the channel, for the long poll as well: its connections are not counted."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    @property
    def read_timeout(self) -> float | None:
        return None

    async def initialize(self) -> None:
        """Nothing is to be done."""

    async def shutdown(self) -> None:
        """The client is its maker's."""

    async def do_request(  # noqa: PLR0917  # the SDK's signature
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: object = None,
        write_timeout: object = None,
        connect_timeout: object = None,
        pool_timeout: object = None,
    ) -> tuple[int, bytes]:
        data = request_data.json_parameters if request_data else None
        files = request_data.multipart_data if request_data else None
        async with self.answer(method, url, data, files) as (status, chunks):
            body = bytearray()
            async for chunk in chunks:
                body += chunk
                if len(body) > MOST_ANSWER:
                    raise Broken(f"Telegram sends more than {MOST_ANSWER / 1e6:g} MB")
        _check(status, bytes(body))
        return status, bytes(body)

    @asynccontextmanager
    async def answer(
        self, method: str, url: str, data: object = None, files: object = None
    ) -> AsyncGenerator[tuple[int, AsyncIterator[bytes]]]:
        """The status, and the body to be read, all of it or not. Raises, as reading does: NotSent, Broken."""
        try:
            async with self.client.stream(method, url, data=data, files=files or None) as answer:  # type: ignore[arg-type]
                chunks = answer.aiter_bytes()
                try:
                    yield answer.status_code, chunks
                finally:
                    # The client's generators stand within one another: only an error from the innermost ends them all.
                    with trio.move_on_after(0, shield=True):
                        async for _chunk in chunks:
                            pass
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol) as exc:
            raise NotSent(f"Telegram cannot be reached: {_said(exc)}") from exc
        except httpx2.HTTPError as exc:
            raise Broken(f"the connection to Telegram broke: {_said(exc)}") from exc


def _check(status: int, body: bytes) -> None:
    """Raise what the SDK has no name for, or mistakes for something else."""
    answer = _answer_of(body)
    match status:
        case 413:
            raise TooLarge("it is too large for Telegram")
        case 504:
            raise Broken("no answer from Telegram (HTTP 504)")
        case code if code >= 500:
            raise Unavailable(f"Telegram is not available (HTTP {code})")
        case code if code < 300 and "result" not in answer:
            raise Broken("what came is no answer of Telegram")
        case 429:
            raise Flood(_retry_after(answer))
        case code if code >= 300 and not answer:
            raise Unavailable(
                f"what answers is no Bot API server (HTTP {code}): look at channels.telegram.apiBase, and for a proxy"
            )
        case 401:
            raise errors.InvalidToken("Unauthorized")
        case 404:
            raise NotFound(str(answer.get("description") or "Not Found"))
        case _:  # the SDK knows
            pass


def _answer_of(body: bytes) -> JsonObject:
    """Empty for what is no answer of theirs."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _retry_after(answer: JsonObject) -> float:
    parameters = answer.get("parameters")
    seconds = parameters.get("retry_after") if isinstance(parameters, dict) else None
    return float(seconds) if isinstance(seconds, int | float) and 0 < seconds < LONGEST_WAIT_S else FLOOD_S


def _said(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


class Bot(telegram.Bot):
    """The SDK's, with what it lacks."""

    def __init__(self, http: Http, config: TelegramConfig) -> None:
        base = config.api_base.rstrip("/")
        files = config.file_api_base.rstrip("/") or f"{base}/file"
        super().__init__(config.token.reveal(), f"{base}/bot", f"{files}/bot", request=http, get_updates_request=http)
        self._http = http

    async def raw_updates(self, offset: int | None, seconds: float) -> list[Json]:
        """The updates from `offset` on, waited for so long. Raises: TelegramError."""
        asked: dict[str, object] = {"offset": offset, "timeout": math.ceil(seconds), "allowed_updates": list(KINDS)}
        found: Json = await self._post("getUpdates", asked)
        if not isinstance(found, list):
            raise Broken("what came is no list of updates")
        return found

    @asynccontextmanager
    async def open_file(self, file_id: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The bytes of a file. Raises, as the iterator does: SendError. Who reads caps them."""
        try:
            url = _file_url(self.base_file_url, (await self.get_file(file_id)).file_path or "")
            async with self._http.answer("GET", url) as (status, chunks):
                if status != 200:
                    raise SendRefused(f"Telegram does not give it (HTTP {status})")
                yield chunks
        except errors.TelegramError as exc:
            raise translated(exc) from exc


def _file_url(base: str, path: str) -> str:
    """Raises: SendRefused for what is no path below it."""
    path = path.removeprefix(f"{base}/")  # the SDK has put it there
    if path.startswith("/"):
        raise SendRefused("the Bot API server runs with --local and keeps it to itself; run it without")
    if not path or ".." in path.split("/") or "://" in path:
        raise SendRefused("Telegram does not say where it is")
    return f"{base}/{path}"


@asynccontextmanager
async def open_bot(config: TelegramConfig) -> AsyncGenerator[Bot]:
    """For the block; then every connection is closed. Raises: ChannelFailed."""
    if not config.token:
        raise ChannelFailed(NO_TOKEN, cause=Cause.CONFIG)
    client = await trio.to_thread.run_sync(_client, config)
    try:
        yield Bot(Http(client), config)
    finally:
        with trio.move_on_after(CLOSE_S, shield=True):
            await client.aclose()


def _client(config: TelegramConfig) -> httpx2.AsyncClient:
    """Slow, as it reads this machine's certificates: for a thread. Raises: ChannelFailed."""
    try:
        return httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=KEEP_S),
            proxy=config.proxy.reveal() or None,
            mounts=dict.fromkeys(LOOPBACK),
        )
    except (ValueError, ImportError, httpx2.InvalidURL) as exc:
        raise ChannelFailed("channels.telegram.proxy must be http://host:port or socks5://host:port", cause=Cause.CONFIG) from exc


def translated(exc: errors.TelegramError) -> SendError:
    """What a send has come to."""
    match exc:
        case Flood(retry_after=seconds):
            return SendLater(str(exc), retry_after=seconds)
        case NotSent() | Unavailable():
            return SendLater(exc.message)
        case errors.BadRequest() | errors.Forbidden() | errors.ChatMigrated():
            return SendRefused(f"Telegram refuses it: {exc.message}")
        case errors.InvalidToken():
            return Unreachable("Telegram does not know this bot any more")
        case _:
            return SendUnknown(exc.message)


def failed(exc: errors.TelegramError) -> ChannelFailed:
    """What it means for the life of the channel, where it came of a call that concerns no chat."""
    match exc:
        case errors.InvalidToken() | NotFound():
            return ChannelFailed(REVOKED.format(exc.message), cause=Cause.AUTH)
        case errors.Conflict():
            return ChannelFailed(CONFLICT.format(exc.message))
        case Flood(retry_after=seconds):
            return ChannelFailed(exc.message, cause=Cause.RATE_LIMITED, retry_after=seconds)
        case errors.NetworkError():
            return ChannelFailed(exc.message)
        case _:
            return ChannelFailed(f"Telegram refuses: {exc.message}")
