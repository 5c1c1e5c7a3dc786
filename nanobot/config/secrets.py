"""Which texts of a configuration and of an environment are secrets: what the sinks must not show (redaction.py).

Of a configuration: every `Secret`, every header but those that only say who asks, the passwords in addresses, and what stands
under a telling name in `extraBody`. Of an environment: what has a telling name. A variable that the configuration refers to
(`${VAR}`) is found where its value went.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

from nanobot.config.redaction import redact
from nanobot.config.schema import Config, Secret
from nanobot.config.tree import Anything, Section, Series, Shape, Table, keys_of

TELLING = re.compile(
    r"(?:^|[_.-])(?:(?:API|ACCESS|SECRET|PRIVATE)?_?KEYS?|TOKENS?|SECRETS?|PASS(?:WORD|WD|PHRASE)?|DSN)$", re.IGNORECASE
)
"""The end of a name under which secrets stand."""
INNOCENT_HEADERS = frozenset(["accept", "content-type", "http-referer", "origin", "referer", "user-agent", "x-title"])
SCHEMES = frozenset(["bearer", "basic", "token", "digest"])
"""Words before the secret in a header."""
WORD = re.compile(r"[a-z]{1,8}|[0-9.]+|[/~].*", re.DOTALL)
"""What a variable with a telling name may hold that is none: `disabled`, a number, a path."""

ENVIRONMENT = "env"
"""The key under which an environment of somebody else's stands: most of it are folders and switches."""
RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_+=.-]{16,}")
"""What looks like a secret under any name."""


def protect(config: Config, environ: Mapping[str, str]) -> None:
    """From now on no sink of this process shows what is secret in them."""
    for secret in (*secrets_of(config), *secrets_in(environ)):
        redact(secret)


def secrets_of(section: object) -> Iterator[str]:
    """Every secret text in a section and below."""
    cls: type = type(section)
    for key in keys_of(cls):
        value = getattr(section, key.attribute)
        if key.attribute == ENVIRONMENT:
            yield from (*secrets_in(value), *filter(RANDOM.fullmatch, value.values()))
        else:
            yield from _secrets(value, key.shape, key.name, masked=key.secret)


def secrets_in(environ: Mapping[str, str]) -> Iterator[str]:
    """Every secret text in an environment."""
    for name, value in environ.items():
        if TELLING.search(name) and not WORD.fullmatch(value):
            yield value
        yield from _passwords(value)


def _secrets(value: object, shape: Shape, name: str, *, masked: bool) -> Iterator[str]:
    match value, shape:
        case _, Anything():
            yield from _anything(value, name)
        case Secret(), _:
            yield from _parts(value.reveal())
        case str(), _ if masked:
            yield from () if name.lower() in INNOCENT_HEADERS else _parts(value)
        case str(), _:
            yield from _passwords(value)
        case _, Section() if value is not None:
            yield from secrets_of(value)
        case Mapping(), Table(item):
            for below, held in value.items():
                yield from _secrets(held, item, below, masked=masked)
        case tuple(), Series(item):
            for held in value:
                yield from _secrets(held, item, name, masked=masked)
        case _:
            pass


def _anything(value: object, name: str) -> Iterator[str]:
    match value:
        case str():
            yield from _parts(value) if TELLING.search(name) else _passwords(value)
        case dict():
            for below, held in value.items():
                yield from _anything(held, str(below))
        case list():
            for held in value:
                yield from _anything(held, name)
        case _:
            pass


def _parts(secret: str) -> Iterator[str]:
    """The text, and what is secret of it where it stands alone: `Bearer KEY`, `http://user:PASSWORD@proxy`."""
    if secret:
        yield secret
    scheme, _, rest = secret.partition(" ")
    if scheme.lower() in SCHEMES and rest:
        yield rest
    yield from _passwords(secret)


def _passwords(text: str) -> Iterator[str]:
    """The password of an address."""
    if "://" not in text or "@" not in text:
        return
    try:
        password = urlsplit(text.strip()).password
    except ValueError:  # no address
        return
    if password:
        yield password
        yield unquote(password)
