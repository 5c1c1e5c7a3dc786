"""The control socket as a server: where it is, who may speak, and what a client can cost. Time is a test's own."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from nanobot.control import paths, server
from nanobot.control.lines import decode, encode
from nanobot.control.port import Connection, ConnectionGone, Stream
from nanobot.supervise.policy import ChildFailed
from nanobot.wire import JsonObject
from tests.fakes.gateway import FakeGateway
from tests.fakes.processes import descriptors

PING: JsonObject = {"do": "health"}
PONG: JsonObject = {"ok": {"healthy": True, "text": "up"}}


@attrs.define
class Dialer:
    """Connects to the server of a data directory."""

    path: str
    gateway: FakeGateway

    async def dial(self) -> trio.SocketStream:
        return await trio.open_unix_socket(self.path)

    async def tell(self, data: bytes) -> bytes:
        """All that the server says until it closes."""
        async with await self.dial() as stream:
            await stream.send_all(data)
            return await rest(stream)

    async def ping(self) -> JsonObject:
        return decode(await self.tell(encode(PING)))


async def rest(stream: trio.SocketStream) -> bytes:
    text = b""
    with trio.fail_after(100):
        while chunk := await stream.receive_some():
            text += chunk
    return text


@asynccontextmanager
async def serving(data: Path, **streams: Stream) -> AsyncIterator[Dialer]:
    gateway = FakeGateway()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, data, gateway, streams))
        path = next(path for path in paths.candidates(data) if Path(path).is_socket())
        yield Dialer(path, gateway)
        nursery.cancel_scope.cancel()


async def refused(data: Path, reason: str) -> None:
    """No server can be had for this data directory."""
    with trio.fail_after(10), pytest.raises(ChildFailed, match=reason):
        await server.serve(data, FakeGateway(), {})


# --- where it is


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    yield
    os.umask(before)


async def test_it_is_ours_alone_and_gone_afterwards(tmp_path: Path) -> None:
    before = descriptors()
    with umask(0):
        async with serving(tmp_path) as one:
            assert one.path == f"{tmp_path}/control.sock"
            assert stat.S_IMODE(os.stat(one.path).st_mode) == 0o600
            silent = await one.dial()
            await one.ping()
    assert await silent.receive_some() == b""
    silent.socket.close()
    assert (list(tmp_path.iterdir()), descriptors()) == ([], before)


async def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/control.sock")
        dead.listen()
    async with serving(tmp_path) as one:
        assert await one.ping() == PONG


async def test_a_second_server_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as one:
        await refused(tmp_path, rf"process {os.getpid()} listens on {tmp_path}/control.sock")
        assert await one.ping() == PONG


async def test_the_socket_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    async with serving(tmp_path):
        os.unlink(tmp_path / "control.sock")
        (tmp_path / "control.sock").touch()
    assert (tmp_path / "control.sock").exists()


async def test_without_a_data_directory_there_is_none(tmp_path: Path) -> None:
    await refused(tmp_path / "nowhere", "the data directory cannot be read: No such file")


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A data directory whose path is too long for a socket."""
    folder = tmp_path / ("d" * 110)
    folder.mkdir()
    return folder


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture
def below_tmp(deep: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder below /tmp for `deep`, where there is no runtime directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    there = deep.stat()
    folder = Path(f"/tmp/nanobot-{there.st_dev:x}-{there.st_ino:x}")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(("length", "moves"), [(107, False), (108, True)])
def test_how_long_a_path_may_be(tmp_path: Path, length: int, *, moves: bool) -> None:
    folder = tmp_path / ("d" * (length - len(f"{tmp_path}//control.sock")))
    folder.mkdir()
    assert (f"{folder}/control.sock" not in paths.candidates(folder)) is moves


async def test_a_long_path_moves_to_the_runtime_directory(deep: Path, runtime: Path) -> None:
    async with serving(deep) as one:
        assert Path(one.path).parent == runtime
        assert await one.ping() == PONG
    assert list(runtime.iterdir()) == []


async def test_a_runtime_directory_open_to_others_is_passed_over(deep: Path, runtime: Path, below_tmp: Path) -> None:
    runtime.chmod(0o755)
    async with serving(deep):
        assert list(runtime.iterdir()) == []


async def test_without_a_runtime_directory_it_has_a_folder_of_its_own(deep: Path, below_tmp: Path) -> None:
    async with serving(deep) as one:
        assert Path(one.path) == below_tmp / "control.sock"
        assert stat.S_IMODE(below_tmp.stat().st_mode) == 0o700
    assert not below_tmp.exists()


async def test_a_folder_that_others_made_is_refused(deep: Path, below_tmp: Path) -> None:
    below_tmp.mkdir()
    below_tmp.chmod(0o777)
    await refused(deep, "this is no folder of ours alone")


async def test_what_is_no_socket_is_not_removed(tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "control.sock").write_text("mine")
    async with serving(tmp_path) as one:
        assert await one.ping() == PONG
    assert (tmp_path / "control.sock").read_text() == "mine"


# --- who may speak

AS_NOBODY = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    try:
        s.sendall(b'{"do":"stop"}\\n')
    except BrokenPipeError:  # the answer is there already
        pass
    print(s.makefile().readline(), end="")
"""
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")
"""One that nobody can run; it needs no package."""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0 or PYTHON is None, reason="only root can become nobody, who needs a Python")
@pytest.mark.parametrize(
    ("mode", "out", "err"),
    [(0o600, "", "Permission denied"), (0o666, '{"error":"this gateway belongs to another user","code":"refused"}\n', "")],
)
async def test_other_users_are_refused(open_folder: Path, mode: int, out: str, err: str) -> None:
    async with serving(open_folder) as one:
        os.chmod(one.path, mode)
        command = [str(PYTHON), "-c", AS_NOBODY, one.path]
        done = await trio.run_process(
            command, user="nobody", group="nogroup", extra_groups=[], capture_stdout=True, capture_stderr=True, check=False
        )
        assert (done.stdout.decode(), err in done.stderr.decode()) == (out, True)
        assert one.gateway.asked == []


# --- what a client can cost


async def test_a_huge_frame(tmp_path: Path) -> None:
    async with serving(tmp_path) as one, await one.dial() as stream:
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x" * (server.MOST_FRAME + 2**20))
        assert b'"code":"too_large"' in await stream.receive_some()
        assert await one.ping() == PONG


@pytest.mark.parametrize("begin", [b"", b'{"do":'], ids=["silent", "stops in mid-frame"])
async def test_a_request_that_does_not_come(tmp_path: Path, autojump_clock: trio.testing.MockClock, begin: bytes) -> None:
    async with serving(tmp_path) as one:
        assert b'"code":"too_late"' in await one.tell(begin)
        assert trio.current_time() == pytest.approx(server.REQUEST_S)


async def test_a_request_that_trickles(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with serving(tmp_path) as one, await one.dial() as stream:
        for byte in b'{"do"':
            await stream.send_all(bytes([byte]))
            await trio.sleep(1.01)
        assert b'"code":"too_late"' in await rest(stream)


async def test_a_client_that_leaves_in_the_middle(tmp_path: Path) -> None:
    async with serving(tmp_path) as one:
        for begin in (b"", b'{"do":', encode({"do": "status"})):
            async with await one.dial() as stream:
                await stream.send_all(begin)
        assert await one.ping() == PONG


async def test_a_client_that_closes_its_side_is_still_answered(tmp_path: Path) -> None:
    async with serving(tmp_path) as one, await one.dial() as stream:
        await stream.send_all(encode(PING))
        await stream.send_eof()
        assert decode(await rest(stream)) == PONG


async def test_a_client_that_does_not_read_hurts_itself_alone(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    ends: list[float] = []

    async def flood(_frame: JsonObject, connection: Connection) -> None:
        try:
            while True:
                await connection.send({"text": "x" * 100_000})
        except ConnectionGone:
            ends.append(trio.current_time())
        with pytest.raises(ConnectionGone):  # at once, and not into the middle of a frame
            await connection.send({})
        ends.append(trio.current_time())

    async with serving(tmp_path, flood=flood) as one, await one.dial() as stream:
        await stream.send_all(encode({"do": "flood"}))
        await trio.sleep(server.WRITE_S / 2)
        assert (await one.ping(), ends) == (PONG, [])
        await trio.sleep(server.WRITE_S / 2 + 1)
        assert ends == [pytest.approx(server.WRITE_S)] * 2


async def test_many_may_send_on_one_connection(tmp_path: Path) -> None:
    async def burst(_frame: JsonObject, connection: Connection) -> None:
        async def one(number: int) -> None:
            await connection.send({"n": number, "text": "x" * 50_000})

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)

    async with serving(tmp_path, burst=burst) as one:
        frames = map(decode, (await one.tell(encode({"do": "burst"}))).splitlines())
        assert sorted(str(frame["n"]) for frame in frames) == sorted(map(str, range(20)))


async def test_a_stream_hears_what_is_said_and_that_the_client_left(tmp_path: Path) -> None:
    heard: list[JsonObject | None] = []
    left = trio.Event()

    async def listen(frame: JsonObject, connection: Connection) -> None:
        heard.append(frame)
        while heard[-1] is not None:
            heard.append(await connection.receive())
        left.set()

    async with serving(tmp_path, listen=listen) as one:
        async with await one.dial() as stream:
            await stream.send_all(encode({"do": "listen"}) + encode({"n": 1}) + encode({"n": 2}))
        with trio.fail_after(10):
            await left.wait()
    assert heard == [{"do": "listen"}, {"n": 1}, {"n": 2}, None]


async def test_more_connections_than_there_may_be(tmp_path: Path) -> None:
    async with serving(tmp_path) as one, trio.open_nursery() as nursery:
        held = [await one.dial() for _ in range(server.MOST_CONNECTIONS)]
        await trio.testing.wait_all_tasks_blocked()
        assert b'"code":"busy"' in await one.tell(b"")
        await held.pop().aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert await one.ping() == PONG
        for stream in held:
            nursery.start_soon(stream.aclose)


async def test_a_request_that_takes_for_ever(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with serving(tmp_path) as one:
        one.gateway.hold = trio.Event()
        answer = await one.tell(encode({"do": "release", "key": "cli:direct"}))
        assert b'"code":"too_slow"' in answer
        assert trio.current_time() == pytest.approx(server.ANSWER_S)
