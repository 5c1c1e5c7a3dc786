"""`nanobot channels test email`: who we are at our servers, what of the mailbox is believed, and a mail that says so.

A mail to our own address shows which name our server puts in Authentication-Results.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio

from nanobot.channels.email import letter, mime, trust
from nanobot.channels.email.compose import Letter, composed
from nanobot.channels.email.imap import Mailbox
from nanobot.channels.email.quarantine import Quarantine
from nanobot.channels.email.smtp import Courier
from nanobot.channels.port import SendRefused
from nanobot.config.schema import EmailConfig
from nanobot.supervise.blocking import BlockingWorker

CHECKS = 20
"""Mails that are looked at for the name of our server."""
BACK_S = 60.0
"""Seconds that our own mail is waited for."""
EVERY_S = 1.0


@attrs.frozen
class Probe:
    """See the module. Raises, in all that it does: Broken, ChannelFailed, SendError."""

    config: EmailConfig
    address: str
    own: frozenset[str]
    """Addresses of ours."""
    mailbox: Mailbox
    """Open, in `worker`."""
    worker: BlockingWorker
    at_smtp: Callable[[Callable[[Courier], object]], Awaitable[str]]

    async def look(self, folder: Path, to: str) -> list[str]:
        """As port.Probes has it."""
        config, mailbox = self.config, self.mailbox
        unseen = await self.worker.call(mailbox.unseen)
        told = "it tells of news (IDLE)" if mailbox.can_idle else f"it is asked every {config.poll_interval_seconds:g} s"
        lines = [f"{config.imap_host}: logged in as {config.imap_username}, {config.imap_mailbox}: {len(unseen)} unread; {told}"]
        if mailbox.read_only:
            lines.append(f"{config.imap_mailbox} is read-only: mails cannot be marked as read, so that is kept here")
        await self.at_smtp(lambda courier: courier.check())
        lines.append(f"{config.smtp_host}: logged in, mail is sent from {self.address}")
        if quarantined := Quarantine(folder).rows():
            lines.append(f"{len(quarantined)} mails were not passed on: nanobot channels quarantine list")
        if to:
            return [*lines, *await self._sent(to)]
        return [*lines, *await self._believed()]

    async def _believed(self) -> list[str]:
        """What of the newest mails is believed."""
        if not self.config.authserv_id:
            return [
                "authservId is not set, so no sender is believed and all mail goes to quarantine. Find it out: "
                f"nanobot channels test email --to {self.address}"
            ]
        uids = await self.worker.call(self.mailbox.newest, CHECKS)
        envelopes = await self.worker.call(self.mailbox.envelopes, uids) if uids else []
        verdicts = [trust.judge(mime.split(one.header)[0], self.config.authserv_id) for one in envelopes]
        named = sum(verdict.found == self.config.authserv_id.lower() for verdict in verdicts)
        believed = sum(verdict.believed for verdict in verdicts)
        name, count = self.config.authserv_id, len(verdicts)
        return [f"of the newest {count} mails, {named} bear {name}, and the senders of {believed} are proven"]

    async def _sent(self, to: str) -> list[str]:
        """Send a mail; where it is to ourselves, wait for it and say what our server wrote on it."""
        key = f"probe {to} {trio.current_time()}"
        mail = Letter(
            letter.our_id(None, key, self.address.rpartition("@")[2]),
            self.address,
            to,
            time.time(),
            "A test of your assistant",
            "This mail was sent by: nanobot channels test email",
        )
        if trust.plain_address(to) != to.lower():
            raise SendRefused(f"{to!r} is no address that mail can be sent to")
        await self.at_smtp(lambda courier: courier.deliver(self.address, to, composed(mail)))
        lines = [f"a mail was sent to {to}"]
        if to.lower() in self.own:
            lines.append(await self._learned(mail.id))
        return lines

    async def _learned(self, message_id: str) -> str:
        header = None
        with trio.move_on_after(BACK_S):
            header = await self._came_back(message_id)
        if header is None:
            return f"it did not come back to {self.config.imap_mailbox} within {BACK_S:g} s"
        found = trust.judge(header, "").found
        if not found:
            return (
                "it came back without an Authentication-Results: our server does not say whose mail is real, or not of "
                "mail to itself. Have a mail sent from elsewhere and look at its header: nanobot guide email"
            )
        if found == self.config.authserv_id.lower():
            return f"it came back, and bears {found}, which is channels.email.authservId"
        return f'it came back, and bears the name {found}. Believe it: "channels": {{"email": {{"authservId": "{found}"}}}}'

    async def _came_back(self, message_id: str) -> mime.Header:
        while True:
            await self.worker.call(self.mailbox.check)
            uids = await self.worker.call(self.mailbox.with_id, message_id)
            for envelope in await self.worker.call(self.mailbox.envelopes, uids[:1]) if uids else []:
                return mime.split(envelope.header)[0]
            await trio.sleep(EVERY_S)
