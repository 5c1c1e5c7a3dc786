"""Child processes end with their scope and with us. Real processes; each test tags its own in the environment."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
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
from nanobot.processes import spawning
from nanobot.processes.children import GRACE_S, KILL_S, Capture, clean_env, open_child, run
from tests.fakes import processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and subreapers")

STUBBORN = "trap '' TERM; while :; do sleep 1; done"
TREES = {
    "plain": ("sleep 1000", 1),
    "pipeline": ("sleep 1000 | cat", 2),
    "ignores TERM": (f"{STUBBORN} & {STUBBORN}", 2),
    "double fork": ("(sleep 1000 &) ; sleep 1000", 2),
    "setsid": ("setsid sleep 1000 & sleep 1000", 2),
    "double fork, setsid, ignores TERM": (f'(setsid sh -c "{STUBBORN}" &) ; sleep 1000', 3),
    "stopped": ("kill -STOP $$", 1),
}
"""Commands that run for ever, and how many processes they come to at least."""
every_tree = pytest.mark.parametrize(("command", "number"), TREES.values(), ids=TREES)


@pytest.fixture
async def tag() -> AsyncIterator[str]:
    """A name to find a test's processes by; afterwards nothing of them may be left: process, zombie or descriptor."""
    await trio.to_thread.run_sync(int)  # Trio's own thread is no leak
    spawner = await spawning.ready()
    before = processes.descriptors(), processes.children()
    name = f"TAG_{uuid.uuid4().hex}"
    yield name
    assert processes.with_tag(name) == []
    assert processes.children(spawner.pid) == set()
    assert (processes.descriptors(), processes.children()) == before


def env_with(tag: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], tag: "1"}


async def captured(command: str, tag: str, tmp_path: Path, *, keep: int = 1000, limit: int = 1_000_000) -> tuple[int, Capture]:
    output = Capture(tmp_path / "full", keep, limit)
    with trio.fail_after(20):
        status = await run(["/bin/sh", "-c", command], output, cwd=tmp_path, env=env_with(tag))
    output.close()
    return status, output


