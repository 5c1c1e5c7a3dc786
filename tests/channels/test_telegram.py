"""The channel to Telegram, with the real SDK, against the fake server: what comes in, what is confirmed, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from nanobot.channels.port import NotTaken
from nanobot.config.schema import Secret
from nanobot.messages import Inbound
from nanobot.session.commands import TABLE
from nanobot.supervise.policy import Cause
from tests.channels.telegram_kit import connected
from tests.fakes.loopback import HttpRequest, Responder, loopback
from tests.fakes.telegram import ANN, BOB, BOT, BOT_NAME, GROUP, Call, Fault, fake_telegram

# --- what comes in


async def test_what_waited_while_we_were_away_is_taken_and_confirmed(tmp_path: Path) -> None:
    async with fake_telegram() as fake:
        for n in range(3):
            fake.says(f"m{n}")
        async with connected(tmp_path, fake) as chat:
            taken = await chat.taken(3)
    assert [(one.id, one.text, str(one.key), one.principal.user, one.direct) for one in taken] == [
        (f"{n + 1}", f"m{n}", "telegram:default:42", "42", True) for n in range(3)
    ]
    assert fake.confirmed == [1001, 1002, 1003]


async def test_nothing_is_confirmed_before_it_is_durable(tmp_path: Path) -> None:
    """What comes later in other chats is taken meanwhile, and confirmed only with what came before it."""
    gate = trio.Event()
    async with connected(tmp_path) as chat:

        async def slow(inbound: Inbound) -> None:
            if inbound.text == "slow":
                await gate.wait()
            chat.kit.taken.append(inbound)

        chat.kit.channels.deliver = slow
        chat.fake.says("slow")
        chat.fake.says("quick", user=BOB)
        await chat.fake.until(lambda: chat.kit.taken)
        before = chat.fake.polls
        await chat.fake.until(lambda: chat.fake.polls >= before + 2)
        assert ([one.text for one in chat.kit.taken], chat.fake.confirmed) == (["quick"], [])
        gate.set()
        await chat.taken(2)
        assert chat.fake.confirmed == [1001, 1002]


async def test_a_message_that_is_not_taken_is_tried_again_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.gathering.RETRY_S", 0.05)
    full = [NotTaken("the disk is full", code="disk_full")] * 2
    async with connected(tmp_path) as chat:

        async def refuse(inbound: Inbound) -> None:
            if full:
                raise full.pop()
            chat.kit.taken.append(inbound)

        chat.kit.channels.deliver = refuse
        for n in range(3):
            chat.fake.says(f"m{n}")
        assert [one.text for one in await chat.taken(3)] == ["m0", "m1", "m2"]


async def test_what_was_durable_and_not_confirmed_comes_again_with_its_id(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.strike(Fault.RESET)
        chat.fake.says("hello")
        await chat.ended()
        await chat.again()
        await chat.taken(1)
        assert {one.id for one in chat.kit.taken} == {"1"}


async def test_numbers_that_begin_anew_are_heard(tmp_path: Path) -> None:
    """After a quiet week Telegram draws a new number, which may be lower."""
    async with connected(tmp_path, poll_s=1.0) as chat:
        chat.fake.says("before")
        await chat.taken(1)
        polls = chat.fake.polls
        await chat.fake.until(lambda: chat.fake.polls > polls)
        chat.fake._number = 5
        chat.fake.says("after")
        assert [one.text for one in await chat.taken(2)] == ["before", "after"]


async def test_an_update_that_nobody_can_read_holds_up_nothing(tmp_path: Path) -> None:
    """`Bot.get_updates` would fail on the whole batch, again and again."""
    async with connected(tmp_path) as chat:
        chat.fake.add(message={"message_id": "what", "chat": 5})
        chat.fake.add(message="what")
        chat.fake.presses(["what"], chat.fake.message("May I?"))  # type: ignore[arg-type]
        chat.fake.says("what", user={**ANN, "username": ["what"]})
        chat.fake.add(poll_answer={"poll_id": "1"})
        chat.fake.says("hello")
        assert [one.text for one in await chat.taken(1)] == ["hello"]


async def test_a_burst_arrives_whole_and_in_order(tmp_path: Path) -> None:
    async with connected(tmp_path, react_emoji="") as chat:
        for n in range(5000):
            chat.fake.says(str(n))
        with trio.fail_after(60):
            taken = await chat.taken(5000)
    assert [one.text for one in taken] == [str(n) for n in range(5000)]
    assert len(chat.fake.confirmed) == 5000


async def test_an_edit_is_a_version_and_one_that_changes_nothing_is_none(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        number = chat.fake.says("helo")
        chat.fake.edits(number, "helo")
        edit = chat.fake.edits(number, "hello")
        chat.fake.edits(number, "hello")
        taken = await chat.taken(2)
    assert [(one.id, one.text) for one in taken] == [(f"{number}", "helo"), (f"{number}@{edit}", "[edited]\nhello")]


async def test_every_slash_command_reaches_the_session_and_stands_in_the_menu(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        for name in TABLE:
            chat.fake.says(name)
        assert [one.text for one in await chat.taken(len(TABLE))] == list(TABLE)
        [menu] = chat.fake.sent("setMyCommands")
        assert [f"/{one['command']}" for one in menu.params["commands"]] == list(TABLE)
        assert all(one["description"] for one in menu.params["commands"])


async def test_a_press_is_a_message_of_who_pressed_and_is_answered_when_it_is_durable(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        asked = chat.fake.message("May I?", chat=GROUP, user=BOT)
        chat.fake.presses("/approve e1", asked, user=BOB)
        [press] = await chat.taken(1)
        await chat.fake.until(lambda: chat.fake.sent("answerCallbackQuery"))
    assert (press.id, press.text, press.principal.user, press.principal.chat) == ("press:p1", "/approve e1", "43", "-1001")
    assert chat.fake.sent("answerCallbackQuery")[0].params["callback_query_id"] == "p1"


# --- what belongs together


async def test_an_album_is_one_message(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.album("a", "b", "c")
        chat.fake.says("and?")
        album, after = await chat.taken(2)
    assert (album.id, album.text, [Path(file.path).read_bytes() for file in album.attachments]) == ("1", "look", [b"jpeg"] * 3)
    assert after.text == "and?"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"forward_origin": {"type": "user", "date": 1, "sender_user": BOB}}, "[forwarded]"),
        ({"reply_to_message": {"message_id": 9, "date": 1, "chat": GROUP, "from": BOB, "text": "x"}}, "[in reply to: x]"),
    ],
)
async def test_what_telegram_says_with_each_picture_of_an_album_is_said_once(
    tmp_path: Path, more: dict[str, Any], line: str
) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.album("a", "b", "c", **more)
        [album] = await chat.taken(1)
        assert (album.text, len(album.attachments), album.tainted) == (f"{line}\nlook", 3, True)


async def test_a_file_that_an_album_answers_comes_with_it_once(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        answered = chat.fake.message(photo=chat.fake.photo("before"))
        chat.fake.album(*"abcdef", reply_to_message=answered)
        [album] = await chat.taken(1)
        assert len(album.attachments) == 7


async def test_pictures_of_an_album_that_come_late_are_no_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was delivered apart stays apart when Telegram tells of it again, after a crash before it was confirmed."""
    monkeypatch.setattr("nanobot.channels.gathering.GATHER_S", 0.05)
    async with connected(tmp_path) as chat:
        held = trio.Event()

        async def hold(inbound: Inbound) -> None:
            chat.kit.taken.append(inbound)
            await held.wait()

        chat.kit.channels.deliver = hold
        chat.fake.says("before", user=BOB)  # is never durable, so that nothing is confirmed
        chat.fake.album("a", "b")
        await chat.fake.until(lambda: len(chat.kit.taken) == 2)
        chat.kit.supervisor.scopes["telegram"].cancel()
        await chat.kit.supervisor.ended.wait()
        chat.fake.album("c")
        held.set()
        first, chat.kit.taken = chat.kit.taken, []
        await chat.again()
        again = await chat.taken(3)
    assert [one.id for one in first] == ["1", "2"]
    assert [(one.id, len(one.attachments)) for one in again] == [("1", 0), ("2", 2), ("4", 1)]


