"""What a command sees of the file system: the mounts of the sandbox, as options of bubblewrap.

Theory of operation. The root is an empty file system, and every folder that shall be there is mounted at its own path, so
that what is not named here does not exist inside. Mounts are rules for a path and all below it; they are made from the root
downwards, so that **the innermost rule wins**, as it does for the file tools (security/workspace.py):

    the system's folders, folders of PATH in the configuration, our Python, `sandboxRoBinds`    read only
    `sandboxRwBinds`, the workspace                                                            read and write
    `readable`                                                                                 read only
    `hidden` (the data directory)                                                              empty
    what the system keeps from other users, in `/etc` and `/opt`                               empty, for root as well
    /tmp, /var/tmp, /dev, /proc                                                                   its own

Folders are named by their real path; a name that is a link is a link inside too. A hidden folder that the host shows a
second time by a bind mount is hidden there too (`/proc/self/mountinfo` tells). Folders that lead to a mount within a
writable folder are mounts themselves: nobody can move a mount point away, and with it the data directory.
"""

from __future__ import annotations

import enum
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import attrs

from nanobot.config.schema import ExecConfig

HOME = "/tmp/home"
TMP, VAR_TMP, DEV, PROC = Path("/tmp"), Path("/var/tmp"), Path("/dev"), Path("/proc")
TMP_BYTES = 2**30
"""Of /tmp, /var/tmp and /dev/shm each; all are in memory."""
SYSTEM = (
    *(
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/etc",
        "/opt",
        "/nix",
        "/gnu",
        "/home/linuxbrew/.linuxbrew",
    ),
    *("/var/lib/dpkg", "/var/lib/texmf", "/var/cache/fontconfig", "/run/current-system"),
)
"""Of Debian, Fedora, Arch, Alpine, NixOS, Guix and Homebrew; none of it holds what belongs to a person."""
LEAVING = ("/etc/localtime", "/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki/tls/certs", "/etc/hosts", "/etc/nsswitch.conf")
"""May be links to where nothing else is mounted."""
RESOLVER = "/etc/resolv.conf"
"""Often a link into /run; it is there only with a network."""
GUARDED = {Path("/etc"): 6, Path("/usr/local/etc"): 6, Path("/opt"): 2}
"""Folders where programs keep secrets by mode, and levels that are searched for them."""
FORGET_S = 60.0
"""Seconds after which all of this is looked up again; it takes 5 to 30 ms."""


class Rule(enum.Enum):
    READ = enum.auto()
    WRITE = enum.auto()
    HIDE = enum.auto()


Rules = dict[Path, Rule]
Rows = tuple[tuple[Path, Rule], ...]


@attrs.frozen
class Mount:
    """A line of mountinfo: where, which file system, and which folder of it."""

    point: Path
    device: str
    root: Path

    def place(self, path: Path) -> Path:
        """Where `path`, which is below the mount point, is in the file system."""
        return self.root / path.relative_to(self.point)


def options(
    *,
    workspace: Path,
    config: ExecConfig,
    hidden: Sequence[Path],
    readable: Sequence[Path],
    network: bool,
    environ: Mapping[str, str],
    sized: bool,
) -> list[str]:
    """Options of bubblewrap for all mounts. sized: this bubblewrap knows `--size`. Raises: OSError (no workspace)."""
    ours = {path.resolve(): Rule.READ for path in readable if path.exists()} | {workspace.resolve(strict=True): Rule.WRITE}
    secret = tuple(path.resolve() for path in hidden if path.exists())
    size = ("--size", str(TMP_BYTES)) if sized else ()
    home, period = environ.get("HOME", ""), int(time.monotonic() / FORGET_S)
    found = _built(config=config, home=home, network=network, ours=tuple(ours.items()), secret=secret, size=size, period=period)
    return list(found)


@lru_cache(64)
def _built(
    *, config: ExecConfig, home: str, network: bool, ours: Rows, secret: tuple[Path, ...], size: tuple[str, ...], period: int
) -> tuple[str, ...]:
    system = _system(config, home, network, period)
    rules = system.rules | dict(ours)
    rules |= dict.fromkeys((*secret, *second_names(secret, rules, dict(ours), mounts())), Rule.HIDE)
    return tuple(_written(_needed(rules), system.links, size))


def folders(config: ExecConfig, environ: Mapping[str, str]) -> list[Path]:
    """The folders that the configuration adds, resolved. What is not there, or no full path, is left out."""
    return list(_asked(config, environ.get("HOME", ""))[0])


# -- what is there ------------------------------------------------------------------------------------------------------


@attrs.frozen
class System:
    """What is the same for every command."""

    rules: Rules
    links: Mapping[Path, Path]


@lru_cache(4)
def _system(config: ExecConfig, home: str, network: bool, _period: int) -> System:
    names = [Path(name) for name in (*SYSTEM, *LEAVING, *([RESOLVER] if network else ()))]
    names += [path for path in _programs(config, home) if not Path(home or "/").resolve().is_relative_to(path.resolve())]
    there = {name: name.resolve() for name in names if name.exists()}
    asked, links = _asked(config, home)
    kept = [path for path in asked if _below_any(path, GUARDED)]
    closed = (path for top, depth in GUARDED.items() for path in closed_to_others(top, depth))
    rules = dict.fromkeys(there.values(), Rule.READ) | {path: Rule.HIDE for path in closed if not _below_any(path, kept)}
    return System(rules | asked, links | {name: real for name, real in there.items() if name != real})


