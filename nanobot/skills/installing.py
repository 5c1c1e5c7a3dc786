"""Installing what a skill needs of Python packages: into an environment of its own, by the owner's command alone.

A new environment is made beside the one that is in use, with the standard library's venv and its pip, and takes its place by
one small record (places.py) when all is there; then the old ones are taken away. An attempt that is interrupted or fails
changes nothing, and what it left goes with the next. pip builds nothing: only wheels are taken, so that installing runs
no code of a package. It sees its own settings and proxies, no keys. `/stop` does not reach it; a cancellation ends it with
all its processes.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from nanobot.config.durable import replace
from nanobot.config.paths import made
from nanobot.config.schema import ExecConfig
from nanobot.errors import InUse, NanobotError
from nanobot.processes.children import Capture, clean_env, run
from nanobot.skills.places import INSTALLED, home
from nanobot.skills.requirements import Requirements

INSTALL_S = 900.0
"""Seconds for all of it; large packages over a slow line take minutes."""
MOST_OUTPUT = 16 * 1024 * 1024
SHOWN = 1500
"""Characters of what pip said that are shown of a failure."""
UNREACHED = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyError")
SETTINGS = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "requests_ca_bundle")
NO_VENV = "Python's venv does not work here; on Debian and Ubuntu it is in the package python3-venv."


class NotInstalled(NanobotError):
    """Nothing was changed; the text says why."""


async def install(data: Path, name: str, needed: Requirements, environ: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """Make the environment of the skill; returns its folder. Raises: NotInstalled, InUse, OSError."""
    folder = await trio.to_thread.run_sync(made, home(data, name))
    with _locked(folder):
        new = folder / f"env-{secrets.token_hex(6)}"
        try:
            with trio.fail_after(INSTALL_S):
                await _build(new, folder, needed, environ, say)
        except (NotInstalled, trio.TooSlowError) as error:
            await trio.to_thread.run_sync(partial(shutil.rmtree, new, ignore_errors=True))
            if isinstance(error, NotInstalled):
                raise
            raise NotInstalled(f"Not installed: it took longer than {INSTALL_S / 60:g} minutes") from error
        record = json.dumps({"environment": new.name, "requirements": needed.fingerprint})
        await trio.to_thread.run_sync(replace, folder / INSTALLED, record)
        await trio.to_thread.run_sync(_sweep, folder, new)
        return new


async def _build(new: Path, folder: Path, needed: Requirements, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    env = build_env(environ)
    python = str(new / "bin" / "python")
    wanted = folder / "requirements.txt"
    await trio.to_thread.run_sync(replace, wanted, "".join(f"{line}\n" for line in needed.lines))
    say(f"Making an environment in {new} …")
    await _step([sys.executable, "-m", "venv", str(new)], folder, env, NO_VENV)
    say(f"Fetching {len(needed.lines)} package{'s' if len(needed.lines) > 1 else ''} and what they need …")
    pip = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--only-binary", ":all:", "-r", str(wanted)]
    await _step([python, *pip], folder, env, "pip could not install them.")


async def _step(argv: list[str], folder: Path, env: Mapping[str, str], wrong: str) -> None:
    log = folder / "install.log"
    log.unlink(missing_ok=True)
    output = Capture(log, keep=16_000, limit=MOST_OUTPUT)
    try:
        status = await run(argv, output, cwd=folder, env=env)
    finally:
        output.close()
    if status:
        raise NotInstalled(f"Not installed: {wrong} {_why((output.head + output.tail).decode('utf-8', 'replace').strip())}")


def _why(said: str) -> str:
    """What pip said, as far as it helps: of a network that is not there it speaks at length, and then of a wrong version."""
    if any(sign in said for sign in UNREACHED):
        return "The index of packages cannot be reached. Is this machine online? Proxies and PIP_INDEX_URL are heeded."
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")]
    return "It said:\n" + ("\n".join(errors) or said)[-SHOWN:]


def build_env(environ: Mapping[str, str]) -> dict[str, str]:
    """What pip sees of our environment: its own settings and proxies too."""
    more = {name: value for name, value in environ.items() if name.lower() in SETTINGS or name.startswith("PIP_")}
    return {**clean_env(ExecConfig(), environ), **more}


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Two at once would take each other's environments away. Raises: InUse."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(fd, folder.name)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, name: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InUse(f"The environment of {name}", None) from error


def _sweep(folder: Path, kept: Path) -> None:
    for old in folder.glob("env-*"):
        if old != kept:
            shutil.rmtree(old, ignore_errors=True)


def run_install(data: Path, name: str, needed: Requirements, environ: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """`install` for a command. Raises: as that."""
    return trio.run(partial(install, data, name, needed, environ, say))
