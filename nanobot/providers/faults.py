"""From what a model service says when it fails to our typed errors: one mapping for all services.

A status alone does not say enough: an empty account is 429 at one service, 400 at another and 402 at a third, and a full
context is a 400 with a sentence. So the vendor's own code and wording decide first, the status after that.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

import attrs

from nanobot.providers.payload import BodyTooLong
from nanobot.providers.port import (
    AuthFailed,
    BadRequest,
    ContextTooLong,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Refused,
    TransportFailed,
)
from nanobot.wire import Json

MAX_QUOTE = 300  # characters of the vendor's own message that are worth showing

CONTEXT = re.compile(
    r"context_length_exceeded|maximum context length|prompt is too long|context window|exceeds? the (?:available )?context"
    r"|input length and .?max_tokens.? exceed|too many (?:input )?tokens|request_too_large",
    re.IGNORECASE,
)
QUOTA = re.compile(
    r"insufficient[_ ](?:quota|balance|funds|credits)|exceeded your current quota|credit balance|billing|payment"
    r"|out of credits|quota_exceeded",
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"content[_ ]?(?:policy|filter)|content management policy|safety system|responsible ai|data_inspection_failed",
    re.IGNORECASE,
)
TRY_AGAIN = re.compile(
    r"(?:try again|retry|reset)\w*(?: after| in)?\s+"
    r"(?:(?P<m>\d+)\s*m(?:in\w*)?(?![a-z])\s*)?(?:(?P<s>\d+(?:\.\d+)?)\s*(?P<unit>ms|s(?:ec\w*)?)\b)?",
    re.IGNORECASE,
)
KEY_LIKE = re.compile(r"\b(?:sk|gsk|key|hf|nvapi|AIza)[-_]?[\w*.-]{6,}")


@attrs.frozen
class Service:
    """Who is talking, for the sentence that the user reads."""

    name: str
    model: str
    key_hint: str
    """What to set when the key is wrong: `providers.openai.apiKey`."""


@contextmanager
def translated(service: Service, sdk: ModuleType, http: ModuleType) -> Iterator[None]:
    """The one mapping from what an official SDK, its HTTP client and a broken body raise. Raises: ProviderError."""
    try:
        yield
    except sdk.APIStatusError as exc:
        said = complaint(exc.status_code, exc.body, exc.response.headers)
        raise error(service, said) from exc
    except (sdk.APIError, http.HTTPError, http.StreamError) as exc:
        reason = exc.__cause__ or exc
        text = f"The connection to {service.name} failed ({type(reason).__name__}: {reason}): check the network and its address"
        raise TransportFailed(text) from exc
    except (ValueError, RecursionError, BodyTooLong, http.InvalidURL) as exc:
        text = f"{service.name} sent something that is no answer ({type(exc).__name__}): check its address"
        raise TransportFailed(text) from exc


@attrs.frozen
class Complaint:
    """What the service said: status (0 inside a stream), its own code and type, and its words."""

    status: int
    code: str
    message: str
    retry_after: float | None = None


def complaint(status: int, body: Json, headers: Mapping[str, str]) -> Complaint:
    """Read an error body; both wires, and what gateways make of them."""
    inner: Json = body
    if isinstance(body, list) and body:  # Gemini wraps its errors in a list
        inner = body[0]
    if isinstance(inner, dict):
        inner = inner.get("error", inner)
    code, message = "", inner if isinstance(inner, str) else ""
    if isinstance(inner, dict):
        code = " ".join(str(inner.get(name) or "") for name in ("type", "code", "status")).strip()
        message = str(inner.get("message") or "")
    return Complaint(status, code, message, retry_after(headers, message))


def retry_after(headers: Mapping[str, str], message: str) -> float | None:
    """Seconds the service asks us to wait: header in ms, in seconds or as a date, else its own words."""
    exact, plain = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if exact is not None:
            return max(0.0, float(exact) / 1000)
        if plain is not None:
            return max(0.0, float(plain))
    except ValueError:
        pass
    return _date(plain) if plain is not None else _words(message)


def _date(text: str) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _words(message: str) -> float | None:
    for found in TRY_AGAIN.finditer(message):
        if found["m"] or found["s"]:
            seconds = float(found["s"] or 0) * (0.001 if found["unit"] == "ms" else 1)
            return 60 * int(found["m"] or 0) + seconds
    return None


def error(service: Service, said: Complaint) -> ProviderError:
    """The typed error for a complaint. Its sentence says what to do, and quotes the service without secrets."""
    words = f"{said.code} {said.message}"
    status = said.status
    quote = _quote(said.message)
    if status == 401 or "authentication_error" in said.code:
        text = f"{service.name} refused the key: check {service.key_hint}"
        return AuthFailed(text, status=status)
    if status == 402 or (status in (0, 400, 403, 429) and QUOTA.search(words)):
        text = f"The account at {service.name} has no credit or quota left: top it up, or choose another model.{quote}"
        return QuotaExceeded(text, status=status)
    if status == 413 or (status in (0, 400, 422, 500) and CONTEXT.search(words)):
        return ContextTooLong(f"The conversation is too long for {service.model}.{quote}", status=status)
    if status in (0, 400, 403, 422) and REFUSAL.search(words):
        return Refused(f"{service.name} refused this request by its own rules: put it differently.{quote}", status=status)
    return _by_status(service, said, quote)


def _by_status(service: Service, said: Complaint, quote: str) -> ProviderError:
    status, wait = said.status, said.retry_after
    if status == 403 or "permission_error" in said.code:
        return AuthFailed(f"{service.name} does not allow this with {service.key_hint}.{quote}", status=status)
    if status == 429 or "rate_limit" in said.code:
        return RateLimited(f"{service.name} asks us to slow down.{quote}", status=status, retry_after=wait)
    if status in (408, 409) or status >= 500 or status == 0:
        return Overloaded(f"{service.name} cannot serve now: try again later.{quote}", status=status, retry_after=wait)
    if status == 404:
        text = f"{service.name} does not know the model {service.model}, or its address is wrong: check both.{quote}"
        return BadRequest(text, status=status)
    return BadRequest(f"{service.name} did not accept the request ({status}).{quote}", status=status)


def _quote(message: str) -> str:
    """The service's own words, short and without anything that looks like a key."""
    short = KEY_LIKE.sub("***", " ".join(message.split()))[:MAX_QUOTE]
    return f" It says: {short}" if short else ""
