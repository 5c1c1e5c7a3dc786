"""That the sandbox works here, remembered for a day: a chat of one message should not have to find out again.

Only a sandbox that worked is remembered, under all that it hangs on: the program, the kernel and its settings, the user, this
boot, the configuration. If it does not work all the same, commands fail, and nothing runs without it. Every function blocks.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from loguru import logger

from nanobot.config.durable import replace
from nanobot.config.schema import ExecConfig
from nanobot.processes.sandbox import Isolation

KEPT_S = 86400.0
FACTS = (
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/user/max_user_namespaces",
)


def recall(file: Path, config: ExecConfig, environ: Mapping[str, str], now: float) -> Isolation | None:
    """What was found of late under the same circumstances; None where somebody has to look. now: seconds since the epoch."""
    try:
        found = json.loads(file.read_text())
        fresh = found["circumstances"] == _circumstances(config, environ) and 0 <= now - found["at"] < KEPT_S
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Isolation(sandboxed=True) if fresh else None


def remember(file: Path, config: ExecConfig, environ: Mapping[str, str], now: float, found: Isolation) -> None:
    try:
        if found.sandboxed:
            replace(file, json.dumps({"circumstances": _circumstances(config, environ), "at": now}))
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("what was found of the sandbox cannot be kept: {}", error)


def _circumstances(config: ExecConfig, environ: Mapping[str, str]) -> str:
    program = shutil.which("bwrap", path=environ.get("PATH")) or ""
    parts = [repr(config), program, _version(program), platform.release(), str(os.geteuid()), *map(_text, FACTS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _version(program: str) -> str:
    try:
        found = os.stat(program)
    except OSError:
        return ""
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_mode}"


def _text(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError:
        return ""
