"""Child processes end with their scope and with us. Real processes; each test tags its own in the environment."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import attrs
import pytest
import trio

from nanobot.config.schema import ExecConfig
from nanobot.processes.children import GRACE_S, KILL_S, Capture, Child, clean_env, open_child, run
from tests.fakes import processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and subreapers")

REPOSITORY = Path(__file__).parents[2]
STUBBORN = "trap '' TERM; while :; do sleep 1; done"
TREES = {
    "plain": "sleep 1000",
    "pipeline": "sleep 1000 | cat",
    "ignores TERM": f"{STUBBORN} & {STUBBORN}",
    "double fork": "(sleep 1000 &) ; sleep 1000",
    "setsid": "setsid sleep 1000 & sleep 1000",
    "double fork, setsid, ignores TERM": f'(setsid sh -c "{STUBBORN}" &) ; sleep 1000',
    "stopped": "kill -STOP $$",
}
"""Each runs for ever and has at least two processes with the tag, the wrapper counted."""


@pytest.fixture
async def tag() -> AsyncIterator[str]:
    """A name to find a test's processes by; afterwards nothing of them may be left: process, zombie or descriptor."""
    await trio.to_thread.run_sync(int)  # Trio's own thread is no leak
    before = processes.descriptors(), processes.children()
    name = f"TAG_{uuid.uuid4().hex}"
    yield name
    assert processes.with_tag(name) == []
    assert (processes.descriptors(), processes.children()) == before


def env_with(tag: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], tag: "1"}


async def captured(command: str, tag: str, tmp_path: Path, *, keep: int = 1000, limit: int = 1_000_000) -> tuple[int, Capture]:
    output = Capture(tmp_path / "full", keep, limit)
    with trio.fail_after(20):
        status = await run(["/bin/sh", "-c", command], output, cwd=tmp_path, env=env_with(tag))
    output.close()
    return status, output


@pytest.mark.parametrize("tree", TREES)
async def test_cancelling_the_scope_ends_the_whole_tree(tree: str, tag: str, tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_child(["/bin/sh", "-c", TREES[tree]], cwd=tmp_path, env=env_with(tag)):
            await processes.until_some(tag, 2)
            start = time.monotonic()
            scope.cancel()
            await trio.sleep_forever()
    assert time.monotonic() - start < GRACE_S + KILL_S
    assert processes.with_tag(tag) == []


async def test_leaving_the_body_ends_it_too(tag: str, tmp_path: Path) -> None:
    async with open_child(["sleep", "1000"], cwd=tmp_path, env=env_with(tag)) as child:
        await processes.until_some(tag, 2)
    assert await child.wait() == 128 + signal.SIGTERM


OWNER = dedent("""
    import os, sys, trio
    from pathlib import Path
    from nanobot.processes.children import open_child
    from tests.supervise.test_children import TREES

    async def main():
        async with trio.open_nursery() as nursery:
            for command in TREES.values():
                nursery.start_soon(one, command)

    async def one(command):
        async with open_child(["/bin/sh", "-c", command], cwd=Path("/"), env=dict(os.environ)):
            await trio.sleep_forever()

    trio.run(main)
""")


async def test_kill_9_of_the_owner_leaves_nothing(tag: str, capsys: pytest.CaptureFixture[str]) -> None:
    owner = await trio.lowlevel.open_process([sys.executable, "-c", OWNER], env={**os.environ, tag: "1"}, cwd=REPOSITORY)
    try:
        await processes.until_some(tag, 1 + 2 * len(TREES))
        number = len(processes.with_tag(tag)) - 1
    finally:
        owner.kill()
        with trio.move_on_after(20, shield=True):
            await owner.wait()
    seconds = await processes.until_gone(tag, within=2.0)
    with capsys.disabled():
        print(f"\nkill -9 of the owner: {number} processes gone after {seconds * 1000:.0f} ms")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -KILL $$", 128 + signal.SIGKILL),
        ("kill -TERM $$", 128 + signal.SIGTERM),
        ("exec /nonexistent", 127),
        ("exec /etc/passwd", 126),
    ],
)
async def test_the_exit_status_is_passed_on(command: str, status: int, tag: str, tmp_path: Path) -> None:
    assert (await captured(command, tag, tmp_path))[0] == status