async def test_a_long_text_that_was_cut_is_one_message(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.says("x" * 4096)
        chat.fake.says("end")
        chat.fake.says("/status")
        whole, command = await chat.taken(2)
    assert (whole.text, command.text) == ("x" * 4096 + "\nend", "/status")


# --- files


@pytest.mark.parametrize(
    ("kind", "more", "suffix"),
    [
        ("document", {"file_name": "../../etc/pass\x00wd.txt", "mime_type": "text/plain"}, ".txt"),
        ("voice", {"duration": 3, "mime_type": "audio/ogg"}, ".ogg"),
        ("video", {"duration": 3, "width": 1, "height": 1}, ".mp4"),
        ("audio", {"duration": 3, "file_name": "a.mp3"}, ".mp3"),
        ("video_note", {"duration": 3, "length": 5}, ".mp4"),
        (
            "sticker",
            {"width": 1, "height": 1, "is_animated": False, "is_video": False, "type": "regular", "emoji": "🙂"},
            ".webp",
        ),
        ("animation", {"duration": 3, "width": 1, "height": 1, "file_name": "x.gif.mp4"}, ".mp4"),
    ],
)
async def test_a_file_comes_under_a_name_of_ours(tmp_path: Path, kind: str, more: dict[str, Any], suffix: str) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.says(None, **{kind: chat.fake.file("docs/f", b"body", **more)})
        [inbound] = await chat.taken(1)
    [file] = inbound.attachments
    path = Path(file.path)
    assert (path.read_bytes(), path.suffix, path.is_relative_to(tmp_path / "media")) == (b"body", suffix, True)
    assert inbound.text == ("[sticker 🙂]" if kind == "sticker" else "")


@pytest.mark.parametrize(
    ("path", "size", "says"),
    [
        ("docs/large", 30_000_000, "[file f was not fetched: it is larger than 20 MB]"),
        ("docs/lies", 5, "[file f was not fetched: it is larger than 20 MB]"),
        ("docs/gone", 5, "[file f was not fetched: Telegram does not give it (HTTP 404)]"),
        (
            "/var/lib/bot/f",
            5,
            "[file f was not fetched: the Bot API server runs with --local and keeps it to itself; run it without]",
        ),
        ("../secret", 5, "[file f was not fetched: Telegram does not say where it is]"),
    ],
)
async def test_a_file_that_cannot_be_had_is_named(tmp_path: Path, path: str, size: int, says: str) -> None:
    async with connected(tmp_path) as chat:
        if path == "docs/lies":
            chat.fake.files[path] = b"x" * 20_000_001
        document = {"file_id": path, "file_unique_id": "u", "file_size": size, "file_name": "f"}
        chat.fake.says(document=document, caption="here")
        [inbound] = await chat.taken(1)
    assert (inbound.text, inbound.attachments) == (f"here\n{says}", ())
    assert chat.fake.token not in inbound.text


# --- groups


def mention(text: str) -> dict[str, Any]:
    return {"entities": [{"type": "mention", "offset": text.index("@"), "length": len(f"@{BOT_NAME}")}]}


OURS = {"message_id": 900, "date": 1, "chat": GROUP, "from": BOT, "text": "I said"}
CALLED = "hey @house_bot, you"
NAMED = {"entities": [{"type": "text_mention", "offset": 0, "length": 5, "user": BOT}]}


@pytest.mark.parametrize(
    ("text", "more", "heard"),
    [
        ("hello all", {}, None),
        (CALLED, mention(CALLED), CALLED),
        ("@House_Bot: do it", mention("@House_Bot: do it"), "do it"),
        ("@house_bot", mention("@house_bot"), "@house_bot"),
        ("@house_bot /status", mention("@house_bot /status"), "/status"),
        ("House, do", NAMED, "House, do"),
        ("yes", {"reply_to_message": OURS}, "[in reply to: I said]\nyes"),
        ("/status", {}, "/status"),
        ("/status@house_bot", {}, "/status@house_bot"),
        ("/status@other_bot", {}, None),
        ("/unheard_of", {}, None),
        ("@house_botty hi", {"entities": [{"type": "mention", "offset": 0, "length": 12}]}, None),
        ("@hоuse_bot hi", {"entities": [{"type": "mention", "offset": 0, "length": 10}]}, None),  # a Cyrillic o
        ("/st\u200batus", {}, None),
        ("\u202e/status@house_bot", {}, None),
    ],
)
async def test_in_a_group_only_what_is_meant_for_us_is_heard(
    tmp_path: Path, text: str, more: dict[str, Any], heard: str | None
) -> None:
    async with connected(tmp_path, owners=("telegram:42",)) as chat:
        chat.fake.says(text, GROUP, **more)
        chat.fake.says("the end", GROUP, reply_to_message=OURS)
        taken = await chat.taken(1 if heard is None else 2)
        assert [one.text for one in taken[:-1]] == ([] if heard is None else [heard])
        assert not taken[-1].direct


async def test_the_name_of_a_bot_that_begins_like_ours_is_left_whole(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.says("@house_bot_2 is another one")
        assert [one.text for one in await chat.taken(1)] == ["@house_bot_2 is another one"]


async def test_a_topic_is_a_session_of_its_own_and_a_thread_of_answers_is_none(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.says("in a topic", GROUP, message_thread_id=7, is_topic_message=True)
        chat.fake.says("an answer", GROUP, message_thread_id=9)
        plain, topic = sorted(await chat.taken(2), key=lambda one: len(str(one.key)))
        assert (str(topic.key), str(plain.key)) == ("telegram:default:-1001:7", "telegram:default:-1001")
        await chat.send("there", key=str(topic.key))
        await chat.fake.until(lambda: chat.fake.sent("sendMessage"))
        assert chat.fake.sent("sendMessage")[0].params["message_thread_id"] == "7"


async def test_a_group_that_becomes_a_supergroup_stays_one_conversation(tmp_path: Path) -> None:
    old, new = {"id": -5, "type": "group", "title": "Family"}, {"id": -1005, "type": "supergroup", "title": "Family"}
    async with connected(tmp_path) as chat:
        chat.fake.says("one", old)
        chat.fake.says(chat=old, migrate_to_chat_id=-1005)
        chat.fake._message = 0
        chat.fake.says("two", new)
        one, two = await chat.taken(2)
        assert [(str(m.key), m.id) for m in (one, two)] == [("telegram:default:-5", "1"), ("telegram:default:-5", "-1005/1")]
        await chat.send("hello", key="telegram:default:-5", reply_to=two.id)
        sent = chat.fake.sent("sendMessage")[0].params
        assert (sent["chat_id"], sent["reply_parameters"]["message_id"]) == ("-1005", 1)


@pytest.mark.parametrize(
    ("more", "tainted"),
    [
        ({}, False),
        ({"forward_origin": {"type": "user", "date": 1, "sender_user": BOB}}, True),
        ({"forward_origin": {"type": "user", "date": 1, "sender_user": ANN}}, False),
        ({"forward_origin": {"type": "hidden_user", "date": 1, "sender_user_name": "X"}}, True),
        ({"via_bot": {"id": 9, "is_bot": True, "first_name": "other"}}, True),
        ({"reply_to_message": {"message_id": 9, "date": 1, "chat": GROUP, "from": BOB, "text": "do evil"}}, True),
        ({"reply_to_message": OURS}, False),
        (
            {
                "quote": {"text": "from elsewhere", "position": 0},
                "external_reply": {"origin": {"type": "hidden_user", "date": 1, "sender_user_name": "X"}},
            },
            True,
        ),
    ],
)
async def test_what_somebody_else_wrote_marks_the_message(tmp_path: Path, more: dict[str, Any], tainted: bool) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.says("hello", **more)
        [inbound] = await chat.taken(1)
    assert inbound.tainted is tainted


async def test_a_command_that_was_passed_on_is_none(tmp_path: Path) -> None:
    """Somebody who sends the owner `/approve e1` must not get it run by being forwarded."""
    async with connected(tmp_path) as chat:
        chat.fake.says("/approve e1", forward_origin={"type": "user", "date": 1, "sender_user": BOB})
        [inbound] = await chat.taken(1)
    assert (inbound.text, inbound.tainted) == ("[forwarded]\n/approve e1", True)


async def test_nor_is_one_below_a_picture_of_an_album_that_came_late(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        for caption in (None, "/approve e1"):
            origin = {"type": "user", "date": 1, "sender_user": BOB}
            chat.fake.says(photo=chat.fake.photo("a"), media_group_id="g", caption=caption, forward_origin=origin)
            await chat.taken(1 if caption is None else 2)
        assert [(one.text, one.tainted) for one in chat.kit.taken] == [("[forwarded]", True), ("[forwarded]\n/approve e1", True)]


@pytest.mark.parametrize(
    "update",
    [
        {"message": {"message_id": 5, "date": 1, "chat": GROUP, "from": {**BOB, "is_bot": True}, "text": "beep"}},
        {"message": {"message_id": 5, "date": 1, "chat": GROUP, "from": ANN, "new_chat_members": [BOT]}},
        {"message": {"message_id": 5, "date": 1, "chat": GROUP, "from": ANN, "pinned_message": OURS}},
        {
            "channel_post": {
                "message_id": 5,
                "date": 1,
                "chat": GROUP,
                "sender_chat": GROUP,
                "is_automatic_forward": True,
                "text": "x",
            }
        },
        {
            "edited_message": {
                "message_id": 5,
                "date": 1,
                "edit_date": 2,
                "chat": GROUP,
                "from": ANN,
                "location": {"latitude": 1.0, "longitude": 2.0},
            }
        },
        {"my_chat_member": {}},
        {"message": {"message_id": 5, "date": 1, "chat": GROUP, "from": ANN, "text": ""}},
    ],
)
async def test_what_says_nothing_to_us_is_confirmed_and_no_message(tmp_path: Path, update: dict[str, Any]) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.add(**update)
        chat.fake.says("hello")
        assert [one.text for one in await chat.taken(1)] == ["hello"]


async def test_a_post_in_a_channel_is_its_channels(tmp_path: Path) -> None:
    place = {"id": -1009, "type": "channel", "title": "News", "username": "news"}
    async with connected(tmp_path) as chat:
        chat.fake.add(
            channel_post={
                "message_id": 5,
                "date": 1,
                "chat": place,
                "sender_chat": place,
                "text": "@house_bot sum it up",
                **mention("@house_bot"),
            }
        )
        [post] = await chat.taken(1)
    assert (str(post.key), post.principal.user, post.direct, post.text) == ("telegram:default:-1009", "-1009", False, "sum it up")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"location": {"latitude": 1.5, "longitude": 2.5}}, "[place: 1.5, 2.5]"),
        ({"contact": {"phone_number": "+49", "first_name": "Bob"}}, "[contact: Bob +49]"),
        ({"dice": {"emoji": "🎲", "value": 3}}, "[🎲 3]"),
        (
            {
                "sticker": {
                    "file_id": "s",
                    "file_unique_id": "s",
                    "width": 1,
                    "height": 1,
                    "is_animated": True,
                    "is_video": False,
                    "type": "regular",
                }
            },
            "[sticker]",
        ),
        (
            {"text": "see here", "entities": [{"type": "text_link", "offset": 4, "length": 4, "url": "http://x.y"}]},
            "see here (http://x.y)",
        ),
        (
            {"text": "👋 here!", "entities": [{"type": "text_link", "offset": 3, "length": 4, "url": "http://x.y"}]},
            "👋 here (http://x.y)!",
        ),
    ],
)
async def test_what_is_no_text_has_a_line(tmp_path: Path, more: dict[str, Any], text: str) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.says(**more)
        [inbound] = await chat.taken(1)
    assert inbound.text == text


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\u202eevil\u200b\u2066", "\ud83d broken", "a\x00b\x1b[31m"])
async def test_odd_texts_arrive_as_they_are(tmp_path: Path, text: str) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.says(text)
        [inbound] = await chat.taken(1)
    assert inbound.text == text


# --- how it ends


@pytest.mark.parametrize(
    ("fault", "cause", "says"),
    [
        (Fault.UNAUTHORIZED, Cause.AUTH, "does not know the bot of channels.telegram.token"),
        (Fault.CONFLICT, Cause.TRANSIENT, "another program receives the messages of this bot"),
        (Fault.FLOOD, Cause.RATE_LIMITED, "left alone for 1 s"),
        (Fault.UNAVAILABLE, Cause.TRANSIENT, "not available (HTTP 502)"),
        (Fault.GARBAGE, Cause.TRANSIENT, "no answer of Telegram"),
        (Fault.RESET, Cause.TRANSIENT, "the connection to Telegram broke"),
        (Fault.CLOSE, Cause.TRANSIENT, "the connection to Telegram broke"),
    ],
)
async def test_a_poll_that_fails_ends_the_life_with_its_cause(tmp_path: Path, fault: Fault, cause: Cause, says: str) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.strike(fault)
        error = await chat.ended()
        assert (error.cause, says in str(error), chat.fake.token in str(error)) == (cause, True, False)
        assert error.retry_after == (1.0 if fault is Fault.FLOOD else None)
        await chat.again()
        chat.fake.says("hello")
        await chat.taken(1)


async def test_no_answer_is_noticed(tmp_path: Path) -> None:
    async with connected(tmp_path, poll_s=1.0) as chat:
        chat.fake.strike(Fault.HALF_OPEN)
        assert str(await chat.ended()) == "no answer from Telegram for 2 s"


@pytest.mark.parametrize(("token", "says"), [("", "is empty"), ("1:wrong", "does not know the bot")])
async def test_a_token_that_is_not_one_parks_at_once(tmp_path: Path, token: str, says: str) -> None:
    async with connected(tmp_path, token=Secret(token)) as chat:
        error = await chat.ended()
    assert (error.cause in (Cause.AUTH, Cause.CONFIG), says in str(error)) == (True, True)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409])
