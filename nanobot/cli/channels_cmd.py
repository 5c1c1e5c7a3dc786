"""`nanobot channels`: the connections to chat networks, as the configuration wants them and as the gateway has them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import App, Parameter

from nanobot.cli import live
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json, tell_warnings
from nanobot.cli.texts import plain
from nanobot.config.schema import ChannelConfig, ChannelsConfig, Config
from nanobot.config.tree import keys_of
from nanobot.control.client import NotRunning
from nanobot.errors import NanobotError
from nanobot.journal import names
from nanobot.supervise.status import Node, as_json
from nanobot.wire import JsonObject

app = App(name="channels", help="See and restart the connections to chat networks.", version_flags=[])
app.command("nanobot.cli.pairing:app", name="pair", help="Let people in who wrote to the assistant.", sort_key=4)
app.command("nanobot.cli.channels_login:login", name="login", help="Link this machine to an account: whatsapp.", sort_key=3)
app.command(
    "nanobot.cli.quarantine:app", name="quarantine", help="See the mails that were not passed on, and let one in.", sort_key=5
)


@attrs.frozen
class Channel:
    """One connection. `node` is None where no gateway has it."""

    name: str
    enabled: bool
    node: Node | None


@app.command(sort_key=1)
def status(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show which channels there are, and how each of them is."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    running = live.look(instance.places.data)
    found = list(channels(instance.config, {} if running is None else _nodes(running.tree)))
    if json:
        say_json({"running": running is not None, "channels": [_as_json(channel) for channel in found]})
        return
    for line in _lines(found, time.time()):
        say(line)
    if running is None:
        say(f"\n{NotRunning()}")


@app.command(sort_key=2)
def restart(
    name: Annotated[str, Parameter(help="The channel, as `nanobot channels status` shows it.")],
    /,
    *,
    config: ConfigOption = None,
) -> None:
    """Start a channel again, also one that was parked; its failures are forgotten."""
    live.restart(opened(config).places.data, name)
    say(f"{plain(name)} was started again. See how it is: nanobot channels status")


@app.command(name="test", sort_key=2)
def check(
    name: Annotated[str, Parameter(help="The channel, as `nanobot channels status` shows it.")],
    /,
    *,
    to: Annotated[str, Parameter(help="Chat to which a test message is sent; without it nothing is sent.")] = "",
    config: ConfigOption = None,
) -> None:
    """Connect to a network, and say who we are there and what people get wrong; the gateway may run or not."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    folder = instance.places.data / "channels" / names.encode(name)
    for line in probed(name, _section(instance.config, name), folder, to):
        say(plain(line))


def probed(name: str, section: ChannelConfig, folder: Path, to: str) -> tuple[str, ...]:
    """Raises: NanobotError."""
    import trio  # noqa: PLC0415 -- 0.3 s, for the one command that needs it

    from nanobot.channels import registry  # noqa: PLC0415 -- so does that
    from nanobot.channels.port import Probes  # noqa: PLC0415 -- so does that

    channel: object = registry.find(name).load()(section)
    if not isinstance(channel, Probes):
        raise NanobotError(f"{name} has no test. See how it is: nanobot channels status")
    return trio.run(channel.probe, folder, to)


def _section(config: Config, name: str) -> ChannelConfig:
    """Raises: NanobotError."""
    found = {key.name: getattr(config.channels, key.attribute) for key in keys_of(ChannelsConfig)}
    section = found.get(name)
    if not isinstance(section, ChannelConfig) or name == "web":
        known = ", ".join(key for key, one in found.items() if isinstance(one, ChannelConfig) and key != "web")
        raise NanobotError(f"There is no network {name}. There are: {known}")
    return section


def channels(config: Config, nodes: Mapping[str, Node]) -> Iterator[Channel]:
    """Those that the configuration knows, and what else the gateway has."""
    known: dict[str, bool] = {}
    for key in keys_of(ChannelsConfig):
        settings = getattr(config.channels, key.attribute)
        if isinstance(settings, ChannelConfig):
            known[key.name] = settings.enabled
    for name in [*known, *(nodes.keys() - known.keys())]:
        yield Channel(name, known.get(name, False), nodes.get(name))


def _nodes(root: Node) -> dict[str, Node]:
    """The channels of a tree, wherever in it they are."""
    found = {root.name: root} if root.kind == "channel" else {}
    for child in root.children:
        found |= _nodes(child)
    return found


def _lines(found: list[Channel], now: float) -> Iterator[str]:
    names = max(len(channel.name) for channel in found) + 2
    for channel in found:
        enabled = "enabled" if channel.enabled else "disabled"
        yield f"{plain(channel.name):<{names}}{enabled:<10}{'' if channel.node is None else _line(channel.node, now)}".rstrip()


def _line(node: Node, now: float) -> str:
    since = live.ago(now - node.since) if node.since else ""
    return f"{node.state:<{live.STATE}}{since:<{live.SINCE}}{live.remarks(node, now)}"


def _as_json(channel: Channel) -> JsonObject:
    node = None if channel.node is None else as_json(channel.node)
    return {"name": channel.name, "enabled": channel.enabled, "live": node}