async def test_a_program_that_is_not_there_is_127_and_a_line_that_says_so(tag: str, tmp_path: Path) -> None:
    output = Capture(tmp_path / "full", keep=1000, limit=10_000)
    assert await run(["no-such-program"], output, cwd=tmp_path, env=env_with(tag)) == 127
    assert output.whole == b"cannot run no-such-program: No such file or directory\n"


async def test_a_folder_that_is_not_there_is_an_error(tag: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        async with open_child(["true"], cwd=tmp_path / "nowhere", env=env_with(tag)):
            pass


async def test_term_reaches_the_command_and_its_last_words_are_read(tag: str, tmp_path: Path) -> None:
    command = "trap 'echo bye; exit 7' TERM; echo ready; while :; do :; done"
    async with open_child(["/bin/sh", "-c", command], cwd=tmp_path, env=env_with(tag)) as child:
        assert await child.stdout.receive_some() == b"ready\n"
        child.terminate()
        assert await child.stdout.receive_some() == b"bye\n"
        assert await child.wait() == 7


async def test_what_runs_on_in_the_background_gets_a_moment_and_is_ended(tag: str, tmp_path: Path) -> None:
    start = time.monotonic()
    status, output = await captured("(sleep 0.02; echo late) & sleep 1000 & echo early", tag, tmp_path)
    assert (status, output.whole) == (0, b"early\nlate\n")
    assert time.monotonic() - start < 5


async def test_a_stranger_with_our_pipe_is_not_waited_for(tag: str, tmp_path: Path) -> None:
    held: list[int] = []

    def hold(chunk: bytes) -> None:
        held.append(os.open(f"/proc/{int(chunk)}/fd/1", os.O_WRONLY))

    output = Capture(tmp_path / "full", keep=1000, limit=10_000, watch=hold)
    with trio.fail_after(20):
        assert await run(["/bin/sh", "-c", "echo $$; sleep 0.1"], output, cwd=tmp_path, env=env_with(tag)) == 0
    assert len(held) == 1
    os.close(held[0])


async def test_the_end_of_output_is_the_commands_not_the_wrappers(tag: str, tmp_path: Path) -> None:
    async with open_child(["/bin/sh", "-c", "exec >&- 2>&-; sleep 1000"], cwd=tmp_path, env=env_with(tag)) as child:
        with trio.fail_after(20):
            assert await child.stdout.receive_some() == b""


async def test_killing_the_wrapper_itself_leaves_nothing(tag: str, tmp_path: Path) -> None:
    async with open_child(["/bin/sh", "-c", "sleep 1000 & kill -KILL $PPID; wait"], cwd=tmp_path, env=env_with(tag)) as child:
        assert await child.wait() == 128 + signal.SIGKILL


async def test_stopping_the_wrapper_leaves_nothing(tag: str, tmp_path: Path) -> None:
    command = "setsid sleep 1000 & kill -STOP $PPID; wait"
    async with open_child(["/bin/sh", "-c", command], cwd=tmp_path, env=env_with(tag)):
        await processes.until_some(tag, 3)


async def test_a_fork_bomb_is_outrun(tag: str, tmp_path: Path) -> None:
    bomb = "f() { [ $1 -gt 0 ] && { f $(($1 - 1)) & f $(($1 - 1)) & }; sleep 1000; }; f 6"
    async with open_child(["/bin/sh", "-c", bomb], cwd=tmp_path, env=env_with(tag)):
        await processes.until_some(tag, 30)


async def test_output_is_merged_in_order(tag: str, tmp_path: Path) -> None:
    _, output = await captured("echo out; echo err >&2; echo out", tag, tmp_path)
    assert output.whole == b"out\nerr\nout\n"
    assert output.file is None


async def test_long_output_keeps_both_ends_and_all_of_it_in_a_file(tag: str, tmp_path: Path) -> None:
    status, output = await captured("seq 1 20000", tag, tmp_path, keep=100)
    whole = b"".join(b"%d\n" % number for number in range(1, 20001))
    assert (status, output.whole, output.total) == (0, None, len(whole))
    assert (output.head, output.tail) == (whole[:100], whole[-100:])
    assert output.file is not None
    assert output.file.read_bytes() == whole
    assert output.file.stat().st_mode & 0o777 == 0o600


async def test_output_without_end_is_stopped_at_the_limit(tag: str, tmp_path: Path) -> None:
    _, output = await captured("yes", tag, tmp_path, limit=300_000)
    assert output.over
    assert output.total == (tmp_path / "full").stat().st_size == 300_000


async def test_a_file_that_cannot_be_written_costs_the_file_only(tag: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    status, output = await captured("seq 1 20000", tag, tmp_path, keep=100)
    assert (status, output.file, output.head[:4]) == (0, None, b"1\n2\n")


async def test_standard_input_is_the_ends_of_pipes(tag: str, tmp_path: Path) -> None:
    async with open_child(["cat"], cwd=tmp_path, env=env_with(tag), stdin=True) as child:
        assert child.stdin is not None
        await child.stdin.send_all(b"hello")
        assert await child.stdout.receive_some() == b"hello"
        await child.stdin.aclose()
        assert await child.stdout.receive_some() == b""
        assert await child.wait() == 0


async def test_a_command_sees_the_standard_descriptors_only(tag: str, tmp_path: Path) -> None:
    _, output = await captured("ls /proc/self/fd", tag, tmp_path)
    assert output.whole is not None
    assert output.whole.split() == [b"0", b"1", b"2", b"3"]  # 3 is the listing's own


@attrs.frozen
class Lock:
    """A lock file: `fd` holds it, `free` asks as a second process would."""

    path: Path
    fd: int

    def free(self) -> bool:
        with self.path.open() as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True


async def test_a_lock_is_free_only_when_the_last_process_is_gone(tag: str, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = Lock(path, os.open(path, os.O_CREAT | os.O_RDWR))
    fcntl.flock(lock.fd, fcntl.LOCK_EX)
    command = ["/bin/sh", "-c", "(setsid sleep 1000 &) ; sleep 1000"]
    async with open_child(command, cwd=tmp_path, env=env_with(tag), inherit_fds=[lock.fd]) as child:
        await processes.until_some(tag, 3)
        os.close(lock.fd)
        holders = [pid for pid in processes.with_tag(tag) if _holds(pid, path)]
        assert not lock.free()
        assert holders == [child.pid]  # a command that had it could let it go
    assert lock.free()


def _holds(pid: int, path: Path) -> bool:
    return any(os.path.realpath(fd) == str(path) for fd in Path(f"/proc/{pid}/fd").iterdir())


def test_the_environment_is_an_allow_list() -> None:
    config = ExecConfig(path_prepend="/first", path_append="/last", allowed_env_keys=("EDITOR",))
    environ = {"PATH": "/bin", "HOME": "/home/me", "EDITOR": "vi", "ANTHROPIC_API_KEY": "secret", "NANOBOT_X": "secret"}
    expected = {"PATH": "/first:/bin:/last", "HOME": "/home/me", "EDITOR": "vi", "LANG": "C.UTF-8"}
    assert clean_env(config, environ) == expected


async def test_many_at_once(tag: str, tmp_path: Path) -> None:
    async def one(number: int) -> None:
        output = Capture(tmp_path / str(number), keep=1000, limit=10_000)
        assert await run(["echo", str(number)], output, cwd=tmp_path, env=env_with(tag)) == 0
        assert output.whole == b"%d\n" % number

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)


async def test_what_a_wrapper_costs(tag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rss, milliseconds = 0, []
    for _ in range(11):
        start = time.perf_counter()
        await captured("true", tag, tmp_path)
        milliseconds.append((time.perf_counter() - start) * 1000)
    async with open_child(["/bin/sh", "-c", "echo; sleep 1000"], cwd=tmp_path, env=env_with(tag)) as child:
        await child.stdout.receive_some()
        rss = _kib(child, "Rss")
        unshared = _kib(child, "Private_Dirty") + _kib(child, "Private_Clean")
    with capsys.disabled():
        print(
            f"\nlifeline: {sorted(milliseconds)[5]:.0f} ms a child, {rss / 1024:.1f} MiB resident, {unshared / 1024:.1f} its own"
        )
    assert rss < 30 * 1024


def _kib(child: Child, field: str) -> int:
    rows = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(f"{field}:"))
