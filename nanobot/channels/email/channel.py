"""E-mail: a mailbox of the assistant's own, read by IMAP and answered by SMTP, both by the standard library.

A sender is a chat, a thread of mails a session of it; the answer goes to the sender alone. What is passed on, and as whose, is
decided in reader.py; a mail of ours is made in compose.py.

* Two threads, one for each protocol, that end with the channel: a stop shuts their sockets. Each send has a connection of its
  own.
* A Message-ID of ours is made from the message, so a mail that is sent again bears the same one. Some servers drop the copy
  (Gmail, Exchange), others keep both (dovecot, most others): so `keyed` is false, and what was perhaps sent twice is listed.
* Liveness: every answer of the IMAP server. While it idles it may say nothing for `IDLE_S`; a peer that is gone is noticed by
  TCP long before.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.channels.edge import leaf
from nanobot.channels.email import letter, trust
from nanobot.channels.email.compose import SUBJECT, Letter, composed, subject_of
from nanobot.channels.email.heads import Heads
from nanobot.channels.email.imap import Mailbox
from nanobot.channels.email.mime import File
from nanobot.channels.email.probe import Probe
from nanobot.channels.email.quarantine import Quarantine
from nanobot.channels.email.rates import Rates
from nanobot.channels.email.reader import Reader
from nanobot.channels.email.smtp import Courier
from nanobot.channels.email.wire import Broken, Line, connected, tls_context
from nanobot.channels.port import (
    ChannelFailed,
    Limits,
    Part,
    Port,
    SendError,
    SendLater,
    SendRefused,
    SendUnknown,
    Unreachable,
)
from nanobot.config.schema import EmailConfig
from nanobot.config.tree import camel
from nanobot.messages import Receipt
from nanobot.supervise.asyncio_worker import WorkerClosed
from nanobot.supervise.blocking import BlockingWorker
from nanobot.supervise.policy import Cause

IDLE_S = 25 * 60.0
"""Servers end an IDLE that is older than half an hour."""
PROOF_SLACK_S = 150.0
"""Beside the longest silence: the patience for one command and for a large mail."""
CONNECT_S = 30.0
FILES_BYTES = 25_000_000
"""Of all files of a mail of ours; receivers that take more are few."""

_rates: dict[Path, Rates] = {}
"""By the channel's folder: they outlive its lives."""


