"""The bridge as a program: where it is, how it is built, and one that runs while a block does.

Its parts in the data directory: `whatsapp-bridge/<digest of its sources>/` the built program, `whatsapp-auth/` the link to
WhatsApp, the token and a lock that goes with whoever runs a bridge on that link, so that there are never two; and
`channels/whatsapp/inbox/`, what WhatsApp has brought and nobody has acknowledged. Where that is missing, a program that was
built where its sources are is taken: in an image, in a checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio
from loguru import logger

import nanobot
from nanobot.channels.port import ChannelFailed
from nanobot.config.paths import made
from nanobot.config.schema import ExecConfig
from nanobot.processes.children import Capture, Child, clean_env, open_child, run
from nanobot.supervise.policy import Cause

START_S = 30.0
"""For its port: importing Baileys takes 0.7 s of a fast machine."""
LONGEST_LINE = 65536
"""Bytes of its log; longer ones are cut."""
OLD_NODE = "process.exit(+(parseInt(process.versions.node) < 20))"
"""Asks Node whether it is older than Baileys runs on."""
NODE_FLAGS = ("--max-semi-space-size=1",)
"""Saves some 5 MiB of a program that idles."""
PORT_TAKEN = 4
"""Its exit status (bridge/src/program.ts)."""
SOURCES = ("package.json", "package-lock.json", "tsconfig.json", ".npmrc", "src")
NO_NODE = (
    "{0} is not installed, which the WhatsApp bridge needs. Install Node.js 20 or later with npm (from nodejs.org; Debian 13: "
    "apt install nodejs npm), then: nanobot channels login whatsapp"
)
NOT_BUILT = "The WhatsApp bridge of this version is not built yet. Run: nanobot channels login whatsapp"
IN_USE = "another nanobot uses the WhatsApp link in {0}; wait until it has ended, or stop it"
TAKEN = (
    "Port {0} of channels.whatsapp.bridgeUrl is in use, perhaps by a bridge of HKUDS/nanobot that still runs. Stop it, or take "
    "bridgeUrl out; or set channels.whatsapp.autostart to false, if that bridge is ours"
)


@attrs.frozen
class Home:
    """Its places in a data directory."""

    data: Path

    @property
    def auth(self) -> Path:
        return self.data / "whatsapp-auth"

    @property
    def inbox(self) -> Path:
        return self.data / "channels" / "whatsapp" / "inbox"

    @property
    def builds(self) -> Path:
        return self.data / "whatsapp-bridge"

    @property
    def build(self) -> Path:
        """Where it is built to. Reads the sources."""
        return self.builds / digest(sources())

    @property
    def program(self) -> Path | None:
        """The file to run. None: it is not built."""
        found = (place / "dist" / "main.js" for place in (self.build, sources()) if (place / "node_modules").is_dir())
        return next((path for path in found if path.is_file()), None)

    @property
    def linked(self) -> str:
        """The number that it is linked to, empty if to none."""
        try:
            creds = json.loads((self.auth / "creds.json").read_bytes())
            address = str(creds["me"]["id"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return "+" + address.partition("@")[0].partition(":")[0]


def sources() -> Path:
    """The folder `bridge`: in the package where it was installed, beside it in a checkout."""
    package = Path(nanobot.__file__).parent
    return package / "bridge" if (package / "bridge").is_dir() else package.parent / "bridge"


def digest(folder: Path) -> str:
    """Of what the program is made of."""
    told = hashlib.sha256()
    for name in SOURCES:
        place = folder / name
        for path in sorted(place.rglob("*.ts")) if place.is_dir() else [place]:
            told.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return told.hexdigest()[:16]


def token_of(home: Home, configured: str, *, make: bool) -> str:
    """The configured one, else that in the file, which is made (0600) if need be. Blocks. Raises: ChannelFailed."""
    if configured:
        return configured
    path = home.auth / "bridge-token"
    try:
        if (kept := path.read_text().strip()) or not make:
            return kept
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ChannelFailed(f"{path} cannot be read: {error.strerror}", cause=Cause.CONFIG) from error
    if not make:
        raise ChannelFailed("channels.whatsapp.bridgeToken is not set, and without it no bridge lets us in", cause=Cause.AUTH)
    made(path.parent)
    path.unlink(missing_ok=True)
    fresh = secrets.token_urlsafe(32)
    with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(fresh)
    return fresh


# --- running it


@asynccontextmanager
async def open_bridge(home: Home, port: int, token: str, program: Path | None = None) -> AsyncGenerator[int]:
    """Run it while the body runs; yields its port (`port`, or any free one for 0). Its log goes to ours.

    Raises: ChannelFailed, in a group where it ends by itself.
    """
    node, built = await trio.to_thread.run_sync(_what_runs, home, program)
    with ExitStack() as stack:
        lock = await trio.to_thread.run_sync(_locked, home)
        stack.callback(os.close, lock)
        argv = [node, *NODE_FLAGS, str(built)]
        env = _env(home, port, token)
        async with open_child(argv, cwd=home.data, env=env, inherit_fds=(lock,)) as child, trio.open_nursery() as nursery:
            try:
                with trio.fail_after(START_S):
                    found = await nursery.start(_follow, child, port)
            except trio.TooSlowError as error:
                raise ChannelFailed(f"the bridge did not start within {START_S:g} s") from error
            yield found
            nursery.cancel_scope.cancel()


def _what_runs(home: Home, program: Path | None) -> tuple[str, Path]:
    """Blocks. Raises: ChannelFailed."""
    node = shutil.which("node")
    if node is None:
        raise ChannelFailed(NO_NODE.format("Node.js"), cause=Cause.CONFIG)
    built = program or home.program
    if built is None:
        raise ChannelFailed(NOT_BUILT, cause=Cause.CONFIG)
    return node, built


def _locked(home: Home) -> int:
    """A descriptor that holds the link, until the bridge that inherits it is gone too. Raises: ChannelFailed."""
    path = made(home.auth) / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise ChannelFailed(IN_USE.format(home.auth)) from error
    return fd


def _env(home: Home, port: int, token: str) -> dict[str, str]:
    ours = {"BRIDGE_PORT": str(port), "BRIDGE_TOKEN": token, "AUTH_DIR": str(home.auth), "INBOX_DIR": str(home.inbox)}
    return {**clean_env(ExecConfig(allowed_env_keys=("NODE_EXTRA_CA_CERTS",)), os.environ), **ours}


async def _follow(child: Child, wanted: int, *, task_status: trio.TaskStatus[int]) -> None:
    """Its log, until it ends, which it should not."""
    last, began, waiting = "", False, b""
    while chunk := await child.stdout.receive_some():
        *lines, waiting = (waiting + chunk).split(b"\n")
        waiting = waiting[:LONGEST_LINE]
        for line in filter(None, lines):
            level, last, port = _said(line)
            logger.log(level, "bridge: {}", last)
            if port and not began:
                began = True
                task_status.started(port)
    status = await child.wait()
    if status == PORT_TAKEN:
        raise ChannelFailed(TAKEN.format(wanted), cause=Cause.CONFIG)
    raise ChannelFailed(f"the bridge ended ({status}): {last or 'it said nothing'}")


def _said(line: bytes) -> tuple[str, str, int]:
    """Level, text, and the port where it is told."""
    try:
        told = json.loads(line)
        level, text, port = str(told["level"]).upper(), str(told["text"]), int(told.get("port", 0))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "WARNING", line.decode(errors="replace"), 0
    return level if level in ("INFO", "WARNING", "ERROR") else "INFO", text, port


# --- building it


async def build(home: Home, say: Callable[[str], None]) -> Path:
    """Build it from its sources, with what npm brings, unless it is built. Raises: ChannelFailed with the way out."""
    if (built := await trio.to_thread.run_sync(lambda: home.program)) is not None:
        return built
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise ChannelFailed(NO_NODE.format("Node.js" if program == "node" else program), cause=Cause.CONFIG)
    place = Path(await trio.to_thread.run_sync(partial(_staged, home)))
    try:
        await _step(place, "node", "-e", OLD_NODE, wrong=NO_NODE.format("A Node.js that is new enough"))
        say("Fetching what the WhatsApp bridge is made of (about 55 MB, once for each version) …")
        await _step(place, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        say("Building it …")
        await _step(place, "node", "node_modules/typescript/bin/tsc")
        await _step(place, "npm", "prune", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")
        return await trio.to_thread.run_sync(_installed, home, place)
    finally:
        with trio.move_on_after(10.0, shield=True):
            await trio.to_thread.run_sync(partial(shutil.rmtree, place, ignore_errors=True))


def _staged(home: Home) -> str:
    place = tempfile.mkdtemp(prefix=".new-", dir=made(home.builds))
    for name in SOURCES:
        source = sources() / name
        shutil.copytree(source, Path(place) / name) if source.is_dir() else shutil.copyfile(source, Path(place) / name)
    return place


async def _step(place: Path, *argv: str, wrong: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Capture(Path(folder) / "output", keep=4000, limit=10_000_000)
        try:
            status = await run(argv, output, cwd=place, env=_build_env(os.environ))
        finally:
            output.close(discard=True)
    if status:
        tail = output.tail.decode(errors="replace").strip() or output.head.decode(errors="replace").strip()
        raise ChannelFailed(wrong or f"`{' '.join(argv)}` failed ({status}), so the bridge is not built:\n{tail[-2000:]}")


def _build_env(environ: Mapping[str, str]) -> dict[str, str]:
    """npm's own settings and proxies too."""
    proxies = ("http_proxy", "https_proxy", "no_proxy", "node_extra_ca_certs")
    more = {name: value for name, value in environ.items() if name.lower() in proxies or name.lower().startswith("npm_config_")}
    return {**clean_env(ExecConfig(), environ), **more}


def _installed(home: Home, place: Path) -> Path:
    target = home.build
    shutil.rmtree(target, ignore_errors=True)
    place.rename(target)
    for old in home.builds.iterdir():
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    return target / "dist" / "main.js"


async def drawn(program: Path, qr: str) -> str:
    """A code to scan, as lines of a terminal. Raises: ChannelFailed."""
    env = clean_env(ExecConfig(), os.environ)
    node = shutil.which("node") or "node"
    argv: Sequence[str] = (node, str(program.with_name("qr.js")))
    async with open_child(argv, cwd=program.parent, env=env, stdin=True) as child:
        assert child.stdin is not None
        await child.stdin.send_all(qr.encode())
        await child.stdin.aclose()
        picture = b"".join([bytes(chunk) async for chunk in child.stdout])
    return picture.decode(errors="replace")
