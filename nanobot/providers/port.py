"""What the rest of the house may ask of a model service, and what it can end in.

`Provider.complete` makes one attempt: it sends the request, reports what arrives through `on_delta` as it arrives, and
returns the whole answer. It does not retry (one retry owner: retry.py), sets no deadline of its own beyond the TCP and
TLS connect (the caller's scope bounds waiting for tokens and sees their progress through `on_delta`), and leaves no
connection, task or thread behind however it ends. It raises nothing but `ProviderError` and what cancellation raises.

A provider knows this module and `messages`; nothing of sessions. It converts our conversation into its wire format at the
last moment, so that what is stored is never in the dialect of one vendor.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import attrs

from nanobot.errors import NanobotError
from nanobot.messages import Entry, Thinking, Usage

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "adaptive"]

type_json = str  # a JSON text; documents intent in signatures


@attrs.frozen
class ToolSpec:
    """A tool as the model is told of it. `schema` is JSON text of its parameters' JSON Schema, stable from run to run."""

    name: str
    description: str
    schema: str


@attrs.frozen
class ModelParams:
    """What a model is asked to keep to. None: leave it to the service."""

    max_tokens: int = 8192
    temperature: float | None = None
    effort: ReasoningEffort | None = None
    extra_body: str = ""
    """JSON object merged into the request's body last, empty if none."""


@attrs.frozen
class Request:
    """One model call. Everything before `runtime` is byte-identical from call to call but for what was added at the end."""

    model: str
    """As the service knows it (a vendor prefix such as `openai/` is already taken off)."""
    system: str
    entries: tuple[Entry, ...]
    """The conversation, oldest first; begins with `Said`; every call in it is settled."""
    tools: tuple[ToolSpec, ...] = ()
    params: ModelParams = ModelParams()
    runtime: str = ""
    """Last block of the last message (time, channel, chat, sender); never saved, so never part of the prefix."""
    cache_key: str = ""
    """`prompt_cache_key` where the wire has one: the same for all calls of a session."""
    no_tools: bool = False
    """The tools stay in the prefix, but the model must answer in text (a last call)."""
    stream: bool = True


@attrs.frozen
class TextDelta:
    text: str


@attrs.frozen
class ThinkingDelta:
    text: str


@attrs.frozen
class CallDelta:
    """The model has begun to write a call. `index` counts from 0 within the answer; `name` is set on the first only."""

    index: int
    name: str
    arguments: str


@attrs.frozen
class Alive:
    """Bytes came that carry nothing to show (a ping, a role, usage): progress all the same."""


@attrs.frozen
class StartedOver:
    """Sent by the retry owner: what was streamed so far is void, the answer comes anew."""

    reason: str


Delta = TextDelta | ThinkingDelta | CallDelta | Alive | StartedOver
OnDelta = Callable[[Delta], None]
"""Called on the loop, must not block."""


class Finish(enum.StrEnum):
    STOP = "stop"
    CALLS = "calls"
    LENGTH = "length"
    """Cut at max_tokens; calls in such an answer are incomplete and were dropped."""
    OTHER = "other"


@attrs.frozen
class RequestedCall:
    """A call as the model wrote it. `name` may be empty and `arguments` may be no JSON: the caller deals with both."""

    id: str
    name: str
    arguments: str
    extra: str = ""


@attrs.frozen
class Completion:
    """A whole answer."""

    text: str
    calls: tuple[RequestedCall, ...] = ()
    thinking: tuple[Thinking, ...] = ()
    finish: Finish = Finish.STOP
    usage: Usage = Usage()
    model: str = ""


class Provider(Protocol):
    """One configured model service."""

    @property
    def name(self) -> str:
        """The row of the registry: `openai`, `anthropic`, `custom`, `demo`."""
        ...

    async def complete(self, request: Request, on_delta: OnDelta) -> Completion:
        """Make one attempt. Raises: ProviderError."""
        ...


class ProviderError(NanobotError):
    """A model call failed. `str()` is a sentence for the user: what happened and what to do, secrets left out.

    `kind` is stable and goes to records and logs; `retryable` is for the retry owner; `status` is the HTTP status, 0 if none.
    """

    kind: ClassVar[str] = "provider_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds the service asked us to wait."""


class RateLimited(ProviderError):
    kind = "rate_limited"
    retryable = True


class Overloaded(ProviderError):
    """The service is up but cannot serve now: 500, 502, 503, 529."""

    kind = "overloaded"
    retryable = True


class TransportFailed(ProviderError):
    """No connection, a broken one, or an answer that is not in the wire format."""

    kind = "transport"
    retryable = True


class Stalled(ProviderError):
    """Nothing came for longer than the deadline."""

    kind = "stalled"
    retryable = True


class ContextTooLong(ProviderError):
    kind = "context_too_long"


class AuthFailed(ProviderError):
    kind = "auth"


class QuotaExceeded(ProviderError):
    kind = "quota"


class BadRequest(ProviderError):
    kind = "bad_request"


class Refused(ProviderError):
    """The service's own filter refused the request or the answer."""

    kind = "refused"
