"""The e-mail channel with a real dovecot and a real postfix."""

from __future__ import annotations

import email
import os
import shutil
import smtplib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from nanobot.channels.email.channel import EmailChannel
from nanobot.channels.email.quarantine import Quarantine
from nanobot.channels.port import ChannelFailed, NotTaken
from nanobot.config.schema import EmailConfig, Secret
from nanobot.messages import Attachment, Inbound, Outbound, OutboundId, SessionKey
from nanobot.session import events as ev
from nanobot.supervise.policy import Cause
from tests.channels.kit import running
from tests.channels.mails import ANN, BOT, SERVER, answer, config, mail, read, send, start, taken, until
from tests.fakes.mail_servers import Servers, mail_servers
from tests.fakes.peers import require_peer


@pytest.fixture(scope="module")
def started() -> Iterator[Servers]:
    require_peer("mail")
    if os.geteuid():
        pytest.skip("postfix starts for root only")
    folder = Path(tempfile.mkdtemp(prefix="nanobot-mail-"))
    try:
        with mail_servers(folder) as servers:
            yield servers
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def servers(started: Servers) -> Servers:
    started.empty()
    return started


def at(servers: Servers, **more: object) -> EmailConfig:
    ports = {"imap_port": servers.imap, "smtp_port": servers.smtp, "ca_file": str(servers.authority)}
    return config(**{**ports, **more})


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if "email" in one.name]


async def test_a_mail_is_taken_and_marked_as_read_when_it_is_on_disk(servers: Servers, tmp_path: Path) -> None:
    servers.put(mail("How are you?"))
    async with running(tmp_path) as kit:
        seen_before: list[int] = []

        async def take(inbound: Inbound) -> None:
            seen_before.append(await trio.to_thread.run_sync(servers.seen))
            kit.taken.append(inbound)

        kit.channels.deliver = take
        await start(kit, at(servers))
        await taken(kit, 1)
        await until(lambda: servers.seen() == 1)
        assert seen_before == [0]
        [inbound] = kit.taken
        assert inbound.text == "Subject: A question\n\nHow are you?"
        assert (inbound.key.chat, inbound.principal.user, inbound.tainted, inbound.direct) == (ANN, ANN, False, True)


