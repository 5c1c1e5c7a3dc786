"""The sandbox of commands, with the real bubblewrap: a table of ways out, each the exploit, and a table of good neighbours.

Every test runs as who we are, and as nobody where that is root.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from textwrap import dedent

import attrs
import pytest
import trio

from nanobot.config.schema import ExecConfig
from nanobot.errors import ToolError
from nanobot.processes import mounts, sandbox
from nanobot.processes.children import GRACE_S, Capture, Child, clean_env, open_child, run
from nanobot.processes.mounts import Mount, Rule
from tests.fakes import nobody, processes
from tests.fakes.peers import require_peer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

ROOT = os.geteuid() == 0
SECRET = "planted-key-93b1"
PLAIN = ExecConfig()
BEGUN = "begun"
"""What comes before an exploit, so that it cannot fail for not being run."""
OUT = "got-out"
"""What an exploit says when it has worked."""


@attrs.frozen
class Box:
    """A home with secrets, and a data directory in it that holds the workspace."""

    home: Path
    tag: str

    @property
    def data(self) -> Path:
        return self.home / ".nanobot"

    @property
    def workspace(self) -> Path:
        return self.data / "workspace"

    def environ(self, **more: str) -> dict[str, str]:
        return {"PATH": nobody.ENVIRON["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", **more}

    def argv(
        self,
        command: str,
        config: ExecConfig = PLAIN,
        *,
        workspace: Path | None = None,
        cwd: Path | None = None,
        hide: bool = True,
        network: bool = False,
        path: str = nobody.ENVIRON["PATH"],
    ) -> list[str]:
        folder = workspace or self.workspace
        return sandbox.argv(
            ["/bin/sh", "-c", command],
            workspace=folder,
            cwd=cwd or folder,
            config=config,
            hidden=[self.data] if hide else [],
            readable=[self.data / "results"],
            network=network,
            environ=self.environ(PATH=path),
        )

    def env(self, config: ExecConfig, **more: str) -> dict[str, str]:
        return {**clean_env(config, self.environ(**more)), self.tag: "1"}

    async def run(
        self,
        command: str,
        config: ExecConfig = PLAIN,
        *,
        workspace: Path | None = None,
        hide: bool = True,
        network: bool = False,
    ) -> tuple[int, str]:
        """The exit status and the output of a command in the sandbox."""
        output = Capture(self.home / "output", keep=100_000, limit=1_000_000)
        argv = self.argv(command, config, workspace=workspace, hide=hide, network=network)
        with trio.fail_after(30):
            status = await run(argv, output, cwd=workspace or self.workspace, env=self.env(config, TZ="Asia/Tokyo"))
        return status, output.head.decode()


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    require_peer("bwrap")
    found = await sandbox.probe(ExecConfig(), {"PATH": nobody.ENVIRON["PATH"], "HOME": "/nonexistent"})
    if not found.sandboxed:
        pytest.skip(found.reason)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # /tmp is another one inside
        box = furnished(Path(folder))
        yield box
        assert processes.with_tag(box.tag) == []


def furnished(folder: Path) -> Box:
    box = Box(folder / "home of me", f"TAG_{uuid.uuid4().hex}")
    for name in (".ssh/id_rsa", ".nanobot/config.json", ".nanobot/journals/one", "notes/private"):
        path = box.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET)
    (box.data / "results").mkdir()
    (box.data / "results" / "full").write_text("a full result")
    box.workspace.mkdir()
    (box.workspace / "to-config").symlink_to(box.data / "config.json")
    (box.workspace / "to-home").symlink_to(box.home)
    return box


def test_as_nobody() -> None:
    nobody.run_again("tests/processes/test_sandbox.py")


# -- what is hidden -----------------------------------------------------------------------------------------------------

READS = {
    "its path": 'cat "{data}/config.json"',
    "..": "cat ../config.json ../journals/one",
    "a link that was there": "cat to-config",
    "a new link": 'ln -s "{data}" new && cat new/config.json',
    "a link to what is around": "cat to-home/.nanobot/config.json",
    "the root of process 1": 'cat "/proc/1/root{data}/config.json"',
    "our own root": 'cat "/proc/self/root{data}/config.json"',
    "the folder of process 1": "cat /proc/1/cwd/../config.json /proc/1/cwd/.nanobot/config.json",
    "another spelling": 'cat "{home}/./notes/..//.nanobot/config.json"',
    "a hard link": 'ln "{data}/config.json" hard && cat hard',
    "a search": 'find "{home}" -name config.json -exec cat {{}} +; cat "{data}"/*/*',
    "a second name": 'cat "{home}/../home again/.nanobot/config.json"',
    "away from above": 'mv "{home}/.nanobot" "{home}/moved"; cat "{home}/moved/config.json"',
}


@attrs.frozen
class Bound:
    """Where the data directory lies, seen from what a command may see."""

    config: ExecConfig
    workspace: str = ".nanobot/workspace"


def bound(place: str, box: Box) -> Bound:
    again = box.home.parent / "home again"
    again.symlink_to(box.home)
    return {
        "around the workspace": Bound(ExecConfig()),
        "in a folder to write": Bound(ExecConfig(sandbox_rw_binds=("~",))),
        "in a folder to read": Bound(ExecConfig(sandbox_ro_binds=(str(box.home),))),
        "in a folder with two names": Bound(ExecConfig(sandbox_rw_binds=(str(again),))),
        "in the workspace": Bound(ExecConfig(), workspace="."),
    }[place]


PLACES = ("around the workspace", "in a folder to write", "in a folder to read", "in a folder with two names", "in the workspace")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", READS)
async def test_the_data_directory_is_not_there(way: str, place: str, box: Box) -> None:
    where = bound(place, box)
    command = f"echo {BEGUN}; {READS[way]}".format(data=box.data, home=box.home)
    _, said = await box.run(command, where.config, workspace=(box.home / where.workspace).resolve())
    assert said.startswith(BEGUN)
    assert SECRET not in said
    assert (box.data / "config.json").read_text() == (box.data / "journals/one").read_text() == SECRET


@pytest.mark.parametrize("way", sorted(set(READS) - {"the folder of process 1", "a hard link", "away from above"}))
async def test_these_ways_lead_there_where_nothing_is_hidden(way: str, box: Box) -> None:
    where = bound("in a folder with two names", box)
    _, said = await box.run(READS[way].format(data=box.data, home=box.home), where.config, hide=False)
    assert SECRET in said


@pytest.mark.parametrize("place", PLACES)
async def test_the_data_directory_shows_the_workspace_and_what_may_be_read_and_takes_nothing(place: str, box: Box) -> None:
    where = bound(place, box)
    command = f'cd "{box.data}"; ls -A; cat results/full; for f in . results; do touch $f/new && echo {OUT}; done'
    _, said = await box.run(command, where.config, workspace=(box.home / where.workspace).resolve())
    seen = {"results"} if place == "in the workspace" else {"results", "workspace"}
    assert seen <= set(said.split())
    assert not {OUT, "config.json", "journals"} & set(said.split())
    assert "a full result" in said


async def test_other_files_of_the_home_are_not_there(box: Box) -> None:
    _, said = await box.run(f'ls -A ~; cat ~/.ssh/id_rsa "{box.home}/.ssh/id_rsa" to-home/notes/private; ls -A "{box.home}"')
    assert SECRET not in said
    assert said.split()[-1] == ".nanobot"


async def test_a_hidden_file_is_not_there(box: Box) -> None:
    (box.workspace / "nanobot.json").write_text(SECRET)
    argv = sandbox.argv(
        ["cat", "nanobot.json"],
        workspace=box.workspace,
        cwd=box.workspace,
        config=ExecConfig(),
        hidden=[box.workspace / "nanobot.json"],
        readable=[],
        network=False,
        environ=box.environ(),
    )
    output = Capture(box.home / "output", keep=10_000, limit=10_000)
    assert await run(argv, output, cwd=box.workspace, env=box.env(ExecConfig())) == 1
    assert SECRET not in output.head.decode()


def test_what_a_bind_mount_shows_again_is_hidden_again() -> None:
    table = [
        Mount(Path("/"), "8:1", Path("/")),
        Mount(Path("/srv/all"), "8:1", Path("/home")),
        Mount(Path("/srv/part"), "8:1", Path("/home/me/.nanobot/journals")),
        Mount(Path("/srv/other"), "8:2", Path("/home/me")),
    ]
    rules = {Path("/srv"): Rule.WRITE, Path("/home/me/.nanobot/workspace"): Rule.WRITE}
    ours = {Path("/home/me/.nanobot/workspace"): Rule.WRITE}
    found = set(mounts.second_names([Path("/home/me/.nanobot")], rules, ours, table))
    assert found == {Path("/srv/all/me/.nanobot"), Path("/srv/part")}


@pytest.mark.skipif(not ROOT, reason="others are kept out by the modes")
async def test_what_the_system_keeps_from_users_is_kept_from_root(box: Box) -> None:
    closed = {str(path) for path in mounts.closed_to_others(Path("/etc"), 6)}
    assert "/etc/shadow" in closed
    for path in sorted(closed):
        status, said = await box.run(f"[ -d {path} ] && ls -A {path} || head -c 1 {path}")
        assert (status, said) == (0, "") or "denied" in said, path


# -- ways out -----------------------------------------------------------------------------------------------------------

IN_C = "import ctypes, os; c = ctypes.CDLL(None, use_errno=True)"
OUTS = {
    "write the system": "touch /usr/x || touch /etc/x || touch /bin/x || touch /x || touch /dev/x || touch /run/x",
    "write beside the workspace": 'touch ../x || touch "{home}/x" "{home}/../x" && false',
    "write through a link": "echo x > to-config || touch to-home/x && false",
    "mount the system anew": "mount -o remount,rw /usr || mount -o remount,bind,rw /etc || mount -o remount,rw /",
    "take a mask away": "umount /etc/shadow || umount /etc/ssl/private || umount /proc || umount /dev/null",
    "take a mask away in another user namespace": "unshare -Ur true || unshare -Urm umount /etc/shadow || unshare -m true",
    "mount something": "mount -t tmpfs none /tmp || mount -t proc none /tmp || mount --bind / /tmp",
    "make a device": "mknod sda b 8 0 || mknod mem c 1 1 || mknod /tmp/vda b 254 0",
    "open a device": "head -c 1 /dev/vda || head -c 1 /dev/sda || head -c 1 /dev/mem || head -c 1 /dev/kmsg || ls /dev/mapper",
    "another root": "chroot / true || chroot /proc/1/root true",
    "change the nodes of the machine": "chmod 666 /dev/null || chmod 666 /dev/tty || touch -c -d @0 /dev/zero",
    "change the kernel": 'p=/proc/sys/kernel/core_pattern; cat $p > $p || echo h > /proc/sysrq-trigger || [ -w "$p" ]',
    "read the kernel": "head -c 1 /proc/kcore || head -c 1 /proc/kmsg || ls /sys/class || ls /sys/fs/cgroup/*",
    "load a module": f'python3 -c "{IN_C}; e = c.syscall(175, 0, 0, 0); raise SystemExit(ctypes.get_errno() != 14)"',
    "gain rights": "su -c true || sudo -n true || grep 'NoNewPrivs:.0\\|Cap...:.0*[1-9a-f]' /proc/self/status",
    "find a set-user-id bit": "cp /bin/sh suid && chmod 4755 suid && grep -q -v nosuid /proc/self/mounts",
    "end processes of the machine": "kill -9 {pid} || kill -0 {pid} || ls /proc/{pid}",
    "debug a process of the machine": f'python3 -c "{IN_C}; raise SystemExit(c.ptrace(16, {{pid}}, 0, 0))"',
    "type on the terminal": "python3 -c \"import fcntl; fcntl.ioctl(open('/dev/tty'), 0x5412, b'x')\"",
    "reach loopback": "python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 3)\"",
    "reach outside": "python3 -c \"import socket; socket.socket(2, 2).connect(('192.0.2.1', 53))\"",
    "reach a socket by its path": "python3 -c \"import socket; socket.socket(1).connect('{data}/s')\"",
    "reach a socket by a link": "ln -s '{data}/s' s; python3 -c \"import socket; socket.socket(1).connect('s')\"",
    "reach a socket without a path": "python3 -c \"import socket; socket.socket(1).connect('\\0{tag}')\"",
    "see System V memory": "ipcs -m | grep {key} || [ $(ls /dev/shm | wc -l) != 0 ]",
    "be a parent of the wrapper": "[ $(ps -o ppid= -p 1) != 0 ]",
}


@pytest.fixture
def outside(box: Box) -> Iterator[dict[str, object]]:
    """What is there to be reached: a process, listening sockets, shared memory."""
    with (
        subprocess.Popen(["sleep", "1000"], env={"KEY": SECRET}) as sleeper,
        socket.create_server(("127.0.0.1", 0)) as loopback,
        socket.socket(socket.AF_UNIX) as path,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        here = os.getcwd()
        os.chdir(box.data)  # the whole path may be too long for a socket
        path.bind("s")
        os.chdir(here)
        path.listen()
        abstract.bind(f"\0{box.tag}")
        abstract.listen()
        made = subprocess.run(["ipcmk", "-M", "10"], capture_output=True, text=True, check=False).stdout.split()
        number = made[-1] if made else "0"
        yield {
            "pid": sleeper.pid,
            "port": loopback.getsockname()[1],
            "home": box.home,
            "data": box.data,
            "tag": box.tag,
            "key": f"' {number} '",
        }
        subprocess.run(["ipcrm", "-m", number], capture_output=True, check=False)
        sleeper.kill()


@pytest.mark.parametrize("way", OUTS)
async def test_no_way_out(way: str, box: Box, outside: dict[str, object]) -> None:
    command = OUTS[way].format(**outside)
    _, said = await box.run(f"echo {BEGUN}; if {command}; then echo {OUT}; fi")
    assert said.startswith(BEGUN)
    assert OUT not in said, said
    assert not (box.home / "x").exists()
    assert not (box.home.parent / "x").exists()
    assert (box.data / "config.json").read_text() == SECRET


async def test_sockets_are_reached_where_they_should_be(box: Box, outside: dict[str, object]) -> None:
    """The tests above could pass because nothing listens: with the network, two of the sockets are there."""
    for way in ("reach loopback", "reach a socket without a path"):
        status, said = await box.run(OUTS[way].format(**outside), network=True)
        assert (status, said) == (0, "")


async def test_the_environment_of_other_processes_is_not_seen(box: Box, outside: dict[str, object]) -> None:
    _, said = await box.run("cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'")
    assert box.tag in said
    assert SECRET not in said


async def test_only_the_standard_descriptors_are_inherited(box: Box) -> None:
    lock = os.open(box.data / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    output = Capture(box.home / "output", keep=1000, limit=10_000)
    config = ExecConfig()
    command = "ls /proc/self/fd; ls -l /proc/*/fd | grep -c lock"
    await run(box.argv(command), output, cwd=box.workspace, env=box.env(config), inherit_fds=[lock])
    os.close(lock)
    assert output.head.split() == [b"0", b"1", b"2", b"3", b"0"]  # 3 is the listing's own


async def test_what_lies_above_the_data_directory_cannot_be_moved_away(box: Box) -> None:
    config = ExecConfig(sandbox_rw_binds=(str(box.home.parent),))
    _, said = await box.run(f'echo {BEGUN}; cd /; mv "{box.home}" "{box.home}2" && echo {OUT}', config)
    assert said.startswith(BEGUN)
    assert OUT not in said
    assert (box.data / "config.json").exists()


OLD = """\
#!/bin/sh
case " $* " in *" --disable-userns "* | *" --size "*) exit 1 ;; " --help ") exit 0 ;; esac
exec {bwrap} "$@"
"""


async def test_an_older_bubblewrap_will_do(box: Box) -> None:
    old = box.home / "bwrap"
    old.write_text(OLD.format(bwrap=shutil.which("bwrap")))
    old.chmod(0o755)
    path = f"{box.home}:{nobody.ENVIRON['PATH']}"
    command = f"echo {BEGUN}; unshare -Urm umount /etc/ssl/private && echo {OUT}; cat ../config.json /etc/shadow; ls /tmp"
    output = Capture(box.home / "output", keep=10_000, limit=10_000)
    await run(box.argv(command, path=path), output, cwd=box.workspace, env=box.env(PLAIN))
    said = output.head.decode()
    assert (said.splitlines()[0], said.splitlines()[-1]) == (BEGUN, "home")
    assert not {OUT, SECRET, "root:"} & set(said.replace(":", ": ").split())


async def test_a_folder_outside_is_no_place_to_run_in(box: Box) -> None:
    for folder in (box.home, Path("/"), box.workspace / "to-home"):
        with pytest.raises(ToolError, match="not in the sandbox"):
            box.argv("true", cwd=folder)


# -- limits and ends ----------------------------------------------------------------------------------------------------

BOMB = dedent("""
    import os, threading, time
    made, end = 0, time.monotonic() + 5
    hold = threading.Event()
    for _ in range(300):
        try:
            if {threads} and made % 2:
                threading.Thread(target=hold.wait, daemon=True).start()
            elif os.fork() == 0:
                time.sleep(1000)
        except (OSError, RuntimeError):
            break
        made += 1
        if time.monotonic() > end:
            break
    print(made, flush=True)
    os._exit(0)
