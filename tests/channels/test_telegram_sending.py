"""What goes out to Telegram: text, drafts, files, buttons; and what becomes of a send that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from nanobot.channels.port import SendLater, SendRefused, SendUnknown, Unreachable
from nanobot.channels.telegram.outgoing import Files, Words, plan
from nanobot.messages import Attachment, Button, MessageId, SessionKey
from nanobot.session import events as ev
from nanobot.supervise.policy import Cause
from tests.channels.telegram_kit import Chat, connected, part
from tests.fakes.telegram import GROUP, Call, Fault, Refused

ANN = SessionKey("telegram", "42")
FAMILY = SessionKey("telegram", "-1001")


def file(place: Path, name: str, body: bytes = b"body") -> Attachment:
    path = place / f"out-{name}"
    path.write_bytes(body)
    return Attachment(str(path), "", name, len(body))


# --- text


async def test_markdown_is_shown_as_telegram_shows_it(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        end = await chat.send("**bold** & `code`")
        assert isinstance(end, ev.PartDelivered)
        [sent] = chat.fake.sent("sendMessage")
        assert (sent.params["text"], sent.params["parse_mode"]) == ("<b>bold</b> &amp; <code>code</code>", "HTML")
        assert chat.fake.chat() == ["bold & code"]


async def test_what_telegram_cannot_read_as_html_is_sent_as_text(tmp_path: Path) -> None:
    def refuse(call: Call) -> None:
        if call.params.get("parse_mode"):
            raise Refused("Bad Request: can't parse entities: a tag that it did not like")

    async with connected(tmp_path) as chat:
        chat.fake.refuses = refuse
        assert isinstance(await chat.send("**bold**"), ev.PartDelivered)
        assert chat.fake.chat() == ["**bold**"]


@pytest.mark.parametrize("text", ["[x](http://a.b/" + "c" * 5000 + ")", "**" + "x" * 4096 + "**", "🙂" * 2048])
async def test_what_fits_as_rendered_is_one_message(tmp_path: Path, text: str) -> None:
    async with connected(tmp_path) as chat:
        assert isinstance(await chat.send(text), ev.PartDelivered)
        assert len(chat.fake.chat()) == 1


async def test_a_text_of_a_megabyte_goes_in_parts_that_telegram_takes(tmp_path: Path) -> None:
    async with connected(tmp_path, react_emoji="") as chat:
        text = "**word** `code` 🙂 " * 60_000
        split = await chat.send(text)
        assert isinstance(split, ev.SplitInto)
        for n in (0, 1, len(split.parts) - 1):
            assert isinstance(await chat.send(text, n, parts=split.parts), ev.PartDelivered)


async def test_halves_of_characters_are_no_trouble(tmp_path: Path) -> None:
    given = Attachment(file(tmp_path, "x").path, "", "caf\udce9.pdf", 4)
    async with connected(tmp_path) as chat:
        await chat.channel.send(part("a\ud83d b \ud83d\ude42"))
        await chat.channel.send(part("", attachments=(given,)))
        assert chat.fake.chat() == ["a\ufffd b 🙂", "<document>"]


async def test_in_a_group_the_message_is_quoted_and_in_private_only_if_wanted(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        await chat.send("a", reply_to=MessageId("7@12"))
        await chat.send("b", key="telegram:default:-1001", reply_to=MessageId("7@12"))
        await chat.send("c", key="telegram:default:-1001", reply_to=MessageId("press:9"))
        quoted = [call.params.get("reply_parameters") for call in chat.fake.sent("sendMessage")]
    assert quoted == [None, {"message_id": 7, "allow_sending_without_reply": True}, None]


async def test_buttons_bring_back_what_they_say(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        await chat.send("May I?", buttons=(Button("Allow", "/approve e1"), Button("Deny", "/deny e1"), Button("x" * 30, "y")))
        [sent] = chat.fake.sent("sendMessage")
        rows = [[(key["text"], key["callback_data"]) for key in row] for row in sent.params["reply_markup"]["inline_keyboard"]]
    assert rows == [[("Allow", "/approve e1"), ("Deny", "/deny e1")], [("x" * 30, "y")]]


async def test_what_a_button_cannot_carry_is_no_button(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        await chat.send("May I?", buttons=(Button("Allow", "/approve " + "é" * 28),))
        assert "reply_markup" not in chat.fake.sent("sendMessage")[0].params


# --- drafts, typing, reactions


async def test_a_draft_grows_and_becomes_the_message(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        draft = await chat.channel.draft(ANN, "Hel", "", None)
        assert await chat.channel.draft(ANN, "Hello **wor", draft, None) == draft
        assert await chat.channel.draft(ANN, "Hello **wor", draft, None) == draft  # "message is not modified"
        receipt = await chat.channel.send(part("Hello **world**", draft=draft))
        assert (receipt.id, chat.fake.chat()) == (draft, ["Hello world"])


async def test_a_draft_that_was_deleted_is_no_loss(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        draft = await chat.channel.draft(ANN, "Hel", "", None)
        chat.fake.shown.clear()
        await chat.channel.send(part("Hello", draft=draft))
        assert chat.fake.chat() == ["Hello"]


@pytest.mark.parametrize(("key", "more", "quoted"), [(FAMILY, {}, 7), (ANN, {}, None), (ANN, {"reply_to_message": True}, 7)])
async def test_a_draft_quotes_what_its_answer_will(
    tmp_path: Path, key: SessionKey, more: dict[str, Any], quoted: int | None
) -> None:
    """And not what was said in the group since."""
    async with connected(tmp_path, **more) as chat:
        chat.fake.says("what others say", GROUP)
        await chat.taken(1)
        await chat.channel.draft(key, "Hel", "", MessageId("7"))
        [sent] = chat.fake.sent("sendMessage")
        assert sent.params.get("reply_parameters", {}).get("message_id") == quoted


async def test_in_a_group_drafts_keep_to_what_telegram_takes(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        draft = await chat.channel.draft(FAMILY, "a", "", None)
        with pytest.raises(SendLater) as caught:
            await chat.channel.draft(FAMILY, "ab", draft, None)
        assert 3.0 < (caught.value.retry_after or 0) <= 3.5


async def test_typing_and_reactions(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        number = MessageId(str(chat.fake.says("hello")))
        await chat.taken(1)
        await chat.fake.until(lambda: chat.fake.sent("setMessageReaction"))
        await chat.channel.typing(SessionKey("telegram", "-1001", topic="7"))
        await chat.send("hi", reply_to=number)
        await chat.fake.until(lambda: len(chat.fake.sent("setMessageReaction")) == 2)
        on, off = (call.params for call in chat.fake.sent("setMessageReaction"))
        assert (on["message_id"], on["reaction"], off.get("reaction")) == (number, [{"type": "emoji", "emoji": "👀"}], None)
        [typed] = chat.fake.sent("sendChatAction")
        assert (typed.params["action"], typed.params["message_thread_id"]) == ("typing", "7")


# --- files


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("a.JPG", "sendPhoto"),
        ("a.webp", "sendPhoto"),
        ("a.gif", "sendAnimation"),
        ("a.mp4", "sendVideo"),
        ("a.m4a", "sendAudio"),
        ("a.ogg", "sendVoice"),
        ("a.pdf", "sendDocument"),
        ("noname", "sendDocument"),
        ("ev\u202eil\n.pdf", "sendDocument"),
    ],
)
async def test_a_file_goes_as_what_it_is(tmp_path: Path, name: str, method: str) -> None:
    given = Attachment(file(tmp_path, "x").path, "", name, 4)
    async with connected(tmp_path) as chat:
        await chat.channel.send(part("**see**", attachments=(given,)))
        [sent] = chat.fake.sent(method)
        assert (sent.params["caption"], [body for _, body in sent.files.values()]) == ("<b>see</b>", [b"body"])


async def test_several_pictures_are_an_album(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        await chat.channel.send(part("look", attachments=tuple(file(tmp_path, f"{n}.png") for n in range(3))))
        [sent] = chat.fake.sent("sendMediaGroup")
        assert [(one["type"], one.get("caption")) for one in sent.params["media"]] == [
            ("photo", "look"),
            ("photo", None),
            ("photo", None),
        ]
        assert len(sent.files) == 3


@pytest.mark.parametrize(
    ("names", "text", "more", "steps"),
    [
        (["a.png"], "hi", {}, [Files]),
        (["a.png"], "", {}, [Files]),
        (["a.png"], "**" + "x" * 1024 + "**", {}, [Files]),
        (["a.png"], "x" * 1025, {}, [Words, Files]),
        (["a.png"], "hi", {"draft": "5"}, [Words, Files]),
        (["a.png", "b.png"], "hi", {"buttons": (Button("a", "b"),)}, [Words, Files]),
        (["a.png"], "hi", {"buttons": (Button("a", "b"),)}, [Files]),
        ([f"{n}.png" for n in range(12)], "hi", {}, [Files, Files]),
        (["a.png", "b.mp4", "c.pdf", "d.ogg", "e.ogg"], "hi", {}, [Files, Files, Files, Files]),
        ([], "hi", {}, [Words]),
    ],
)
def test_what_goes_together(names: list[str], text: str, more: dict[str, Any], steps: list[type]) -> None:
    given = tuple(Attachment(f"/{name}", "", name, 1) for name in names)
    planned = plan(part(text, attachments=given, **more))
    assert [type(step) for step in planned] == steps
    assert sum(step.buttons for step in planned) == ("buttons" in more)


def test_a_file_that_is_too_large_is_named() -> None:
    assert plan(part("hi", attachments=(Attachment("/a", "", "a.iso", 60_000_000),))) == (
        Words("hi\n[a.iso is larger than 50 MB, which Telegram does not take]"),
    )


def test_what_is_said_of_a_file_does_not_make_a_text_too_long() -> None:
    large = Attachment("/a", "", "a.iso", 60_000_000)
    first, second = plan(part("x" * 4000 + "\n" + "y" * 95, attachments=(large,), buttons=(Button("a", "b"),)))
    assert (first, second) == (
        Words("x" * 4000 + "\n" + "y" * 95),
        Words("[a.iso is larger than 50 MB, which Telegram does not take]", True),
    )


def test_an_empty_file_does_not_take_others_with_it() -> None:
    """Telegram refuses it, and with it the album."""
    full, empty = Attachment("/a", "", "a.png", 1), Attachment("/b", "", "b.png", 0)
    assert plan(part("hi", attachments=(full, empty))) == (
        Files((("photo", full),), "hi\n[b.png is empty, which Telegram does not take]"),
    )


async def test_a_file_that_is_gone_does_not_take_others_with_it(tmp_path: Path) -> None:
    there = tuple(file(tmp_path, f"{n}.png") for n in range(3))
    Path(there[1].path).unlink()
    async with connected(tmp_path) as chat:
        await chat.channel.send(part("look", attachments=there))
        [album] = chat.fake.sent("sendMediaGroup")
        assert len(album.files) == 2
        assert chat.fake.chat()[0] == "look\n[1.png could not be sent: No such file or directory]"


async def test_a_picture_that_telegram_does_not_take_goes_as_a_document_else_as_a_line(tmp_path: Path) -> None:
    takes = {"sendDocument", "sendMessage"}

    def refuse(call: Call) -> None:
        if call.method.startswith("send") and call.method not in takes:
            raise Refused("Bad Request: PHOTO_INVALID_DIMENSIONS")

    async with connected(tmp_path) as chat:
        chat.fake.refuses = refuse
        await chat.channel.send(part("see", attachments=(file(tmp_path, "a.png"),)))
        takes.discard("sendDocument")
        await chat.channel.send(part("see", attachments=(file(tmp_path, "a.png"),)))
        gone = Attachment(str(tmp_path / "gone"), "", "gone.txt", 1)
        await chat.channel.send(part("see", attachments=(gone,)))
        assert chat.fake.chat() == [
            "<document> see",
            "see\n[a.png could not be sent: Photo_invalid_dimensions]",
            "see\n[gone.txt could not be sent: No such file or directory]",
        ]


async def test_a_part_of_several_messages_goes_on_where_it_broke_off_even_in_another_life(tmp_path: Path) -> None:
    whole = part("x" * 2000, attachments=(file(tmp_path, "a.png"), file(tmp_path, "b.ogg")))
    async with connected(tmp_path) as chat:
        chat.fake.strike(Fault.FLOOD, "sendPhoto")
        with pytest.raises(SendLater):
            await chat.channel.send(whole)
        chat.kit.supervisor.scopes["telegram"].cancel()
        await chat.kit.supervisor.ended.wait()
        await chat.again()
        await chat.channel.send(whole)
        assert [text.partition(" ")[0] for text in chat.fake.chat()] == ["x" * 2000, "<photo>", "<voice>"]
        assert json.loads((tmp_path / "channels" / "telegram" / "memory.json").read_text())["steps"]


# --- what fails


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Fault.FLOOD, SendLater, "left alone for 7 s"),
        (Fault.UNAVAILABLE, SendLater, "HTTP 502"),
        (Fault.LOST, SendUnknown, "the connection to Telegram broke"),
        (Fault.RESET, SendUnknown, "the connection to Telegram broke"),
        (Fault.GARBAGE, SendUnknown, "no answer of Telegram"),
    ],
)
async def test_what_a_failed_send_is_told_as(tmp_path: Path, fault: Fault, error: type[Exception], says: str) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.flood_s = 7
        chat.fake.strike(fault, "sendMessage")
        with pytest.raises(error, match=says.replace("(", r"\(")) as caught:
            await chat.channel.send(part("hello"))
        if isinstance(caught.value, SendLater):
            assert caught.value.retry_after == (7.0 if fault is Fault.FLOOD else None)
        assert len(chat.fake.chat()) == (fault is Fault.LOST)


@pytest.mark.parametrize(
    "refusal", [Refused("Bad Request: CHAT_NOT_FOUND"), Refused("Forbidden: bot was blocked by the user", 403)]
)
async def test_what_telegram_will_never_take_is_refused(tmp_path: Path, refusal: Refused) -> None:
    def refuse(call: Call) -> None:
        if call.method == "sendMessage":
            raise refusal

    async with connected(tmp_path) as chat:
        chat.fake.refuses = refuse
        with pytest.raises(SendRefused, match="(?i)" + str(refusal).removeprefix("Bad Request: ")):
            await chat.channel.send(part("hello"))


async def test_a_send_to_a_server_that_is_not_there_went_nowhere(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        chat.channel._live.bot._http.client = _deaf(chat)  # type: ignore[union-attr]
        with pytest.raises(SendLater, match="cannot be reached"):
            await chat.channel.send(part("hello"))


def _deaf(chat: Chat) -> Any:
    from nanobot.channels.telegram.sdk import httpx2

    return httpx2.AsyncClient(proxy="http://127.0.0.1:9", timeout=None)


async def test_a_group_that_moved_is_followed(tmp_path: Path) -> None:
    def refuse(call: Call) -> None:
        if call.params.get("chat_id") == "-5":
            raise Refused("Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-1005)

    async with connected(tmp_path) as chat:
        chat.fake.refuses = refuse
        await chat.channel.send(part("hello", key="telegram:default:-5"))
        chat.fake.says("hi", {**GROUP, "id": -1005})
        assert (chat.fake.chat(-1005), str((await chat.taken(1))[0].key)) == (["hello"], "telegram:default:-5")


async def test_a_token_that_is_revoked_while_we_send_parks_it(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.strike(Fault.UNAUTHORIZED, "sendMessage")
        with pytest.raises(Unreachable):
            await chat.channel.send(part("hello"))
        assert (await chat.ended()).cause is Cause.AUTH


async def test_a_method_that_the_server_does_not_know_ends_nothing(tmp_path: Path) -> None:
    """Bot API servers of people's own are older than the API."""

    def refuse(call: Call) -> None:
        if call.method in ("setMessageReaction", "setMyCommands"):
            raise Refused("Not Found", 404)

    async with connected(tmp_path) as chat:
        chat.fake.refuses = refuse
        chat.fake.says("hello")
        await chat.taken(1)
        with pytest.raises(SendRefused):
            await chat.channel.react(ANN, MessageId("1"), answered=False)
        assert isinstance(await chat.send("hi"), ev.PartDelivered)


