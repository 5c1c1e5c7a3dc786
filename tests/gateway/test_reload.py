"""A gateway whose configuration changes while it runs, and while people are on its page."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path

import trio

from nanobot.wire import JsonObject
from tests.fakes.daemon import Daemon, nanobot, running
from tests.fakes.ws import connect


def reload(daemon: Daemon, **gateway: object) -> tuple[int, str]:
    """Its exit code, and what it said."""
    below: JsonObject = {"port": 0, **gateway}  # type: ignore[dict-item]  # what a test writes is JSON
    daemon.configure({"configVersion": 1, "gateway": below})
    done = nanobot("gateway", "reload", folder=daemon.folder)
    return done.returncode, done.stdout + done.stderr


async def code_of(daemon: Daemon, token: str) -> int | None:
    """How a websocket that says this token is closed; None: it is not."""
    base, _ = daemon.address()
    async with connect(int(base.rpartition(":")[2]), None) as page:
        await page.send("auth", token=token)
        first = await page.next()
        return None if first["type"] == "ready" else await page.closed()


async def test_a_token_that_was_changed_opens_nothing_any_more(tmp_path: Path) -> None:
    with running(tmp_path, {"gateway": {"token": "old"}}) as daemon:
        async with connect(int(daemon.address()[0].rpartition(":")[2]), "old") as page:
            assert (await trio.to_thread.run_sync(partial(reload, daemon, token="new")))[0] == 0
            assert await page.closed() is not None, "who came in by the old one is gone"
        assert daemon.address()[1] == "new", "the page is up again when the reload has answered"
        assert (await code_of(daemon, "old"), await code_of(daemon, "new")) == (4401, None)


def test_what_would_not_start_is_not_taken_up_either(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        address = daemon.address()
        code, said = reload(daemon, host="0.0.0.0")
        assert (code, "gateway.token" in said) == (2, True)
        assert daemon.address() == address


def test_what_waits_for_the_next_start_is_named(tmp_path: Path) -> None:
    with running(tmp_path, {"gateway": {"drainS": 2}}) as daemon:
        assert "in force, but for gateway.drainS, taken up by the next start" in reload(daemon, drainS=3)[1]
        daemon.configure({"configVersion": 1, "gateway": {"port": 0, "drainS": 3}, "retention": {"mediaDays": 1}})
        assert "the next sweep" in nanobot("gateway", "reload", folder=tmp_path).stdout


def test_a_restart_survives_the_signal_to_reload(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        before = daemon.status()["since"]
        daemon.ask(do="restart")
        while daemon.log().count("is up in") < 2:
            daemon.signal(signal.SIGHUP)
            time.sleep(0.01)
            assert daemon.process.poll() is None
        daemon.wait_until_up()
        assert daemon.status()["since"] != before
