"""The page can be read in light and dark, on a phone, with the keyboard and by ear. Its pictures stay in pytest's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.page.browser import Page
from tests.page.server import Gateway, up

ANSWER = """### A title\n\nA **strong** word, `code`, a [link](https://example.org/) and a list:\n\n1. one\n2. two\n   - three\n
> a quote\n\n```py\nprint("a line of code that is longer than a telephone is wide, and must not widen the page")\n```\n
| name | value |\n|:--|--:|\n| a | 1 |\n"""
PAIRS = {
    "text": ("body", "body"), "an answer's link": (".body a", "body"), "a footer": (".you footer", "body"),
    "own words": (".you .body", ".you .body"), "code": (".code code", ".code"), "a quote": (".body blockquote", "body"),
    "the state": ("#state", "body"), "a tool that runs": (".tools [data-phase] span", "body"), "send": ("#send", "#send"),
    "stop": ("#stop", "#stop"), "in trouble": ("#summary", "#summary"), "parked": (".line[data-state=parked] .word", "body"),
    "waiting": (".line[data-state=waiting] .word", "body"), "a detail": (".detail", "body"), "when": (".when", "body"),
    "an answer to choose": (".choices button", ".choices button"),
}  # fmt: skip
CONTRAST = """(([text, ground]) => {
  const light = (selector, name) => {
    const [r, g, b] = getComputedStyle(document.querySelector(selector))[name].match(/[\\d.]+/g).map((part) => {
      const c = part / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const [a, b] = [light(text, "color"), light(ground, "backgroundColor")];
  return Math.max(a, b) / Math.min(a, b);
})(%s)"""
ENOUGH = 4.5  # WCAG AA for text
WIDER = """[...document.querySelectorAll('body *')].filter((node) => {
  const { left, right, width } = node.getBoundingClientRect();
  return width && !node.closest('.table, pre, .unseen') && (right > innerWidth + 1 || left < -1);
}).map((node) => node.outerHTML.slice(0, 80))"""


async def filled(page: Page, fake: Gateway) -> None:
    """Something of everything."""
    chat = (await fake.until("open"))[-1]["chat"]
    fake.sessions = [{"key": f"web:{chat}", "chat": chat, "title": "A long title " * 9, "at": 1_700_000_000, "unfinished": True}]
    waiting = {"state": "waiting", "waiting": "its restart", "until": 2_000_000_000.0, "restarts": 2, "error": "reset " * 9}
    fake.tree["children"] = [up("x" * 60), up("telegram") | waiting, up("email") | {"state": "parked", "error": "no password"}]
    items = [{"n": 0, "role": "you", "id": "u", "text": "x" * 300, "at": 1_700_000_000}]
    items += [{"n": 0, "role": "bot", "replyTo": "u", "text": ANSWER + "y" * 300}]
    says = [{"label": label, "says": label} for label in ("Approve", "No " * 90)]
    fake.questions[chat] = [{"text": "May I?", "buttons": says}]
    await fake.tell({"type": "history", "chat": chat, "items": items, "questions": fake.questions[chat]})
    await fake.tell({"type": "tool", "chat": chat, "turn": 1, "name": "exec", "phase": "started"})
    fake.state = {"state": "working", "tool": "exec"}
    await fake.tell({"type": "state", "chat": chat, **fake.state})
    await page.until_text("#summary", "email is parked")
    await page.until("document.querySelector('#sessions button')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_can_be_read(page: Page, fake: Gateway, scheme: str, tmp_path: Path) -> None:
    await page.prefer(scheme)
    await filled(page, fake)
    ratios = {name: await page.value(CONTRAST % list(pair)) for name, pair in PAIRS.items()}
    assert {name: ratio for name, ratio in ratios.items() if ratio < ENOUGH} == {}
    ground = await page.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] > 128")
    assert ground is (scheme == "light")
    await page.screenshot(tmp_path / f"{scheme}.png")


async def test_the_colours_can_be_chosen_and_stay(page: Page) -> None:
    await page.prefer("light")
    for wanted in ("light", "dark"):
        await page.click("#theme")
        assert await page.value("document.querySelector('#theme').title") == f"Colours: {wanted}"
    await page.reload()
    assert await page.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] < 128")


@pytest.mark.parametrize("width", [320, 390, 800, 1280, 1920])
async def test_nothing_is_wider_than_the_screen(page: Page, fake: Gateway, width: int, tmp_path: Path) -> None:
    await page.size(width, 740)
    await filled(page, fake)
    assert await page.value(WIDER) == []
    for name in ("tree", "chats") if width < 500 else ():
        await page.click(f"#show-{name}")
        await page.until(f"document.querySelector('#{name}').getClientRects().length")
        assert await page.value(WIDER) == []
        await page.screenshot(tmp_path / f"{name}.png")
        await page.press("Escape", 27)
        await page.until(f"!document.querySelector('#{name}').getClientRects().length")
    await page.screenshot(tmp_path / "chat.png")
    await fake.down()
    await page.until_text("#link", "Not connected. Trying again")
    assert await page.value(WIDER) == []


async def test_it_can_be_used_with_the_keyboard_alone(page: Page) -> None:
    reached = []
    for _ in range(12):
        await page.press("Tab", 9)
        reached.append(await page.value("document.activeElement.id || document.activeElement.className"))
    assert {"skip", "theme", "new", "text", "send"} <= set(reached)
    assert reached[0] == "skip"


async def test_a_screen_reader_hears_the_state_and_the_whole_answer(page: Page, fake: Gateway) -> None:
    chat = (await fake.until("open"))[-1]["chat"]
    live = {"chat": chat, "turn": 1}
    fake.state = {"state": "thinking"}
    await fake.tell({"type": "state", "chat": chat, **fake.state}, {"type": "delta", **live, "text": "Half"})
    await page.until("document.querySelector('.bot[aria-busy]')")
    assert await page.value("document.querySelector('#state').getAttribute('role')") == "status"
    assert await page.value("document.querySelector('#said').textContent") == ""
    await fake.tell({"type": "message", "id": "m", "chat": chat, "replyTo": "u", "alsoAnswers": [], "text": "**Half** past nine"})
    await page.until("document.querySelector('#said[aria-live=polite]').textContent === 'nanobot: Half past nine'")
    assert await page.value("document.querySelector('.bot[aria-busy]')") is None


async def test_who_reads_further_up_is_left_there(page: Page, fake: Gateway) -> None:
    chat = (await fake.until("open"))[-1]["chat"]
    await fake.tell({"type": "delta", "chat": chat, "turn": 1, "text": "line\n\n" * 100})
    await page.until("document.querySelectorAll('.bot p').length === 100")
    await page.until("((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 2)(document.querySelector('#scroll'))")
    await page.value("document.querySelector('#scroll').scrollTop = 50; 1")
    await fake.tell({"type": "delta", "chat": chat, "turn": 1, "text": "more\n\n" * 10})
    await page.until("document.querySelectorAll('.bot p').length === 110")
    assert await page.value("document.querySelector('#scroll').scrollTop") == 50
