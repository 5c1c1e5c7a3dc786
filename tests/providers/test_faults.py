"""From status, code and wording to a typed error; from headers and words to a time to wait."""

from __future__ import annotations

import email.utils
import time

import pytest

from nanobot.providers import faults
from nanobot.providers.port import (
    AuthFailed,
    BadRequest,
    ContextTooLong,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Refused,
)
from nanobot.wire import Json

SERVICE = faults.Service("acme", "model-x", "providers.acme.apiKey")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"message": "bad key"}}, AuthFailed),
        (403, {"error": {"message": "region not supported"}}, AuthFailed),
        (404, {"error": {"message": "no such model"}}, BadRequest),
        (408, {}, Overloaded),
        (409, {}, Overloaded),
        (413, {"type": "error", "error": {"type": "request_too_large", "message": "too large"}}, ContextTooLong),
        (429, {"error": {"message": "slow down"}}, RateLimited),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, QuotaExceeded),
        (402, {"error": {"message": "Insufficient Balance"}}, QuotaExceeded),
        (400, {"error": {"message": "Your credit balance is too low"}}, QuotaExceeded),
        (400, {"error": {"message": "This model's maximum context length is 8192 tokens"}}, ContextTooLong),
        (400, {"error": {"message": "the request exceeds the available context size"}}, ContextTooLong),
        (400, {"error": {"message": "prompt is too long: 2 tokens > 1 maximum"}}, ContextTooLong),
        (400, {"error": {"message": "blocked by content filtering policy"}}, Refused),
        (400, {"error": {"message": "temperature not supported"}}, BadRequest),
        (400, [{"error": {"message": "a list, as one vendor does", "status": "INVALID_ARGUMENT"}}], BadRequest),
        (422, "a plain text", BadRequest),
        (500, {}, Overloaded),
        (503, None, Overloaded),
        (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, Overloaded),
        (0, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, Overloaded),
        (0, {"error": {"type": "rate_limit_error", "message": "slow down"}}, RateLimited),
    ],
)
def test_kind(status: int, body: Json, kind: type[ProviderError]) -> None:
    error = faults.error(SERVICE, faults.complaint(status, body, {}))
    assert type(error) is kind
    assert error.status == status
    assert "acme" in str(error) or "model-x" in str(error)


def test_keys_are_not_quoted() -> None:
    error = faults.error(SERVICE, faults.complaint(400, {"error": {"message": "key sk-abcdef123456 is odd"}}, {}))
    assert "sk-abcdef123456" not in str(error)
    assert "is odd" in str(error)


def test_long_words_are_cut() -> None:
    error = faults.error(SERVICE, faults.complaint(400, {"error": {"message": "so " * 500}}, {}))
    assert len(str(error)) == faults.LONGEST
    assert str(error).endswith("…")


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after": "0.5"}, "", 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, "", 0.25),
        ({}, "Please try again in 1.5s.", 1.5),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "try again in 2m 3s", 123.0),
        ({}, "Try again in 6m0s.", 360.0),
        ({}, "retry after 10 seconds", 10.0),
        ({}, "try again later", None),
        ({"retry-after": "soon"}, "", None),
    ],
)
def test_time_to_wait(headers: dict[str, str], message: str, seconds: float | None) -> None:
    assert faults.retry_after(headers, message) == seconds


def test_time_to_wait_as_a_date() -> None:
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert faults.retry_after({"retry-after": date}, "") == pytest.approx(100, abs=5)
