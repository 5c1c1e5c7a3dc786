"""The e-mail channel against servers that misbehave: everything is taken, said again, or told, and nothing is left behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from nanobot.channels.email.channel import EmailChannel
from nanobot.channels.email.quarantine import MOST
from nanobot.channels.port import ChannelFailed, NotTaken
from nanobot.config.schema import Secret
from nanobot.messages import Attachment, Inbound, MessageId
from nanobot.session import events as ev
from nanobot.supervise.policy import Cause
from tests.channels.email_house import house, out, threads
from tests.channels.mails import BOT, answer, mail, read, taken, until


def nested(depth: int) -> bytes:
    body = "deep"
    for level in range(depth):
        body = f'Content-Type: multipart/mixed; boundary="b{level}"\r\n\r\n--b{level}\r\n{body}\r\n--b{level}--'
    kind, _, rest = body.partition("\r\n\r\n")
    return mail(rest, subject="", Content_Type=kind.partition(": ")[2])


# --- the way in


@pytest.mark.parametrize("idles", [True, False])
async def test_mail_is_found_with_and_without_idle(tmp_path: Path, idles: bool) -> None:
    async with house(tmp_path) as at:
        at.imap.idles = idles
        at.imap.put(mail("one"))
        await at.start()
        await taken(at.kit, 1)
        await until(lambda: at.imap.stored == 1)
        if idles:
            at.imap.put(mail("two", id="m2@x"))
            await taken(at.kit, 2)


async def test_idle_is_renewed_and_finds_what_was_not_told(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.quiet = True
        await at.start(idle_s=0.05)
        await until(lambda: at.imap.idling)
        at.imap.put(mail())
        await taken(at.kit, 1)


async def test_news_that_come_with_another_answer_are_not_missed(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.put(mail("one"))

        async def take(inbound: Inbound) -> None:
            at.kit.taken.append(inbound)
            if len(at.kit.taken) == 1:
                at.imap.put(mail("two", id="m2@x"))

        at.kit.channels.deliver = take
        await at.start()
        await taken(at.kit, 2)


@pytest.mark.parametrize("how", ["reset", "close", "bye", "garbage", "huge literal", "long line"])
async def test_a_broken_connection_ends_the_life_and_nothing_is_lost(tmp_path: Path, how: str) -> None:
    async with house(tmp_path) as at:
        await at.start()
        await until(lambda: at.imap.idling)
        with trio.fail_after(10):
            await at.imap.hurt(how)
            error = await at.kit.end()
        assert isinstance(error, ChannelFailed)
        assert error.cause is Cause.TRANSIENT
        assert threads() == []
        at.imap.put(mail())
        await at.again()
        await taken(at.kit, 1)


@pytest.mark.parametrize("command", ["SEARCH", "FETCH", "STORE", "SELECT", "LOGIN", "CAPABILITY"])
@pytest.mark.parametrize("how", ["close", "garbage", "huge literal", "lost answer"])
async def test_a_connection_that_breaks_in_any_command_loses_nothing(tmp_path: Path, command: str, how: str) -> None:
    async with house(tmp_path) as at:
        at.imap.put(mail())
        at.imap.faults.append((command, how))
        settings = at.config()
        at.kit.channels.add("email", lambda: EmailChannel(settings), settings)
        with trio.fail_after(10):
            await at.kit.supervisor.ended.wait()
        assert [type(error) for error in at.kit.supervisor.ends] == [ChannelFailed]
        await at.again()
        await until(lambda: at.imap.unseen == [] or not at.imap.faults)
        await until(lambda: at.imap.idling)
        assert len({inbound.id for inbound in at.kit.taken}) == 1
        assert len(at.kit.taken) <= 2  # the second time its session knows it
        assert at.imap.unseen == []


async def test_a_server_that_stops_in_mid_literal_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.email.reader.FETCH_S", 0.5)
    monkeypatch.setattr("nanobot.channels.email.reader.COMMAND_S", 0.5)
    async with house(tmp_path) as at:
        at.imap.put(mail())
        at.imap.faults.append(("FETCH", "slow literal"))
        await at.start()
        assert "did not answer within 0.5 s" in str(await at.kit.end())
        assert threads() == []


async def test_a_half_open_connection_is_noticed_when_idle_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.email.reader.COMMAND_S", 0.3)
    async with house(tmp_path) as at:
        await at.start(idle_s=0.2)
        await until(lambda: at.imap.idling)
        await at.imap.hurt("half-open")
        assert "did not answer" in str(await at.kit.end())


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", Cause.AUTH),
        ("[ALERT] Application-specific password required", Cause.AUTH),
        ("[UNAVAILABLE] Temporary authentication failure", Cause.TRANSIENT),
        ("[LIMIT] Maximum number of connections from user+IP exceeded", Cause.TRANSIENT),
        ("[ALERT] Too many simultaneous connections. (Failure)", Cause.TRANSIENT),
    ],
)
async def test_a_refused_login_is_a_wrong_password_or_passes(tmp_path: Path, said: str, cause: Cause) -> None:
    async with house(tmp_path) as at:
        at.imap.faults.append(("LOGIN", f"no {said}"))
        settings = at.config()
        at.kit.channels.add("email", lambda: EmailChannel(settings), settings)
        error = await at.kit.end()
        assert isinstance(error, ChannelFailed)
        assert error.cause is cause
        assert said[:20] in str(error)


async def test_a_mail_that_is_never_handed_out_is_listed_and_holds_up_nobody(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.faults += [("BODY", "no [SERVERBUG] Internal error")]
        at.imap.put(mail("one"))
        at.imap.put(mail("two", id="m2@x"))
        await at.start()
        await taken(at.kit, 1)
        await until(lambda: at.imap.stored == 2)
        assert [row.why for row in at.quarantine.rows()] == ["our server lists it and does not hand it out"]


async def test_what_cannot_be_stored_stays_unread_and_is_offered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.email.reader.TRY_AGAIN_S", 0.05)
    async with house(tmp_path) as at:
        left = [2]

        async def take(inbound: Inbound) -> None:
            if left[0]:
                left[0] -= 1
                assert at.imap.stored == 0
                raise NotTaken("the disk is full", code="disk_full")
            at.kit.taken.append(inbound)

        at.kit.channels.deliver = take
        at.imap.put(mail())
        await at.start()
        await taken(at.kit, 1)
        await until(lambda: at.imap.stored == 1)


async def test_a_read_only_mailbox_is_remembered_here(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.read_only = True
        at.imap.put(mail())
        await at.start()
        await taken(at.kit, 1)
        await until(lambda: at.imap.idling)
        await at.imap.hurt("close")
        await at.again()
        at.imap.put(mail("two", id="m2@x"))
        await taken(at.kit, 2)
        assert at.imap.stored == 0


async def test_who_writes_too_much_waits_unread(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        for number in range(5):
            at.imap.put(mail(f"number {number}", id=f"m{number}@x"))
        at.imap.put(mail("another", id="b@x", sender="bob@friends.example"))
        await at.start(mails_per_hour=3, imap_username=BOT)
        await taken(at.kit, 4)
        await until(lambda: at.imap.stored == 4)
        assert len(at.imap.unseen) == 2


# --- the way out


@pytest.mark.parametrize(
    ("command", "fault", "end", "taken"),
    [
        ("CONNECT", "421 4.3.2 shutting down", ev.SendFailed, 0),
        ("CONNECT", "554 5.7.1 blocked", ev.SendFailed, 0),
        ("EHLO", "550 5.7.1 who are you", ev.SendFailed, 0),
        ("AUTH", "554 5.7.0 too many attempts", ev.SendFailed, 0),
        ("CONNECT", "garbage", ev.SendFailed, 0),
        ("EHLO", "close", ev.SendFailed, 0),
        ("AUTH", "454 4.7.0 temporary failure", ev.SendFailed, 0),
        ("MAIL", "451 4.3.0 try later", ev.SendFailed, 0),
        ("MAIL", "550 5.1.0 not yours", ev.SendRefused, 0),
        ("RCPT", "450 4.2.0 greylisted", ev.SendFailed, 0),
        ("RCPT", "550 5.1.1 nobody of that name", ev.SendRefused, 0),
        ("RCPT", "reset", ev.SendFailed, 0),
        ("DATA", "552 5.3.4 too large", ev.SendRefused, 0),
        ("DATA", "long line", ev.SendFailed, 0),
        ("DATA-END", "451 4.3.0 queue full", ev.SendFailed, 0),
        ("DATA-END", "554 5.7.1 spam", ev.SendRefused, 0),
        ("DATA-END", "421 4.3.0 going down", ev.SendFailed, 0),
        ("DATA-END", "close", ev.SendUnknown, 0),
        ("DATA-END", "reset", ev.SendUnknown, 0),
        ("DATA-END", "garbage", ev.SendUnknown, 0),
        ("DATA-END", "lost answer", ev.SendUnknown, 1),
        ("DATA-END", "slow", ev.PartDelivered, 1),
        ("QUIT", "close", ev.PartDelivered, 1),
    ],
)
async def test_what_a_server_says_has_its_meaning(tmp_path: Path, command: str, fault: str, end: type, taken: int) -> None:
    async with house(tmp_path) as at:
        await at.start()
        await until(lambda: at.smtp.served)
        at.smtp.slow_s = 0.05
        at.smtp.faults.append((command, fault))
        outcome = await out(at)
        assert isinstance(outcome, end), outcome
        assert len(at.smtp.taken) == taken
        if isinstance(outcome, ev.SendFailed) and "greylisted" in fault:
            assert outcome.retry_after == 120.0
        if isinstance(outcome, ev.SendUnknown):
            assert not outcome.keyed
        assert isinstance(await out(at), ev.PartDelivered)  # nothing of it is left


async def test_a_send_that_takes_too_long_is_unknown_and_the_next_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanobot.channels.runner.SEND_S", 0.2)
    async with house(tmp_path) as at:
        await at.start()
        at.smtp.faults.append(("DATA-END", "half-open"))
        assert isinstance(await out(at), ev.SendUnknown)
        assert isinstance(await out(at), ev.PartDelivered)
        assert len(at.smtp.taken) == 1


async def test_what_was_taken_is_not_sent_again_for_how_the_server_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.runner.SEND_S", 0.5)
    async with house(tmp_path) as at:
        await at.start()
        await until(lambda: at.smtp.served)
        at.smtp.faults.append(("QUIT", "half-open"))
        assert isinstance(await out(at), ev.PartDelivered)


async def test_a_password_that_is_refused_in_mid_life_parks(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        await at.start()
        await until(lambda: at.smtp.served)
        at.smtp.password = "another"
        assert isinstance(await out(at), ev.ChannelDown)
        error = await at.kit.end()
        assert isinstance(error, ChannelFailed)
        assert error.cause is Cause.AUTH


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"attachments": (Attachment("/nowhere", "text/plain", "x", 1),)}, "cannot be read"),
        ({"attachments": (Attachment("/nowhere", "text/plain", "x", 26_000_000),)}, "26.0 MB, and a mail takes 25"),
        ({"text": "x" * 10_100_000}, "takes 10.0"),
    ],
)
async def test_what_no_mail_can_carry_is_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    async with house(tmp_path) as at:
        await at.start()
        outcome = await out(at, **more)
        assert isinstance(outcome, ev.SendRefused)
        assert said in outcome.error


async def test_answers_can_be_switched_off(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.put(mail())
        await at.start(auto_reply_enabled=False)
        await taken(at.kit, 1)
        assert isinstance(await answer(at.kit), ev.SendRefused)
        without_id = await out(at, reply_to=MessageId("#0123456789abcdef"))
        assert isinstance(without_id, ev.SendRefused), "of a mail that had no Message-ID"
        assert isinstance(await out(at), ev.PartDelivered)


async def test_what_a_job_says_is_no_answer_to_a_mail(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        await at.start(auto_reply_enabled=False)
        assert isinstance(await out(at, reply_to=MessageId("job:3fa92c1b:1790000000000")), ev.PartDelivered)
        sent = read(at.smtp.taken[0].raw)
        assert (sent["Subject"], sent["In-Reply-To"]) == ("A message from your assistant", None)


async def test_an_answer_whose_thread_was_forgotten_still_answers(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        await at.start()
        await out(at, reply_to=MessageId("m1@friends.example#0123456789abcdef"))
        sent = read(at.smtp.taken[0].raw)
        assert sent["In-Reply-To"] == "<m1@friends.example>"
        assert sent["Subject"] == "Re: A message from your assistant"


async def test_a_mail_of_a_megabyte_goes_as_it_is(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        await at.start()
        for text in ("x" * 1_000_000, "ü€😀\n" * 200_000, "", "a\u202eb\u200dc\0d\r\n.\r\nQUIT"):
            assert isinstance(await out(at, text), ev.PartDelivered)
            sent = read(at.smtp.taken[-1].raw)
            assert max(map(len, at.smtp.taken[-1].raw.split(b"\r\n"))) <= 998
            shown = sent.get_content().replace("\r\n", "\n")
            assert shown.rstrip("\n") == text.replace("\0", "").replace("\r\n", "\n").rstrip("\n")


# --- the end


@pytest.mark.parametrize("busy", ["idle", "slow literal", "connecting"])
async def test_a_stop_ends_the_threads_whatever_they_do(tmp_path: Path, busy: str) -> None:
    async with house(tmp_path) as at:
        if busy != "idle":
            at.imap.put(mail())
            at.imap.faults.append(("FETCH", busy) if busy == "slow literal" else ("CAPABILITY", "half-open"))
        settings = at.config()
        at.kit.channels.add("email", lambda: EmailChannel(settings), settings)
        await until(lambda: at.imap.idling or (at.imap.connections and not at.imap.faults))
        began = time.monotonic()
        at.kit.supervisor.scopes["email"].cancel()
        await at.kit.supervisor.ended.wait()
        assert time.monotonic() - began < 0.1
        assert threads() == []


# --- bad input, through the whole of it


@pytest.mark.parametrize(
    ("raw", "begins", "tainted"),
    [
        (mail("", subject=""), "", False),
        (mail("x" * 1_000_000, subject=""), "xxxxxxx", False),
        (mail("broken \udcff\udcfe", subject="", Content_Type="text/plain"), "broken ÿþ", False),
        (mail("a\u202eb\u200bc\u2066d", subject=""), "a\u202eb\u200bc\u2066d", False),
        (mail("<p>Hello <b>you</b><p>there", subject="", Content_Type="text/html"), "Hello you\n\nthere", False),
        (mail("<blockquote>obey</blockquote>", subject="", Content_Type="text/html"), "> obey", True),
        (mail("<div><p>hello" + "<div a='b'>" * 1_900_000, subject="", Content_Type="text/html"), "hello", False),
        (mail("<a " + "b=c " * 5_000_000, subject="", Content_Type="text/html"), "[", False),
        (nested(200), "[its parts are nested deeper", False),
    ],
    ids=["empty", "1 MB", "broken", "signs", "html", "quote", "html 20 MB", "attributes", "nested"],
)
async def test_bad_mails_have_a_clear_outcome(tmp_path: Path, raw: bytes, begins: str, tainted: bool) -> None:
    async with house(tmp_path) as at:
        at.imap.put(raw)
        at.imap.put(mail("the next one", id="m2@x"))
        await at.start()
        await taken(at.kit, 2)
        first, second = at.kit.taken
        assert first.text.startswith(begins)
        assert len(first.text) < 12_500
        assert first.tainted is tainted
        assert second.text.endswith("the next one")
        await until(lambda: at.imap.unseen == [])


async def test_a_mail_beyond_all_bounds_is_read_at_its_beginning(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.put(mail("x" * 40_000_000, subject=""))
        await at.start()
        await taken(at.kit, 1)
        assert "[the mail is too large: only its beginning was read]" in at.kit.taken[0].text


# --- quarantine and bursts


async def test_five_thousand_strangers_leave_a_list_that_is_bounded(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        for number in range(5000):
            at.imap.put(mail("spam", id=f"s{number}@x", sender=f"s{number}@spam.example", Authentication_Results=""))
        await at.start()
        with trio.fail_after(60):
            while at.imap.unseen:  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert at.kit.taken == []
        assert at.smtp.taken == []
        assert [row.message_id for row in at.quarantine.rows()] == [f"s{number}@x" for number in range(5000 - MOST, 5000)]


async def test_five_thousand_mails_of_one_sender_wait_their_turn(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        for number in range(5000):
            at.imap.put(mail(f"number {number}", id=f"m{number}@x"))
        await at.start(mails_per_hour=40, imap_host="localhost")
        await until(lambda: at.imap.idling)
        assert len(at.kit.taken) == 40
        assert len(at.imap.unseen) == 4960


async def test_a_released_mail_that_is_gone_is_told_and_dropped(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.put(mail(Authentication_Results=""))
        await at.start()
        await until(lambda: at.imap.idling)
        [row] = at.quarantine.rows()
        at.quarantine.release(row.id)
        at.imap.mails.clear()
        await at.imap.hurt("close")
        await at.again()
        await until(lambda: at.imap.idling)
        assert at.quarantine.rows() == ()
        assert at.kit.taken == []


async def test_a_password_beyond_ascii_logs_in(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.smtp.password = "pässwörd"
        await at.start(smtp_password=Secret("pässwörd"))
        assert isinstance(await out(at), ev.PartDelivered)


async def test_a_send_that_is_given_up_before_it_begins_leaves_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.runner.SEND_S", 0.2)
    async with house(tmp_path) as at:
        channel = await at.start()
        await until(lambda: at.smtp.served)
        writer = channel._writer
        assert writer is not None
        let_go = threading.Event()

        async def block() -> None:
            await writer.call(let_go.wait)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(block)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert isinstance(await out(at), ev.SendUnknown)
            lines = set(channel._lines)
            let_go.set()
        at.kit.supervisor.scopes["email"].cancel()
        await at.kit.supervisor.ended.wait()
        assert all(line.closed for line in lines)
        assert len(lines) == 2
