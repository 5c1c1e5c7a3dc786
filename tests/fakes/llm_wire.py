"""Scripted answers in the two vendors' own wire formats: whole bodies, streamed events and errors in their own words.

A streamed answer is a list of `Piece`: the bytes of one event and what it carries, so that the server can stall or cut
`middle` (after the first text) or inside a `call` (after half of its arguments).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import attrs

Wire = Literal["openai", "anthropic"]


@attrs.frozen
class ToolCall:
    """A call that the scripted model makes. `arguments` is sent as it stands when it is a text."""

    name: str
    arguments: str | dict[str, Any] = attrs.field(factory=dict)
    id: str = ""
    extra: dict[str, Any] | None = None
    """What a vendor adds to a call (`extra_content` with a thought signature)."""

    @property
    def text(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)

    def named(self, request: int, index: int) -> str:
        return self.id or f"call_{request}_{index}"


@attrs.frozen
class Answer:
    """What the scripted model says, and how the connection behaves meanwhile."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    signature: str = "c2lnbmF0dXJl"
    redacted: str = ""
    """Data of a redacted_thinking block (Anthropic only)."""
    finish: str = ""
    """The vendor's own word; empty: what fits."""
    usage: tuple[int, int, int] = (100, 10, 40)
    """Tokens: read (cached ones included), written, read from the cache."""
    pieces: int = 3
    """Events that the text is spread over."""
    delay: float = 0.0
    """Seconds before each event."""
    stall: Literal["", "before", "middle"] = ""
    """Say nothing more, for ever. Not streamed: no response at all."""
    cut: Literal["", "middle", "call"] = ""
    """Close the connection there. Not streamed: in the middle of the body."""
    keep_open: bool = False
    """Leave the connection open after the last event."""
    fault_in_stream: bool = False
    """End the stream with the vendor's own error event: overloaded. Not streamed: the status of the same meaning."""
    burst: bool = False
    """All events in one write: costs the least."""


@attrs.frozen
class Fault:
    """An error status with the vendor's own body."""

    status: int
    openai: dict[str, Any]
    anthropic: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()

    def body(self, wire: Wire) -> bytes:
        if wire == "openai":
            return json.dumps({"error": {"param": None, "code": None, **self.openai}}).encode()
        return json.dumps({"type": "error", "error": self.anthropic, "request_id": "req_011CTest"}).encode()


@attrs.frozen
class Garbage:
    """A body that is no answer of the wire format, with status 200."""

    body: bytes = b"<html><body>Welcome to the captive portal</body></html>"
    kind: str = "text/html"


Scripted = Answer | Fault | Garbage