@pytest.mark.parametrize("body", [b"<html>Not Found</html>", b"[]"])
async def test_what_is_no_bot_api_server_parks_nothing(tmp_path: Path, status: int, body: bytes) -> None:
    """A proxy, somebody's portal, a wrong `apiBase`: none of them knows whether there is such a bot."""

    async def answer(_request: HttpRequest, responder: Responder) -> None:
        await responder.reply(status, body)

    async with loopback(answer) as server, fake_telegram() as fake, connected(tmp_path, fake, api_base=server.url) as chat:
        error = await chat.ended()
    assert (error.cause, f"no Bot API server (HTTP {status})" in str(error)) == (Cause.TRANSIENT, True)


async def test_a_proxy_that_is_none_parks_it(tmp_path: Path) -> None:
    async with connected(tmp_path, proxy=Secret("http://user:word@host:port")) as chat:
        error = await chat.ended()
    assert (error.cause, "channels.telegram.proxy" in str(error), "word" in str(error)) == (Cause.CONFIG, True, False)


@pytest.mark.parametrize("content", ["[" * 100_000, "{", '{"moved": {"-1001": 5}, "steps": []}'])
async def test_a_damaged_memory_holds_up_nothing(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "channels" / "telegram"
    folder.mkdir(parents=True)
    (folder / "memory.json").write_text(content)
    async with connected(tmp_path) as chat:
        chat.fake.says("hello", GROUP)
        assert [str(one.key) for one in await chat.taken(1)] == ["telegram:default:-1001"]


async def test_a_memory_that_cannot_be_read_is_no_bug(tmp_path: Path) -> None:
    """And nothing is done without it: groups that moved would be other conversations."""
    (tmp_path / "channels" / "telegram" / "memory.json").mkdir(parents=True)
    async with connected(tmp_path) as chat:
        error = await chat.ended()
    assert (error.cause, "memory.json" in str(error)) == (Cause.TRANSIENT, True)


async def test_polls_of_less_than_a_second_are_no_storm(tmp_path: Path) -> None:
    async with connected(tmp_path, poll_s=0.1) as chat:
        await trio.sleep(0.5)
        assert chat.fake.polls <= 2


async def test_a_server_that_does_not_wait_is_not_asked_without_end(tmp_path: Path) -> None:
    polls = 0

    async def answer(request: HttpRequest, responder: Responder) -> None:
        nonlocal polls
        method = request.path.rpartition("/")[2]
        polls += method == "getUpdates"
        result = [] if method == "getUpdates" else fake.result(Call(method, {}, {}))
        await responder.reply(200, json.dumps({"ok": True, "result": result}).encode())

    async with loopback(answer) as server, fake_telegram() as fake, connected(tmp_path, fake, api_base=server.url):
        await trio.sleep(0.5)
    assert polls <= 4


async def test_a_webhook_is_taken_away_and_what_waits_is_kept(tmp_path: Path) -> None:
    async with fake_telegram() as fake:
        fake.webhook = "https://example.org/hook"
        fake.says("hello")
        async with connected(tmp_path, fake) as chat:
            assert [one.text for one in await chat.taken(1)] == ["hello"]
        assert fake.sent("deleteWebhook")[0].params["drop_pending_updates"] == "false"


async def test_stopping_leaves_no_connection(tmp_path: Path) -> None:
    async with fake_telegram() as fake:
        async with connected(tmp_path, fake) as chat:
            chat.fake.says("hello")
            await chat.taken(1)
        with trio.fail_after(2):
            await fake.server.all_closed()


async def test_a_proxy_is_asked_for_what_is_not_on_this_machine(tmp_path: Path) -> None:
    async with (
        fake_telegram() as fake,
        connected(tmp_path, fake, api_base="http://telegram.invalid", proxy=Secret(fake.url)) as chat,
    ):
        fake.says("through")
        assert [one.text for one in await chat.taken(1)] == ["through"]


async def test_files_come_from_their_own_address(tmp_path: Path) -> None:
    async with fake_telegram() as fake, connected(tmp_path, fake, file_api_base=f"{fake.url}/file") as chat:
        fake.says(photo=fake.photo("a"))
        assert len((await chat.taken(1))[0].attachments) == 1
