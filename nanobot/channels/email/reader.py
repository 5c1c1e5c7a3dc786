"""The way in: looks for unread mail, passes each on, and only then marks it as read.

For each mail it is decided from the header alone whether it is passed on: its sender is proven (trust.py), no machine
wrote it (letter.py), and the sender has not had too many taken in this hour. Who is not believed, and what a machine
wrote, is listed in quarantine, and counts as taken once the row is on disk; who writes too much waits, unread. A mail is marked
as read after `port.deliver` has returned; if that mark is lost, the mail comes again, and its session knows it by its identity.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import attrs
import trio
from loguru import logger

from nanobot.channels.email import html, letter, mime, trust
from nanobot.channels.email.heads import Head, Heads
from nanobot.channels.email.imap import Envelope, Mailbox
from nanobot.channels.email.letter import Thread
from nanobot.channels.email.mime import Header, Mail
from nanobot.channels.email.quarantine import NotListed, Quarantine, Row, id_of
from nanobot.channels.email.rates import Rates
from nanobot.channels.email.seen import Seen
from nanobot.channels.email.wire import Broken
from nanobot.channels.port import Arrived, ChannelFailed, Incoming, NotTaken, Port
from nanobot.config.schema import EmailConfig
from nanobot.messages import MessageId
from nanobot.supervise.blocking import BlockingWorker

BATCH = 50
"""Mails that are looked at together: what was taken of them is marked as read in one go."""
MAIL_BYTES = 36_000_000
"""Of a mail that is read whole: 25 MB of files, which is what providers take, as base64."""
CUT_BYTES = 1_000_000
"""What is read of a larger one."""
COMMAND_S = 60.0
FETCH_S = 180.0
"""Seconds for a whole mail: 36 MB at 1.6 Mbit/s."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
TRY_AGAIN_S = 30.0
"""Seconds after which a mail that could not be stored is offered again."""
CALM_S = 1.0
"""Seconds between two looks at what tells of news without end and has none."""
MOST_EMPTY = 10
"""Looks in a row, each within `CALM_S`, that found nothing: a person who sorts the mailbox makes some."""
NOT_HANDED_OUT = "our server lists it and does not hand it out"
CHUNK = 256 * 1024

T = TypeVar("T")


