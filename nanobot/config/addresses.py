"""Keys whose text must be a network or a proxy: what is wrong with them, before anything starts. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from nanobot.config.codec import Mistake
from nanobot.config.schema import ToolsConfig

PROXIES = ("http", "socks5")
NO_NETWORK = "expected a network such as 192.168.1.0/24 or fd12::/16, got something else"


def mistakes(tools: ToolsConfig) -> Iterator[Mistake]:
    """What cannot be used. A proxy is not quoted: it may hold a password."""
    for place, network in enumerate(tools.ssrf_whitelist):
        if not _is_network(network):
            yield Mistake(("tools", "ssrfWhitelist", place), NO_NETWORK)
    for name, server in tools.mcp_servers.items():
        for place, network in enumerate(server.networks):
            if not _is_network(network):
                yield Mistake(("tools", "mcpServers", name, "networks", place), NO_NETWORK)
    if tools.web.proxy and not _is_proxy(tools.web.proxy.reveal().strip()):
        yield Mistake(("tools", "web", "proxy"), f"expected {' or '.join(f'{scheme}://host:port' for scheme in PROXIES)}")


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return False
    return True


def _is_proxy(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in PROXIES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
