"""Anthropic's messages, and services that speak them, through the official SDK.

The SDK builds and sends the request (address, key, version, connection) and raises for error statuses; its retries are off.
The body goes in whole through its `post`, past its typed transform, and the response is read by payload.py: the SDK's own reader
waits for ever when a server keeps the connection open after `message_stop`, and lets the HTTP client's errors through.
An address other than Anthropic's own gets the key as `x-api-key` too: gateways still speak that dialect.
"""

from __future__ import annotations

import json
import uuid
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

import attrs

from nanobot.messages import Thinking, Usage
from nanobot.providers import faults, images, payload
from nanobot.providers.anthropic_wire import NAME, AnthropicWire
from nanobot.providers.client import SdkMissing, SharedHttp, load, on_a_live_connection
from nanobot.providers.faults import Service
from nanobot.providers.port import (
    Alive,
    AuthFailed,
    CallDelta,
    Completion,
    Finish,
    OnDelta,
    Refused,
    Request,
    RequestedCall,
    TextDelta,
    ThinkingDelta,
    TransportFailed,
)
from nanobot.providers.registry import Selection
from nanobot.wire import Json, JsonObject

if TYPE_CHECKING:
    import httpx2
    from anthropic import AsyncAnthropic

FINISH = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "tool_use": Finish.CALLS,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
}


@attrs.define
class Anthropic:
    """A service of the registry on this wire."""

    selection: Selection
    http: SharedHttp
    connect_s: float
    """Seconds for the TCP and TLS connect."""
    wire: AnthropicWire = attrs.field(init=False)
    _client: AsyncAnthropic | None = None

    def __attrs_post_init__(self) -> None:
        self.wire = AnthropicWire(self.selection.spec)

    @property
    def name(self) -> str:
        return self.selection.provider

    async def complete(self, request: Request, on_delta: OnDelta) -> Completion:
        service = Service.of(self.selection, request.model)
        try:
            sdk, http = await load("anthropic"), await load("httpx2")
            with faults.translated(service, sdk, http):
                client = await self._ready(sdk, http)
                shown = await images.load(self.wire.unseen(request.entries))
                post = partial(
                    client.post,
                    "/v1/messages",
                    cast_to=http.Response,
                    content=payload.encode(self.wire.body(request, shown)),
                    options={"headers": payload.JSON_BODY},
                    stream=True,
                    stream_cls=sdk.AsyncStream,
                )
                response = await on_a_live_connection(post, sdk, http)
                return await self._read(request, service, response, on_delta)
        except SdkMissing as exc:
            raise AuthFailed(str(exc)) from exc

    async def _read(self, request: Request, service: Service, response: httpx2.Response, on_delta: OnDelta) -> Completion:
        answer = Answer(service, on_delta)
        async with payload.closing(response):
            if request.stream and "application/json" not in response.headers.get("content-type", ""):
                await answer.read_stream(response)
            else:
                body = await payload.read_body(response.aiter_bytes(), lambda: on_delta(Alive()))
                answer.whole(json.loads(body))
        return answer.completion(self.wire, request.model)

    async def _ready(self, sdk: ModuleType, http: ModuleType) -> AsyncAnthropic:
        if self._client is None:
            chosen = self.selection
            key = chosen.key.reveal()
            if not key:
                raise AuthFailed(f"There is no key for {self.name}: set {chosen.key_hint}, or run: nanobot onboard")
            headers = {} if chosen.own_address else {"x-api-key": key}
            client: AsyncAnthropic = sdk.AsyncAnthropic(
                api_key=key,
                base_url=chosen.base.rstrip("/").removesuffix("/v1"),
                max_retries=0,
                timeout=http.Timeout(None, connect=self.connect_s),
                http_client=await self.http.client(),
                open_telemetry=False,  # whatever the environment says
            )
            client._custom_headers = headers | dict(chosen.settings.extra_headers)  # over ANTHROPIC_CUSTOM_HEADERS
            self._client = client
        return self._client


@attrs.define
class _Block:
    """A content block as it grows. `head` is what it began as."""

    head: JsonObject
    pieces: list[str] = attrs.field(factory=list)
    signature: str = ""
    call: int = -1
    """Position among the calls of the answer."""

    @property
    def kind(self) -> Json:
        return self.head.get("type")