""")


@pytest.mark.parametrize("threads", [False, True])
async def test_processes_and_threads_have_a_limit(threads: bool, box: Box) -> None:
    (box.workspace / "bomb.py").write_text(BOMB.format(threads=threads))
    status, said = await box.run("python3 bomb.py", ExecConfig(processes=40))
    assert status == 0
    assert 40 - 3 <= int(said) <= 40 + sandbox.OWN


async def test_the_limit_cannot_be_raised(box: Box) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (1000, 1000))"
    status, _ = await box.run(f"python3 -c '{code}'; true")
    assert status == 0
    (box.workspace / "bomb.py").write_text(BOMB.format(threads=False))
    _, said = await box.run(f"(python3 -c '{code}'; ulimit -p 1000); python3 bomb.py", ExecConfig(processes=40))
    assert int(said.split()[-1]) <= 40 + sandbox.OWN


async def test_the_limit_is_for_each_command(box: Box) -> None:
    (box.workspace / "bomb.py").write_text(BOMB.format(threads=False))
    numbers: list[int] = []

    async def one() -> None:
        numbers.append(int((await box.run("python3 bomb.py", ExecConfig(processes=20)))[1]))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
    assert min(numbers) >= 17


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -KILL $$", 128 + signal.SIGKILL),
        ("kill -TERM $$", 128 + signal.SIGTERM),
        ("kill -SEGV $$", 128 + signal.SIGSEGV),
        ("exec /nonexistent", 127),
        ("exec /etc/passwd", 126),
        ("kill -KILL -1", 128 + signal.SIGKILL),
        ("kill -KILL 0", 128 + signal.SIGKILL),
        ("yes | head -1 >/dev/null", 0),
    ],
)
async def test_the_exit_status_is_passed_on(command: str, expected: int, box: Box) -> None:
    assert (await box.run(command))[0] == expected


async def test_shells_say_nothing_of_their_own(box: Box) -> None:
    assert await box.run("kill -TERM $$") == (128 + signal.SIGTERM, "")


@pytest.mark.parametrize("by", ["env", "Python"])
async def test_term_reaches_the_command_and_its_last_words_are_read(by: str, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "Python":
        monkeypatch.setattr(sandbox, "DEFAULT_TERM", ("/nonexistent",))
        monkeypatch.setattr(sandbox, "_machine", sandbox._machine.__wrapped__)
    command = "trap 'echo bye; exit 7' TERM; echo ready; while :; do :; done"
    async with open_child(box.argv(command), cwd=box.workspace, env=box.env(ExecConfig())) as child:
        with trio.fail_after(20):
            assert await child.stdout.receive_some() == b"ready\n"
            child.terminate()
            assert await child.stdout.receive_some() == b"bye\n"
            assert await child.wait() == 7


async def test_what_runs_on_in_the_background_gets_a_moment_and_is_ended(box: Box) -> None:
    status, said = await box.run("(sleep 0.02; echo late) & setsid sleep 1000 & echo early")
    assert (status, said) == (0, "early\nlate\n")


TREES = {
    "plain": "sleep 1000",
    "ignores TERM": "trap '' TERM; while :; do sleep 1; done",
    "double fork, setsid, ignores TERM": "(setsid sh -c \"trap '' TERM; while :; do sleep 1; done\" &) ; sleep 1000",
    "stopped": "kill -STOP $$",
    "fork bomb": "f() { f & f & sleep 1000; }; f 2>/dev/null; sleep 1000",
}


async def started(box: Box, child: Child) -> None:
    with trio.fail_after(20):
        assert await child.stdout.receive_some() == b"begun\n"
    await processes.until_some(box.tag, 4)


@pytest.mark.parametrize("tree", TREES)
async def test_leaving_ends_the_whole_tree_within_a_second(tree: str, box: Box) -> None:
    argv = box.argv(f"echo begun; {TREES[tree]}", ExecConfig(processes=100))
    async with open_child(argv, cwd=box.workspace, env=box.env(ExecConfig())) as child:
        await started(box, child)
        begun = time.monotonic()
    assert processes.with_tag(box.tag) == []
    assert time.monotonic() - begun < GRACE_S + 1


@pytest.mark.parametrize("tree", TREES)
async def test_killing_the_wrapper_ends_all_of_it(tree: str, box: Box) -> None:
    argv = box.argv(f"echo begun; {TREES[tree]}", ExecConfig(processes=100))
    async with open_child(argv, cwd=box.workspace, env=box.env(ExecConfig())) as child:
        await started(box, child)
        os.kill(child.pid, signal.SIGKILL)
        await processes.until_gone(box.tag, within=2)


# -- good neighbours ----------------------------------------------------------------------------------------------------

SERVER = (
    "python3 -c \"import socket, threading; s = socket.create_server(('127.0.0.1', 0)); "
    "threading.Thread(target=lambda: s.accept()[0].send(b'hi')).start(); "
    'print(socket.create_connection(s.getsockname()).recv(9).decode())"'
)
SQLITE = "python3 -c \"import sqlite3; d = sqlite3.connect('d'); d.execute('create table t (x)'); d.commit(); print('made')\""
NEIGHBOURS = {
    "nothing": ("echo x > /dev/null; echo y >> /dev/null; cat < /dev/null", ""),
    "here-document": ("cat <<END\nhi\nEND", "hi"),
    "pipe": ("printf 'b\\na\\n' | sort | tr '\\n' ' '", "a b"),
    "standard streams by name": ("echo a > /dev/stdout; echo b > /dev/stderr; echo c > /proc/self/fd/1", "a\nb\nc"),
    "random": ("head -c 4 /dev/urandom | wc -c; head -c 4 /dev/random | wc -c", "4\n4"),
    "shared memory": ("python3 -c \"import multiprocessing as m; print(m.Lock() and 'ok')\"", "ok"),
    "home": ("ls -A ~; echo x > ~/.cache; cat ~/.cache; cd; pwd", "x\n/tmp/home"),
    "temporary files": ("f=$(mktemp) && echo x > $f && cat $f && f=$(mktemp -p /var/tmp) && echo x > $f && cat $f", "x\nx"),
    "who am I": ("[ $(id -u) = {uid} ] && echo yes", "yes"),
    "path with spaces": ('mkdir "a b" && echo x > "a b/ü 日本" && cat "a b/ü 日本" && pwd', "x\n{workspace}"),
    "leading dash": ("echo x > ./-rf && cat ./-rf && rm -- -rf", "x"),
    "delete": ("touch x && rm -f x && [ ! -e x ] && echo gone", "gone"),
    "locale": ("python3 -c \"print('\\u00fc', __import__('sys').stdout.encoding)\"", "ü utf-8"),
    "time zone": ("date +%Z", "JST"),
    "job control": ("set -m 2>/dev/null; sleep 0.01 & wait $! && echo done", "done"),
    "bash": ("bash -c 'cat <(echo x) > >(tee y >/dev/null); sleep 0.05; cat y'", "x"),
    "kill and wait": ("sleep 1000 & kill $!; wait $! 2>/dev/null; echo $?", "143"),
    "timeout": ("timeout 0.05 sleep 1000; echo $?", "124"),
    "sqlite": (SQLITE, "made"),
    "file locks": ("flock x echo held", "held"),
    "loopback": (SERVER, "hi"),
    "git": ("git init -q . && git -c user.name=a -c user.email=b commit -q --allow-empty -m x && git log --format=%s", "x"),
    "venv": ("python3 -m venv --without-pip v && v/bin/python -c 'print(1)'", "1"),
    "pip": ("python3 -m pip --version | cut -c1-3", "pip"),
    "node": ("node -p '[1,2].length'", "2"),
    "our Python": ("'{python}' -c 'print(2)'", "2"),
    "processes": ("ps -o pid= | wc -l >/dev/null && nproc >/dev/null && echo seen", "seen"),
    "many files": ("[ $(ulimit -n) -ge 1024 ] && ulimit -c", "0"),
    "names": ("getent passwd $(id -u) >/dev/null && getent hosts localhost >/dev/null && echo known", "known"),
}
PROGRAMS = {"git": "git", "node": "node", "file locks": "flock", "bash": "bash", "processes": "ps", "time zone": "date"}


@pytest.mark.parametrize("what", NEIGHBOURS)
async def test_good_neighbours_are_at_home(what: str, box: Box) -> None:
    if shutil.which(program := PROGRAMS.get(what, "python3"), path=box.environ()["PATH"]) is None:
        pytest.skip(f"no {program} here")
    command, expected = (
        text.format(uid=os.geteuid(), workspace=box.workspace, python=sys.executable) if "{" in text else text
        for text in NEIGHBOURS[what]
    )
    status, said = await box.run(command, ExecConfig(allowed_env_keys=("TZ",)))
    assert (status, said.strip()) == (0, expected)


async def test_files_that_come_out_are_ours(box: Box) -> None:
    await box.run("echo x > made; mkdir folder; echo y > tool; chmod 750 tool")
    found = {path.name: path.stat() for path in map(box.workspace.joinpath, ("made", "folder", "tool"))}
    assert {(row.st_uid, row.st_gid) for row in found.values()} == {(os.geteuid(), os.getegid())}
    assert stat.S_IMODE(found["tool"].st_mode) == 0o750


async def test_what_is_written_at_home_and_in_tmp_is_gone_afterwards(box: Box) -> None:
    _, said = await box.run("echo x > ~/x; echo x > /tmp/x; echo x > /dev/shm/x; ls -A /tmp")
    assert said.split()[0] == "home"
    assert await box.run("cat ~/x /tmp/x /dev/shm/x 2>/dev/null") == (1, "")
    assert not Path("/tmp/home").exists()


async def test_folders_of_the_configuration(box: Box) -> None:
    tools, more = box.home / "my tools", box.home / "more"
    for folder in (tools, more):
        folder.mkdir()
    (tools / "hello").write_text("#!/bin/sh\necho hello\n")
    (tools / "hello").chmod(0o755)
    config = ExecConfig(path_prepend=str(tools), sandbox_rw_binds=("~/more", "relative", "/nonexistent"))
    status, said = await box.run(f'hello; touch "{more}/x"; touch "{tools}/x" || cd "{more}" && pwd', config)
    assert (status, said.splitlines()[0], said.splitlines()[-1]) == (0, "hello", str(more))
    assert (more / "x").exists()
    assert not (tools / "x").exists()


async def test_a_home_as_a_folder_of_programs_is_not_opened(box: Box) -> None:
    for folder in (str(box.home), "~", str(box.home.parent), "/"):
        _, said = await box.run(f'cat "{box.home}/.ssh/id_rsa"', ExecConfig(path_append=folder))
        assert SECRET not in said


async def test_the_resolver_is_there_with_a_network_only(box: Box) -> None:
    real = Path("/etc/resolv.conf").read_text()
    assert (await box.run("cat /etc/resolv.conf", network=True))[1] == real
    assert (await box.run("ls /sys/class/net /proc/net/dev >/dev/null; cut -d: -f1 /proc/net/dev | tail -n +3"))[1].split()[
        -1
    ] == "lo"


# -- whether there is one -----------------------------------------------------------------------------------------------


async def test_a_sandbox_that_is_switched_off() -> None:
    found = await sandbox.probe(ExecConfig(sandbox="off"), os.environ)
    assert not found.sandboxed
    assert "tools.exec.sandbox" in found.reason


@pytest.mark.parametrize("path", ["", "{empty}", "bin:{empty}"])
async def test_without_bubblewrap(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bwrap").symlink_to("/bin/true")
    monkeypatch.chdir(tmp_path)  # where a relative folder of PATH would find one
    environ = {"PATH": path.format(empty=tmp_path / "empty"), "HOME": str(tmp_path)}
    found = await sandbox.probe(ExecConfig(), environ)
    assert (found.sandboxed, found.reason) == (False, sandbox.NOT_INSTALLED)
    box = Box(tmp_path, "TAG")
    box.workspace.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="bubblewrap"):
        box.argv("true", path=environ["PATH"])


COMPLAINTS = {
    "bwrap: Creating new namespace failed: Operation not permitted": "user namespaces|container|AppArmor",
    "bwrap: setting up uid map: Permission denied": "user namespaces|container|AppArmor",
    "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted": "user namespaces|container|AppArmor",
    "bwrap: Can't mount proc on /newroot/proc: Operation not permitted": "systempaths=unconfined",
    "bwrap: Unknown option --unshare-cgroup-try": "nanobot guide sandbox",
    "": "nanobot guide sandbox",
}


@pytest.mark.parametrize("complaint", COMPLAINTS)
async def test_a_bubblewrap_that_cannot(complaint: str, tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text(f'#!/bin/sh\necho "{complaint}" >&2\nexit 1\n')
    fake.chmod(0o755)
    found = await sandbox.probe(ExecConfig(), {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert not found.sandboxed
    assert complaint.removeprefix("bwrap: ") in found.reason
    assert any(word in found.reason for word in COMPLAINTS[complaint].split("|"))


async def test_a_bubblewrap_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\nsleep 1000\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sandbox, "PROBE_S", 0.2)
    found = await sandbox.probe(ExecConfig(), {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (found.sandboxed, "within" in found.reason) == (False, True)