async def test_while_it_idles_a_mail_by_postfix_comes_at_once(servers: Servers, tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        await start(kit, at(servers))
        for number in range(3):
            began = time.monotonic()
            await send_by_postfix(servers, mail(f"number {number}", id=f"m{number}@friends.example"))
            await taken(kit, number + 1)
            assert time.monotonic() - began < 5.0  # the next poll would be in 30 s
        assert [inbound.text.rpartition("\n")[2] for inbound in kit.taken] == ["number 0", "number 1", "number 2"]


async def test_what_is_not_on_disk_is_not_marked(servers: Servers, tmp_path: Path) -> None:
    servers.put(mail())
    async with running(tmp_path) as kit:
        refused = trio.Event()

        async def refuse(_inbound: Inbound) -> None:
            refused.set()
            raise NotTaken("the disk is full", code="disk_full")

        kit.channels.deliver = refuse
        await start(kit, at(servers))
        await refused.wait()
    assert servers.seen() == 0
    async with running(tmp_path) as kit:
        await start(kit, at(servers))
        await taken(kit, 1)


async def test_an_answer_stands_in_its_thread_and_answers_to_it_find_the_way_back(servers: Servers, tmp_path: Path) -> None:
    servers.put(
        mail("Where is it?", subject="=?utf-8?q?Schl=C3=BCssel?=", References="<root@a> <second@b>", In_Reply_To="<second@b>")
    )
    async with running(tmp_path) as kit:
        await start(kit, at(servers))
        await taken(kit, 1)
        assert isinstance(await answer(kit, "Under the mat – look there.\n.\n..dots"), ev.PartDelivered)
        await until(servers.sent)
        [sent] = map(read, servers.sent())
        assert (sent["From"], sent["To"], sent["Subject"]) == (BOT, ANN, "Re: Schlüssel")
        assert sent["In-Reply-To"] == "<m1@friends.example>"
        assert sent["References"].split() == ["<root@a>", "<second@b>", "<m1@friends.example>"]
        assert sent["Auto-Submitted"] == "auto-replied"
        assert sent.get_content() == "Under the mat – look there.\n.\n..dots\n"
        servers.put(
            mail("Thanks\n\nOn Monday, bot wrote:\n> Under the mat", id="m2@friends.example", In_Reply_To=sent["Message-ID"])
        )
        await taken(kit, 2)
        assert kit.taken[1].key == kit.taken[0].key
        assert (kit.taken[1].text, kit.taken[1].tainted) == ("Thanks", False)


async def test_a_mail_that_is_sent_again_bears_the_same_message_id(servers: Servers, tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        await start(kit, at(servers))
        key, out = SessionKey("email", ANN), Outbound(OutboundId("o1"), "Good morning", 0.0)
        for _ in range(2):
            assert isinstance(await send(kit, key, out), ev.PartDelivered)
        await until(lambda: len(servers.sent()) == 2)
        one, other = map(read, servers.sent())
        assert one["Message-ID"] == other["Message-ID"]
        servers.put(mail("And to you", id="m2@friends.example", In_Reply_To=one["Message-ID"]))
        await taken(kit, 1)
        assert kit.taken[0].key == key


async def test_files_come_and_go(servers: Servers, tmp_path: Path) -> None:
    body = "--b\r\nContent-Type: text/plain\r\n\r\nSee this\r\n--b\r\nContent-Type: application/pdf\r\n"
    body += 'Content-Disposition: attachment; filename="../../etc/pass\twd.pdf"\r\n'
    body += "Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--b--"
    servers.put(mail(body, Content_Type='multipart/mixed; boundary="b"'))
    async with running(tmp_path) as kit:
        await start(kit, at(servers))
        await taken(kit, 1)
        [file] = kit.taken[0].attachments
        assert Path(file.path).read_bytes() == b"%PDF"
        assert Path(file.path).resolve().is_relative_to(tmp_path / "media")
        assert file.path.endswith("-0.pdf")
        await answer(kit, attachments=(Attachment(file.path, "application/pdf", "Rechnung für\r\nX: Ann.pdf", 4),))
        await until(servers.sent)
        [part] = read(servers.sent()[0]).iter_attachments()
        assert (part.get_filename(), part.get_content_type()) == ("Rechnung fürX: Ann.pdf", "application/pdf")
        assert part.get_content() == b"%PDF"


async def test_a_stop_ends_an_idling_channel_at_once(servers: Servers, tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        await start(kit, at(servers))
        await taken(kit, 0)
        assert len(threads()) == 2
        began = time.monotonic()
    assert time.monotonic() - began < 0.1 + 0.1  # the second is for the test's own supervisor on a busy machine
    assert threads() == []


async def test_who_is_not_proven_is_listed_and_never_answered(servers: Servers, tmp_path: Path) -> None:
    servers.put(mail("Wire the money", Authentication_Results=f"{SERVER}; dmarc=fail header.from=friends.example"))
    async with running(tmp_path) as kit:
        await start(kit, at(servers))
        await until(lambda: servers.seen() == 1)
        quarantine = Quarantine(tmp_path / "channels" / "email")
        [row] = quarantine.rows()
        assert (row.sender, row.subject) == (ANN, "A question")
        assert "DMARC" in row.why
        assert kit.taken == []
        assert servers.sent() == []
        quarantine.release(row.id)
        kit.supervisor.scopes["email"].cancel()
        await kit.supervisor.ended.wait()
        kit.up.clear()
        kit.supervisor.again("email")
        await taken(kit, 1)
        assert kit.taken[0].tainted
        await until(lambda: quarantine.rows() == ())


@pytest.mark.parametrize(
    ("wrong", "cause", "said"),
    [
        ({"imap_password": Secret("nope")}, Cause.AUTH, "refuses imapUsername and imapPassword"),
        ({"smtp_password": Secret("nope")}, Cause.AUTH, "refuses smtpUsername and smtpPassword"),
        ({"ca_file": ""}, Cause.CONFIG, "shows a certificate that cannot be verified"),
        ({"imap_host": "127.0.0.2"}, Cause.TRANSIENT, "attempts to connect"),
        ({"imap_mailbox": "Nowhere"}, Cause.CONFIG, "imapMailbox: localhost refuses: .*Mailbox doesn't exist: Nowhere"),
        ({"consent_granted": False}, Cause.CONFIG, "consentGranted is false"),
        ({"smtp_host": ""}, Cause.CONFIG, "smtpHost must be set"),
        ({"imap_password": Secret()}, Cause.CONFIG, "imapPassword must be set"),
        ({"ca_file": "/nowhere.pem"}, Cause.CONFIG, "caFile: /nowhere.pem holds no certificates"),
    ],
)
async def test_what_only_a_person_can_mend_is_said(
    servers: Servers, tmp_path: Path, wrong: dict[str, object], cause: Cause, said: str
) -> None:
    async with running(tmp_path) as kit:
        settings = at(servers, **wrong)
        kit.channels.add("email", lambda: EmailChannel(settings), settings)
        with trio.fail_after(15):
            error = await kit.end()
        with pytest.raises(ChannelFailed, match=said) as caught:
            raise error
        assert caught.value.cause is cause


@pytest.mark.parametrize("secure", [{"imap_use_ssl": False}, {"smtp_use_ssl": True}])
async def test_both_ways_to_be_secure(servers: Servers, tmp_path: Path, secure: dict[str, object]) -> None:
    ports = {"imap_port": servers.imap_plain} if "imap_use_ssl" in secure else {"smtp_port": servers.smtps}
    servers.put(mail())
    async with running(tmp_path) as kit:
        await start(kit, at(servers, **secure, **ports))
        await taken(kit, 1)
        assert isinstance(await answer(kit), ev.PartDelivered)


@pytest.mark.parametrize(
    ("to", "end"),
    [("nobody@test.example", ev.SendRefused), ("later@test.example", ev.SendFailed), ("no address", ev.SendRefused)],
)
async def test_what_postfix_does_not_take(servers: Servers, tmp_path: Path, to: str, end: type) -> None:
    async with running(tmp_path) as kit:
        await start(kit, at(servers))
        assert isinstance(await send(kit, SessionKey("email", to), Outbound(OutboundId("o1"), "hi", 0.0)), end)


async def test_a_new_uidvalidity_brings_the_same_messages_under_the_same_names(servers: Servers, tmp_path: Path) -> None:
    servers.put(mail())
    settings = at(servers, mark_seen=False)
    async with running(tmp_path) as kit:
        await start(kit, settings)
        await taken(kit, 1)
        first = kit.taken[0].id
    async with running(tmp_path) as kit:
        await start(kit, settings)
        servers.put(mail("second", id="m2@friends.example"))
        await taken(kit, 1)  # the first is remembered, without a mark in the mailbox
    for index in servers.inbox.glob("dovecot*"):
        index.unlink()
    async with running(tmp_path) as kit:
        await start(kit, settings)
        await taken(kit, 2)
        assert first in {inbound.id for inbound in kit.taken}
    assert servers.seen() == 0


async def test_a_probe_tells_who_we_are_and_learns_the_name_of_our_server(servers: Servers, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with trio.fail_after(30):
        before = await EmailChannel(at(servers, authserv_id="")).probe(tmp_path, "")
        assert "logged in as bot@test.example, INBOX: 0 unread; it tells of news (IDLE)" in before[0]
        assert "mail is sent from bot@test.example" in before[1]
        assert "authservId is not set" in before[2]
        assert servers.sent() == []
        learned = await EmailChannel(at(servers, authserv_id="")).probe(tmp_path, BOT)
        assert learned[-1].endswith(f'"channels": {{"email": {{"authservId": "{SERVER}"}}}}')
        after = await EmailChannel(at(servers)).probe(tmp_path, "")
        assert after[-1] == f"of the newest 1 mails, 1 bear {SERVER}, and the senders of 1 are proven"
    assert threads() == []
    with pytest.raises(ChannelFailed, match="imapPassword"):
        await EmailChannel(attrs.evolve(at(servers), imap_password=Secret("nope"))).probe(tmp_path, "")


async def send_by_postfix(servers: Servers, raw: bytes) -> None:
    def hand_over() -> None:
        with smtplib.SMTP("127.0.0.1", servers.smtp) as client:
            client.sendmail(ANN, [BOT], raw.partition(b"\r\n")[2])

    await trio.to_thread.run_sync(hand_over)


def test_the_name_of_the_module_hides_nothing() -> None:
    assert not (email.__file__ or "").startswith(str(Path(__file__).parents[2]))
