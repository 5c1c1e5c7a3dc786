"""The networks: a table, and the way from a row to a channel. Nothing of a network is imported before it is used.

`web` is not in it: it needs the server of the page, so the composition root makes it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import attrs

from nanobot.channels.port import ChannelFailed
from nanobot.errors import ConfigError
from nanobot.supervise.policy import Cause


@attrs.frozen
class Spec:
    """One network."""

    where: str
    """`module:Class` of its Channel."""
    config: str
    """Its attribute in `ChannelsConfig`."""
    extra: str = ""
    """The extra of this package that installs its SDK; empty: it needs none."""
    keyed: bool = False
    """As `Limits.keyed`."""

    def load(self) -> type:
        """The class. Takes seconds the first time: for a thread. Raises: ChannelFailed, which says what to install."""
        module, _, name = self.where.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as exc:
            if not self.extra or (exc.name or "").partition(".")[0] == __package__.partition(".")[0]:
                raise
            text = f"{exc.name} is not installed. Run: pip install 'nanobot[{self.extra}]', then: nanobot channels restart NAME"
            raise ChannelFailed(text.replace("NAME", self.config), cause=Cause.CONFIG) from exc
        assert isinstance(found, type)
        return found


SPECS: Mapping[str, Spec] = {
    "email": Spec("nanobot.channels.email.channel:EmailChannel", "email"),
    "telegram": Spec("nanobot.channels.telegram.channel:TelegramChannel", "telegram", "telegram"),
    "whatsapp": Spec("nanobot.channels.whatsapp.channel:WhatsAppChannel", "whatsapp", keyed=True),
}


def find(name: str, specs: Mapping[str, Spec] = SPECS) -> Spec:
    """Raises: ConfigError with the names that are known."""
    if name not in specs:
        known = ", ".join(sorted([*specs, "web"]))
        raise ConfigError([f"channels.{name}: there is no such channel. Known are: {known}"])
    return specs[name]


def keyed(name: str, specs: Mapping[str, Spec] = SPECS) -> bool:
    """Of a name that is no network's: True, for it is shown on a screen of ours."""
    return specs[name].keyed if name in specs else True
