"""OpenAI's chat completions, and every service that speaks them, through the official SDK.

The SDK builds and sends the request (address, key, headers, connection) and raises for error statuses; its retries are off.
The body goes in whole through its `post`, because its typed transform costs 0.15 ms of loop time per message, and the
response is read by payload.py. An answer is complete with a finish reason; a stream that ends before it is `TransportFailed`.
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
from nanobot.providers.client import SdkMissing, SharedHttp, load, on_a_live_connection
from nanobot.providers.faults import Service
from nanobot.providers.inline import Inline
from nanobot.providers.openai_wire import DETAILS, NAME, OpenAIWire
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

REASONING_FIELDS = ("reasoning_content", "reasoning", DETAILS)
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
        service = Service.of(self.selection, request.model)
        try:
            sdk, http = await load("openai"), await load("httpx2")
            with faults.translated(service, sdk, http):
                client = await self._ready(sdk, http)
                asked = attrs.evolve(request, model=request.model or await self._listed(client))
                shown = await images.load(self.wire.unseen(asked.entries))
                post = partial(
                    client.post,
                    "/chat/completions",
                    cast_to=http.Response,
                    content=payload.encode(self.wire.body(asked, shown)),
                    options={"headers": payload.JSON_BODY},
                    stream=True,
                    stream_cls=sdk.AsyncStream,
                )
                response = await on_a_live_connection(post, sdk, http)
                return await self._read(asked, service, response, on_delta)
        except SdkMissing as exc:
            raise AuthFailed(str(exc)) from exc

    async def _read(self, request: Request, service: Service, response: httpx2.Response, on_delta: OnDelta) -> Completion:
        answer = Answer(service, on_delta, bool(request.tools) and not request.no_tools)
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
                raise AuthFailed(f"There is no key for {self.name}: set {chosen.key_hint}, or run: nanobot onboard")
            address = http.URL(chosen.base)
            headers = {"connection": "close"} if chosen.spec.kind is Kind.LOCAL else {}  # such servers drop idle ones
            headers |= dict(chosen.settings.extra_headers)
            client: AsyncOpenAI = sdk.AsyncOpenAI(
                api_key=key or "none",  # the SDK insists on one, servers without keys ignore it
                base_url=address.copy_with(query=None),
                default_query=dict(address.params),
                max_retries=0,
                timeout=http.Timeout(None, connect=self.connect_s),
                http_client=await self.http.client(),
            )
            client._custom_headers = headers  # over what OPENAI_CUSTOM_HEADERS has put there
            if not (chosen.own_address and chosen.provider == "openai"):
                client.organization = client.project = None  # OPENAI_ORG_ID and OPENAI_PROJECT_ID are for OpenAI alone
            self._client = client
        return self._client

    async def _listed(self, client: AsyncOpenAI) -> str:
        """The first model of a server that was chosen without one."""
        if not self._first_model:
            page = await client.models.list()
            if not page.data:
                raise TransportFailed(f"{Service.of(self.selection, '').who} has no model loaded: load one, then try again")
            self._first_model = page.data[0].id
        return self._first_model


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
    inline_calls: bool = False
    """Calls may stand in the text: tools were offered."""
    text: list[str] = attrs.field(factory=list)
    thinking: list[str] = attrs.field(factory=list)
    thinking_field: str = ""
    calls: list[_Call] = attrs.field(factory=list)
    finish: str = ""
    usage: Usage = Usage()
    model: str = ""
    _inline: Inline = attrs.field(init=False)
    _shown: bool = False
    """The event at hand had something to show."""

    def __attrs_post_init__(self) -> None:
        self._inline = Inline(self._say, self._think, self.inline_calls)

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
        if data == b"[DONE]":
            return payload.AFTER_LAST
        chunk = json.loads(data)
        self._frame(chunk)
        self._shown = False
        for choice in _objects(chunk.get("choices")):
            self._choice(choice, choice.get("delta"))
        if not self._shown:
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

    def _choice(self, choice: JsonObject, delta: Json) -> None:
        if isinstance(delta, dict):
            self._thought(delta)
            for name in ("content", "refusal"):
                self._content(delta.get(name))
            for call in _objects(delta.get("tool_calls")):
                self._call(call)
        finish = choice.get("finish_reason")
        if finish == "content_filter":
            raise Refused(f"{self.service.who} stopped this answer by its own rules: put it differently")
        self.finish = str(finish) if finish else self.finish

    def _content(self, content: Json) -> None:
        """A text; some services send a list of parts, Mistral with its thinking among them."""
        if isinstance(content, str):
            self._inline.feed(content)
        for part in _objects(content):
            self._think("".join(str(one.get("text") or "") for one in _objects(part.get("thinking"))))
            self._inline.feed(str(part.get("text") or ""))

    def _thought(self, delta: JsonObject) -> None:
        for field in REASONING_FIELDS:
            text = delta.get(field)
            if field == DETAILS:
                text = "".join(str(one.get("text") or "") for one in _objects(text))
            if isinstance(text, str) and text:
                self.thinking_field = field
                self._think(text)
                return

    def _say(self, text: str) -> None:
        self.text.append(text)
        self._show(TextDelta(text))

    def _think(self, text: str) -> None:
        if text:
            self.thinking.append(text)
            self._show(ThinkingDelta(text))

    def _show(self, delta: TextDelta | ThinkingDelta | CallDelta) -> None:
        self._shown = True
        self.on_delta(delta)

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
        self._show(CallDelta(call.position, "" if begun else call.name, arguments))

    def completion(self, wire: OpenAIWire, model: str) -> Completion:
        finish = FINISH.get(self.finish, Finish.OTHER)
        for name, arguments in self._inline.finish(called=bool(self.calls) or finish is Finish.LENGTH):
            self._call({"id": None, "index": len(self.calls), "function": {"name": name, "arguments": arguments}})
        text = "".join(self.text)
        calls = () if finish is Finish.LENGTH else tuple(_requested(call, wire) for call in self.calls)
        thought = Thinking(NAME, "".join(self.thinking), wire.origin.seal(self.thinking_field))
        return Completion(
            text="" if self.thinking and text.isspace() else text,
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
