"""`nanobot gateway` as a real process, through the command line, for tests that need the whole of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from nanobot.control.client import NotAnswering, NotRunning, Refused, ask
from nanobot.wire import Json, JsonObject

PATIENCE_S = 30.0
"""A start takes a second on a machine that has time."""


@attrs.define
class Daemon:
    """A gateway of the data directory `folder`."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    def ask(self, **request: Json) -> Json:
        return ask(self.folder, dict(request), 10.0)

    def status(self) -> JsonObject:
        tree = self.ask(do="status")
        assert isinstance(tree, dict)
        return tree

    def address(self) -> tuple[str, str]:
        """`http://127.0.0.1:PORT` and the token."""
        base, _, token = str(self.ask(do="page")).partition("/#token=")
        return base, token

    def wait_until_up(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.said()}"
            try:
                if self.status()["state"] == "up":
                    return
            except (NotRunning, NotAnswering, Refused):
                pass
            assert time.monotonic() < until, f"it does not come up: {self.said()}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, within_s: float = PATIENCE_S) -> int:
        """Its exit code."""
        return self.process.wait(within_s)

    def said(self) -> str:
        return (self.folder / "stderr").read_text(errors="replace")

    def log(self) -> str:
        return (self.folder / "logs" / "nanobot.log").read_text(errors="replace")

    def configure(self, config: JsonObject) -> None:
        self.config.write_text(json.dumps(config))


def nanobot(*words: str | Path, folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """One command of the data directory."""
    return subprocess.run(
        [sys.executable, "-m", "nanobot", *words, "--config", folder / "config.json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
    )


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of ours is in it, so that no key makes a test call a service."""
    return {"HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **(more or {})}


def start(folder: Path, config: JsonObject | None = None, environ: Mapping[str, str] | None = None) -> Daemon:
    """Start it, and return at once. Any free port unless the configuration says one."""
    gateway: JsonObject = {"port": 0, "drainS": 2}
    if config is not None or not (folder / "config.json").exists():
        given = config or {}
        below = given.get("gateway", {})
        merged = {**gateway, **below} if isinstance(below, dict) else gateway
        (folder / "config.json").write_text(json.dumps({"configVersion": 1, **given, "gateway": merged}))
    with (folder / "stderr").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "nanobot", "gateway", "--config", folder / "config.json"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environment(folder, environ),
            cwd=folder,
        )
    return Daemon(folder, process)


@contextmanager
def running(folder: Path, config: JsonObject | None = None, environ: Mapping[str, str] | None = None) -> Iterator[Daemon]:
    """Up for the block; ended in order, or killed, after it."""
    daemon = start(folder, config, environ)
    try:
        daemon.wait_until_up()
        yield daemon
    finally:
        daemon.process.terminate()
        try:
            daemon.wait()
        except subprocess.TimeoutExpired:
            daemon.process.kill()
            daemon.process.wait()