WRONG_KEY = Fault(
    401,
    {
        "message": "Incorrect API key provided: sk-wrong. You can find your API key at https://platform.openai.com/account/api-keys.",
        "type": "invalid_request_error",
        "code": "invalid_api_key",
    },
    {"type": "authentication_error", "message": "invalid x-api-key"},
)
NO_QUOTA = Fault(
    429,
    {
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "type": "insufficient_quota",
        "code": "insufficient_quota",
    },
    {
        "type": "rate_limit_error",
        "message": "Your credit balance is too low to access the Anthropic API. "
        "Please go to Plans & Billing to upgrade or purchase credits.",
    },
)
PAYMENT_REQUIRED = Fault(
    402,
    {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"},
    {"type": "billing_error", "message": "There is an issue with your payment information."},
)
SERVER_ERROR = Fault(
    500,
    {"message": "The server had an error while processing your request. Sorry about that!", "type": "server_error"},
    {"type": "api_error", "message": "Internal server error"},
)
OVERLOADED = Fault(
    529,
    {"message": "The engine is currently overloaded, please try again later", "type": "server_error"},
    {"type": "overloaded_error", "message": "Overloaded"},
)
CONTEXT_TOO_LONG = Fault(
    400,
    {
        "message": "This model's maximum context length is 128000 tokens. However, your messages resulted in 140215 tokens. "
        "Please reduce the length of the messages.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    },
    {"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"},
)
BAD_IMAGE = Fault(
    400,
    {
        "message": "You uploaded an unsupported image. Please make sure your image is valid.",
        "type": "invalid_request_error",
        "code": "invalid_image_format",
    },
    {"type": "invalid_request_error", "message": "Could not process image"},
)
BAD_REQUEST = Fault(
    400,
    {"message": "Unsupported value: 'temperature' does not support 0.3 with this model.", "type": "invalid_request_error"},
    {"type": "invalid_request_error", "message": "temperature: Extra inputs are not permitted"},
)
REFUSED = Fault(
    400,
    {
        "message": "Your request was rejected as a result of our safety system.",
        "type": "invalid_request_error",
        "code": "content_policy_violation",
    },
    {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
)


def rate_limited(retry_after: str | None = "1", name: str = "retry-after") -> Fault:
    """429 with `retry-after` (seconds or an HTTP date) or `retry-after-ms`; None: only the text says when."""
    return Fault(
        429,
        {
            "message": "Rate limit reached for gpt-5 in organization org-1 on tokens per min (TPM): "
            "Limit 30000, Used 29000, Requested 2000. Please try again in 1.5s.",
            "type": "tokens",
            "code": "rate_limit_exceeded",
        },
        {
            "type": "rate_limit_error",
            "message": "This request would exceed your organization's rate limit of 50,000 input tokens per minute. "
            "Please try again in 1.5s.",
        },
        () if retry_after is None else ((name, retry_after),),
    )


@attrs.frozen
class Piece:
    data: bytes
    carries: Literal["", "text", "call"] = ""


def _split(text: str, pieces: int) -> list[str]:
    size = max(1, -(-len(text) // max(1, pieces)))
    return [text[at : at + size] for at in range(0, len(text), size)]


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


# --- OpenAI chat completions ---


def openai_body(answer: Answer, model: str, request: int) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.calls:
        message["tool_calls"] = [_openai_call(call, request, n) for n, call in enumerate(answer.calls)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _openai_finish(answer)}
    whole = _openai_frame("chat.completion", model, request, [choice]) | {"usage": _openai_usage(answer)}
    return json.dumps(whole).encode()


def openai_events(answer: Answer, model: str, request: int) -> Iterator[Piece]:
    def piece(delta: dict[str, Any], carries: Literal["", "text", "call"] = "", finish: str | None = None) -> Piece:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Piece(_data(_openai_frame("chat.completion.chunk", model, request, [choice])), carries)

    yield piece({"role": "assistant", "content": "", "refusal": None})
    for part in _split(answer.thinking, answer.pieces):
        yield piece({"reasoning_content": part})
    for part in _split(answer.text, answer.pieces):
        yield piece({"content": part}, "text")
    for index, call in enumerate(answer.calls):
        head = _openai_call(call, request, index) | {"index": index}
        yield piece({"tool_calls": [head | {"function": {"name": call.name, "arguments": ""}}]})
        for half in _halves(call.text):
            yield piece({"tool_calls": [{"index": index, "function": {"arguments": half}}]}, "call")
    if answer.fault_in_stream:
        yield Piece(_data({"error": {"message": "The server is overloaded", "type": "server_error", "code": "overloaded"}}))
        return
    yield piece({}, finish=_openai_finish(answer))
    yield Piece(_data(_openai_frame("chat.completion.chunk", model, request, []) | {"usage": _openai_usage(answer)}))
    yield Piece(b"data: [DONE]\n\n")


def _openai_frame(kind: str, model: str, request: int, choices: list[Any]) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request}", "object": kind, "created": 1795000000, "model": model, "choices": choices}


def _openai_call(call: ToolCall, request: int, index: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.text}
    extra = {} if call.extra is None else {"extra_content": call.extra}
    return {"id": call.named(request, index), "type": "function", "function": function} | extra


def _openai_finish(answer: Answer) -> str:
    return answer.finish or ("tool_calls" if answer.calls else "stop")


def _openai_usage(answer: Answer) -> dict[str, Any]:
    read, written, cached = answer.usage
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _data(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


# --- Anthropic messages ---


def anthropic_body(answer: Answer, model: str, request: int) -> bytes:
    head = _anthropic_head(answer, model, request)
    head["content"] = [block for block, _ in _anthropic_blocks(answer, request)]
    head["stop_reason"] = _anthropic_finish(answer)
    head["usage"]["output_tokens"] = answer.usage[1]
    return json.dumps(head).encode()


def anthropic_events(answer: Answer, model: str, request: int) -> Iterator[Piece]:
    yield _event("message_start", message=_anthropic_head(answer, model, request))
    yield _event("ping")
    for index, (block, deltas) in enumerate(_anthropic_blocks(answer, request)):
        empty = {"text": "", "thinking": "", "signature": "", "input": {}}
        start = {name: empty.get(name, value) for name, value in block.items()}
        yield _event("content_block_start", index=index, content_block=start)
        for delta in deltas:
            carries: Any = {"text_delta": "text", "input_json_delta": "call"}.get(delta["type"], "")
            yield attrs.evolve(_event("content_block_delta", index=index, delta=delta), carries=carries)
        yield _event("content_block_stop", index=index)
    if answer.fault_in_stream:
        yield _event("error", error={"type": "overloaded_error", "message": "Overloaded"})
        return
    usage = {"output_tokens": answer.usage[1]}
    yield _event("message_delta", delta={"stop_reason": _anthropic_finish(answer), "stop_sequence": None}, usage=usage)
    yield _event("message_stop")


def _anthropic_head(answer: Answer, model: str, request: int) -> dict[str, Any]:
    read, _, cached = answer.usage
    usage = {
        "input_tokens": read - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": 1,
    }
    head = {"id": f"msg_{request}", "type": "message", "role": "assistant", "model": model, "content": []}
    return head | {"stop_reason": None, "stop_sequence": None, "usage": usage}


def _anthropic_blocks(answer: Answer, request: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each block whole, and the deltas that a stream makes of it."""
    if answer.thinking:
        parts = [{"type": "thinking_delta", "thinking": part} for part in _split(answer.thinking, answer.pieces)]
        sealed = {"type": "signature_delta", "signature": answer.signature}
        yield {"type": "thinking", "thinking": answer.thinking, "signature": answer.signature}, [*parts, sealed]
    if answer.redacted:
        yield {"type": "redacted_thinking", "data": answer.redacted}, []
    if answer.text:
        texts = [{"type": "text_delta", "text": part} for part in _split(answer.text, answer.pieces)]
        yield {"type": "text", "text": answer.text}, texts
    for index, call in enumerate(answer.calls):
        halves = [{"type": "input_json_delta", "partial_json": half} for half in ("", *_halves(call.text))]
        use = {"type": "tool_use", "id": call.named(request, index), "name": call.name, "input": _object(call.text)}
        yield use, halves


def _object(text: str) -> Any:
    """The vendor's whole answers hold arguments as an object: what is no JSON is sent as the text it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _anthropic_finish(answer: Answer) -> str:
    return answer.finish or ("tool_use" if answer.calls else "end_turn")


def _event(name: str, **fields: Any) -> Piece:
    data = json.dumps({"type": name, **fields})
    return Piece(f"event: {name}\ndata: {data}\n\n".encode())