@attrs.define(eq=False)
class EmailChannel:
    """See the module."""

    config: EmailConfig
    idle_s: float = IDLE_S
    limits: Limits = attrs.field(init=False)
    _port: Port | None = attrs.field(default=None, init=False)
    _writer: BlockingWorker | None = attrs.field(default=None, init=False)
    _lines: set[Line] = attrs.field(factory=set, init=False)
    _tls: ssl.SSLContext | None = attrs.field(default=None, init=False)

    @limits.default
    def _limits(self) -> Limits:
        silence = max(self.idle_s, self.config.poll_interval_seconds)
        return Limits(sends=1, keyed=False, proof_s=silence + PROOF_SLACK_S)

    @property
    def address(self) -> str:
        """Ours."""
        return self.config.from_address or self.config.smtp_username or self.config.imap_username

    @property
    def own(self) -> frozenset[str]:
        config = self.config
        return frozenset(map(str.lower, filter(None, (config.from_address, config.smtp_username, config.imap_username))))

    # --- a life

    async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._check_config()
        reader = BlockingWorker("email imap", stop=self._shut)
        self._writer = BlockingWorker("email smtp", stop=self._shut)
        self._port = port
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(reader.run)
                await nursery.start(self._writer.run)
                mailbox = await self._opened(reader)
                nursery.start_soon(self._check_smtp, port, name="email: check of SMTP")
                task_status.started()
                await self._reader(port, mailbox, reader).run()
        except* (Broken, OSError) as group:
            raise ChannelFailed(_first(group)) from group
        finally:
            self._port = self._writer = None
            self._close()

    def _reader(self, port: Port, mailbox: Mailbox, worker: BlockingWorker) -> Reader:
        config = self.config
        rates = _rates.setdefault(port.folder, Rates(config.mails_per_hour))
        rates.most = config.mails_per_hour
        heads, quarantine = Heads(port.folder / "threads"), Quarantine(port.folder)
        return Reader(config, port, mailbox, worker, self.own, rates, self.idle_s, heads, quarantine)

    async def _opened(self, worker: BlockingWorker) -> Mailbox:
        """Raises: Broken, ChannelFailed, OSError."""
        line = await self._line(self.config.imap_host, self.config.imap_port)
        mailbox = Mailbox(line, self.config, self._context)
        with _in_time(self.config.imap_host):
            try:
                await worker.call(mailbox.open)
            except Broken:
                await trio.lowlevel.checkpoint_if_cancelled()  # then it was the stop that broke it
                raise
        return mailbox

    async def _check_smtp(self, port: Port) -> None:
        """A wrong password is told when the channel starts, not when the first answer is due. Anything else may pass."""
        try:
            await self._at_smtp(lambda courier: courier.check())
        except ChannelFailed as error:
            port.fail(error)
        except SendError as error:
            logger.warning("mail can be read, and not be sent now: {}", error)

    def _check_config(self) -> None:
        """Raises: ChannelFailed."""
        config, wrong = self.config, ""
        if not config.consent_granted:
            wrong = "consentGranted is false: set it to true when the owner of the mailbox agrees that the assistant uses it"
        elif missing := [key for key in ("imap_host", "imap_username", "smtp_host") if not getattr(config, key)]:
            wrong = f"{' and '.join(camel(key) for key in missing)} must be set: nanobot guide email"
        elif not config.imap_password:
            wrong = "imapPassword must be set: nanobot guide email"
        elif not trust.plain_address(self.address):
            wrong = "fromAddress must be set: the address that mail is sent from"
        if wrong:
            raise ChannelFailed(f"channels.email: {wrong}", cause=Cause.CONFIG)

    # --- connections

    async def _line(self, host: str, port: int) -> Line:
        """Raises: OSError, Broken."""
        with _in_time(host):
            line = await connected(host, port)
        self._lines.add(line)
        return line

    def _shut(self) -> None:
        for line in self._lines:
            line.shut()

    def _close(self) -> None:
        """When no thread uses them any more."""
        for line in self._lines:
            line.close()
        self._lines.clear()

    def _context(self) -> ssl.SSLContext:
        """Made once, in a thread: loading the authorities takes 20 ms. Raises: ChannelFailed."""
        if self._tls is None:
            self._tls = tls_context(self.config.ca_file)
        return self._tls

    # --- sending

    async def send(self, part: Part) -> Receipt:
        port = self._port
        try:
            mail = await trio.to_thread.run_sync(self._made, part)
            said = await self._at_smtp(lambda courier: courier.deliver(self.address, part.key.chat, mail))
        except ChannelFailed as error:
            if port is not None:
                port.fail(error)
            raise Unreachable(str(error)) from error
        return Receipt(said)

    async def _at_smtp(self, work: Callable[[Courier], object]) -> str:
        """On a connection of its own. Raises: ChannelFailed, SendLater, SendRefused, SendUnknown, Unreachable."""
        writer = self._writer
        if writer is None:
            raise Unreachable("email is not connected")
        try:
            line = await self._line(self.config.smtp_host, self.config.smtp_port)
        except (OSError, Broken) as error:
            raise SendLater(f"{self.config.smtp_host} cannot be reached: {error}") from error
        if self._writer is not writer:  # it ended meanwhile
            line.close()
            raise Unreachable("email is not connected")
        try:
            return str(await writer.call(work, Courier(line, self.config, self._context)))
        except WorkerClosed as error:
            raise SendUnknown("the channel ended while it was being sent") from error
        finally:
            line.shut()  # cancelled, it ends the thread's work; who has not begun leaves it to the end of this life
            self._lines = {one for one in self._lines if not one.closed}

    def _made(self, part: Part) -> bytes:
        """The mail, in a thread: files are read. Raises: SendRefused."""
        out, to = part.outbound, part.key.chat
        if trust.plain_address(to) != to.lower():
            raise SendRefused(f"{to!r} is no address that mail can be sent to")
        is_answer = letter.is_mail(out.reply_to or "")
        if is_answer and not self.config.auto_reply_enabled:
            raise SendRefused("channels.email.autoReplyEnabled is false, so mails are not answered")
        head = Heads(self._port.folder / "threads").find(to, part.key.topic) if self._port is not None else None
        answers = letter.answered(out.reply_to or "") or (head.references[-1] if head and head.references else "")
        prefix = self.config.subject_prefix if head is not None or is_answer else ""
        domain = self.address.rpartition("@")[2]
        mail = Letter(
            id=letter.our_id(part.key.topic, f"{part.key} {out.id} {part.index}", domain),
            sender=self.address,
            to=to,
            at=out.at,
            subject=subject_of(head.subject if head is not None else "", prefix) if prefix else SUBJECT,
            text=part.text,
            answers=answers,
            references=head.references if head is not None else (),
            files=_files(part) if part.last else (),
        )
        return composed(mail)

    # --- a look from outside

    async def probe(self, folder: Path, to: str) -> tuple[str, ...]:
        """See port.Probes."""
        self._check_config()
        reader, self._writer = BlockingWorker("email imap", stop=self._shut), BlockingWorker("email smtp", stop=self._shut)
        lines: list[str] = []
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(reader.run)
                await nursery.start(self._writer.run)
                mailbox = await self._opened(reader)
                lines += await Probe(self.config, self.address, self.own, mailbox, reader, self._at_smtp).look(folder, to)
                nursery.cancel_scope.cancel()
        except* (Broken, OSError) as group:
            raise ChannelFailed(_first(group)) from group
        except* (ChannelFailed, SendError) as group:
            raise leaf(group) from group
        finally:
            self._writer = None
            self._close()
        return tuple(lines)


def _files(part: Part) -> tuple[File, ...]:
    """Raises: SendRefused."""
    attachments = part.outbound.attachments
    size = sum(one.size for one in attachments)
    if size > FILES_BYTES:
        raise SendRefused(f"its files have {size / 1e6:.1f} MB, and a mail takes {FILES_BYTES / 1e6:g}")
    try:
        return tuple(File(one.name or Path(one.path).name, one.mime, Path(one.path).read_bytes()) for one in attachments)
    except OSError as error:
        raise SendRefused(f"a file of it cannot be read: {error.strerror}") from error


@contextmanager
def _in_time(host: str) -> Iterator[None]:
    """Raises: Broken where it takes too long."""
    try:
        with trio.fail_after(CONNECT_S):
            yield
    except trio.TooSlowError as error:
        raise Broken(f"{host} did not answer within {CONNECT_S:g} s") from error


def _first(group: BaseExceptionGroup[Exception]) -> str:
    error = leaf(group)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
