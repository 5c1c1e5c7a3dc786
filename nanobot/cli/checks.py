"""What `nanobot doctor` looks at: each check is a function from the facts to a finding, and none changes anything.

A finding that is not ok ends in what mends it: a command, or an edit of the configuration.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from nanobot.archive.reading import short
from nanobot.cli import (
    checks_cron,
    checks_email,
    checks_gateway,
    checks_mcp,
    checks_memory,
    checks_security,
    checks_skills,
    checks_telegram,
    checks_web,
    checks_whatsapp,
)
from nanobot.cli.findings import UNREAD, Check, Facts, Finding, bad, ok, warn
from nanobot.config.text import read
from nanobot.config.tree import camel, dotted
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
SECRET_KEYS = frozenset(["apiKey", "token", "proxy", "extraHeaders", "imapPassword", "smtpPassword", "bridgeToken"])
"""Under which a text of the configuration is a secret."""


# --- this machine


def python(facts: Facts) -> Finding:
    text = ".".join(map(str, facts.python))
    needed = ".".join(map(str, OLDEST_PYTHON))
    return ok(text) if facts.python >= OLDEST_PYTHON else bad(f"{text} is too old: install Python {needed} or later")


def encoding(facts: Facts) -> Finding:
    if facts.encoding.lower().replace("-", "") == "utf8":
        return ok("UTF-8")
    return warn(f"the terminal is set to {facts.encoding}, so some text cannot be shown: export LC_ALL=C.UTF-8")


def clock(facts: Facts) -> Finding:
    if facts.now < EARLIEST:
        return bad("the clock is wrong (before 2026): set it, for instance with: sudo timedatectl set-ntp true")
    try:
        latest = max((seen.at or 0.0 for seen in facts.reader.sessions()), default=0.0)
    except JournalError:
        latest = 0.0
    if latest > facts.now + AHEAD_S:
        return warn("a session is dated in the future, so the clock was or is wrong: sudo timedatectl set-ntp true")
    return ok("plausible")


def git(facts: Facts) -> Finding:
    if shutil.which("git", path=facts.environ.get("PATH")):
        return ok("found")
    return warn("git is not on the PATH, so the assistant cannot use it: sudo apt install git")


# --- files and folders


def config(facts: Facts) -> Finding:
    if facts.mistakes:
        return bad(f"{'; '.join(facts.mistakes)}. Edit {facts.places.config}, then: nanobot config check{facts.option}")
    if facts.warnings:
        return warn(f"{'; '.join(facts.warnings)}. See what is in force: nanobot config show{facts.option}")
    if not facts.places.config.exists():
        return warn("there is none, the defaults are in force: nanobot onboard")
    return ok(str(facts.places.config))


def config_mode(facts: Facts) -> Finding:
    return _mode(facts.places.config, "600")


def data_mode(facts: Facts) -> Finding:
    return _mode(facts.places.data, "700")


def _mode(path: Path, wanted: str) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return ok("not there yet")
    if mode & 0o077 == 0:
        return ok(f"{mode:o}")
    return bad(f"others on this machine can get at it (mode {mode:o}): chmod {wanted} {shlex.quote(str(path))}")


def data_folder(facts: Facts) -> Finding:
    return _folder(facts.places.data)


def workspace(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    folder = facts.places.workspace(facts.config)
    if not folder.exists():
        return warn(f"{folder} is not there yet: nanobot onboard{facts.option}")
    return _folder(folder)


def _folder(path: Path) -> Finding:
    """Whether it, or what it will be made in, is a folder that we can write to."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir():
        return bad(f"{there} is a file and should be a folder: move it away, or name another folder in the configuration")
    if not os.access(there, os.W_OK | os.X_OK):
        return bad(f"{there} cannot be written to: sudo chown {os.getuid()} {shlex.quote(str(there))}")
    return ok(str(path) if there == path else f"{path}, to be made")


def space(facts: Facts) -> Finding:
    data = facts.places.data
    there = next(folder for folder in (data, *data.parents) if folder.is_dir())
    try:
        free = facts.free_bytes(str(there))
    except OSError as exc:
        return warn(f"unknown: {exc.strerror}; look at it with: df {shlex.quote(str(there))}")
    if free >= RESERVE:
        return ok(f"{free / 2**20:,.0f} MiB free")
    text = f"{free / 2**20:,.0f} MiB free, less than the {RESERVE / 2**20:.0f} that running work may need. Free some: df"
    return bad(f"{text} {shlex.quote(str(there))}")


def lock(facts: Facts) -> Finding:
    try:
        fd = os.open(facts.places.lock, os.O_RDONLY)
    except FileNotFoundError:
        return ok("nanobot is not running")
    except OSError as exc:
        return bad(f"{facts.places.lock} cannot be opened: {exc.strerror}: rm {shlex.quote(str(facts.places.lock))}")
    try:
        holder = RealDisk().holder(fd)
    finally:
        os.close(fd)
    if holder is None:
        return ok("nanobot is not running")
    if Path(f"/proc/{holder}").exists():
        return ok(f"nanobot is running (process {holder})")
    text = f"process {holder} is gone, and a child of it still holds the data directory"
    return warn(f"{text}; see which: lslocks -o PID,COMMAND,PATH")


