"""A headless Chromium, driven over its DevTools protocol: only what tests of a page need.

`launched` runs the program in a process group and a profile folder of its own, and leaves neither behind. `browsing` connects to
it and gives a context without cookies or storage of others; its pages are its tabs. A page collects in `problems` what should not
happen in any: exceptions, errors on the console, refusals by the Content-Security-Policy, dialogs, and calls of `pwned()`.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

PROGRAM = "chromium-headless-shell"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0")
"""Without a sandbox, as tests may run as root; without /dev/shm, which is small in containers."""
PATIENCE_S = 20.0
"""For anything that a page should do by itself; a machine under load is slow."""
LARGEST = 64 * 1024 * 1024
"""Bytes of one protocol message: a screenshot is one."""


class BrowserError(Exception):
    """The browser refused a command, or a script in the page threw."""


@contextmanager
def launched() -> Iterator[str]:
    """The address of the DevTools protocol of a new browser."""
    with tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as profile:
        environ = {"PATH": os.environ["PATH"], "HOME": profile, "LANG": "C.UTF-8"}
        command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, env=environ, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            yield _address(Path(profile, "DevToolsActivePort"))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _address(file: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if file.exists() and len(lines := file.read_text().split()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.01)
    raise BrowserError(f"{PROGRAM} did not say its port within {PATIENCE_S:.0f} s")


@attrs.define(eq=False)
class Page:
    """One tab."""

    browser: Browser
    session: str
    problems: list[str] = attrs.field(factory=list)
    loads: int = 0

    async def do(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.browser.do(method, self.session, **params)

    async def open(self, url: str) -> None:
        await self._loading("Page.navigate", url=url)

    async def reload(self) -> None:
        await self._loading("Page.reload")

    async def _loading(self, method: str, **params: Any) -> None:
        before = self.loads
        await self.do(method, **params)
        with trio.fail_after(PATIENCE_S):
            while self.loads == before:  # noqa: ASYNC110  # set by the task that reads the browser's events
                await trio.sleep(0.005)

    async def value(self, script: str) -> Any:
        """What an expression is in the page, as JSON. Raises: BrowserError."""
        answer = await self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if details := answer.get("exceptionDetails"):
            raise BrowserError(f"{script}: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true."""
        with trio.move_on_after(PATIENCE_S) as scope:
            while not await self.value(f"Boolean({script})"):  # noqa: ASYNC110  # the page is another process
                await trio.sleep(0.01)
        assert not scope.cancelled_caught, f"never true: {script}\n{await self.value('document.body.innerText')}"

    async def text(self, selector: str) -> str:
        """The text of the first element that fits; empty where there is none."""
        return str(await self.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    async def until_text(self, selector: str, text: str) -> None:
        await self.until(f"document.querySelector({json.dumps(selector)})?.innerText.includes({json.dumps(text)})")

    async def click(self, selector: str) -> None:
        """With the mouse, in the middle of what is seen: something that lies over it gets the click."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{found}?.getClientRects().length")
        await self.value(f"{found}.scrollIntoView({{block: 'nearest'}})")
        box = await self.value(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({found}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            await self.do("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    async def type(self, text: str) -> None:
        await self.do("Input.insertText", text=text)

    async def press(self, key: str, code: int) -> None:
        """A key by its name and virtual key code."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    async def size(self, width: int, height: int) -> None:
        await self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    async def prefer(self, scheme: str) -> None:
        await self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode((await self.do("Page.captureScreenshot"))["data"]))

    def heard(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self.loads += 1
            case "Runtime.exceptionThrown":
                self.problems.append(f"exception: {params['exceptionDetails'].get('exception', {}).get('description')}")
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                self.problems.append(f"console: {params['args']}")
            case "Log.entryAdded" if params["entry"]["level"] == "error" and params["entry"]["source"] != "network":
                self.problems.append(f"log: {params['entry']['text']}")
            case "Page.javascriptDialogOpening":
                self.problems.append(f"dialog: {params['message']}")
                self.browser.nursery.start_soon(lambda: self.do("Page.handleJavaScriptDialog", accept=True))
            case "Runtime.bindingCalled":
                self.problems.append(f"a script of strangers ran: {params['payload']}")
            case _:
                pass


@attrs.define(eq=False)
class Browser:
    """A connection to the program, and a context in it."""

    socket: WebSocketConnection
    nursery: trio.Nursery
    context: str = ""
    pages: dict[str, Page] = attrs.field(factory=dict)
    _last: int = 0
    _answers: dict[int, trio.MemorySendChannel[dict[str, Any]]] = attrs.field(factory=dict)

    async def do(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """One command. Raises: BrowserError."""
        self._last += 1
        number = self._last
        self._answers[number], answered = trio.open_memory_channel[dict[str, Any]](1)
        command = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        with trio.fail_after(PATIENCE_S):
            await self.socket.send_message(json.dumps(command))
            answer = await answered.receive()
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def page(self) -> Page:
        """A new tab; tabs of one context share their storage, as those of one person do."""
        target = await self.do("Target.createTarget", url="about:blank", browserContextId=self.context)
        attached = await self.do("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self.pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await page.do(f"{domain}.enable")
        await page.do("Runtime.addBinding", name="pwned")
        await page.size(1280, 800)
        return page

    async def listen(self) -> None:
        while True:
            try:
                message = json.loads(await self.socket.get_message())
            except ConnectionClosed:
                return
            if "id" in message:
                self._answers.pop(message["id"]).send_nowait(message)
            elif page := self.pages.get(message.get("sessionId", "")):
                page.heard(message["method"], message["params"])


@asynccontextmanager
async def browsing(address: str) -> AsyncIterator[Browser]:
    async with open_websocket_url(address, max_message_size=LARGEST) as socket, trio.open_nursery() as nursery:
        browser = Browser(socket, nursery)
        nursery.start_soon(browser.listen)
        browser.context = (await browser.do("Target.createBrowserContext"))["browserContextId"]
        yield browser
        await browser.do("Target.disposeBrowserContext", browserContextId=browser.context)
        nursery.cancel_scope.cancel()
