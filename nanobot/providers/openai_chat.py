"""OpenAI's chat completions, and every service that speaks them, through the official SDK.

The SDK builds and sends the request (address, key, headers, connection) and raises for error statuses; its retries are off.
The body goes in whole through its `post`, because its typed transform costs 0.15 ms of loop time per message, and the
response is read by payload.py. An answer is complete with a finish reason; a stream that ends before it is `TransportFailed`.
"""

from __future__ import annotations

import json
import uuid
from types import ModuleType
from typing import TYPE_CHECKING

import attrs

from nanobot.messages import Thinking, Usage
from nanobot.providers import faults, images, payload
from nanobot.providers.client import SdkMissing, SharedHttp, load
from nanobot.providers.faults import Service
from nanobot.providers.openai_wire import NAME, OpenAIWire
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
from nanobot.providers.registry import Kind, Selection
from nanobot.wire import Json, JsonObject

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

REASONING_FIELDS = ("reasoning_content", "reasoning")
FINISH = {"stop": Finish.STOP, "tool_calls": Finish.CALLS, "function_call": Finish.CALLS, "length": Finish.LENGTH}
KNOWN_CALL_KEYS = frozenset({"index", "id", "type", "function"})


@attrs.define
class OpenAIChat:
    """A service of the registry on this wire."""

    selection: Selection
    http: SharedHttp
    connect_s: float
    """Seconds for the TCP and TLS connect."""
    wire: OpenAIWire = attrs.field(init=False)
    _client: AsyncOpenAI | None = None
    _first_model: str = ""

    def __attrs_post_init__(self) -> None:
        self.wire = OpenAIWire(self.selection.spec)

    @property
    def name(self) -> str:
        return self.selection.provider

    async def complete(self, request: Request, on_delta: OnDelta) -> Completion:
        service = self._service(request.model)
        try:
            sdk, http = await load("openai"), await load("httpx2")
            with faults.translated(service, sdk, http):
                client = await self._ready(sdk, http)
                asked = attrs.evolve(request, model=request.model or await self._listed(client))
                shown = await images.load(self.wire.unseen(asked.entries))
                response = await client.post(
                    "/chat/completions",
                    cast_to=http.Response,
                    content=payload.encode(self.wire.body(asked, shown)),
                    options={"headers": payload.JSON_BODY},
                    stream=True,
                    stream_cls=sdk.AsyncStream,
                )
                return await self._read(asked, service, response, on_delta)
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

    async def _ready(self, sdk: ModuleType, http: ModuleType) -> AsyncOpenAI:
        if self._client is None:
            chosen = self.selection
            key = chosen.key.reveal()
            if not key and chosen.spec.kind not in (Kind.LOCAL, Kind.CUSTOM) and not chosen.settings.api_base:
                raise AuthFailed(f"There is no key for {self.name}: set providers.{self.name}.apiKey")
            address = http.URL(chosen.base)
            self._client = sdk.AsyncOpenAI(
                api_key=key or "none",  # the SDK insists on one, servers without keys ignore it
                base_url=address.copy_with(query=None),
                default_query=dict(address.params),
                default_headers=dict(chosen.settings.extra_headers),
                max_retries=0,
                timeout=http.Timeout(None, connect=self.connect_s),
                http_client=await self.http.client(),
            )
        return self._client

    async def _listed(self, client: AsyncOpenAI) -> str:
        """The first model of a server that was chosen without one."""
        if not self._first_model:
            page = await client.models.list()
            if not page.data:
                raise TransportFailed(f"{self.name} at {self.selection.base} has no model loaded: load one, then try again")
            self._first_model = page.data[0].id
        return self._first_model

    def _service(self, model: str) -> Service:
        return Service(self.name, model or "its model", f"providers.{self.name}.apiKey")


@attrs.define
class _Call:
    """A call as it grows. `index` is the service's, `position` counts from 0."""

    index: int
    position: int
    id: str = ""
    name: str = ""
    arguments: list[str] = attrs.field(factory=list)
    extra: JsonObject = attrs.field(factory=dict)


