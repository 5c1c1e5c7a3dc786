"""What `nanobot doctor` looks at: each check is a function from the facts to a finding, and none changes anything.

A finding that is not ok ends in what mends it: a command, or an edit of the configuration.
"""

from __future__ import annotations

import enum
import os
import shlex
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from nanobot.archive.reading import Reader, short
from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.config.text import read
from nanobot.errors import ConfigError, JournalError
from nanobot.journal.disk import RealDisk
from nanobot.journal.journal import RESERVE
from nanobot.providers.registry import select
from nanobot.providers.services import BY_NAME, Kind, Wire, normal
from nanobot.wire import Json

OLDEST_PYTHON = (3, 11)
EARLIEST = 1_767_225_600.0
"""2026-01-01: this program is younger, so a clock before that is wrong."""
AHEAD_S = 86_400.0
"""Seconds that the latest line of a journal may lie in the future: time zones are no excuse, they do not count in it."""
MOST_NAMED = 5


class Verdict(enum.StrEnum):
    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    SKIPPED = "skipped"


@attrs.frozen
class Finding:
    verdict: Verdict
    text: str


@attrs.frozen
class Facts:
    """What the checks look at, beside files."""

    places: Places
    environ: Mapping[str, str]
    config: Config | None
    """None if it cannot be loaded: `mistakes` says why."""
    mistakes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    python: tuple[int, int] = (0, 0)
    encoding: str = ""
    now: float = 0.0
    """Seconds since the epoch."""
    free_bytes: Callable[[str], int] = RealDisk().free_bytes

    @property
    def option(self) -> str:
        """What to add to commands that are named."""
        return f" --config {shlex.quote(str(self.places.config))}" if self.places.named else ""

    @property
    def reader(self) -> Reader:
        return Reader(str(self.places.journals))


Check = Callable[[Facts], Finding]


def _ok(text: str) -> Finding:
    return Finding(Verdict.OK, text)


def _warn(text: str) -> Finding:
    return Finding(Verdict.WARN, text)


def _bad(text: str) -> Finding:
    return Finding(Verdict.BAD, text)


_UNREAD = Finding(Verdict.SKIPPED, "not looked at, because the configuration cannot be loaded")


# --- this machine


def python(facts: Facts) -> Finding:
    text = ".".join(map(str, facts.python))
    needed = ".".join(map(str, OLDEST_PYTHON))
    return _ok(text) if facts.python >= OLDEST_PYTHON else _bad(f"{text} is too old: install Python {needed} or later")


def encoding(facts: Facts) -> Finding:
    if facts.encoding.lower().replace("-", "") == "utf8":
        return _ok("UTF-8")
    return _warn(f"the terminal is set to {facts.encoding}, so some text cannot be shown: export LC_ALL=C.UTF-8")


def clock(facts: Facts) -> Finding:
    if facts.now < EARLIEST:
        return _bad("the clock is wrong (before 2026): set it, for instance with: sudo timedatectl set-ntp true")
    try:
        latest = max((seen.at or 0.0 for seen in facts.reader.sessions()), default=0.0)
    except JournalError:
        latest = 0.0
    if latest > facts.now + AHEAD_S:
        return _warn("a session is dated in the future, so the clock was or is wrong: sudo timedatectl set-ntp true")
    return _ok("plausible")


def git(facts: Facts) -> Finding:
    if shutil.which("git", path=facts.environ.get("PATH")):
        return _ok("found")
    return _warn("git is not on the PATH, so the assistant cannot use it: sudo apt install git")


# --- files and folders


def config(facts: Facts) -> Finding:
    if facts.mistakes:
        return _bad(f"{'; '.join(facts.mistakes)}. Edit {facts.places.config}, then: nanobot config check{facts.option}")
    if facts.warnings:
        return _warn(f"{'; '.join(facts.warnings)}. See what is in force: nanobot config show{facts.option}")
    if not facts.places.config.exists():
        return _warn("there is none, the defaults are in force: nanobot onboard")
    return _ok(str(facts.places.config))