@every_tree
async def test_cancelling_the_scope_ends_the_whole_tree(command: str, number: int, tag: str, tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_child(["/bin/sh", "-c", command], cwd=tmp_path, env=env_with(tag)):
            await processes.until_some(tag, number)
            start = time.monotonic()
            scope.cancel()
            await trio.sleep_forever()
    assert time.monotonic() - start < GRACE_S + KILL_S
    assert processes.with_tag(tag) == []


async def test_leaving_the_body_ends_it_too(tag: str, tmp_path: Path) -> None:
    async with open_child(["sleep", "1000"], cwd=tmp_path, env=env_with(tag)) as child:
        await processes.until_some(tag, 1)
    assert await child.wait() == 128 + signal.SIGTERM


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


@every_tree
async def test_what_a_killed_wrapper_leaves_is_ended(command: str, number: int, tag: str, tmp_path: Path) -> None:
    async with open_child(["/bin/sh", "-c", command], cwd=tmp_path, env=env_with(tag)) as child:
        await processes.until_some(tag, number)
        os.kill(child.pid, signal.SIGKILL)
        with trio.fail_after(20):
            assert await child.wait() == 128 + signal.SIGKILL
        assert processes.with_tag(tag) == []


async def test_a_command_that_kills_its_wrapper_is_ended(tag: str, tmp_path: Path) -> None:
    async with open_child(["/bin/sh", "-c", "sleep 1000 & kill -KILL $PPID; wait"], cwd=tmp_path, env=env_with(tag)) as child:
        assert await child.wait() == 128 + signal.SIGKILL


async def test_stopping_the_wrapper_leaves_nothing(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "ANSWER_S", 0.5)  # it may be stopped before it says that the command runs
    command = "setsid sleep 1000 & kill -STOP $PPID; wait"
    async with open_child(["/bin/sh", "-c", command], cwd=tmp_path, env=env_with(tag)):
        await processes.until_some(tag, 2)


@pytest.mark.parametrize("number", [30, 250], ids=["while it grows", "grown"])
async def test_a_fork_bomb_is_outrun(number: int, tag: str, tmp_path: Path) -> None:
    bomb = "f() { [ $1 -gt 0 ] && { f $(($1 - 1)) & f $(($1 - 1)) & }; sleep 1000; }; f 6"  # 127 shells, a sleep each
    async with open_child(["/bin/sh", "-c", bomb], cwd=tmp_path, env=env_with(tag)):
        await processes.until_some(tag, number)
        start = time.monotonic()
    assert time.monotonic() - start < 5


async def test_what_goes_on_without_its_first_thread_is_ended(tag: str, tmp_path: Path) -> None:
    program = dedent("""
        import ctypes, os, signal, threading, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=time.sleep, args=(1000,)).start()
        print(os.getpid(), flush=True)
        ctypes.CDLL(None).pthread_exit(None)
    """)
    async with open_child([sys.executable, "-c", program], cwd=tmp_path, env=env_with(tag)) as child:
        pid = int(await child.stdout.receive_some())
        while "Z" not in Path(f"/proc/{pid}/stat").read_text():  # noqa: ASYNC110  # no event of ours
            await trio.sleep(0.005)
    assert not Path(f"/proc/{pid}").exists()


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
        await processes.until_some(tag, 2)
        os.close(lock.fd)
        spawner = await spawning.ready()
        holders = [pid for pid in (spawner.pid, child.pid, *processes.with_tag(tag)) if _holds(pid, path)]
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
        for number in range(50):
            nursery.start_soon(one, number)


async def test_large_arguments_and_environments_arrive(tag: str, tmp_path: Path) -> None:
    large = {f"LARGE_{number}": "x" * 100_000 for number in range(8)}
    arguments = ["y" * 100_000] * 8
    output = Capture(tmp_path / "full", keep=1000, limit=10_000)
    command = ["/bin/sh", "-c", "echo ${#LARGE_0} ${#LARGE_7} $# ${#8}", "sh", *arguments]
    assert await run(command, output, cwd=tmp_path, env={**env_with(tag), **large}) == 0
    assert output.whole == b"100000 100000 8 100000\n"


@pytest.mark.parametrize(
    ("arguments", "env", "text"),
    [
        (["x" * 200_000], {}, "Argument list too long: 'true'"),
        (["x" * 100_000] * 100, {}, "Argument list too long: 'true'"),
        ([], {"X": "x" * 200_000}, "Argument list too long: 'true'"),
        (["a\0b"], {}, "null byte"),
        ([], {"A": "a\0b"}, "null byte"),
        ([], {"A=B": ""}, "illegal environment variable name"),
    ],
    ids=["long argument", "many arguments", "long variable", "null argument", "null variable", "odd name"],
)
async def test_what_cannot_be_passed_on_is_an_error(
    arguments: list[str], env: dict[str, str], text: str, tag: str, tmp_path: Path
) -> None:
    with pytest.raises((OSError, ValueError), match=text):
        async with open_child(["true", *arguments], cwd=tmp_path, env={**env_with(tag), **env}):
            pass


async def test_without_descriptors_it_is_an_error_and_costs_none(tag: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    statuses = []
    for room in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(processes.descriptors()) + room, hard))
        try:
            async with open_child(["true"], cwd=tmp_path, env=env_with(tag)) as child:
                statuses.append(await child.wait())
        except OSError as error:
            statuses.append(error.errno or 0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert set(statuses) == {0, errno.EMFILE}
    assert statuses == sorted(statuses, reverse=True)


@pytest.mark.parametrize("milliseconds", range(0, 12))
async def test_a_start_that_is_cancelled_leaves_nothing(milliseconds: int, tag: str, tmp_path: Path) -> None:
    for part in range(5):
        with trio.move_on_after((milliseconds + part / 5) / 1000):
            async with open_child(["/bin/sh", "-c", "sleep 1000"], cwd=tmp_path, env=env_with(tag)):
                await trio.sleep_forever()
        assert processes.with_tag(tag) == []
