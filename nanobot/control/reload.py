"""A configuration that is read again while everything runs: only what it concerns starts anew, and it is said what that was.

A file with mistakes changes nothing. What another process needs (folders) is named, and waits for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

import attrs
import trio

from nanobot.channels.outlet import Channels
from nanobot.config.schema import ChannelConfig, ChannelsConfig, Config, GatewayConfig
from nanobot.errors import NanobotError

SOFT = frozenset(field.name for field in attrs.fields(ChannelConfig)) - {"enabled"}
"""Keys of a channel that it need not be restarted for: who may speak, and what is shown."""
SERVED = ("host", "port", "http", "token", "allowed_hosts")
"""Keys of the gateway with which the page's server was started."""
MIDDLE = ("agents", "providers", "tools", "usage", "retention")
"""Sections of which the next model call, tool call and sweep learn."""
LATER = {"drain_s": "gateway.drainS", "restarts": "gateway.restarts"}
"""Keys of the gateway that were read at its start."""


@attrs.define(eq=False)
class Current:
    """The configuration in force."""

    config: Config


class House(Protocol):
    @property
    def reconfigure(self) -> Callable[[Config], Awaitable[None]]: ...


class Told(Protocol):
    def reconfigure(self, gateway: GatewayConfig) -> None: ...


@attrs.define(eq=False)
class Reload:
    """Call it. One at a time."""

    _current: Current
    _reread: Callable[[], Config]
    _house: House
    _channels: Channels
    _of_gateway: tuple[Told, ...]
    """Who else is told of `gateway`."""
    _switch: Callable[[str], Awaitable[None]]
    """Ends a child, and starts it if the configuration in force wants it. Raises: NanobotError."""
    _alone: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def __call__(self) -> str:
        """What changed, for people. Raises: ConfigError, with nothing changed."""
        async with self._alone:
            old, new = self._current.config, await trio.to_thread.run_sync(self._reread)
            self._current.config = new
            said = [
                *[text async for text in self._follow(old, new)],
                *[await self._switched(name) for name in _to_switch(old, new)],
            ]
            return "\n".join(said) or "Nothing has changed."

    async def _follow(self, old: Config, new: Config) -> AsyncIterator[str]:
        """What can be told to those who run."""
        if new.agents.defaults.workspace != old.agents.defaults.workspace:
            yield "agents.defaults.workspace is taken up by the next start: nanobot gateway restart"
        if any(getattr(old, name) != getattr(new, name) for name in MIDDLE):
            await self._house.reconfigure(new)
            yield "The next model call and the next tool call use the new settings, and so does the next sweep of old files."
        if old.gateway != new.gateway:
            for part in self._of_gateway:
                part.reconfigure(new.gateway)
            later = [name for key, name in LATER.items() if getattr(old.gateway, key) != getattr(new.gateway, key)]
            but = f", but for {' and '.join(later)}, taken up by the next start: nanobot gateway restart" if later else ""
            yield f"The settings of the gateway are in force{but}."
        if old.channels != new.channels:
            self._channels.reconfigure(new.channels, dict(sections(new.channels)))
            yield "Who may speak, and what is shown while it works, follows the new settings."

    async def _switched(self, name: str) -> str:
        try:
            await self._switch(name)
        except NanobotError as error:
            return f"{name}: {error}"
        return f"{name} has started anew, or ended, as the new settings say."


def sections(config: ChannelsConfig) -> Iterator[tuple[str, ChannelConfig]]:
    """The channels' own sections, by name."""
    for field in attrs.fields(ChannelsConfig):
        section = getattr(config, field.name)
        if isinstance(section, ChannelConfig):
            yield field.name, section


def _to_switch(old: Config, new: Config) -> Iterator[str]:
    """The children whose part has changed in a way that they must begin anew for."""
    before = dict(sections(old.channels))
    for name, section in sections(new.channels):
        if _hard(before[name]) != _hard(section):
            yield name
    if any(getattr(old.gateway, key) != getattr(new.gateway, key) for key in SERVED):
        yield "http"


def _hard(section: ChannelConfig) -> dict[str, object]:
    return {field.name: getattr(section, field.name) for field in attrs.fields(type(section)) if field.name not in SOFT}
