"""What a person does with the page, in a real browser: write, read, stop, go away and come back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.page.browser import Browser, Page
from tests.page.server import TOKEN, Frame, Gateway

BOT_TEXTS = "[...document.querySelectorAll('.bot .body')].map((body) => body.innerText)"
YOU_TEXTS = "[...document.querySelectorAll('.you .body')].map((body) => body.innerText)"


async def write(page: Page, text: str) -> None:
    await page.click("#text")
    await page.type(text)
    await page.press("Enter", 13)


async def written(page: Page, fake: Gateway, text: str) -> Frame:
    """Write a message; returns it as the gateway got it."""
    before = len(fake.of("message"))
    await write(page, text)
    return (await fake.until("message", before + 1))[-1]


def exchange(n: int, **more: Any) -> list[Frame]:
    asked = {"n": n, "role": "you", "id": f"u{n}", "text": f"question {n}", "at": 1_700_000_000 + n}
    return [asked, {"n": n, "role": "bot", "replyTo": f"u{n}", "text": f"answer {n}", **more}]


async def open_chat(page: Page, chat: str) -> None:
    """Open the page again in this chat."""
    await page.value(f"sessionStorage.setItem('nanobot.chat', {chat!r})")
    await page.reload()
    await page.until_text("#link", "Connected")


async def test_an_answer_grows_and_is_replaced_in_its_place(page: Page, fake: Gateway) -> None:
    asked = await written(page, fake, "What is the time?")
    live = {"chat": asked["chat"], "turn": 1}
    await page.until_text(".you footer", "on disk")
    await fake.tell({"type": "state", "chat": asked["chat"], "state": "thinking"})
    await fake.tell({"type": "delta", **live, "text": "It is **ha"})
    await page.until_text("#doing", "Thinking")
    await page.until_text(".bot .body", "It is **ha")
    await fake.tell({"type": "delta", **live, "text": "lf past** nine"})
    await page.until_text(".bot strong", "half past")
    await page.value("window.bubble = document.querySelector('.bot')")
    await fake.answer(asked, "It is **half past nine**.")
    await page.until_text(".bot strong", "half past nine")
    assert await page.value("window.bubble.isConnected && document.querySelectorAll('.bot').length") == 1
    await page.until_text(".you footer", "answered")
    assert [ack["id"] for ack in await fake.until("ack")] == [f"{asked['chat']}/o0"]


async def test_what_was_withdrawn_is_gone(page: Page, fake: Gateway) -> None:
    live = {"chat": (await written(page, fake, "hello"))["chat"], "turn": 1}
    await fake.tell({"type": "delta", **live, "text": "first try"})
    await page.until_text(".bot .body", "first try")
    await fake.tell({"type": "void", **live}, {"type": "delta", **live, "text": "second"})
    await page.until(f"{BOT_TEXTS}[0] === 'second'")


async def test_tools_are_named_while_they_run_and_how_they_ended(page: Page, fake: Gateway) -> None:
    live = {"chat": (await written(page, fake, "look"))["chat"], "turn": 1}
    await fake.tell({"type": "delta", **live, "text": "I look."}, {"type": "state", **live, "state": "working", "tool": "exec"})
    for name, phase in (("exec", "started"), ("grep", "started"), ("exec", "failed")):
        await fake.tell({"type": "tool", **live, "name": name, "phase": phase})
    await page.until_text("#doing", "Using exec")
    lines = "[...document.querySelectorAll('.tools li')].map((line) => line.innerText).join()"
    await page.until(f"{lines} === 'I look.,exec failed,grep running'")


async def test_stop_is_there_while_something_runs(page: Page, fake: Gateway) -> None:
    chat = (await written(page, fake, "count to a million"))["chat"]
    await fake.tell({"type": "state", "chat": chat, "state": "thinking"})
    await page.click("#stop")
    assert (await fake.until("stop"))[0]["chat"] == chat
    await fake.tell({"type": "state", "chat": chat, "state": "idle"})
    await page.until("document.querySelector('#stop').hidden")


async def test_a_failed_turn_looks_like_one(page: Page, fake: Gateway) -> None:
    await fake.answer(await written(page, fake, "hello"), "The model did not answer. Try again later.", failed=True)
    await page.until_text(".bot.failed", "The model did not answer.")


async def test_a_message_that_comes_again_is_shown_once_and_acknowledged_again(page: Page, fake: Gateway) -> None:
    asked = await written(page, fake, "hello")
    for times in (1, 2):
        await fake.answer(asked, "Hello!", id="the same")
        assert {ack["id"] for ack in await fake.until("ack", times)} == {"the same"}
    assert await page.value(BOT_TEXTS) == ["Hello!"]


async def test_a_reload_keeps_the_conversation_and_shows_each_message_once(page: Page, fake: Gateway) -> None:
    fake.histories["c1"] = exchange(0) + exchange(1)
    said = {"id": "c1/o1", "chat": "c1", "replyTo": "u1", "alsoAnswers": [], "text": "answer 1"}
    await fake.tell({"type": "message", **said})  # nobody has the chat open: it comes again with the next connection
    assert not fake.of("ack")
    await open_chat(page, "c1")
    await fake.until("ack")
    await page.until(f"{BOT_TEXTS}.length === 2 && {YOU_TEXTS}.length === 2")
    assert await page.value("document.querySelector('#entries').innerText.match(/(question|answer) \\d/g)") == [
        "question 0", "answer 0", "question 1", "answer 1",
    ]  # fmt: skip


async def test_what_is_written_offline_goes_out_later_with_the_same_id(page: Page, fake: Gateway) -> None:
    fake.accepting = False
    first = await written(page, fake, "before the cut")
    await page.until_text(".you footer", "sent")
    await fake.down()
    await page.until_text("#link", "Not connected")
    await write(page, "while it is away")
    await page.until("document.querySelectorAll('.you')[1]?.innerText.includes('waits for the connection')")
    await page.reload()  # fails: the page's own address is away, too; so it comes back to what storage kept
    fake.listening, fake.accepting = True, True
    await page.open(fake.address)
    again = (await fake.until("message", 3))[1:]
    assert [message["text"] for message in again] == ["before the cut", "while it is away"]
    assert again[0]["id"] == first["id"]
    await page.until("[...document.querySelectorAll('.you footer')].every((foot) => foot.innerText.includes('on disk'))")
    assert await page.value("Object.keys(localStorage).filter((key) => key.startsWith('nanobot.unsent.'))") == []


async def test_the_connection_comes_back_by_itself(page: Page, fake: Gateway) -> None:
    await fake.down()
    await page.until_text("#link", "Not connected. Trying again in")
    fake.listening = True
    await page.until_text("#link", "Connected")
    assert len(fake.of("auth")) == 2


async def test_two_tabs_show_the_same(page: Page, fake: Gateway, browser: Browser) -> None:
    asked = await written(page, fake, "hello")
    fake.histories[asked["chat"]] = [{"n": 0, "role": "you", "id": asked["id"], "text": "hello", "open": True}]
    other = await browser.page()
    await other.open(fake.address)
    await open_chat(other, asked["chat"])
    await other.until_text(".you footer", "on disk")
    await fake.answer(asked, "Hello to both")
    for tab in (page, other):
        await tab.until_text(".bot", "Hello to both")
        await tab.until_text(".you footer", "answered")


async def test_a_question_of_another_tab_is_shown_with_its_answer(page: Page, fake: Gateway) -> None:
    chat = (await fake.until("open"))[0]["chat"]
    fake.histories[chat] = exchange(0)
    await fake.tell({"type": "message", "id": "m0", "chat": chat, "replyTo": "u0", "alsoAnswers": [], "text": "answer 0"})
    await page.until_text(".you", "question 0")
    assert await page.value(BOT_TEXTS) == ["answer 0"]
    assert await page.value("document.querySelector('#entries').firstChild.className") == "you"


async def test_earlier_messages_come_on_demand_and_in_order(page: Page, fake: Gateway) -> None:
    fake.histories["c1"] = [item for n in range(25) for item in exchange(n)]
    await open_chat(page, "c1")
    await page.until(f"{BOT_TEXTS}.length === 10")
    for shown in (20, 25):
        await page.click("#earlier")
        await page.until(f"{BOT_TEXTS}.length === {shown}")
    assert await page.value(BOT_TEXTS) == [f"answer {n}" for n in range(25)]
    assert [frame.get("before") for frame in fake.of("open")][-2:] == [15, 5]
    await page.until("document.querySelector('#earlier').hidden")


async def test_a_connection_that_comes_back_changes_no_order(page: Page, fake: Gateway) -> None:
    fake.histories["c1"] = [item for n in range(15) for item in exchange(n)]
    await open_chat(page, "c1")
    await page.click("#earlier")
    await page.until(f"{BOT_TEXTS}.length === 15")
    await fake.answer(await written(page, fake, "/help"), "What I can do")  # no part of the history
    await page.until(f"{BOT_TEXTS}.length === 16")
    fake.histories["c1"] += exchange(15)
    opened = len(fake.of("open"))
    await fake.down()
    fake.listening = True
    await fake.until("open", opened + 1)
    await page.until(f"{BOT_TEXTS}.length === 17")
    assert await page.value(BOT_TEXTS) == [*(f"answer {n}" for n in range(15)), "What I can do", "answer 15"]
    assert (await page.value(YOU_TEXTS))[-2:] == ["/help", "question 15"]


async def test_past_chats_are_a_click_away_and_a_new_one_is_empty(page: Page, fake: Gateway) -> None:
    fake.sessions = [{"key": "web:c1", "chat": "c1", "title": "The old days", "at": 1_700_000_000, "unfinished": True}]
    fake.histories["c1"] = exchange(0)
    await page.click("#new")
    await page.until_text("#sessions", "The old days")
    await page.until_text("#sessions", "unfinished")
    await page.click("#sessions button")
    await page.until_text(".bot", "answer 0")
    await page.click("#new")
    await page.until("!document.querySelector('#empty').hidden")
    assert await page.value(BOT_TEXTS) == []


async def test_an_answer_for_another_chat_waits_unacknowledged_until_it_is_seen(page: Page, fake: Gateway) -> None:
    fake.sessions = [{"key": "web:c1", "chat": "c1", "title": "Elsewhere", "at": 1_700_000_000, "unfinished": False}]
    await fake.tell({"type": "message", "id": "m0", "chat": "c1", "replyTo": None, "alsoAnswers": [], "text": "reminder"})
    await page.until_text("#sessions", "new answer")
    assert not fake.of("ack")
    await page.click("#sessions button")
    await page.until_text(".bot", "reminder")
    assert (await fake.until("ack"))[0]["id"] == "m0"


async def test_a_refused_message_says_why_and_can_be_sent_again(page: Page, fake: Gateway) -> None:
    fake.refusal = {"type": "error", "code": "disk_full", "reason": "The disk is full."}
    refused = await written(page, fake, "hello")
    await page.until_text(".you footer", "The disk is full.")
    fake.refusal = None
    await page.click(".you footer button")
    await page.until_text(".you footer", "on disk")
    assert [message["id"] for message in fake.of("message")] == [refused["id"]] * 2


async def test_a_discarded_message_is_gone(page: Page, fake: Gateway) -> None:
    fake.refusal = {"type": "error", "code": "too_long", "reason": "It is too long."}
    await written(page, fake, "hello")
    await page.click(".you footer button + button")
    await page.until(f"{YOU_TEXTS}.length === 0")
    assert await page.value("Object.keys(localStorage).some((key) => key.startsWith('nanobot.unsent.'))") is False


async def test_an_error_about_nothing_in_particular_is_a_sentence_in_the_chat(page: Page, fake: Gateway) -> None:
    await fake.tell({"type": "error", "code": "slow", "reason": "This connection is too slow."})
    await page.until_text(".note", "This connection is too slow.")


async def test_the_token_leaves_the_address_bar(page: Page) -> None:
    assert await page.value("location.hash + '|' + sessionStorage.getItem('nanobot.token')") == f"|{TOKEN}"
    assert await page.value("Object.values(localStorage)") == ["system"]


@pytest.mark.parametrize("way", ["typed", "by a new address"])
async def test_without_a_token_the_page_asks_for_it_and_refuses_a_wrong_one(browser: Browser, fake: Gateway, way: str) -> None:
    page = await browser.page()
    await page.open(fake.url)
    await page.click("#token")
    await page.type("a wrong one")
    await page.press("Enter", 13)
    await page.until_text("#refusal", "This token is not the page's.")
    if way == "typed":
        await page.click("#token")
        await page.type(TOKEN)
        await page.press("Enter", 13)
    else:
        await page.value(f"location.href = {fake.address!r}; 1")
    await page.until_text("#link", "Connected")
    assert await page.value("document.querySelector('#door').open") is False
    assert page.problems == []
