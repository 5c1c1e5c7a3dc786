"""A message that offers a choice: pressed once, never lost, and harmless when it is answered otherwise."""

from __future__ import annotations

from tests.page.browser import Page
from tests.page.server import Frame, Gateway
from tests.page.test_chat import BOT_TEXTS, YOU_TEXTS, exchange, open_chat, write, written

BUTTONS = [{"label": "Approve", "says": "/approve x1"}, {"label": "Deny", "says": "/deny x1"}]
QUESTION: Frame = {"text": "May this run? `rm -rf build`", "buttons": BUTTONS}
FIRST, SECOND = ".choices button", ".choices button + button"
STATES = """[...document.querySelectorAll('.choices button')].map((button) =>
  [button.innerText, button.disabled, button.getAttribute('aria-pressed')].join())"""
OPEN = ["Approve,false,false", "Deny,false,false"]
APPROVED = ["Approve,true,true", "Deny,true,false"]
CLOSED = ["Approve,true,false", "Deny,true,false"]


async def ask(page: Page, fake: Gateway) -> str:
    """Put the question to the chat that is open; returns its name."""
    chat = str((await fake.until("open"))[-1]["chat"])
    fake.questions[chat] = [QUESTION]
    await fake.tell({"type": "message", "id": f"{chat}/o9", "chat": chat, "replyTo": None, "alsoAnswers": [], **QUESTION})
    await page.until_text(SECOND, "Deny")
    return chat


async def until_states(page: Page, states: list[str]) -> None:
    await page.until(f"{STATES}.join('|') === {'|'.join(states)!r}")


async def test_a_press_says_what_the_button_says_once_and_is_marked(page: Page, fake: Gateway) -> None:
    chat = await ask(page, fake)
    assert await page.value(STATES) == OPEN
    await page.click(FIRST)
    await until_states(page, APPROVED)
    await page.click(FIRST)
    await page.click(SECOND)
    await written(page, fake, "and then")
    pressed, _ = fake.of("message")
    assert (pressed["chat"], pressed["text"]) == (chat, "/approve x1")
    assert await page.value(YOU_TEXTS) == ["/approve x1", "and then"]
    await page.until_text(".you footer", "on disk")


async def test_buttons_are_pressed_with_the_keyboard(page: Page, fake: Gateway) -> None:
    await ask(page, fake)
    await page.value(f"document.querySelector({FIRST!r}).focus()")
    await page.press("Tab", 9)
    await page.press("Enter", 13)
    assert (await fake.until("message"))[0]["text"] == "/deny x1"
    assert await page.value("document.activeElement.id") == "scroll"


async def test_a_press_while_the_gateway_is_away_survives_a_reload_and_is_sent_under_one_id(page: Page, fake: Gateway) -> None:
    fake.accepting = False
    chat = await ask(page, fake)
    await page.click(FIRST)
    (first,) = await fake.until("message")
    await fake.down()
    await page.until_text("#link", "Not connected")
    fake.listening = fake.accepting = True
    await open_chat(page, chat)
    again = (await fake.until("message", 2))[-1]
    assert (again["id"], again["text"]) == (first["id"], "/approve x1")
    await until_states(page, APPROVED)


async def test_an_open_question_is_there_after_a_reload_and_shown_once(page: Page, fake: Gateway) -> None:
    chat = await ask(page, fake)
    fake.histories[chat] = exchange(0)
    await open_chat(page, chat)
    await page.until(f"{BOT_TEXTS}.length === 2")
    assert await page.value(BOT_TEXTS) == ["answer 0", "May this run? rm -rf build"]
    await ask(page, fake)  # the message itself comes again, too
    await page.until(f"{BOT_TEXTS}.length === 2")
    assert await page.value(STATES) == OPEN
    await page.click(FIRST)
    assert (await fake.until("message"))[0]["text"] == "/approve x1"


async def test_a_question_that_was_answered_elsewhere_can_not_be_pressed(page: Page, fake: Gateway) -> None:
    chat = await ask(page, fake)
    fake.questions[chat] = []
    said: Frame = {"id": f"{chat}/o10", "chat": chat, "replyTo": None, "alsoAnswers": []}
    await fake.tell({"type": "message", **said, "text": "Approved, running: rm -rf build"})
    await until_states(page, CLOSED)
    await page.until_text(".choices", "no longer open")
    assert await page.value(BOT_TEXTS) == ["May this run? rm -rf build", "Approved, running: rm -rf build"]


async def test_writing_an_answer_is_as_good_as_pressing_it(page: Page, fake: Gateway) -> None:
    await ask(page, fake)
    await write(page, "/approve x1")
    await until_states(page, APPROVED)


async def test_an_answer_that_was_not_taken_and_is_discarded_leaves_the_choice(page: Page, fake: Gateway) -> None:
    fake.refusal = {"type": "error", "code": "disk_full", "reason": "The disk is full."}
    await ask(page, fake)
    await page.click(FIRST)
    await page.until_text(".you footer", "The disk is full.")
    assert await page.value(STATES) == APPROVED
    await page.click(".you footer button + button")
    await until_states(page, OPEN)


async def test_an_answer_that_left_the_question_open_leaves_the_choice(page: Page, fake: Gateway) -> None:
    await ask(page, fake)
    await page.click(FIRST)
    (pressed,) = await fake.until("message")
    await fake.answer(pressed, "nanobot is stopping just now. Say that again when it is back.")
    await page.until_text(".you footer", "answered")
    assert await page.value(STATES) == APPROVED
    await fake.down()
    await page.until_text("#link", "Not connected")
    fake.listening = True
    await until_states(page, OPEN)
    await page.click(FIRST)
    assert (await fake.until("message", 2))[1]["id"] != pressed["id"]
    await until_states(page, APPROVED)


async def test_what_was_answered_here_stays_marked_when_it_is_closed(page: Page, fake: Gateway) -> None:
    chat = await ask(page, fake)
    await page.click(FIRST)
    fake.questions[chat] = []
    await fake.answer((await fake.until("message"))[0], "It is done.")
    await fake.tell({"type": "message", "id": "later", "chat": chat, "replyTo": "elsewhere", "alsoAnswers": [], "text": "More"})
    await fake.until("open", 2)
    await written(page, fake, "thanks")
    assert await page.value(STATES) == APPROVED
    assert "no longer open" not in await page.text(".choices")


async def test_a_question_that_came_after_the_history_was_asked_for_stays_open(page: Page, fake: Gateway) -> None:
    chat = (await fake.until("open"))[-1]["chat"]
    await page.until_text("#link", "Connected")
    await ask(page, fake)
    await fake.tell({"type": "history", "chat": chat, "items": [], "questions": []})  # nobody had asked since
    await written(page, fake, "hello")
    assert await page.value(STATES) == OPEN


async def test_a_question_in_the_middle_of_a_turn_stands_where_it_came(page: Page, fake: Gateway) -> None:
    asked = await written(page, fake, "clean up")
    await ask(page, fake)
    await fake.tell({"type": "delta", "chat": asked["chat"], "turn": 1, "text": "I have as"})
    await fake.answer(asked, "I have asked.")
    await page.until_text(".you footer", "answered")
    assert await page.value("document.querySelector('#entries').firstChild.className") == "you"
    assert await page.value(BOT_TEXTS) == ["May this run? rm -rf build", "I have asked."]
    assert await page.value(STATES) == OPEN
    assert await page.value("document.querySelector('#said').textContent") == "nanobot: I have asked."