def config_mode(facts: Facts) -> Finding:
    return _mode(facts.places.config, "600")


def data_mode(facts: Facts) -> Finding:
    return _mode(facts.places.data, "700")


def _mode(path: Path, wanted: str) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return _ok("not there yet")
    if mode & 0o077 == 0:
        return _ok(f"{mode:o}")
    return _bad(f"others on this machine can get at it (mode {mode:o}): chmod {wanted} {shlex.quote(str(path))}")


def data_folder(facts: Facts) -> Finding:
    return _folder(facts.places.data)


def workspace(facts: Facts) -> Finding:
    if facts.config is None:
        return _UNREAD
    folder = facts.places.workspace(facts.config)
    if not folder.exists():
        return _warn(f"{folder} is not there yet: nanobot onboard{facts.option}")
    return _folder(folder)


def _folder(path: Path) -> Finding:
    """Whether it, or what it will be made in, is a folder that we can write to."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir():
        return _bad(f"{there} is a file and should be a folder: move it away, or name another folder in the configuration")
    if not os.access(there, os.W_OK | os.X_OK):
        return _bad(f"{there} cannot be written to: sudo chown {os.getuid()} {shlex.quote(str(there))}")
    return _ok(str(path) if there == path else f"{path}, to be made")


def space(facts: Facts) -> Finding:
    data = facts.places.data
    there = next(folder for folder in (data, *data.parents) if folder.is_dir())
    try:
        free = facts.free_bytes(str(there))
    except OSError as exc:
        return _warn(f"unknown: {exc.strerror}; look at it with: df {shlex.quote(str(there))}")
    if free >= RESERVE:
        return _ok(f"{free / 2**20:,.0f} MiB free")
    text = f"{free / 2**20:,.0f} MiB free, less than the {RESERVE / 2**20:.0f} that running work may need. Free some: df"
    return _bad(f"{text} {shlex.quote(str(there))}")


def lock(facts: Facts) -> Finding:
    try:
        fd = os.open(facts.places.lock, os.O_RDONLY)
    except FileNotFoundError:
        return _ok("nanobot is not running")
    except OSError as exc:
        return _bad(f"{facts.places.lock} cannot be opened: {exc.strerror}: rm {shlex.quote(str(facts.places.lock))}")
    try:
        holder = RealDisk().holder(fd)
    finally:
        os.close(fd)
    if holder is None:
        return _ok("nanobot is not running")
    if Path(f"/proc/{holder}").exists():
        return _ok(f"nanobot is running (process {holder})")
    text = f"process {holder} is gone, and a child of it still holds the data directory"
    return _warn(f"{text}; see which: lslocks -o PID,COMMAND,PATH")


def earlier_files(facts: Facts) -> Finding:
    """Conversations that HKUDS/nanobot left: beside the configuration, or in the workspace."""
    folders = [facts.places.data / "sessions"]
    folders += [] if facts.config is None else [facts.places.workspace(facts.config) / "sessions"]
    found = sorted({str(path.parent) for folder in folders for path in folder.rglob("*.jsonl")})
    if not found:
        return _ok("none")
    text = f"sessions of HKUDS/nanobot are in {', '.join(found[:MOST_NAMED])}"
    return _warn(f"{text}; they stay as they are and are not read yet: nanobot guide differences")


# --- sessions


def sessions(facts: Facts) -> Finding:
    try:
        found = facts.reader.sessions()
    except JournalError as exc:
        return _bad(f"{exc}: ls -la {shlex.quote(str(facts.places.journals))}")
    troubles = [f"{short(seen.key)}: {trouble}" for seen in found if (trouble := _trouble(facts, seen.key))]
    if troubles:
        return _bad(f"{_some(troubles)}. See what can be read: nanobot sessions show KEY --all{facts.option}")
    return _ok(f"{len(found)} readable")


def _trouble(facts: Facts, key: str) -> str:
    try:
        live = facts.reader.live(key)
    except JournalError as exc:
        return str(exc)
    return "" if live is None else live.trouble


def unfinished(facts: Facts) -> Finding:
    try:
        found = [short(seen.key) for seen in facts.reader.sessions() if seen.owes is not None and not seen.trouble]
    except JournalError:
        found = []
    if not found:
        return _ok("none")
    return _warn(f"{_some(found)}. Opening one goes on with it: nanobot chat --session {shlex.quote(found[0])}{facts.option}")


def _some(items: list[str]) -> str:
    more = f" and {len(items) - MOST_NAMED} more" if len(items) > MOST_NAMED else ""
    return f"{'; '.join(items[:MOST_NAMED])}{more}"


# --- what the configuration says


def model(facts: Facts) -> Finding:
    if facts.config is None:
        return _UNREAD
    try:
        chosen = select(facts.config, facts.environ)
    except ConfigError as exc:
        return _bad("; ".join(exc.mistakes))
    if chosen.spec.wire is Wire.DEMO:
        text = "the built-in demo answers, which is no language model"
        return _warn(f"{text}: set ANTHROPIC_API_KEY, or choose a service: nanobot onboard")
    if chosen.spec.kind in (Kind.VENDOR, Kind.GATEWAY) and not chosen.key:
        return _warn(f"{chosen.provider} has no key; if it needs one, set providers.{chosen.provider}.apiKey")
    return _ok(f"{chosen.model or 'the first that the server lists'}, from {chosen.provider}")


def keys(facts: Facts) -> Finding:
    """Whether keys stand in the file as they are."""
    found = _plain_keys(facts.places.config) if facts.places.config.exists() else []
    if not found:
        return _ok("none in plain text")
    spec = BY_NAME.get(normal(found[0]))
    variable = spec.env[0] if spec and spec.env else f"{normal(found[0]).upper()}_API_KEY"
    where = ", ".join(f"providers.{name}.apiKey" for name in found)
    return _warn(f'{where} in plain text; better in the environment, and here: "apiKey": "${{{variable}}}"')


def _plain_keys(path: Path) -> list[str]:
    """The providers whose key is written out."""
    try:
        root = read(path)
    except ConfigError:
        return []
    providers = root.get("providers") if isinstance(root, dict) else None
    sections = providers.items() if isinstance(providers, dict) else ()
    return [name for name, section in sections if _has_plain_key(section)]


def _has_plain_key(section: Json) -> bool:
    given = (section.get("apiKey") or section.get("api_key")) if isinstance(section, dict) else None
    return isinstance(given, str) and "${" not in given


def owners(facts: Facts) -> Finding:
    if facts.config is None:
        return _UNREAD
    if facts.config.gateway.owners:
        return _ok(", ".join(facts.config.gateway.owners))
    return _warn('only this terminal is the owner; name yourself in chat apps: "gateway": {"owners": ["telegram:12345"]}')


def sandbox(facts: Facts) -> Finding:
    if facts.config is None:
        return _UNREAD
    if not facts.config.tools.exec.enable:
        return _ok("not needed: exec is off")
    text = "commands of the assistant run with your rights, without a sandbox"
    return _warn(text + '; to forbid them: "tools": {"exec": {"enable": false}}')


CHECKS: Mapping[str, Check] = {
    "python": python,
    "encoding": encoding,
    "clock": clock,
    "git": git,
    "config": config,
    "config mode": config_mode,
    "data folder": data_folder,
    "data mode": data_mode,
    "space": space,
    "workspace": workspace,
    "running": lock,
    "sessions": sessions,
    "unfinished": unfinished,
    "earlier files": earlier_files,
    "model": model,
    "keys": keys,
    "owners": owners,
    "sandbox": sandbox,
}
"""In the order in which they are shown: what others depend on comes first."""


def examine(facts: Facts) -> dict[str, Finding]:
    return {name: check(facts) for name, check in CHECKS.items()}
