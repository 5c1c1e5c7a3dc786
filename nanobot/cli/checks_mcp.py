"""What `nanobot doctor` says about MCP servers without starting them: what people get wrong in the configuration."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator

from nanobot.cli.findings import UNREAD, Facts, Finding, bad, ok, warn
from nanobot.cli.mcp_cmd import own_network
from nanobot.config.schema import McpServerConfig, ToolsConfig
from nanobot.mcp.address import is_address


def mcp(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    servers = facts.config.tools.mcp_servers
    if not servers:
        return ok("no servers")
    if importlib.util.find_spec("mcp") is None:
        return bad("what speaks to MCP servers is not installed: pip install 'nanobot[mcp]'")
    wrong = [f"{name}: {what}" for name, server in servers.items() for what in _wrong(facts, server)]
    if wrong:
        return bad("; ".join(wrong))
    odd = [f"{name}: {what}" for name, server in servers.items() for what in _odd(facts.config.tools, server)]
    if odd:
        return warn("; ".join(odd))
    first = next(iter(servers))
    return ok(f"{len(servers)} set up as far as can be seen from here; what one offers: nanobot mcp test {first}{facts.option}")


def _wrong(facts: Facts, server: McpServerConfig) -> Iterator[str]:
    """What cannot work."""
    if not server.command and not server.url:
        yield "it has neither command nor url: one of them says where the server is"
    elif server.command and server.url:
        yield "it has command and url: leave one of them out"
    elif server.command:
        path = server.env.get("PATH") or facts.environ.get("PATH")
        if shutil.which(server.command, path=path) is None:
            yield f"there is no program {server.command} on the PATH: install it, or write its whole path"
    elif not is_address(server.url):
        yield "url is no address that begins with https:// or http://"


def _odd(tools: ToolsConfig, server: McpServerConfig) -> Iterator[str]:
    """What is hardly meant."""
    if network := own_network(server.url):
        if not server.networks and not tools.ssrf_whitelist:
            yield f'url leads to an inner network, which is refused; to let this server alone: "networks": ["{network}"]'
    elif server.url.startswith("http://"):
        yield "url is not encrypted, so that others can read and change what is said: use https://"
    blank = [name for name, value in server.headers.items() if not value.strip()]
    if blank:
        yield f"the header {blank[0]} is empty"
