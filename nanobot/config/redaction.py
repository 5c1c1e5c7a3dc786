"""Texts that must not be shown: `redact` registers one, `clean` takes all of them, and what looks like one, out of a text.

The register is one per process, because a secret is one wherever it turns up; it only grows: after a change of a key the old
one is not shown either. Every sink that prints what others said (errors, logs) passes it through `clean`. What a secret looks
like in a URL, in JSON, in Python and in base64 is taken out too.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import traceback
import urllib.parse
from collections.abc import Iterator
from types import TracebackType

MASK = "***"
SHORTEST = 6
"""Characters. A shorter secret stands in too many innocent words to be taken out of every line."""

_PATTERNS = re.compile(
    r"(?P<shown>(?i:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"  # an Authorization header
    r"|(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@:]*:[^/\s@]+(?=@)"  # user:password@ in an address
    r"|\b(?:sk|pk|rk|gsk|xox[abeoprs]|xapp|hf|nvapi|ghp|gho|github_pat|AIza|ya29)[-_.]?[A-Za-z0-9_.-]{16,}"  # keys of services
    r"|(?<!\d)\d{8,10}:[A-Za-z0-9_-]{35}\b"  # a Telegram bot's token
)
_URL_SAFE = str.maketrans("+/", "-_")
_lock = threading.Lock()
_registered: tuple[str, ...] = ()


def redact(secret: str) -> None:
    """From now on the text is cleaned away, in every form. Too short a text is not registered."""
    global _registered  # noqa: PLW0603 -- the one register of the process
    if len(secret) < SHORTEST:
        return
    with _lock:
        forms = {*_registered, *forms_of(secret)}
        # the longest first, so that a secret that holds another leaves no tail
        _registered = tuple(sorted(forms, key=len, reverse=True))


def forms_of(secret: str) -> Iterator[str]:
    """How it may stand in a text."""
    yield secret
    yield urllib.parse.quote(secret)
    yield urllib.parse.quote(secret, safe="")
    yield urllib.parse.quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield from _in_base64(secret.encode("utf-8", "surrogatepass"))


def _in_base64(secret: bytes) -> Iterator[str]:
    """By itself or in the middle of other bytes, at each of three places; only what does not depend on its neighbours."""
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + secret)
        sure = coded[(before * 8 + 5) // 6 : (before + len(secret)) * 8 // 6].decode()
        if len(sure) >= SHORTEST:
            yield sure
            yield sure.translate(_URL_SAFE)


def clean(text: str) -> str:
    """The text without registered secrets and without what looks like a key."""
    for secret in _registered:
        text = text.replace(secret, MASK)
    return _PATTERNS.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    return (found["shown"] or found["scheme"] or "") + MASK


def clean_tracebacks() -> None:
    """From now on what ends the process or a thread by surprise is printed clean."""

    def shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        elif sys.stderr is not None:
            sys.stderr.write(clean("".join(traceback.format_exception(kind, error, trace))))

    def shown_of_thread(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_value is not None and not issubclass(ended.exc_type, SystemExit):
            shown(ended.exc_type, ended.exc_value, ended.exc_traceback)

    sys.excepthook, threading.excepthook = shown, shown_of_thread