@attrs.define
class Answer:
    """Puts an answer together, from the events of a stream or from a whole body."""

    service: Service
    on_delta: OnDelta
    blocks: dict[int, _Block] = attrs.field(factory=dict)
    finish: str = ""
    """The vendor's stop reason: it comes when every block is complete."""
    usage: Usage = Usage()
    model: str = ""

    async def read_stream(self, response: httpx2.Response) -> None:
        """Raises: TransportFailed if the stream ends before the answer does."""
        http = await load("httpx2")
        events = 0
        try:
            events = await payload.read_events(response.aiter_bytes(), self.event)
        except http.HTTPError:
            if not self.finish:
                raise
        if not events and not self.finish:
            raise faults.no_answer(self.service)
        if not self.finish:
            raise TransportFailed(f"{self.service.who} ended its answer in the middle: try again")

    def event(self, data: bytes) -> payload.Wait:
        event = json.loads(data)
        if not isinstance(event, dict):
            raise ValueError("not an object")  # noqa: TRY004  # it is the service's mistake, as broken JSON is
        match event.get("type"):
            case "content_block_delta":
                self._delta(event)
                return None
            case "content_block_start":
                self._start(event)
            case "message_start":
                self._frame(event.get("message"))
            case "message_delta":
                self._frame(event.get("delta"))
                self._count(event.get("usage"))
            case "error":
                raise faults.error(self.service, faults.complaint(0, event, {}))
            case _:
                pass
        self.on_delta(Alive())
        if event.get("type") == "message_stop":
            return payload.AFTER_LAST
        return payload.AFTER_FINISH if self.finish else None

    def whole(self, body: Json) -> None:
        if not isinstance(body, dict) or not isinstance(body.get("content"), list):
            raise ValueError("no content")  # noqa: TRY004
        self._frame(body)
        content = body["content"]
        for index, block in enumerate(content if isinstance(content, list) else []):
            self._start({"index": index, "content_block": block})

    def _frame(self, message: Json) -> None:
        if not isinstance(message, dict):
            return
        self.model = str(message.get("model") or self.model)
        self.finish = str(message.get("stop_reason") or self.finish)
        self._count(message.get("usage"))
        if self.finish == "refusal":
            raise Refused(f"{self.service.who} refused to answer this: put it differently")

    def _count(self, usage: Json) -> None:
        """Counts are cumulative; the last event repeats only some of them."""
        if not isinstance(usage, dict):
            return
        cached = payload.count(usage.get("cache_read_input_tokens"))
        read = payload.count(usage.get("input_tokens")) + cached + payload.count(usage.get("cache_creation_input_tokens"))
        self.usage = Usage(max(read, self.usage.input), payload.count(usage.get("output_tokens")), max(cached, self.usage.cached))

    def _start(self, event: JsonObject) -> None:
        head = event.get("content_block")
        if not isinstance(head, dict):
            return
        block = _Block(head)
        self.blocks[payload.count(event.get("index"))] = block
        match head.get("type"):
            case "text":
                self._grow(block, str(head.get("text") or ""))
            case "thinking":
                block.signature = str(head.get("signature") or "")
                self._grow(block, str(head.get("thinking") or ""))
            case "tool_use":
                given = head.get("input")
                arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False) if given else ""
                block.pieces.append(arguments)
                block.call = sum(one.kind == "tool_use" for one in self.blocks.values()) - 1
                self.on_delta(CallDelta(block.call, str(head.get("name") or ""), arguments))
            case _:
                pass

    def _grow(self, block: _Block, piece: str) -> None:
        if piece:
            block.pieces.append(piece)
            self.on_delta(TextDelta(piece) if block.kind == "text" else ThinkingDelta(piece))

    def _delta(self, event: JsonObject) -> None:
        block, delta = self.blocks.get(payload.count(event.get("index"))), event.get("delta")
        if block is None or not isinstance(delta, dict):
            raise ValueError("a delta of no block")
        match delta.get("type"):
            case "text_delta":
                self._grow(block, str(delta.get("text") or ""))
            case "thinking_delta":
                self._grow(block, str(delta.get("thinking") or ""))
            case "input_json_delta":
                piece = str(delta.get("partial_json") or "")
                block.pieces.append(piece)
                self.on_delta(CallDelta(block.call, "", piece))
            case "signature_delta":
                block.signature += str(delta.get("signature") or "")
                self.on_delta(Alive())
            case _:
                self.on_delta(Alive())

    def completion(self, wire: AnthropicWire, model: str) -> Completion:
        blocks = list(self.blocks.values())
        finish = FINISH.get(self.finish, Finish.OTHER)
        uses = [] if finish is Finish.LENGTH else [block for block in blocks if block.kind == "tool_use"]
        return Completion(
            text="".join(piece for block in blocks if block.kind == "text" for piece in block.pieces),
            calls=tuple(map(_requested, uses)),
            thinking=tuple(_thinking(block, wire) for block in blocks if block.kind in ("thinking", "redacted_thinking")),
            finish=Finish.CALLS if uses else finish,
            usage=self.usage,
            model=self.model or model,
        )


def _requested(block: _Block) -> RequestedCall:
    identity = str(block.head.get("id") or f"call_{uuid.uuid4().hex[:12]}")
    return RequestedCall(identity, str(block.head.get("name") or ""), "".join(block.pieces) or "{}")


def _thinking(block: _Block, wire: AnthropicWire) -> Thinking:
    """The text, and what must go back with it: the signature, or the whole of a redacted block."""
    if block.kind == "redacted_thinking":
        return Thinking(NAME, "", wire.origin.seal(block.head))
    return Thinking(NAME, "".join(block.pieces), wire.origin.seal({"type": "thinking", "signature": block.signature}))