@attrs.define(eq=False)
class Reader:
    """See the module. One for each life."""

    config: EmailConfig
    port: Port
    mailbox: Mailbox
    worker: BlockingWorker
    own: frozenset[str]
    """Addresses of ours."""
    rates: Rates
    """Outlives lives: what was taken in the last one counts."""
    idle_s: float
    heads: Heads
    quarantine: Quarantine
    held: dict[int, str] = attrs.field(factory=dict, init=False)
    """Mails that wait because their senders write too much."""
    _seen: Seen = attrs.field(init=False)

    async def run(self) -> None:
        """Until cancelled. Raises: Broken, ChannelFailed."""
        keeps = self.mailbox.read_only or not self.config.mark_seen
        self._seen = Seen(self.port.folder, self.mailbox.uid_validity, keeps)
        await trio.to_thread.run_sync(self._seen.load)
        await self._take_released()
        empty = 0
        while True:
            began = trio.current_time()
            found, wait_s = await self._round()
            if self.mailbox.can_idle:
                seconds = min(self.idle_s, wait_s)
                await self._do(seconds + COMMAND_S, self.mailbox.idle, seconds, self._alive())
            else:
                await trio.sleep(min(self.config.poll_interval_seconds, wait_s))
                await self._do(COMMAND_S, self.mailbox.check)
            empty = 0 if found or trio.current_time() - began > CALM_S else empty + 1
            if empty > MOST_EMPTY:
                await trio.sleep(CALM_S)

    # --- one look

    async def _round(self) -> tuple[bool, float]:
        """Take what is unread; whether there was any, and the seconds after which there may be more to take without news."""
        unseen = await self._do(COMMAND_S, self.mailbox.unseen)
        there = set(unseen)
        self.held = {uid: sender for uid, sender in self.held.items() if uid in there}
        due = [uid for uid in unseen if uid not in self._seen.uids and self._may(uid)]
        try:
            for at in range(0, len(due), BATCH):
                if uids := [uid for uid in due[at : at + BATCH] if self._may(uid)]:
                    envelopes = await self._do(COMMAND_S, self.mailbox.envelopes, uids)
                    await self._take_batch(envelopes, unseen)
        except (NotTaken, OSError) as error:
            if isinstance(error, OSError) and error.errno not in DISK_FULL:
                raise
            logger.warning("mail cannot be taken now, and stays unread: {}", error)
            return True, TRY_AGAIN_S
        now = time.monotonic()
        return bool(due), min((self.rates.wait_s(sender, now) for sender in self.held.values()), default=float("inf"))

    def _may(self, uid: int) -> bool:
        return uid not in self.held or not self.rates.wait_s(self.held[uid], time.monotonic())

    async def _take_batch(self, envelopes: list[Envelope], unseen: list[int]) -> None:
        """Raises: NotTaken, when what could be taken is marked."""
        done: list[int] = []
        rows: list[Row] = []
        try:
            for envelope in envelopes:
                header, _ = mime.split(envelope.header)
                verdict = trust.judge(header, self.config.authserv_id)
                why = "" if envelope.header else NOT_HANDED_OUT
                if why := why or letter.machine(header, self.own) or verdict.why:
                    rows.append(self._row(envelope.uid, header, why))
                elif self.rates.wait_s(verdict.address, time.monotonic()):
                    self._hold(envelope.uid, verdict.address)
                else:
                    rows += await self._take(envelope, verdict.address)
                    done.append(envelope.uid)
        finally:
            await self._settle(done, rows, unseen)  # noqa: ASYNC102  # cancelled, it ends at once, and the mails come again

    async def _settle(self, done: list[int], rows: list[Row], unseen: list[int]) -> None:
        """On disk, then marked as read."""
        if rows:
            await trio.to_thread.run_sync(self.quarantine.add, rows)
            logger.info(
                "{} mails were not passed on, for one because {}: nanobot channels quarantine list", len(rows), rows[-1].why
            )
        taken = [*done, *(row.uid for row in rows if row.uid not in done)]
        for uid in taken:
            self.held.pop(uid, None)
        if taken:
            await trio.to_thread.run_sync(self._seen.add, taken, unseen)
        if taken and self.config.mark_seen and not self.mailbox.read_only:
            await self._do(COMMAND_S, self.mailbox.mark_seen, taken)

    def _hold(self, uid: int, sender: str) -> None:
        if sender not in self.held.values():
            text = "{} writes more than {} mails an hour (channels.email.mailsPerHour); the others wait unread"
            logger.warning(text, sender, self.config.mails_per_hour)
        self.held[uid] = sender

    # --- one mail

    async def _take(self, envelope: Envelope, sender: str, *, released: bool = False) -> list[Row]:
        """Deliver it; or the row of why that is impossible. Raises: NotTaken."""
        whole = envelope.size <= MAIL_BYTES
        loaded = await self._do(FETCH_S, self._load, envelope.uid, MAIL_BYTES if whole else CUT_BYTES, whole)
        if loaded is None:
            header, _ = mime.split(envelope.header)
            return [self._row(envelope.uid, header, NOT_HANDED_OUT)]
        mail, identity = loaded
        where = letter.thread(mail.header)
        text, why = await self._text(mail)
        mail.notes += [why] if why else []
        words = letter.words(mail, text, where, self.config.max_body_chars)
        await trio.to_thread.run_sync(self._remember, sender, where, mail.header.shown("subject"))
        await self.port.deliver(self._arrived(mail, identity, sender, where, words.text, tainted=words.tainted or released))
        self.rates.took(sender, time.monotonic())
        return []

    def _remember(self, sender: str, where: Thread, subject: str) -> None:
        try:
            self.heads.remember(sender, where.topic, Head(subject, where.references))
        except OSError as error:
            logger.warning("what an answer is put under cannot be remembered: {}", error)

    def _load(self, uid: int, most: int, whole: bool) -> tuple[Mail, str] | None:
        """In the thread: reading 36 MB takes it a moment."""
        raw = self.mailbox.content(uid, most)
        if raw is None:
            return None
        mail = mime.parsed(raw, cut=not whole)
        return mail, letter.identity(mail.header, mime.split(raw)[1])

    async def _text(self, mail: Mail) -> tuple[str, str]:
        """Its text, and why there is none."""
        if mail.plain.strip() or not mail.html.strip():
            return mail.plain, ""
        try:
            return mime.clean(await html.text_of(mail.html, self.port.folder)), ""
        except html.NotConverted as error:
            return "", str(error)

    def _arrived(self, mail: Mail, identity: str, sender: str, where: Thread, text: str, *, tainted: bool) -> Arrived:
        files = tuple(Incoming(file.name, file.mime, len(file.data), partial(_chunks, file.data)) for file in mail.files)
        names = ("@" + sender.rpartition("@")[2],)
        at = time.time()
        return Arrived(
            MessageId(identity), sender, sender, text, at, topic=where.topic, names=names, files=files, tainted=tainted
        )

    # --- quarantine

    def _row(self, uid: int, header: Header, why: str) -> Row:
        name, validity = letter.message_id(header)[:200], self.mailbox.uid_validity
        sender, subject = header.shown("from")[:200], header.shown("subject")[:200]
        return Row(id_of(uid, validity, name), uid, validity, name, sender, subject, time.time(), why)

    async def _take_released(self) -> None:
        """Pass on what somebody has let out of quarantine, tainted: nobody has proven who wrote it. Raises: ChannelFailed."""
        for row in await trio.to_thread.run_sync(self.quarantine.rows):
            if not row.released:
                continue
            uids = [row.uid] if row.validity == self.mailbox.uid_validity else []
            uids = uids or (await self._do(COMMAND_S, self.mailbox.with_id, row.message_id) if row.message_id else [])
            envelopes = await self._do(COMMAND_S, self.mailbox.envelopes, uids[:1]) if uids else []
            try:
                await self._take_out(row, envelopes)
            except NotTaken as error:
                raise ChannelFailed(f"a released mail cannot be taken: {error}") from error

    async def _take_out(self, row: Row, envelopes: list[Envelope]) -> None:
        header = mime.split(envelopes[0].header)[0] if envelopes else Header()
        sender = trust.sender(header)
        if sender and sender not in self.own:
            await self._take(envelopes[0], sender, released=True)
        else:
            gone = "its From names nobody who could be answered" if envelopes else "it is not in the mailbox any more"
            logger.warning("a mail that was released from quarantine cannot be passed on: {} ({})", gone, row.id)
        await trio.to_thread.run_sync(self._drop, row.id)

    def _drop(self, id: str) -> None:
        with contextlib.suppress(NotListed):  # somebody was faster
            self.quarantine.drop(id)

    # --- the thread

    def _alive(self) -> Callable[[], None]:
        token = trio.lowlevel.current_trio_token()
        return lambda: token.run_sync_soon(self.port.alive)

    async def _do(self, seconds: float, work: Callable[..., T], *args: object) -> T:  # type: ignore[explicit-any]
        """Raises: Broken, ChannelFailed, also where it takes longer."""
        with trio.move_on_after(seconds):
            try:
                result = await self.worker.call(partial(work, *args))
            except Broken:
                await trio.lowlevel.checkpoint_if_cancelled()  # then it was the stop that broke it
                raise
            self.port.alive()
            return result
        raise Broken(f"{self.mailbox.line.host} did not answer within {seconds:g} s")


@asynccontextmanager
async def _chunks(data: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), CHUNK):
            yield data[at : at + CHUNK]
            await trio.lowlevel.checkpoint()

    yield chunks()
