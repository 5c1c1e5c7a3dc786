"""Keys whose text must be a network or a proxy: what is wrong with them, before anything starts. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from nanobot.config.codec import Mistake
from nanobot.config.schema import ToolsConfig

PROXIES = ("http", "socks5")


def mistakes(tools: ToolsConfig) -> Iterator[Mistake]:
    """What cannot be used. A proxy is not quoted: it may hold a password."""
    for place, network in enumerate(tools.ssrf_whitelist):
        try:
            ipaddress.ip_network(network.strip(), strict=False)
        except ValueError:
            path = ("tools", "ssrfWhitelist", place)
            yield Mistake(path, "expected a network such as 192.168.1.0/24 or fd12::/16, got something else")
    if tools.web.proxy and not _is_proxy(tools.web.proxy.reveal().strip()):
        yield Mistake(("tools", "web", "proxy"), f"expected {' or '.join(f'{scheme}://host:port' for scheme in PROXIES)}")


def _is_proxy(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in PROXIES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
