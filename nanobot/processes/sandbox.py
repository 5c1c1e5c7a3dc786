"""The sandbox of commands: bubblewrap, as the boundary between a command and this machine.

`argv` gives the command line that `open_child` runs. What the command sees of the file system is in `mounts.py`. Beyond that:

- Namespaces of its own for users, processes, IPC, host name and cgroups, and for the network unless it is on: then there is
  loopback and nothing else, not even the abstract sockets of the host. No capabilities, also for root; nothing gains rights
  (no_new_privs); no further user namespaces inside where bubblewrap is 0.8 or later.
- No terminal: the lifeline wrapper has begun a session without one. There is no session per command (`--new-session`),
  because TERM reaches the command by the process group that it shares with the wrapper's child.
- TERM and a grace: the part of bubblewrap that waits outside, and the keeper inside, ignore TERM; the command does not. Its
  exit status is passed on, 128 + n for signal n. What it leaves running has `LINGER_ROUNDS`, then its end is everybody's.
  bubblewrap itself dies with its parent, the wrapper, and its process namespace with it.
- At most `tools.exec.processes` processes and threads at a time. For a user RLIMIT_NPROC holds, which Linux counts in each user
  namespace since 5.14; it is set inside (before 5.14 it would count all that the user runs and is not set). The real root
  is exempt from it: there every command has a cgroup with `pids.max`. Its folder is empty afterwards and taken away by
  the next command. Where root can write no cgroups (a container) nothing bounds it but the container's own limit.
- No core files, at most `OPEN_FILES` descriptors a process, and the kernel that runs out of memory ends commands first. There
  is no limit for address space: node, Java and Go reserve far more than they use, and it would be for each process.

The environment is the caller's; HOME and TMPDIR are set here, to folders that are gone afterwards.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import attrs
import trio

from nanobot.config.schema import ExecConfig
from nanobot.errors import ToolError
from nanobot.processes import mounts
from nanobot.processes.children import Capture, clean_env, run

PROBE_S = 10.0
"""Of a probe; it takes 50 ms, on a busy small machine a second."""
OPEN_FILES = 4096
OWN = 3
"""Processes of ours inside: bubblewrap's process 1, the keeper, and the one that it looks around with."""
LINGER_ROUNDS = 4
"""Of 50 ms each, as long as a command without sandbox has (lifeline.LINGER_S)."""

OUTSIDE = """
echo 1000 >/proc/self/oom_score_adj
trap "" TERM
exec "$@"
"""
ROOT = """
path=$PATH PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
if [ -n "$1" ]; then
    for old in "$1"/nanobot-*; do [ -d "/proc/${old##*-}" ] || rmdir "$old"; done 2>/dev/null
    group="$1/nanobot-$$"
    mkdir "$group" && echo "$2" >"$group/pids.max" && echo $$ >"$group/cgroup.procs" || exit 126
fi
shift 2
export path
exec unshare --mount /bin/sh -c '
    mount --bind /dev /dev && mount -o remount,bind,ro /dev || exit 126
    PATH=$path
    unset path
    exec "$@"' sandbox "$@"
"""
"""Outside of the sandbox, so that only the system's own programs are run by name. Before `OUTSIDE`."""
KEEPER = f"""exec 3>&2 2>/dev/null
ulimit -c 0
ulimit -n {OPEN_FILES}
[ "$1" = 0 ] || ulimit -u "$1" || ulimit -p "$1" || exit 126
shift
(exec "$@" 2>&3 3>&-)
status=$?
rounds={LINGER_ROUNDS}
while set -- /proc/[0-9]*; [ $# -gt 2 ] && [ $rounds -gt 0 ]; do sleep 0.05; rounds=$((rounds - 1)); done
exit $status
"""
"""Its own standard error goes nowhere: shells have opinions on the ends of their children."""

