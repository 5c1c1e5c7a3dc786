"""From what a model service says when it fails to our typed errors: one mapping for all services.

A status alone does not say enough: an empty account is 429 at one service, 400 at another and 402 at a third, and a full
context is a 400 with a sentence. So the vendor's own code and wording decide first, the status after that.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

import attrs

from nanobot.config.redaction import clean
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
from nanobot.providers.registry import Selection
from nanobot.wire import Json

LONGEST = 260  # characters of a sentence with its quote: it must fit on a phone's screen, with a time to wait behind it

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
    """What to set when the key is wrong: `providers.openai.apiKey or OPENAI_API_KEY`."""
    host: str = ""

    @classmethod
    def of(cls, selection: Selection, model: str) -> Service:
        host = selection.base.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return cls(selection.provider, model or "its model", selection.key_hint, host)

    @property
    def who(self) -> str:
        return f"{self.name} ({self.host})" if self.host else self.name

    @property
    def address_hint(self) -> str:
        return f"providers.{self.name}.apiBase"


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
        text = f"The connection to {service.who} failed: check the network, and the address in {service.address_hint}"
        raise TransportFailed(_sentence(text, str(reason) or type(reason).__name__, " It failed with: ")) from exc
    except (ValueError, RecursionError, BodyTooLong, http.InvalidURL) as exc:
        raise no_answer(service) from exc


def no_answer(service: Service) -> TransportFailed:
    """What came is not in the wire format: a captive portal, a wrong path, a proxy."""
    return TransportFailed(f"{service.who} sent something that is no answer: check the address in {service.address_hint}.")


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

    def sentence(text: str) -> str:
        return _sentence(text, said.message)

    if status == 401 or "authentication_error" in said.code:
        return AuthFailed(f"{service.who} refused the key: check {service.key_hint}", status=status)
    if status == 402 or (status in (0, 400, 403, 429) and QUOTA.search(words)):
        text = f"The account at {service.who} has no credit or quota left: top it up, or choose another model"
        return QuotaExceeded(sentence(text), status=status)
    if status == 413 or (status in (0, 400, 422, 500) and CONTEXT.search(words)):
        text = f"The conversation is too long for {service.model} at {service.who}: begin a new one with /new"
        return ContextTooLong(sentence(text), status=status)
    if status in (0, 400, 403, 422) and REFUSAL.search(words):
        return Refused(sentence(f"{service.who} refused this request by its own rules: put it differently"), status=status)
    return _by_status(service, said, sentence)


def _by_status(service: Service, said: Complaint, sentence: Callable[[str], str]) -> ProviderError:
    status, wait, who = said.status, said.retry_after, service.who
    if status == 403 or "permission_error" in said.code:
        text = f"{who} does not allow this with its key ({service.key_hint}): check what that may do, or choose another model"
        return AuthFailed(sentence(text), status=status)
    if status == 429 or "rate_limit" in said.code:
        text = f"{who} asks us to slow down: wait a moment, then try again"
        return RateLimited(sentence(text), status=status, retry_after=wait)
    if status in (408, 409) or status >= 500 or status == 0:
        text = f"{who} cannot serve now: try again later, or choose another model"
        return Overloaded(sentence(text), status=status, retry_after=wait)
    if status == 404:
        text = f"{who} does not know the model {service.model}: check agents.defaults.model and {service.address_hint}"
        return BadRequest(sentence(text), status=status)
    text = f"{who} did not accept the request ({status}): see what it says, change the model's settings, or begin anew with /new"
    return BadRequest(sentence(text), status=status)


def _sentence(text: str, words: str, lead: str = " It says: ") -> str:
    """With the service's own words, cut to a length, and without anything that looks like a key."""
    quote = KEY_LIKE.sub("***", clean(" ".join(words.split())))
    whole = f"{text}.{lead}{quote}" if quote else f"{text}."
    return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 1]}…"