def _programs(config: ExecConfig, home: str) -> Iterator[Path]:
    """Folders of programs; one that holds the whole home, or is above it, is not meant."""
    named = (_user(part, home) for part in (*config.path_prepend.split(":"), *config.path_append.split(":")))
    yield from (path for path in named if path.is_absolute())
    yield from {Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}


def _asked(config: ExecConfig, home: str) -> tuple[Rules, dict[Path, Path]]:
    """What the configuration adds, and the links that lead there."""
    rows = [(text, Rule.READ) for text in config.sandbox_ro_binds] + [(text, Rule.WRITE) for text in config.sandbox_rw_binds]
    found = [(_user(text, home), rule) for text, rule in rows]
    found = [(path, rule) for path, rule in found if path.is_absolute() and path.exists()]
    rules = {path.resolve(): rule for path, rule in found}
    return rules, {path: path.resolve() for path, _ in found if path != path.resolve()}


def _user(text: str, home: str) -> Path:
    return Path(home + text[1:] if home and (text == "~" or text.startswith("~/")) else text)


def _below_any(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


# -- what is hidden -----------------------------------------------------------------------------------------------------


def closed_to_others(folder: Path, depth: int) -> Iterator[Path]:
    """What we may read in `folder` and other users may not, down to `depth` levels."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError:  # not there, or closed to us too
        return
    for entry in entries:
        if entry.is_symlink():
            continue
        is_dir = entry.is_dir(follow_symlinks=False)
        needed = stat.S_IROTH | stat.S_IXOTH if is_dir else stat.S_IROTH
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError:  # gone
            continue
        if mode & needed != needed:
            if os.access(entry.path, os.R_OK if not is_dir else os.X_OK):
                yield Path(entry.path)
        elif is_dir and depth > 1:
            yield from closed_to_others(Path(entry.path), depth - 1)


def mounts() -> list[Mount]:
    """All mounts of the machine, later ones over earlier ones."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        found.append(Mount(_plain(fields[4]), fields[2], _plain(fields[3])))
    return found


def _plain(field: str) -> Path:
    r"""mountinfo writes space, tab, newline and backslash as \040 and so on."""
    for code in ("040", "011", "012", "134"):
        field = field.replace(f"\\{code}", chr(int(code, 8)))
    return Path(field)


def second_names(hidden: Sequence[Path], rules: Rules, ours: Rules, table: Sequence[Mount]) -> Iterator[Path]:
    """Where bind mounts of the host show hidden folders, or parts of them, in what is mounted; `ours` may lie in them."""
    shown = {*rules, *(mount.point for mount in table if _below_any(mount.point, rules))} - {*ours}
    places = [(folder, _mount_of(folder, table)) for folder in shown]
    for path in hidden:
        mine = _mount_of(path, table)
        place = mine.place(path)
        for folder, theirs in places:
            shows = theirs.place(folder)
            if theirs.device == mine.device and place.is_relative_to(shows):
                yield folder / place.relative_to(shows)
            elif theirs.device == mine.device and shows.is_relative_to(place):
                yield folder


def _mount_of(path: Path, table: Sequence[Mount]) -> Mount:
    over = [mount for mount in table if path.is_relative_to(mount.point)]
    return max(reversed(over), key=lambda mount: len(mount.point.parts), default=Mount(Path("/"), "", Path("/")))


# -- as options ---------------------------------------------------------------------------------------------------------


def _needed(rules: Rules) -> Rules:
    """Without what changes nothing, and with the folders between a writable folder and a rule inside it."""
    found: Rules = {}
    for path, rule in rules.items():
        above = next((parent for parent in path.parents if parent in rules), None)
        around = Rule.HIDE if above is None else rules[above]
        if (rule is around and rule is not Rule.WRITE) or not path.exists():
            continue
        found[path] = rule
        if above is not None and around is Rule.WRITE:
            found |= {parent: Rule.WRITE for parent in path.parents if parent != above and parent.is_relative_to(above)}
    return found


def _written(rules: Rules, links: Mapping[Path, Path], size: tuple[str, ...]) -> list[str]:
    made = {path: _mounted(path, rule) for path, rule in rules.items()}
    made |= {link: ["--symlink", str(real), str(link)] for link, real in links.items() if not _below_any(link, rules)}
    made[TMP] = [*size, "--tmpfs", str(TMP), "--dir", HOME]
    made[DEV] = ["--dev", str(DEV), *size, "--tmpfs", str(DEV / "shm")]
    made[PROC] = ["--proc", str(PROC)]
    made.setdefault(Path("/run"), ["--dir", "/run"])
    made[VAR_TMP] = [*size, "--tmpfs", str(VAR_TMP)]
    closed = [DEV, PROC, *(path for path, rule in rules.items() if rule is Rule.HIDE and path.is_dir())]
    closed += [] if Path("/") in rules else [Path("/")]
    words = [word for path in sorted(made, key=lambda path: (len(path.parts), path)) for word in made[path]]
    return words + [word for path in closed for word in ("--remount-ro", str(path))]


def _mounted(path: Path, rule: Rule) -> list[str]:
    match rule:
        case Rule.READ:
            return ["--ro-bind", str(path), str(path)]
        case Rule.WRITE:
            return ["--bind", str(path), str(path)]
        case Rule.HIDE:
            return ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", os.devnull, str(path)]
