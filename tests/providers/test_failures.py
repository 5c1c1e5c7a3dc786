"""Everything that can go wrong with a model service, on both wires, streamed and not: typed, bounded, nothing left open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from nanobot.messages import Attachment
from nanobot.providers.client import open_http
from nanobot.providers.port import (
    AuthFailed,
    BadRequest,
    Completion,
    ContextTooLong,
    Delta,
    Finish,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Refused,
    Request,
    Stalled,
    StartedOver,
    TextDelta,
    TransportFailed,
)
from nanobot.providers.retry import Policy, complete_with_retry
from nanobot.providers.vision import Seeing
from nanobot.providers.vision_models import Sight
from tests.fakes import llm_wire
from tests.fakes.llm import Answer, Garbage, Scripted, ToolCall, refused_port
from tests.fakes.llm_wire import rate_limited
from tests.providers.support import PNG, WIRES, ask, provider_at, said, service

PATIENT = Policy(first_token=30, between_tokens=30, whole=30, delays=(0.001, 0.001), longest_wait=5)
IMPATIENT = attrs.evolve(PATIENT, first_token=0.3, between_tokens=0.3, whole=0.3)
"""For stalls, where nothing but the deadline ends the attempt. In real time, for these clients use threads."""
STREAMED = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
WIRE = pytest.mark.parametrize("wire", WIRES)
CALL = ToolCall("exec", {"command": "ls"})


@attrs.define
class Outcome:
    """What came of a call: the completion or the error, and what was shown and waited for meanwhile."""

    result: Completion | ProviderError
    shown: list[Delta]
    waits: list[float]
    requests: int

    @property
    def kinds(self) -> list[str]:
        return [type(delta).__name__ for delta in self.shown]


async def outcome(wire: str, script: list[Scripted], request: Request, policy: Policy = PATIENT) -> Outcome:
    shown: list[Delta] = []
    waits: list[float] = []
    async with service(wire, script) as (server, provider):
        try:
            result: Completion | ProviderError = await complete_with_retry(
                Seeing(provider, Sight("m")),
                request,
                shown.append,
                policy=policy,
                on_wait=lambda _error, seconds: waits.append(seconds),
            )
        except ProviderError as error:
            result = error
        assert server.http.open <= 1, "only an idle connection may be left in the pool"
        return Outcome(result, shown, waits, len(server.requests))


LASTING: dict[str, tuple[Scripted, type[ProviderError]]] = {
    "wrong key": (llm_wire.WRONG_KEY, AuthFailed),
    "no quota": (llm_wire.NO_QUOTA, QuotaExceeded),
    "payment required": (llm_wire.PAYMENT_REQUIRED, QuotaExceeded),
    "context too long": (llm_wire.CONTEXT_TOO_LONG, ContextTooLong),
    "bad request": (llm_wire.BAD_REQUEST, BadRequest),
    "refused": (llm_wire.REFUSED, Refused),
    "wait too long": (rate_limited("3600"), RateLimited),
}


@WIRE
@STREAMED
@pytest.mark.parametrize("name", LASTING)
async def test_what_cannot_pass_is_raised_at_once(wire: str, stream: bool, name: str) -> None:
    scripted, kind = LASTING[name]
    got = await outcome(wire, [scripted], ask(stream=stream))
    assert type(got.result) is kind
    assert (got.requests, got.waits) == (1, [])
    assert_speaks_plainly(got.result, wire)
    assert "sk-wrong" not in str(got.result)


PASSING: dict[str, tuple[Scripted, type[ProviderError]]] = {
    "429 with Retry-After": (rate_limited("0.01"), RateLimited),
    "429 with milliseconds": (rate_limited("10", "retry-after-ms"), RateLimited),
    "500": (llm_wire.SERVER_ERROR, Overloaded),
    "529": (llm_wire.OVERLOADED, Overloaded),
    "stalled before the first token": (Answer("never", stall="before"), Stalled),
    "stalled stream": (Answer("half an answer", stall="middle"), Stalled),
    "stream cut in mid-text": (Answer("half an answer", cut="middle"), TransportFailed),
    "stream cut in mid-call": (Answer("I will", calls=(CALL,), cut="call"), TransportFailed),
    "error inside the stream": (Answer("half", fault_in_stream=True), Overloaded),
    "garbage": (Garbage(), TransportFailed),
    "JSON that is no answer": (Garbage(b'{"hello": [1]}', "application/json"), TransportFailed),
    "events that are no answer": (Garbage(b"data: {nonsense\n\n", "text/event-stream"), TransportFailed),
    "empty body": (Garbage(b"", "text/event-stream"), TransportFailed),
}


@WIRE
@STREAMED
@pytest.mark.parametrize("name", PASSING)
async def test_what_can_pass_is_tried_again(wire: str, stream: bool, name: str) -> None:
    scripted, kind = PASSING[name]
    policy = IMPATIENT if kind is Stalled else PATIENT
    got = await outcome(wire, [scripted, Answer("well again")], ask(stream=stream), policy)
    assert isinstance(got.result, Completion)
    assert got.result.text == "well again"
    assert (got.requests, len(got.waits)) == (2, 1)
    assert after_starting_over(got.shown) == "well again"


@WIRE
@STREAMED
@pytest.mark.parametrize("name", PASSING)
async def test_what_does_not_pass_is_raised_in_the_end(wire: str, stream: bool, name: str) -> None:
    scripted, kind = PASSING[name]
    policy = IMPATIENT if kind is Stalled else PATIENT
    got = await outcome(wire, [scripted] * 9, ask(stream=stream), policy)
    assert type(got.result) is kind
    assert_speaks_plainly(got.result, wire)
    assert len(got.waits) == len(PATIENT.delays)
    assert got.requests == 1 + len(PATIENT.delays) or kind is Stalled, "one that waits 0.3 s may give up before it was heard"


def assert_speaks_plainly(error: Completion | ProviderError, wire: str) -> None:
    """It names the service, says what to do, fits on a phone's screen, and gives nothing away."""
    text = str(error)
    assert wire in text
    assert "k-secret" not in text
    assert len(text) <= 300
    assert any(way_out in text for way_out in ("check ", "top it up", "/new", "put it differently", "try again")), text