async def test_what_is_not_connected_says_so(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        channel = chat.channel
        chat.kit.supervisor.scopes["telegram"].cancel()
        await chat.kit.supervisor.ended.wait()
        with pytest.raises(Unreachable, match="not connected"):
            await channel.send(part("hello"))


# --- nanobot channels test


@pytest.mark.parametrize(("privacy", "says"), [(True, "Its privacy mode is on"), (False, "Its privacy mode is off")])
async def test_a_probe_says_who_it_is_and_takes_and_sends_nothing(tmp_path: Path, privacy: bool, says: str) -> None:
    async with connected(tmp_path) as chat:
        chat.fake.privacy = privacy
        await chat.fake.until(lambda: chat.fake.sent("setMyCommands"))
        polls, calls = chat.fake.polls, len(chat.fake.calls)
        lines = await chat.channel.probe(tmp_path / "nowhere", "")
        assert lines[0] == "It is @house_bot (House, id 123456789)."
        assert lines[1].startswith(says)
        assert (chat.fake.polls, [call.method for call in chat.fake.calls[calls:]]) == (polls, ["getMe", "getWebhookInfo"])


async def test_a_probe_sends_where_it_is_told_to(tmp_path: Path) -> None:
    async with connected(tmp_path) as chat:
        with trio.fail_after(5):
            lines = await chat.channel.probe(tmp_path, "42")
        assert lines[-1] == "A test message was sent to 42."
        assert len(chat.fake.chat()) == 1


async def test_a_probe_whose_message_gets_no_answer_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.telegram.channel.CONNECT_S", 0.3)
    async with connected(tmp_path) as chat:
        chat.fake.strike(Fault.HALF_OPEN, "sendMessage")
        with trio.fail_after(5), pytest.raises(SendUnknown, match="no answer from Telegram"):
            await chat.channel.probe(tmp_path, "42")
