"""The logins at servers, in `<data>/auth/mcp.json` (0600, its folder 0700).

A login belongs to the name and the address of a server: where the address is another one by now, there is no login, so that
no token goes to a place that it was not given for. Processes that write at the same time do so one after the other; a
`generation` grows with each change, so that who holds an older login knows. Every token that was read is known to the sinks.
Every function blocks.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import attrs

from nanobot.config.durable import replace
from nanobot.config.paths import made
from nanobot.config.redaction import redact
from nanobot.wire import Json, JsonObject


@attrs.frozen
class Login:
    """What a server gave us, as JSON of the protocol."""

    url: str
    tokens: JsonObject
    client: JsonObject
    """Our registration there."""
    metadata: JsonObject | None = None
    """Where tokens are renewed."""
    expires_at: float | None = None
    """Of the access token, seconds since the epoch."""
    generation: int = 0


@attrs.frozen
class AuthFile:
    path: Path

    @classmethod
    def below(cls, data: Path) -> AuthFile:
        return cls(data / "auth" / "mcp.json")

    def of(self, name: str, url: str) -> Login | None:
        """The login at that server, None where there is none."""
        login = _login(self._all().get(name))
        return login if login is not None and login.url == url else None

    def put(self, name: str, login: Login, *, over: int | None = None) -> Login:
        """Keep a login. over: only in the place of that generation. Returns what is kept then. Raises: OSError."""
        _protect(login.tokens, login.client)
        with self._alone():
            there = _login(self._all().get(name))
            if over is not None and there is not None and there.generation != over:
                return there
            kept = attrs.evolve(login, generation=(there.generation if there else 0) + 1)
            self._write(lambda every: {**every, name: _json(kept)})
            return kept

    def remove(self, name: str) -> None:
        """Raises: OSError."""
        if self.path.exists():
            with self._alone():
                self._write(lambda every: {key: one for key, one in every.items() if key != name})

    def _all(self) -> JsonObject:
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        servers = found.get("servers") if isinstance(found, dict) else None
        return servers if isinstance(servers, dict) else {}

    def _write(self, change: Callable[[JsonObject], JsonObject]) -> None:
        replace(self.path, json.dumps({"servers": change(self._all())}, indent=1) + "\n")

    @contextmanager
    def _alone(self) -> Generator[None]:
        folder = os.open(made(self.path.parent), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _protect(tokens: JsonObject, client: JsonObject) -> None:
    for secret in (tokens.get("access_token"), tokens.get("refresh_token"), client.get("client_secret")):
        if isinstance(secret, str):
            redact(secret)


def _json(login: Login) -> JsonObject:
    return {
        "url": login.url,
        "tokens": login.tokens,
        "client": login.client,
        "metadata": login.metadata,
        "expiresAt": login.expires_at,
        "generation": login.generation,
    }


def _login(value: Json) -> Login | None:
    """None for what is none."""
    match value:
        case {
            "url": str() as url,
            "tokens": dict() as tokens,
            "client": dict() as client,
            "metadata": metadata,
            "expiresAt": expires,
            "generation": int() as generation,
        }:
            _protect(tokens, client)
            return Login(
                url,
                tokens,
                client,
                metadata if isinstance(metadata, dict) else None,
                float(expires) if isinstance(expires, int | float) else None,
                generation,
            )
        case _:
            return None
