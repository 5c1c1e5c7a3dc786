"""Mails for tests, and what is common to tests of the e-mail channel."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import trio

from nanobot.channels.email.channel import EmailChannel
from nanobot.config.schema import EmailConfig, Secret
from nanobot.messages import MessageId, Outbound, OutboundId, SessionKey
from nanobot.session import events as ev
from nanobot.session.state import Pending, Session
from tests.channels.kit import Kit

SERVER = "mx.test.example"
BOT, ANN = "bot@test.example", "ann@friends.example"
PASSED = f"{SERVER}; dmarc=pass header.from=friends.example"
PATIENCE_S = 15.0


def mail(
    text: str = "hello", *, sender: str = ANN, id: str = "m1@friends.example", subject: str = "A question", **fields: str
) -> bytes:
    """A mail as our server hands it out. `fields`: more of its header, `_` for `-`; an empty one is left out."""
    header = {
        "Authentication-Results": f"{SERVER}; dmarc=pass header.from={sender.rpartition('@')[2].rstrip('>')}",
        "From": sender,
        "To": BOT,
        "Subject": subject,
        "Message-ID": f"<{id}>" if id else "",
        "Date": "Mon, 05 Jan 2026 10:00:00 +0000",
        "Content-Type": "text/plain; charset=utf-8",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    lines = [f"{name}: {value}" for name, value in header.items() if value]
    return "\r\n".join([*lines, "", text, ""]).encode("utf-8", "surrogateescape")


def config(**more: object) -> EmailConfig:
    given: dict[str, object] = {
        "enabled": True,
        "consent_granted": True,
        "imap_host": "localhost",
        "imap_username": BOT,
        "imap_password": Secret("one two three"),
        "smtp_host": "localhost",
        "smtp_username": BOT,
        "smtp_password": Secret("one two three"),
        "authserv_id": SERVER,
        **more,
    }
    return EmailConfig(**given)  # type: ignore[arg-type]


async def start(kit: Kit, config: EmailConfig, **more: float) -> EmailChannel:
    """Returns when it is up."""
    channel = EmailChannel(config, **more)
    with trio.fail_after(PATIENCE_S):
        await kit.start(channel, config, "email")
    return channel


async def until(fact: object) -> None:
    with trio.fail_after(PATIENCE_S):
        while not fact():  # type: ignore[operator]  # noqa: ASYNC110  # facts of other processes and threads
            await trio.sleep(0.005)


async def taken(kit: Kit, count: int) -> None:
    await until(lambda: len(kit.taken) >= count)
    assert len(kit.taken) == count


async def answer(kit: Kit, text: str = "An answer.", *, to: int = -1, id: str = "o1", **more: object) -> ev.Event:
    """Answer a mail that was taken."""
    inbound = kit.taken[to]
    out = Outbound(OutboundId(id), text, 1_770_000_000.0, MessageId(inbound.id), **more)  # type: ignore[arg-type]
    return await send(kit, inbound.key, out)


async def send(kit: Kit, key: SessionKey, out: Outbound) -> ev.Event:
    with trio.fail_after(PATIENCE_S):
        return await kit.channels.send(Session(str(key)), Pending(out, (), sending=True), 0)


def read(raw: bytes) -> EmailMessage:
    """By the standard library, which reads strictly."""
    message = message_from_bytes(raw, policy=policy.default)
    assert not any(part.defects for part in message.walk())
    return message
