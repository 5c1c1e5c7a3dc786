"""One browser for all tests of the page; each test has a context of its own in it, and a gateway that does as it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.peers import require_peer
from tests.page.browser import Browser, Page, browsing, launched
from tests.page.server import Gateway, gateway


@pytest.fixture(scope="session")
def devtools() -> Iterator[str]:
    require_peer("chromium")
    with launched() as address:
        yield address


@pytest.fixture
async def browser(devtools: str) -> AsyncIterator[Browser]:
    async with browsing(devtools) as connected:
        yield connected


@pytest.fixture
async def fake() -> AsyncIterator[Gateway]:
    async with gateway() as serving:
        yield serving


@pytest.fixture
async def page(browser: Browser, fake: Gateway) -> AsyncIterator[Page]:
    """The page, opened and connected. Nothing that no page should do has happened in it when the test is over."""
    opened = await browser.page()
    await opened.open(fake.address)
    await opened.until_text("#link", "Connected")
    yield opened
    assert opened.problems == []
