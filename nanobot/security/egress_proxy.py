"""Through a proxy to one address: `CONNECT` of HTTP, and SOCKS5.

Both are asked for the checked IP address, never for a name, so the proxy resolves nothing; TLS runs through the tunnel and
verifies the name. `CONNECT` is used for plain http too, because a forwarding proxy would take the name from the request and
look it up by itself.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from urllib.parse import unquote, urlsplit

import attrs

from nanobot.config.schema import Secret
from nanobot.errors import ConfigError
from nanobot.security.egress_address import Address
from nanobot.security.egress_errors import Unreachable

HEAD_BYTES = 8 * 1024
"""Most bytes of a proxy's answer to CONNECT."""
PORTS = {"http": 80, "socks5": 1080, "socks5h": 1080}
_SOCKS_REPLIES = {2: "its rules forbid it", 3: "network unreachable", 4: "host unreachable", 5: "connection refused"}

Read = Callable[[int], Awaitable[bytes]]
"""Up to so many bytes; none at the end."""
Write = Callable[[bytes], Awaitable[None]]


@attrs.frozen
class Proxy:
    """`tools.web.proxy`, taken apart."""

    scheme: str
    host: str
    port: int
    user: Secret = Secret()
    password: Secret = Secret()


def proxy_of(setting: Secret) -> Proxy | None:
    """None where no proxy is set. Raises: ConfigError."""
    if not setting:
        return None
    try:
        parts = urlsplit(setting.reveal().strip())
        port = parts.port
    except ValueError:
        raise ConfigError(["tools.web.proxy cannot be read; write it like http://host:3128"]) from None
    if parts.scheme not in PORTS or not parts.hostname or not parts.hostname.isascii():
        raise ConfigError(["tools.web.proxy must be http://host:port or socks5://host:port"])
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(parts.scheme, parts.hostname, port or PORTS[parts.scheme], Secret(user), Secret(password))


async def tunnel(proxy: Proxy, address: Address, port: int, read: Read, write: Write) -> None:
    """Over a connection to the proxy, make it lead to `address`. Raises: Unreachable."""
    if proxy.scheme == "http":
        await _connect(proxy, address, port, read, write)
    else:
        await _socks5(proxy, address, port, read, write)


async def _connect(proxy: Proxy, address: Address, port: int, read: Read, write: Write) -> None:
    where = f"{address}:{port}" if isinstance(address, IPv4Address) else f"[{address}]:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    if proxy.user:
        pair = f"{proxy.user.reveal()}:{proxy.password.reveal()}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}")
    await write("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if len(head) > HEAD_BYTES or not (byte := await read(1)):  # one by one: what follows belongs to the tunnel
            raise Unreachable("the proxy of tools.web.proxy did not answer as an HTTP proxy does")
        head += byte
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3})", head)
    if found is None or not found[1].startswith(b"2"):
        status = found[1].decode() if found else "no status"
        raise Unreachable(f"the proxy of tools.web.proxy refused CONNECT to {where} ({status})")


async def _socks5(proxy: Proxy, address: Address, port: int, read: Read, write: Write) -> None:
    method = 2 if proxy.user else 0
    await write(bytes([5, 1, method]))
    if await _exactly(read, 2) != bytes([5, method]):
        raise Unreachable("the proxy of tools.web.proxy does not accept this way to log in")
    if proxy.user:
        user, password = proxy.user.reveal().encode()[:255], proxy.password.reveal().encode()[:255]
        await write(bytes([1, len(user), *user, len(password), *password]))
        if (await _exactly(read, 2))[1] != 0:
            raise Unreachable("the proxy of tools.web.proxy does not accept user and password")
    kind = 1 if isinstance(address, IPv4Address) else 4
    await write(bytes([5, 1, 0, kind, *address.packed, *port.to_bytes(2, "big")]))
    _version, code, _reserved, bound = await _exactly(read, 4)
    if code != 0:
        why = _SOCKS_REPLIES.get(code, f"code {code}")
        raise Unreachable(f"the proxy of tools.web.proxy cannot connect to {address}: {why}")
    length = {1: 4, 4: 16}.get(bound) or (await _exactly(read, 1))[0]
    await _exactly(read, length + 2)


async def _exactly(read: Read, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (chunk := await read(count - len(data))):
            raise Unreachable("the proxy of tools.web.proxy closed the connection")
        data += chunk
    return data
