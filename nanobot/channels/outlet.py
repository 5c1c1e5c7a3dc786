"""All channels: the sessions' way out to them (session.ports.Outlet), what they are shown, and who is up.

Each channel is a child of the supervisor, with its own restarts; one that is down, slow or rate-limited delays nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import attrs

from nanobot.channels import registry
from nanobot.channels.intake import Access, Deliver, Intake
from nanobot.channels.media import Media
from nanobot.channels.port import Channel
from nanobot.channels.runner import Runner
from nanobot.channels.sketches import Sketches
from nanobot.channels.voice import Voice
from nanobot.config.paths import Places
from nanobot.config.schema import ChannelConfig, ChannelsConfig, RestartConfig
from nanobot.journal import names
from nanobot.messages import INTERNAL, Inbound
from nanobot.session import events as ev
from nanobot.session.ports import DeliveryEnd, Progress
from nanobot.session.state import Pending, Session
from nanobot.supervise.policy import ChildFailed, Policy
from nanobot.supervise.supervisor import Child


class Supervisor(Protocol):
    """supervise/supervisor.py."""

    def add(self, child: Child) -> None: ...

    async def remove(self, name: str) -> None: ...

    def fail(self, name: str, error: ChildFailed) -> None: ...


async def _not_yet(_inbound: Inbound) -> None:
    raise RuntimeError("deliver was not set")


@attrs.define(eq=False)
class Channels:
    """See the module."""

    _config: ChannelsConfig
    _access: Access
    _supervisor: Supervisor
    _places: Places
    _clock: Callable[[], float]
    """Seconds since the epoch."""
    _restarts: RestartConfig
    deliver: Deliver = attrs.field(default=_not_yet, init=False)
    """The way in; set by the composition root before any channel is added."""
    on_up: Callable[[str], None] = attrs.field(default=lambda _name: None, init=False)
    """Told when a channel can send; set likewise."""
    voice: Voice = attrs.field(factory=Voice, init=False)
    """Who hears voice messages; set likewise."""
    _runners: dict[str, Runner] = attrs.field(factory=dict, init=False)
    _media: Media = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._media = Media(self._places.media)

    def add(
        self,
        name: str,
        make: Callable[[], Channel],
        config: ChannelConfig,
        *,
        load: Callable[[], object] | None = None,
        keyed: bool = False,
    ) -> None:
        """Run a channel from now on. `make` makes the object of each life, on the loop; `load` imports what that needs, in a
        thread. `keyed`: what its Limits will say, for sessions that open before it is up."""
        runner = Runner(
            name,
            make,
            Intake(config, self._access, self._media, lambda: self.deliver, self._clock, self.voice),
            Sketches(*self._flags(config), self._clock),
            self._places.data / "channels" / names.encode(name),
            self._clock,
            self._tell_up,
            partial(self._supervisor.fail, name),
            load,
            keyed,
        )
        self._runners[name] = runner
        self._supervisor.add(Child(name, "channel", runner.serve, Policy.of(self._restarts), facts=runner.facts))

    async def remove(self, name: str) -> None:
        """End a channel; what waits for it goes on waiting. Bounded by the supervisor."""
        await self._supervisor.remove(name)
        self._runners.pop(name, None)

    def reconfigure(self, config: ChannelsConfig, each: dict[str, ChannelConfig]) -> None:
        """What can change without a restart: who may speak, and what is shown."""
        self._config = config
        for name, runner in self._runners.items():
            runner.intake.config = each.get(name, runner.intake.config)
            runner.sketches.progress, runner.sketches.hints = self._flags(runner.intake.config)

    def serves(self, name: str) -> bool:
        """Whether replies on a channel of that name are a network's, or the page's, to deliver; enabled or not."""
        return name in self._runners or name == "web" or name in registry.SPECS or name in INTERNAL

    def unreachable(self, name: str) -> str:
        """Why what is said on a channel of that name waits until somebody changes the configuration; empty if it does not."""
        ours = name in INTERNAL or name in self._runners or not self.serves(name)
        return "" if ours else f"the channel {name} is not enabled"

    def up(self, name: str) -> bool:
        return name in self._runners and self._runners[name].up

    def _tell_up(self, name: str) -> None:
        self.on_up(name)

    # --- the sessions' side

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        name = _channel_of(session.key)
        runner = self._runners.get(name)
        if name in INTERNAL:
            return ev.PartDelivered(pending.outbound.id, part, self._clock())
        if runner is None:
            return ev.ChannelDown(pending.outbound.id, part, self._clock(), f"{name} is not enabled")
        return await runner.send(session, pending, part)

    def keyed(self, session_key: str) -> bool:
        """Whether the network of a session takes our ids. Of one that is neither enabled nor known nothing is lost by yes."""
        name = _channel_of(session_key)
        runner = self._runners.get(name)
        return runner.keyed if runner is not None else registry.keyed(name)

    def watch(self, key: str, progress: Progress) -> None:
        runner = self._runners.get(_channel_of(key))
        if runner is not None:
            runner.watch(key, progress)

    def _flags(self, config: ChannelConfig) -> tuple[bool, bool]:
        """Whether progress and tool hints are sent."""
        progress, hints = config.send_progress, config.send_tool_hints
        return (
            self._config.send_progress if progress is None else progress,
            self._config.send_tool_hints if hints is None else hints,
        )


def _channel_of(session_key: str) -> str:
    """Names of channels need no escapes."""
    return session_key.partition(":")[0]
