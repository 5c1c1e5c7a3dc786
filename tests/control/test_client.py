"""The blocking end of the control socket, against the real server and against impostors."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from nanobot.control import client
from nanobot.control.client import NotAnswering, NotRunning, Refused, ask, connect
from nanobot.control.port import Connection
from nanobot.control.server import MOST_FRAME
from nanobot.errors import NanobotError
from nanobot.wire import JsonObject
from tests.control.test_server import PYTHON
from tests.fakes.gateway import FakeGateway, listening
from tests.fakes.processes import descriptors

SOON = 10.0
"""Seconds for what should take none."""


@contextmanager
def impostor(data: Path, serve: Callable[[socket.socket], None] | None = None) -> Iterator[None]:
    """Something else listens: it serves one connection with `serve`, or accepts none."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{data}/control.sock")
        listener.listen(1)
        thread = threading.Thread(target=lambda: serve and serve(listener.accept()[0]))
        thread.start()
        yield
        thread.join(SOON)


def says(answer: bytes, *, then_waits: bool = False) -> Callable[[socket.socket], None]:
    """Answers a request so, and closes, or waits for the other side to do so."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(1000)
            connection.sendall(answer)
            while then_waits and connection.recv(1000):
                pass

    return serve


def trickles(connection: socket.socket) -> None:
    """A byte after the other, for ever: each comes in time, and the answer never."""
    with connection, contextlib.suppress(OSError):
        while True:
            connection.sendall(b" ")


def test_an_answer(tmp_path: Path) -> None:
    before = descriptors()
    with listening(tmp_path, FakeGateway()) as gateway:
        assert ask(tmp_path, {"do": "retry", "ids": ["a/o1", "b/o2"]}, SOON) == 2
    assert descriptors() == before
    assert gateway.asked == ["retry a/o1 b/o2"]


def test_a_long_answer(tmp_path: Path) -> None:
    async def much(_frame: JsonObject, connection: Connection) -> None:
        await connection.send({"ok": "x" * 3_000_000})

    with listening(tmp_path, FakeGateway(), {"much": much}):
        assert ask(tmp_path, {"do": "much"}, SOON) == "x" * 3_000_000


def test_a_stream_goes_both_ways(tmp_path: Path) -> None:
    async def echo(frame: JsonObject, connection: Connection) -> None:
        while frame.get("n") != 3:
            await connection.send(frame)
            frame = await connection.receive() or {}

    with listening(tmp_path, FakeGateway(), {"echo": echo}), connect(tmp_path, {"do": "echo"}, SOON) as line:
        assert line.receive(SOON) == {"version": 1, "do": "echo"}
        line.send({"n": 2}, SOON)
        assert line.receive(SOON) == {"n": 2}
        line.send({"n": 3}, SOON)
        assert line.receive(SOON) is None
        assert line.pid == os.getpid()


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/control.sock")
    for data in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(NotRunning, match=r"The gateway is not running. Start it: nanobot gateway"):
            ask(data, {"do": "health"}, SOON)


def test_a_refusal_has_its_code(tmp_path: Path) -> None:
    with listening(tmp_path, FakeGateway(error=NanobotError("there is no channel x"))):
        with pytest.raises(Refused, match="there is no channel x") as refused:
            ask(tmp_path, {"do": "restart_channel", "name": "x"}, SOON)
        assert refused.value.code == "failed"


def test_a_request_that_is_too_large_is_refused_with_the_reason(tmp_path: Path) -> None:
    with listening(tmp_path, FakeGateway()), pytest.raises(Refused) as refused:
        ask(tmp_path, {"do": "retry", "ids": ["x" * 3 * MOST_FRAME]}, SOON)
    assert refused.value.code == "too_large"


@pytest.mark.parametrize(
    ("serve", "sentence"),
    [
        (None, "does not answer"),
        (says(b'{"ok"', then_waits=True), "does not answer"),
        (trickles, "does not answer"),
        (says(b""), "has closed the connection"),
        (says(b'{"ok":'), "has closed the connection"),
        (says(b"HTTP/1.1 400 Bad Request\n"), "answers in a way that this version does not understand"),
    ],
    ids=["silent", "stops in mid-frame", "trickles", "closes", "closes in mid-frame", "garbage"],
)
def test_something_else_listens(tmp_path: Path, serve: Callable[[socket.socket], None] | None, sentence: str) -> None:
    with impostor(tmp_path, serve), pytest.raises(NotAnswering, match=rf"^The gateway \(process {os.getpid()}\) {sentence}"):
        ask(tmp_path, {"do": "health"}, 0.2)


def test_an_answer_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 100_000)
    with impostor(tmp_path, says(b"x" * 200_000)), pytest.raises(NotAnswering, match="has closed"):
        ask(tmp_path, {"do": "health"}, SOON)


def test_a_gateway_with_a_full_queue(tmp_path: Path) -> None:
    with impostor(tmp_path), socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        for waiting in (first, second):
            waiting.connect(f"{tmp_path}/control.sock")
        with pytest.raises(NotAnswering, match=r"^The gateway does not answer"):
            ask(tmp_path, {"do": "health"}, 0.05)


LISTEN_AS_NOBODY = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.bind(sys.argv[1])
    s.listen()
    print("listening", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0 or PYTHON is None, reason="only root can become nobody, who needs a Python")
def test_the_socket_of_another_user_is_not_spoken_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever puts a socket where ours would be is told nothing."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    there = tmp_path.stat()
    folder = Path(f"/tmp/nanobot-{there.st_dev:x}-{there.st_ino:x}")
    folder.mkdir()
    shutil.chown(folder, "nobody")
    command = [str(PYTHON), "-c", LISTEN_AS_NOBODY, f"{folder}/control.sock"]
    nobody = partial(subprocess.Popen[str], user="nobody", group="nogroup", extra_groups=[], text=True)
    try:
        with nobody(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listener:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listening\n"
            with pytest.raises(NotRunning):
                ask(tmp_path, {"do": "health"}, SOON)
            listener.communicate()
    finally:
        shutil.rmtree(folder)


def test_it_imports_next_to_nothing() -> None:
    code = "import sys; before = set(sys.modules); import nanobot.control.client; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"attrs", "trio", "cyclopts", "pathlib", "asyncio"} & set(done.stdout.split())