NOT_INSTALLED = "bubblewrap is not installed: it is the package bubblewrap of Debian, Ubuntu, Fedora, Arch and Alpine"
DEFAULT_TERM = ("/usr/bin/env", "--default-signal=TERM")
DEFAULT_TERM_IN_PYTHON = "import os, signal, sys; signal.signal(15, 0); os.execvp(sys.argv[1], sys.argv[1:])"
OPTIONS = ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent")


@attrs.frozen
class Isolation:
    """Whether commands run in a sandbox here."""

    sandboxed: bool
    reason: str = ""
    """Why there is none, for people, with a way out; empty where there is one."""


@attrs.frozen
class Machine:
    """What this machine can do, found out once."""

    bwrap: str
    sized: bool
    """bubblewrap can bound the size of /tmp."""
    users: tuple[str, ...]
    """Its options for a user namespace."""
    default_term: tuple[str, ...]
    """A program that runs another with TERM no longer ignored: no shell can."""
    counted: bool
    """RLIMIT_NPROC counts per user namespace."""
    root: bool
    """We are the real root, or as good as that: what only file modes protect is open to a command."""
    cgroups: str
    """Where root can make cgroups that bound processes; empty: nowhere."""


async def probe(config: ExecConfig, environ: Mapping[str, str]) -> Isolation:
    """Whether the sandbox works here, by starting a command in it."""
    if config.sandbox == "off":
        return Isolation(False, "the sandbox is switched off (tools.exec.sandbox)")
    if sys.platform != "linux":
        return Isolation(False, "the sandbox needs Linux (bubblewrap)")
    if _bubblewrap(environ) is None:
        return Isolation(False, NOT_INSTALLED)
    with trio.move_on_after(PROBE_S):
        return await _tried(config, environ)
    return Isolation(False, f"bubblewrap did not start a command within {PROBE_S:g} s")


async def _tried(config: ExecConfig, environ: Mapping[str, str]) -> Isolation:
    folder = Path(tempfile.mkdtemp(prefix="nanobot-probe-"))
    output = Capture(folder / "output", keep=2000, limit=4000)
    try:
        await trio.to_thread.run_sync(_machine, *_key(environ))
        command = argv(
            ["/bin/sh", "-c", "exit 0"],
            workspace=folder,
            cwd=folder,
            config=config,
            hidden=(),
            readable=(),
            network=False,
            environ=environ,
        )
        status = await run(command, output, cwd=folder, env=clean_env(config, environ))
    except OSError as error:
        return Isolation(False, f"bubblewrap could not be started: {error}")
    finally:
        output.close(discard=True)
        shutil.rmtree(folder, ignore_errors=True)
    return Isolation(True) if status == 0 else Isolation(False, _reason(output.head.decode("utf-8", "replace"), status))


def _reason(said: str, status: int) -> str:
    """What bubblewrap's complaint means, and what to do about it."""
    last = (said.strip().splitlines() or [f"status {status}, and not a word"])[-1].removeprefix("bwrap: ")
    what = f"bubblewrap is installed but cannot make a sandbox ({last}): "
    if "proc" in last and "mount" in last.lower():
        return what + "in Docker, /proc has to be whole: add --security-opt systempaths=unconfined"
    if not re.search(r"namespace|uid map|RTM_NEWADDR|Operation not permitted|Permission denied", last):
        return what + "see nanobot guide sandbox"
    if _number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"):
        return what + "AppArmor forbids it: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile for bwrap"
    if _number("/proc/sys/kernel/unprivileged_userns_clone") == 0:
        return what + "user namespaces are off: sysctl kernel.unprivileged_userns_clone=1"
    if _number("/proc/sys/user/max_user_namespaces") == 0:
        return what + "user namespaces are off: sysctl user.max_user_namespaces=10000"
    if any(Path(sign).exists() for sign in ("/.dockerenv", "/run/.containerenv")):
        return what + "the container forbids it: add --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    return what + "user namespaces are forbidden here: nanobot guide sandbox says how to allow them"


def _number(file: str) -> int | None:
    try:
        return int(Path(file).read_text())
    except (OSError, ValueError):
        return None


