"""Networks and proxies in the configuration: a mistake is told before anything starts, and a proxy's password never."""

from __future__ import annotations

import pytest

from nanobot.config.addresses import mistakes
from nanobot.config.schema import McpServerConfig, Secret, ToolsConfig, WebToolsConfig


@pytest.mark.parametrize("network", ["10.0.0.0/8", "192.168.1.7", " 192.168.1.7/24 ", "fd12::/16", "::1", "0.0.0.0/0"])
def test_a_network(network: str) -> None:
    assert list(mistakes(ToolsConfig(ssrf_whitelist=(network,)))) == []


@pytest.mark.parametrize("network", ["", "10.0.0.0/33", "localhost", "10.0.0.0-10.0.0.9", "http://10.0.0.1", "010.0.0.1"])
def test_what_is_no_network_is_told_with_its_place(network: str) -> None:
    (mistake,) = mistakes(ToolsConfig(ssrf_whitelist=("10.0.0.0/8", network)))
    assert mistake.path == ("tools", "ssrfWhitelist", 1)


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "socks5://me:secret@10.0.0.1:1080", "http://[::1]:8080", "http://proxy"])
def test_a_proxy(proxy: str) -> None:
    assert list(mistakes(ToolsConfig(web=WebToolsConfig(proxy=Secret(proxy))))) == []


@pytest.mark.parametrize("proxy", ["proxy:3128", "ftp://proxy", "http://", "http://me:secret@", "http://[::1", "http://x:99999"])
def test_what_is_no_proxy_is_told_without_its_text(proxy: str) -> None:
    (mistake,) = mistakes(ToolsConfig(web=WebToolsConfig(proxy=Secret(proxy))))
    assert mistake.path == ("tools", "web", "proxy")
    assert "secret" not in mistake.text


def test_a_network_of_a_server_is_told_with_its_place() -> None:
    servers = {"one": McpServerConfig(networks=("127.0.0.0/8", "localhost"))}
    (mistake,) = mistakes(ToolsConfig(mcp_servers=servers))
    assert mistake.path == ("tools", "mcpServers", "one", "networks", 1)
