"""The token of the page: `gateway.token`, else one made at the first start and kept in `<data>/gateway-token` (0600).

Whoever has it is the owner. Making it is atomic and safe against another process that makes it at the same time: of two, one
is linked into place, whole, and both read that.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from pathlib import Path

from nanobot.config.redaction import redact
from nanobot.config.schema import GatewayConfig
from nanobot.errors import ConfigError

FILE = "gateway-token"
OPEN_HOST = (
    "gateway.host: {} can be reached from other machines, so the page needs a token that you chose: "
    "set gateway.token to a long random text, or gateway.host to 127.0.0.1"
)
BYTES = 32
"""Random ones: beyond guessing."""


def token_of(config: GatewayConfig, data: Path) -> str:
    """The token that opens the page. Makes and keeps one where none is configured.

    Raises: ConfigError for a token that cannot be used, and for a host other than loopback without one of the user's own.
    """
    if config.token:
        return _usable(config.token.reveal(), "gateway.token")
    if not is_loopback(config.host):
        raise ConfigError([OPEN_HOST.format(config.host)])
    return kept(data)


def check(config: GatewayConfig) -> None:
    """That the page may be served as it is configured. Raises: ConfigError."""
    if config.http and config.token:
        _usable(config.token.reveal(), "gateway.token")
    elif config.http and not is_loopback(config.host):
        raise ConfigError([OPEN_HOST.format(config.host)])


def kept(data: Path) -> str:
    """The token in the data directory, made if there is none. Raises: ConfigError where the file holds none."""
    path = data / FILE
    if not path.exists():
        _make(path)
    path.chmod(0o600)
    return _usable(path.read_text(encoding="utf-8", errors="replace").strip(), f"{path} (delete it, and a new one is made)")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there. A name other than localhost is not believed."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _usable(token: str, where: str) -> str:
    """A header and a JSON string must be able to carry it."""
    if token and token.isascii() and token.isprintable() and " " not in token:
        redact(token)
        return token
    raise ConfigError([f"{where}: expected a token of printable ASCII characters without spaces"])


def _make(path: Path) -> None:
    draft = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first: its token is the one
    finally:
        draft.unlink()
