"""The live tree beside the chat says what runs, and what does not."""

from __future__ import annotations

import time

import pytest

from tests.page.browser import Page
from tests.page.server import Gateway, up

TREE = "document.querySelector('#nodes').innerText.replaceAll('\\n', ' ')"


async def test_a_channel_that_crashes_is_seen_to_come_back(page: Page, fake: Gateway) -> None:
    await page.until_text("#summary", "Everything is up")
    started = time.time()
    crashed = {"restarts": 1, "error": "the connection was reset", "waiting": "its restart", "until": started + 3}
    fake.tree["children"][1] = up("telegram") | {"state": "waiting", "since": started} | crashed
    await page.until_text("#summary", "telegram is waiting.")
    await page.until(f"/telegram waiting \\d s 1 restart the connection was reset waits for its restart until .*/.test({TREE})")
    assert await page.value("document.querySelector('#summary').dataset.mood") == "passing"
    fake.tree["children"][1] = up("telegram") | {"since": started + 3, "restarts": 1, "error": "the connection was reset"}
    await page.until_text("#summary", "Everything is up")
    await page.until(f"/telegram up \\d s 1 restart/.test({TREE})")


@pytest.mark.parametrize(("asked", "summary"), [(1, "Something waits for your word."), (2, "2 things wait for your word.")])
async def test_what_waits_for_the_owner_is_said_with_the_way_to_answer(
    page: Page, fake: Gateway, asked: int, summary: str
) -> None:
    word = {
        "state": "waiting",
        "since": 0.0,
        "waiting": "the owner's word: exec rm",
        "facts": {"answer": "/approve x1 or /deny x1"},
    }
    open_ = [up(f"x{n}", "approval") | word for n in range(asked)]
    chat = up("web:c", "session", state="idle", children=open_)
    fake.tree["children"] = [up("sessions", "group", children=[chat])]
    await page.until_text("#summary", summary)
    await page.until_text("#nodes", "waits for the owner's word: exec rm\nanswer: /approve x1 or /deny x1")
    assert await page.value("document.querySelector('#mood').dataset.mood") == "passing"


async def test_what_is_parked_or_stuck_is_red_and_named_first(page: Page, fake: Gateway) -> None:
    fake.tree["children"][1] = up("telegram") | {"state": "parked", "error": "The token was revoked."}
    fake.tree["children"][0] = up("web") | {"state": "stuck"}
    await page.until_text("#summary", "web is stuck, telegram is parked.")
    red = await page.value("getComputedStyle(document.querySelector('.line[data-state=parked] b')).color")
    assert red == await page.value("getComputedStyle(document.querySelector('#summary')).color")
    assert await page.value("document.querySelector('#mood').dataset.mood") == "bad"


async def test_of_a_thousand_sessions_those_in_trouble_are_shown(page: Page, fake: Gateway) -> None:
    sessions = [up(f"web:{n}", "session", state="parked" if n == 900 else "idle") for n in range(1000)]
    fake.tree["children"] = [up("sessions", "group", children=sessions)]
    await page.until_text("#nodes", "and 960 more")
    assert await page.value("document.querySelector('#nodes ul ul li').innerText.startsWith('web:900')")


async def test_a_branch_stays_closed_and_a_tree_that_is_out_of_reach_fades(page: Page, fake: Gateway) -> None:
    await page.until_text("#nodes", "telegram")
    await page.click("#nodes summary")
    fake.tree["facts"] = {"version": "2"}
    await page.until_text("#nodes", "version: 2")
    assert await page.value("document.querySelector('#nodes details').open") is False
    await fake.down()
    await page.until("document.querySelector('#tree').classList.contains('old')")
