"""What `nanobot doctor` looks at in the gateway: whether it runs and all of it lives, and who can reach it."""

from __future__ import annotations

import ipaddress
import os
import shlex
import stat

from nanobot.cli import live
from nanobot.cli.findings import UNREAD, Facts, Finding, bad, ok, warn
from nanobot.config.schema import ChannelConfig, ChannelsConfig
from nanobot.config.tree import keys_of
from nanobot.control.client import NotAnswering, Refused
from nanobot.control.paths import candidates
from nanobot.supervise.status import Node, troubled


def gateway(facts: Facts) -> Finding:
    try:
        running = live.look(facts.places.data)
    except (NotAnswering, Refused) as exc:
        return bad(str(exc))
    if running is None:
        return ok("not running")
    found = [_trouble(node, facts.option) for node in troubled(running.tree)]
    return bad("; ".join(found)) if found else ok(f"running (process {running.pid}), and all of it lives")


def _trouble(node: Node, option: str) -> str:
    said = f"{node.name} is {node.state}{f' ({node.error})' if node.error else ''}"
    if node.kind == "channel" and node.state == "parked":
        return f"{said}; mend what it says, then: nanobot channels restart {shlex.quote(node.name)}{option}"
    return f"{said}: nanobot gateway restart{option}"


def control_socket(facts: Facts) -> Finding:
    """Whether others on this machine could open the socket by which commands speak to the gateway."""
    try:
        paths = [path for path in candidates(facts.places.data, facts.environ) if os.path.lexists(path)]
        modes = {path: stat.S_IMODE(os.lstat(path).st_mode) for path in paths}
    except OSError:
        modes = {}
    loose = [path for path, mode in modes.items() if mode & 0o077]
    if loose:
        return bad(f"others on this machine can open it: chmod 600 {shlex.join(loose)}")
    return ok(f"{next(iter(modes.values())):o}") if modes else ok("not there, as no gateway runs")


def address(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    settings = facts.config.gateway
    if not settings.http:
        return ok("not listened on")
    where = f"{settings.host} port {settings.port}"
    if _is_loopback(settings.host):
        return ok(f"{where}, this machine alone")
    if settings.token:
        return warn(
            f"{where}, open to others, who need the token; nothing is encrypted: better 127.0.0.1, behind a proxy with TLS"
        )
    return bad(f'{where} is open to others, so it needs a token: "gateway": {{"token": "${{NANOBOT_TOKEN}}"}}')


def open_channels(facts: Facts) -> Finding:
    """Where a stranger is answered as if invited."""
    if facts.config is None:
        return UNREAD
    everybody = []
    for key in keys_of(ChannelsConfig):
        settings = getattr(facts.config.channels, key.attribute)
        if isinstance(settings, ChannelConfig) and settings.enabled and "*" in settings.allow_from:
            everybody.append(f"channels.{key.name}.allowFrom")
    if not everybody:
        return ok("nobody is let in unasked")
    return warn(f'{", ".join(everybody)} has "*": everybody who finds it may use the assistant and its tools; name them instead')


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
