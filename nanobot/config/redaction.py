"""Texts that must not be shown: `redact` registers one, `clean` takes all of them, and what looks like one, out of a text.

The register is one per process, because a secret is one wherever it turns up; it only grows. Every sink that prints what
others said (errors, logs) passes it through `clean`.
"""

from __future__ import annotations

import re
import threading
import urllib.parse

MASK = "***"
SHORTEST = 6
"""Characters. A shorter secret stands in too many innocent words to be taken out of every line."""

_PATTERNS = re.compile(
    r"(?P<shown>(?i:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"  # an Authorization header
    r"|(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@:]*:[^/\s@]+(?=@)"  # user:password@ in an address
    r"|\b(?:sk|pk|rk|gsk|xox[abeoprs]|xapp|hf|nvapi|ghp|gho|github_pat|AIza|ya29)[-_.]?[A-Za-z0-9_.-]{16,}"  # keys of services
    r"|(?<!\d)\d{8,10}:[A-Za-z0-9_-]{35}\b"  # a Telegram bot's token
)
_lock = threading.Lock()
_registered: tuple[str, ...] = ()


def redact(secret: str) -> None:
    """From now on the text, as it is and as it stands in a URL, is cleaned away. Too short a text is not registered."""
    global _registered  # noqa: PLW0603 -- the one register of the process
    if len(secret) < SHORTEST:
        return
    with _lock:
        forms = {*_registered, secret, urllib.parse.quote(secret, safe="")}
        # the longest first, so that a secret that holds another leaves no tail
        _registered = tuple(sorted(forms, key=len, reverse=True))


def clean(text: str) -> str:
    """The text without registered secrets and without what looks like a key."""
    for secret in _registered:
        text = text.replace(secret, MASK)
    return _PATTERNS.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    return (found["shown"] or found["scheme"] or "") + MASK