def argv(
    command: Sequence[str],
    *,
    workspace: Path,
    cwd: Path,
    config: ExecConfig,
    hidden: Sequence[Path],
    readable: Sequence[Path],
    network: bool,
    environ: Mapping[str, str],
) -> list[str]:
    """The command line by which `open_child` runs `command` in the sandbox. May block for moments.

    hidden: folders and files that do not exist inside (the data directory), but for the workspace and `readable` in them.
    environ: ours, for PATH, where bubblewrap is, and HOME, for `~`.

    Raises: ToolError where `cwd` is not in a folder of the sandbox; OSError without bubblewrap or workspace.
    """
    inside = cwd.resolve()
    places = [workspace.resolve(), *(path.resolve() for path in readable), *mounts.folders(config, environ)]
    if not any(inside.is_relative_to(place) for place in places):
        raise ToolError(f"{cwd} is not in the sandbox. Use a folder inside the workspace, {workspace}")
    machine = _machine(*_key(environ))
    limit = str(config.processes + OWN)
    view = mounts.options(
        workspace=workspace,
        config=config,
        hidden=hidden,
        readable=readable,
        network=network,
        environ=environ,
        sized=machine.sized,
    )
    as_root = ["/bin/sh", "-c", ROOT, "sandbox", machine.cgroups, limit] if machine.root else []
    alone = [*machine.users, *OPTIONS, "--cap-drop", "ALL", *([] if network else ["--unshare-net"])]
    variables = ["--setenv", "HOME", mounts.HOME, "--setenv", "TMPDIR", str(mounts.TMP)]
    keeper = ["/bin/sh", "-c", KEEPER, "sandbox", limit if machine.counted else "0"]
    return [
        *(*as_root, "/bin/sh", "-c", OUTSIDE, "sandbox", machine.bwrap, *alone, *view, *variables, "--chdir", str(inside), "--"),
        *(*keeper, *machine.default_term, *command),
    ]


# -- the machine --------------------------------------------------------------------------------------------------------


def _key(environ: Mapping[str, str]) -> tuple[str]:
    """What `_machine` is remembered by. Raises: FileNotFoundError."""
    bwrap = _bubblewrap(environ)
    if bwrap is None:
        raise FileNotFoundError(2, "bubblewrap is not installed", "bwrap")
    return (bwrap,)


def _bubblewrap(environ: Mapping[str, str]) -> str | None:
    """Never from a relative folder of PATH: that could be the workspace."""
    folders = [folder for folder in environ.get("PATH", "").split(":") if os.path.isabs(folder)]
    return shutil.which("bwrap", path=":".join(folders)) if folders else None


@cache
def _machine(bwrap: str) -> Machine:
    """Raises: OSError."""
    best = ("--unshare-user", "--disable-userns")
    trial = ("/bin/sh", "-c", "echo yes")
    in_python = (sys.executable, "-I", "-S", "-c", DEFAULT_TERM_IN_PYTHON)
    root = _really_root()
    return Machine(
        bwrap,
        sized="--size BYTES" in _said([bwrap, "--help"]),
        users=best if _said([bwrap, *best, "--ro-bind", "/", "/", *trial]) else ("--unshare-user-try",),
        default_term=DEFAULT_TERM if _said([*DEFAULT_TERM, *trial]) else in_python,
        counted=_release() >= (5, 14),
        root=root,
        cgroups=_cgroups() if root else "",
    )


def _said(command: Sequence[str]) -> str:
    """Its output; nothing where it fails. Raises: OSError where it cannot be started, but for a program that is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=PROBE_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


def _really_root() -> bool:
    """The root whom RLIMIT_NPROC does not bind; not one of a user namespace (a container without root's rights)."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split()[:2] == ["0", "0"]


def _cgroups() -> str:
    """Version 1 has a tree of its own for processes, version 2 has one tree."""
    for root in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        trial = root / f"nanobot-{os.getpid()}"
        try:
            trial.mkdir()
        except OSError:
            continue
        try:
            if (trial / "pids.max").exists():
                return str(root)
        finally:
            trial.rmdir()
    return ""
