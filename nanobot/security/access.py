"""Who may speak, and who owns the assistant: the decision for one message, from the configuration and the pairing store.

* Terminal and page are the owner's. Else an owner is named in `gateway.owners`, or became one by pairing, which is good for
  that one chat: a principal is (channel, account, chat, user), and no right crosses from one to another.
* Who may speak is named in `allowFrom` (`*` names everybody), is an owner, or was let in by pairing. Pairing is agreed on in
  a private chat and is good for private chats: rooms have other listeners, and `allowFrom` is what names somebody for them.
* In a group, the group's policy says besides which messages are meant for us. None of the policies lets anybody speak.
* Anybody else is told a code in a private chat, and nothing in a group.

Work that somebody has left behind is done for as long as they may speak (`speaks`). Of them only the id is known then, so that
the other names of those whom `allowFrom` lets in by one are remembered (pairing.py).

The guide's page `access` has it as a table, which is what the tests check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from loguru import logger

from nanobot.channels.port import Arrived
from nanobot.config.schema import ChannelConfig, GatewayConfig
from nanobot.messages import Principal
from nanobot.security.pairing import Pairing, PairingError

OURS = frozenset({"cli", "web"})
"""Channels whose way in is the owner's already: the terminal by the user of the machine, the page by its token."""
EVERYBODY = "*"
STRANGER = (
    "Hello. I only answer people whom my owner has let in.\n\n"
    "Your pairing code: {0} (good for {1} minutes)\n\n"
    "My owner lets you in with /pairing approve {0}, or on my machine: nanobot channels pair approve {0}\n"
    "Write to me again when that is done."
)
CROWDED = "Hello. I only answer people whom my owner has let in, and too many are asking just now. Write again in 10 minutes."
UNAVAILABLE = "Hello. I only answer people whom my owner has let in, and can let in nobody now: my log tells my owner why."


@attrs.frozen
class Allowed:
    principal: Principal
    """With `owner` as it is."""


@attrs.frozen
class Strange:
    """A stranger in a private chat."""

    text: str
    """What to answer."""


@attrs.frozen
class Ignored:
    """Nothing is said or done."""

    why: str


@attrs.define(eq=False)
class Access:
    """See the module."""

    _pairing: Pairing
    _clock: Callable[[], float]
    _gateway: GatewayConfig

    def reconfigure(self, gateway: GatewayConfig) -> None:
        self._gateway = gateway

    def judge(self, channel: str, arrived: Arrived, config: ChannelConfig) -> Allowed | Strange | Ignored:
        """Whether a message is taken, and as whose. For a new stranger it writes a file, at most `MOST_OPEN` times in ten
        minutes and channel, and in a private chat for who has another name than before; may be called in any thread."""
        who = Principal(channel, arrived.account, arrived.chat, arrived.user)
        owner = self.owns(str(who))
        if channel in OURS:
            return Allowed(attrs.evolve(who, owner=True))
        if not arrived.direct and (why := _not_for_us(arrived, config)):
            return Ignored(why)
        if arrived.direct and not owner:
            self._note_names(who, arrived, config)
        named = _named(arrived.user, arrived.names, config.allow_from)
        if owner or named or (arrived.direct and self._pairing.admits(channel, arrived.user)):
            return Allowed(attrs.evolve(who, owner=owner))
        return self._strange(who) if arrived.direct else Ignored("a stranger in a group")

    def owns(self, principal: str) -> bool:
        """Whether `str(Principal)` is an owner; False for what is no principal."""
        try:
            who = Principal.parse(principal)
        except ValueError:
            return False
        if who.channel in OURS:
            return True
        configured = any(_is_owner(who, entry) for entry in self._gateway.owners)
        return configured or principal in self._pairing.book().owners

    def speaks(self, principal: str, config: ChannelConfig | None) -> bool:
        """Whether somebody who was let in once still is, be it in private only; `config`: their channel's, None for none."""
        if self.owns(principal):
            return True
        if config is None:
            return False
        who, book = Principal.parse(principal), self._pairing.book()
        names = book.names.get((who.channel, who.user), ())
        return _named(who.user, names, config.allow_from) or (who.channel, who.user) in book.approved

    def _note_names(self, who: Principal, arrived: Arrived, config: ChannelConfig) -> None:
        """Of whom a name lets in, or has let in before: names are given up, and then it does so no more."""
        known = self._pairing.book().names.get((who.channel, who.user))
        if known == arrived.names or (known is None and not _by_name(arrived, config.allow_from)):
            return
        try:
            self._pairing.note(who.channel, who.user, arrived.names, self._clock())
        except PairingError as exc:
            logger.warning("the names of {} cannot be remembered: {}", who, exc)

    def _strange(self, who: Principal) -> Strange:
        now = self._clock()
        try:
            request = self._pairing.code_for(who, now)
        except PairingError as exc:
            logger.error("nobody can be let in: {}", exc)
            return Strange(UNAVAILABLE)
        if request is None:
            logger.warning("too many strangers on {}: they are told to come back", who.channel)
            return Strange(CROWDED)
        return Strange(STRANGER.format(request.code, max(1, round((request.expires_at - now) / 60))))


def _not_for_us(arrived: Arrived, config: ChannelConfig) -> str:
    """Why a message in a group is not answered, whoever wrote it; empty if it may be."""
    match config.group_policy:
        case "mention":
            return "" if arrived.mentioned else "a group, and not addressed to us"
        case "allowlist":
            return "" if arrived.chat in config.group_allow_from else "a group that is not in groupAllowFrom"
        case "open":
            return ""


def _by_name(arrived: Arrived, allow_from: Sequence[str]) -> bool:
    """Whether `allowFrom` names the sender, and not by the id alone."""
    return _named(arrived.user, arrived.names, allow_from) and not _named(arrived.user, (), allow_from)


def _named(user: str, names: Sequence[str], allow_from: Sequence[str]) -> bool:
    """Whether `allowFrom` names somebody. An entry `id|name`, as HKUDS/nanobot writes them, wants both to be theirs."""
    theirs = {identity for identity in (user, *names) if identity}
    return any(entry == EVERYBODY or theirs.issuperset(entry.split("|")) for entry in allow_from)


def _is_owner(who: Principal, entry: str) -> bool:
    """Whether an entry of `gateway.owners` means them: `channel:account:chat:user`, or `channel:user` with or without escapes."""
    written = str(who)
    if entry.count(":") == 3:
        return entry == written
    channel, _, user = entry.partition(":")
    return bool(user) and who.channel == channel and user in (who.user, written.rpartition(":")[2])