def earlier_files(facts: Facts) -> Finding:
    """Conversations that HKUDS/nanobot left: beside the configuration, or in the workspace."""
    folders = [facts.places.data / "sessions"]
    folders += [] if facts.config is None else [facts.places.workspace(facts.config) / "sessions"]
    found = sorted({str(path.parent) for folder in folders for path in folder.rglob("*.jsonl")})
    if not found:
        return ok("none")
    text = f"sessions of HKUDS/nanobot are in {', '.join(found[:MOST_NAMED])}"
    return warn(f"{text}; they stay as they are and are not read yet: nanobot guide differences")


# --- sessions


def sessions(facts: Facts) -> Finding:
    try:
        found = facts.reader.sessions()
    except JournalError as exc:
        return bad(f"{exc}: ls -la {shlex.quote(str(facts.places.journals))}")
    troubles = [f"{short(seen.key)}: {trouble}" for seen in found if (trouble := _trouble(facts, seen.key))]
    if troubles:
        return bad(f"{_some(troubles)}. See what can be read: nanobot sessions show KEY --all{facts.option}")
    return ok(f"{len(found)} readable")


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
        return ok("none")
    return warn(f"{_some(found)}. Opening one goes on with it: nanobot chat --session {shlex.quote(found[0])}{facts.option}")


def _some(items: list[str]) -> str:
    more = f" and {len(items) - MOST_NAMED} more" if len(items) > MOST_NAMED else ""
    return f"{'; '.join(items[:MOST_NAMED])}{more}"


# --- what the configuration says


def model(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    try:
        chosen = select(facts.config, facts.environ)
    except ConfigError as exc:
        return bad("; ".join(exc.mistakes))
    if chosen.spec.wire is Wire.DEMO:
        text = "the built-in demo answers, which is no language model"
        return warn(f"{text}: set ANTHROPIC_API_KEY, or choose a service: nanobot onboard")
    if chosen.spec.kind in (Kind.VENDOR, Kind.GATEWAY) and not chosen.key:
        return warn(f"{chosen.provider} has no key; if it needs one, set providers.{chosen.provider}.apiKey")
    return ok(f"{chosen.model or 'the first that the server lists'}, from {chosen.provider}")


def keys(facts: Facts) -> Finding:
    """Whether keys stand in the file as they are."""
    path = facts.places.config
    found = _plain_keys(path) if path.exists() else []
    if not found:
        return ok("none in plain text")
    named = ", ".join(found)
    if path.stat().st_mode & 0o077:
        return bad(f"{named} in plain text, and others on this machine can read the file: chmod 600 {shlex.quote(str(path))}")
    name = found[0].split(".")[1]
    spec = BY_NAME.get(normal(name)) if found[0].startswith("providers.") else None
    variable = spec.env[0] if spec and spec.env else f"{normal(name).upper()}_{'API_KEY' if 'apiKey' in found[0] else 'SECRET'}"
    variable = "SEARCH_API_KEY" if found[0] == "tools.web.search.apiKey" else variable
    key = found[0].rpartition(".")[2]
    return warn(f'{named} in plain text; better in the environment, and here: "{key}": "${{{variable}}}"')


def _plain_keys(path: Path) -> list[str]:
    """The secrets that are written out, by their place."""
    try:
        root = read(path)
    except ConfigError:
        return []
    return list(_written_out(root, ())) if isinstance(root, dict) else []


def _written_out(value: Json, path: tuple[str, ...]) -> Iterator[str]:
    match value:
        case str() if value and "${" not in value and ({camel(name) for name in path[-2:]} & SECRET_KEYS):
            yield dotted(path)
        case dict():
            for name, below in value.items():
                yield from _written_out(below, (*path, name))
        case _:
            pass


def owners(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    if facts.config.gateway.owners:
        return ok(", ".join(facts.config.gateway.owners))
    return warn('only this terminal is the owner; name yourself in chat apps: "gateway": {"owners": ["telegram:12345"]}')


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
    "gateway": checks_gateway.gateway,
    "socket": checks_gateway.control_socket,
    "address": checks_gateway.address,
    "open to all": checks_gateway.open_channels,
    "allowed hosts": checks_security.allowed_hosts,
    "groups": checks_security.groups,
    "own files": checks_security.own_files,
    "sessions": sessions,
    "unfinished": unfinished,
    "earlier files": earlier_files,
    "model": model,
    "keys": keys,
    "owners": owners,
    "policy": checks_security.policy,
    "approvals": checks_security.approvals,
    "sandbox": checks_security.sandbox,
    "command network": checks_security.network,
    "file tools": checks_security.files,
    "inner networks": checks_security.inner_networks,
    "skills": checks_skills.skills,
    "cron": checks_cron.cron,
    "memory": checks_memory.memory,
    "mcp": checks_mcp.mcp,
    "web search": checks_web.search,
    "documents": checks_web.documents,
    "telegram": checks_telegram.telegram,
    "email": checks_email.email,
    "whatsapp": checks_whatsapp.whatsapp,
}
"""In the order in which they are shown: what others depend on comes first."""


def examine(facts: Facts) -> dict[str, Finding]:
    return {name: check(facts) for name, check in CHECKS.items()}