@attrs.define
class Answer:
    """Puts an answer together, from the events of a stream or from a whole body."""

    service: Service
    on_delta: OnDelta
    text: list[str] = attrs.field(factory=list)
    thinking: list[str] = attrs.field(factory=list)
    thinking_field: str = ""
    calls: list[_Call] = attrs.field(factory=list)
    finish: str = ""
    usage: Usage = Usage()
    model: str = ""

    async def read_stream(self, response: httpx2.Response) -> None:
        """Raises: TransportFailed if the stream ends before the answer does."""
        http = await load("httpx2")
        try:
            await payload.read_events(response.aiter_bytes(), self.event)
        except http.HTTPError:
            if not self.finish:
                raise
        if not self.finish:
            raise TransportFailed(f"{self.service.name} ended its answer in the middle")

    def event(self, data: bytes) -> payload.Wait:
        if data == b"[DONE]":
            return payload.AFTER_LAST
        chunk = json.loads(data)
        self._frame(chunk)
        shown = False
        for choice in _objects(chunk.get("choices")):
            shown = self._choice(choice, choice.get("delta")) or shown
        if not shown:
            self.on_delta(Alive())
        return payload.AFTER_FINISH if self.finish else None

    def whole(self, body: Json) -> None:
        self._frame(body)
        choices = _objects(body.get("choices")) if isinstance(body, dict) else []
        for choice in choices:
            self._choice(choice, choice.get("message"))
        if not choices:
            raise ValueError("no choices")
        self.finish = self.finish or "stop"

    def _frame(self, chunk: Json) -> None:
        """What stands beside the choices. Raises: ProviderError for an error inside an answer, ValueError for no object."""
        if not isinstance(chunk, dict):
            raise ValueError("not an object")  # noqa: TRY004  # it is the service's mistake, as broken JSON is
        if chunk.get("error"):
            raise faults.error(self.service, faults.complaint(0, chunk, {}))
        self.model = str(chunk.get("model") or self.model)
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.usage = _usage(usage)

    def _choice(self, choice: JsonObject, delta: Json) -> bool:
        """True if it had something to show."""
        shown = False
        if isinstance(delta, dict):
            shown = self._thought(delta)
            for name in ("content", "refusal"):
                text = _as_text(delta.get(name))
                if text:
                    self.text.append(text)
                    self.on_delta(TextDelta(text))
                    shown = True
            for call in _objects(delta.get("tool_calls")):
                self._call(call)
                shown = True
        finish = choice.get("finish_reason")
        if finish == "content_filter":
            raise Refused(f"{self.service.name} stopped this answer by its own rules: put it differently")
        self.finish = str(finish) if finish else self.finish
        return shown

    def _thought(self, delta: JsonObject) -> bool:
        for field in REASONING_FIELDS:
            text = delta.get(field)
            if isinstance(text, str) and text:
                self.thinking.append(text)
                self.thinking_field = field
                self.on_delta(ThinkingDelta(text))
                return True
        return False

    def _call(self, part: JsonObject) -> None:
        """A call, or the next piece of one. Services without an index begin a new call with each id."""
        index = part.get("index")
        if not isinstance(index, int):
            index = len(self.calls) - (0 if part.get("id") or not self.calls else 1)
        call = next((one for one in self.calls if one.index == index), None)
        begun = call is not None
        if call is None:
            call = _Call(index, len(self.calls))
            self.calls.append(call)
        function = part.get("function")
        named = function if isinstance(function, dict) else {}
        name, arguments = str(named.get("name") or ""), _arguments(named.get("arguments"))
        call.id = call.id or str(part.get("id") or "")
        call.name = call.name or name
        call.arguments.append(arguments)
        call.extra.update({key: value for key, value in part.items() if key not in KNOWN_CALL_KEYS})
        self.on_delta(CallDelta(call.position, "" if begun else call.name, arguments))

    def completion(self, wire: OpenAIWire, model: str) -> Completion:
        finish = FINISH.get(self.finish, Finish.OTHER)
        calls = () if finish is Finish.LENGTH else tuple(_requested(call, wire) for call in self.calls)
        thought = Thinking(NAME, "".join(self.thinking), wire.origin.seal(self.thinking_field))
        return Completion(
            text="".join(self.text),
            calls=calls,
            thinking=(thought,) if self.thinking else (),
            finish=Finish.CALLS if calls else finish,
            usage=self.usage,
            model=self.model or model,
        )


def _requested(call: _Call, wire: OpenAIWire) -> RequestedCall:
    extra = wire.origin.seal(call.extra) if call.extra else ""
    return RequestedCall(call.id or f"call_{uuid.uuid4().hex[:12]}", call.name, "".join(call.arguments) or "{}", extra)


def _objects(value: Json) -> list[JsonObject]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _as_text(content: Json) -> str:
    """Content is a string; some services send a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in _objects(content))


def _arguments(value: Json) -> str:
    """A text, or (from some local servers) the object itself."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def _usage(usage: JsonObject) -> Usage:
    details = usage.get("prompt_tokens_details")
    nested = details.get("cached_tokens") if isinstance(details, dict) else None
    cached = nested or usage.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")
    return Usage(payload.count(usage.get("prompt_tokens")), payload.count(usage.get("completion_tokens")), payload.count(cached))