@WIRE
@STREAMED
async def test_unreachable_endpoint(wire: str, stream: bool) -> None:
    async with open_http() as http:
        provider = provider_at(wire, f"http://127.0.0.1:{await refused_port()}/v1", http)
        with pytest.raises(TransportFailed, match="check the network, and the address in providers"):
            await complete_with_retry(provider, ask(stream=stream), lambda _delta: None, policy=PATIENT)


@WIRE
@STREAMED
async def test_truncated_json_argument_is_left_to_the_caller(wire: str, stream: bool) -> None:
    broken = '{"command": "l'
    got = await outcome(wire, [Answer(calls=(ToolCall("exec", broken),))], ask(stream=stream))
    assert isinstance(got.result, Completion)
    assert [call.arguments for call in got.result.calls] == [broken]


@WIRE
@STREAMED
@pytest.mark.parametrize("name", ["no_such_tool", ""])
async def test_unknown_and_nameless_tools_are_left_to_the_caller(wire: str, stream: bool, name: str) -> None:
    got = await outcome(wire, [Answer(calls=(ToolCall(name, {}),))], ask(stream=stream))
    assert isinstance(got.result, Completion)
    assert [call.name for call in got.result.calls] == [name]
    assert got.result.finish is Finish.CALLS


@WIRE
@STREAMED
async def test_empty_answer_is_an_answer(wire: str, stream: bool) -> None:
    got = await outcome(wire, [Answer("")], ask(stream=stream))
    assert isinstance(got.result, Completion)
    assert (got.result.text, got.result.calls, got.requests) == ("", (), 1)


@WIRE
@STREAMED
async def test_answer_cut_at_its_length_drops_its_calls(wire: str, stream: bool) -> None:
    finish = {"openai": "length", "anthropic": "max_tokens"}[wire]
    got = await outcome(wire, [Answer("I will", calls=(CALL,), finish=finish)], ask(stream=stream))
    assert isinstance(got.result, Completion)
    assert (got.result.text, got.result.calls, got.result.finish) == ("I will", (), Finish.LENGTH)


@WIRE
@STREAMED
async def test_filtered_answer_is_refused(wire: str, stream: bool) -> None:
    finish = {"openai": "content_filter", "anthropic": "refusal"}[wire]
    got = await outcome(wire, [Answer("I", finish=finish)], ask(stream=stream))
    assert type(got.result) is Refused


@WIRE
@STREAMED
async def test_bad_image_is_left_out_once(wire: str, stream: bool, tmp_path: Any) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    message = said("look", attachments=(Attachment(str(picture), "image/png", "a.png", len(PNG)),))
    got = await outcome(wire, [llm_wire.BAD_IMAGE, Answer("I see a path")], ask(message, stream=stream))
    assert isinstance(got.result, Completion)
    assert (got.result.text, got.requests, got.waits) == ("I see a path", 2, [])
    again = await outcome(wire, [llm_wire.BAD_IMAGE] * 9, ask(message, stream=stream))
    assert (type(again.result), again.requests) == (BadRequest, 2)


@WIRE
async def test_shown_text_is_taken_back_before_it_comes_anew(wire: str) -> None:
    got = await outcome(wire, [Answer("half an answer", cut="middle"), Answer("whole")], ask())
    assert "StartedOver" in got.kinds
    assert got.kinds.index("TextDelta") < got.kinds.index("StartedOver")


def after_starting_over(shown: list[Delta]) -> str:
    def rest() -> Iterator[Delta]:
        starts = [n for n, delta in enumerate(shown) if isinstance(delta, StartedOver)]
        yield from shown[starts[-1] + 1 if starts else 0 :]

    return "".join(delta.text for delta in rest() if isinstance(delta, TextDelta))
