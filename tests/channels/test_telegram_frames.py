"""The frames of the fake server, held against the SDK's own models: what the SDK reads of each is all that stands in it."""

from __future__ import annotations

from typing import Any

import pytest

from nanobot.channels.telegram.sdk import telegram as tg
from tests.fakes.telegram import ANN, BOB, BOT, GROUP, NOW, Call, FakeTelegram

FAKE = FakeTelegram()
MESSAGE = FAKE.message("hi")
FILE = FAKE.file("docs/f", b"body")


def unknown(model: tg.TelegramObject, path: str = "") -> list[str]:
    """Fields that the SDK does not know, wherever in it they are."""
    found = [f"{path}{name}" for name in model.api_kwargs]
    for name in (name for cls in type(model).__mro__ for name in getattr(cls, "__slots__", ())):
        value = getattr(model, name, None) if not name.startswith("_") else None
        for below in value if isinstance(value, tuple) else (value,):
            if isinstance(below, tg.TelegramObject):
                found += unknown(below, f"{path}{name}.")
    return found


@pytest.mark.parametrize(
    "update",
    [
        {"message": MESSAGE},
        {"edited_message": {**MESSAGE, "edit_date": NOW}},
        {"channel_post": {**MESSAGE, "sender_chat": GROUP, "is_automatic_forward": True}},
        {"callback_query": {"id": "p", "from": ANN, "chat_instance": "c", "data": "/approve e1", "message": MESSAGE}},
        {
            "callback_query": {
                "id": "p",
                "from": ANN,
                "chat_instance": "c",
                "data": "x",
                "message": {"chat": GROUP, "message_id": 1, "date": 0},
            }
        },
        {"message": FAKE.message(photo=FAKE.photo("a"), media_group_id="g", caption="c")},
        {"message": FAKE.message(document={**FILE, "file_name": "f", "mime_type": "text/plain"})},
        {"message": FAKE.message(voice={**FILE, "duration": 3, "mime_type": "audio/ogg"})},
        {"message": FAKE.message(video={**FILE, "duration": 3, "width": 1, "height": 1})},
        {"message": FAKE.message(audio={**FILE, "duration": 3, "file_name": "a.mp3"})},
        {"message": FAKE.message(video_note={**FILE, "duration": 3, "length": 5})},
        {
            "message": FAKE.message(
                sticker={
                    **FILE,
                    "width": 1,
                    "height": 1,
                    "is_animated": False,
                    "is_video": False,
                    "type": "regular",
                    "emoji": "🙂",
                }
            )
        },
        {"message": FAKE.message("x", GROUP, message_thread_id=7, is_topic_message=True)},
        {"message": FAKE.message("x", GROUP, reply_to_message={**MESSAGE, "from": BOT})},
        {"message": FAKE.message("x", forward_origin={"type": "user", "date": 1, "sender_user": BOB}, via_bot=BOT)},
        {
            "message": FAKE.message(
                "x",
                quote={"text": "y", "position": 0},
                external_reply={"origin": {"type": "hidden_user", "date": 1, "sender_user_name": "X"}},
            )
        },
        {"message": FAKE.message("a @b", entities=[{"type": "mention", "offset": 2, "length": 2}])},
        {"message": FAKE.message(chat=GROUP, migrate_to_chat_id=-1005)},
        {"message": FAKE.message(chat=GROUP, migrate_from_chat_id=-5)},
    ],
    ids=lambda update: ",".join(update[next(iter(update))]),
)
def test_an_update_is_one_of_the_sdks(update: dict[str, Any]) -> None:
    read = tg.Update.de_json({"update_id": 1, **update}, None)
    assert unknown(read) == []
    assert read.to_dict().keys() == {"update_id", *update}


@pytest.mark.parametrize(
    ("method", "params", "model"),
    [
        ("getMe", {}, tg.User),
        ("getWebhookInfo", {}, tg.WebhookInfo),
        ("getFile", {"file_id": "docs/f"}, tg.File),
        ("sendMessage", {"chat_id": "42", "text": "x"}, tg.Message),
        ("sendPhoto", {"chat_id": "42"}, tg.Message),
    ],
)
def test_an_answer_is_one_of_the_sdks(method: str, params: dict[str, Any], model: type[tg.TelegramObject]) -> None:
    assert unknown(model.de_json(FAKE.result(Call(method, params, {})), None)) == []


def test_an_unknown_field_would_be_seen() -> None:
    read = tg.Update.de_json({"update_id": 1, "message": {**MESSAGE, "from": {**ANN, "shoe_size": 41}}}, None)
    assert unknown(read) == ["message.from_user.shoe_size"]
