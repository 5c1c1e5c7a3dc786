"""The e-mail channel where servers, disks and people are odd: nothing stands still, spins, or is given up for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from nanobot.channels.email.channel import EmailChannel
from nanobot.channels.email.quarantine import Quarantine, Row
from nanobot.channels.port import ChannelFailed
from nanobot.messages import Inbound
from nanobot.supervise.policy import Cause
from tests.channels.email_house import house
from tests.channels.mails import mail, taken, until

FORGED = mail("forged", id="f@x", Authentication_Results="")


# --- servers


async def test_a_refusal_that_passes_is_no_reason_to_give_a_mail_up(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.put(mail())
        at.imap.faults.append(("BODY", "no [UNAVAILABLE] UID FETCH Server error - Please try again later"))
        await at.start()
        with trio.fail_after(5):
            error = await at.kit.end()
        assert isinstance(error, ChannelFailed)
        assert error.cause is Cause.TRANSIENT
        assert at.imap.unseen == [1]
        await at.again()
        await taken(at.kit, 1)
        assert at.quarantine.rows() == ()


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("[UNAVAILABLE] Backend is down", Cause.TRANSIENT),
        ("[SERVERBUG] Internal error occurred.", Cause.TRANSIENT),
        ("[NONEXISTENT] Unknown Mailbox", Cause.CONFIG),
    ],
)
async def test_a_mailbox_that_is_refused_has_another_name_or_it_passes(tmp_path: Path, said: str, cause: Cause) -> None:
    async with house(tmp_path) as at:
        at.imap.faults.append(("SELECT", f"no {said}"))
        settings = at.config()
        at.kit.channels.add("email", lambda: EmailChannel(settings), settings)
        with trio.fail_after(5):
            error = await at.kit.end()
        assert isinstance(error, ChannelFailed)
        assert error.cause is cause


async def test_a_mail_whose_header_is_refused_is_listed_and_holds_up_nobody(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.refused = {at.imap.put(mail("one"))}
        at.imap.put(mail("two", id="m2@x"))
        await at.start()
        await taken(at.kit, 1)
        await until(lambda: at.imap.unseen == [])
        assert [(row.uid, row.why) for row in at.quarantine.rows()] == [(1, "our server lists it and does not hand it out")]


async def test_a_server_that_refuses_to_idle_is_asked(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.faults.append(("IDLE", "no IDLE is switched off"))
        await at.start(poll_interval_seconds=0.02)
        await until(lambda: at.imap.commands["NOOP"] > 1)
        at.imap.put(mail())
        await taken(at.kit, 1)
        assert at.kit.supervisor.ends == []


async def test_a_server_that_tells_of_news_without_end_is_not_asked_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanobot.channels.email.reader.CALM_S", 1000.0)
    async with house(tmp_path) as at:
        at.imap.noisy = True
        await at.start()
        await until(lambda: at.imap.commands["SEARCH"] > 3)
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert at.imap.commands["SEARCH"] < 30


async def test_each_answer_is_proof_of_life_also_in_a_long_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.email.channel.PROOF_SLACK_S", 0.9)
    monkeypatch.setattr("tests.fakes.imap.SLOW_S", 0.15)
    async with house(tmp_path) as at:
        at.imap.faults += [("BODY", "slow")] * 10
        for number in range(10):
            at.imap.put(mail(f"number {number}", id=f"m{number}@x"))
        await at.start(idle_s=0.1, poll_interval_seconds=0.1)
        await taken(at.kit, 10)
        assert at.kit.supervisor.ends == []


async def test_of_mails_that_wait_few_are_looked_at_when_one_may_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanobot.channels.email.rates.HOUR_S", 0.5)
    async with house(tmp_path) as at:
        for number in range(120):
            at.imap.put(mail(f"number {number}", id=f"m{number}@x"))
        await at.start(mails_per_hour=1)
        await until(lambda: len(at.kit.taken) == 3)
        assert at.imap.commands["FETCH"] <= 3 + 1 + 2 * (1 + 1)


# --- disks


async def test_a_thread_that_cannot_be_remembered_holds_up_no_mail(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.quarantine.folder.mkdir(parents=True)
        (at.quarantine.folder / "threads").write_text("no folder")
        at.imap.put(mail())
        await at.start()
        await taken(at.kit, 1)
        await until(lambda: at.imap.unseen == [])


async def test_what_cannot_be_listed_stays_unread_until_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.email.reader.TRY_AGAIN_S", 0.05)
    add, full = Quarantine.add, [OSError(28, "No space left on device")]

    def fails_once(self: Quarantine, rows: list[Row]) -> None:
        if full:
            raise full.pop()
        add(self, rows)

    monkeypatch.setattr(Quarantine, "add", fails_once)
    async with house(tmp_path) as at:
        at.imap.put(FORGED)
        await at.start()
        await until(lambda: at.imap.unseen == [])
        assert len(at.quarantine.rows()) == 1
        assert at.kit.supervisor.ends == []


async def test_what_may_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Quarantine, _rows: list[Row]) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Quarantine, "add", refuse)
    async with house(tmp_path) as at:
        at.imap.put(FORGED)
        await at.start()
        with trio.fail_after(5):
            assert "Permission denied" in str(await at.kit.end())
        assert at.imap.unseen == [1]


@pytest.mark.parametrize("text", ["", "null", "[]", '{"validity": 1, "uids": 5}', '{"validity": 1, "uids": "1:x"}', "\udcff"])
async def test_what_was_seen_is_forgotten_where_its_file_is_damaged(tmp_path: Path, text: str) -> None:
    async with house(tmp_path) as at:
        at.quarantine.folder.mkdir(parents=True)
        (at.quarantine.folder / "seen.json").write_text(text, errors="surrogateescape")
        at.imap.put(mail())
        await at.start(mark_seen=False)
        await taken(at.kit, 1)


# --- people


async def test_a_mail_that_is_dropped_while_it_is_passed_on_ends_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.put(FORGED)
        await at.start()
        await until(lambda: at.imap.idling)
        at.quarantine.release(at.quarantine.rows()[0].id)

        async def take(inbound: Inbound) -> None:
            at.quarantine.clear()
            at.kit.taken.append(inbound)

        at.kit.channels.deliver = take
        await at.imap.hurt("close")
        await at.again()
        await taken(at.kit, 1)
        await until(lambda: at.imap.idling)
        assert len(at.kit.supervisor.ends) == 1


async def test_a_released_mail_is_found_by_its_id_when_the_numbers_changed(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.imap.put(mail(id='a&b\\"c@x', Authentication_Results=""))
        await at.start()
        await until(lambda: at.imap.idling)
        at.quarantine.release(at.quarantine.rows()[0].id)
        at.imap.validity = 2
        await at.imap.hurt("close")
        await at.again()
        await taken(at.kit, 1)
        assert at.kit.taken[0].tainted
