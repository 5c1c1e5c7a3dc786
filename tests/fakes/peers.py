"""Programs beside Python that some tests need: real peers, which a machine may lack.

`require_peer` skips the test where its peer is missing, and the last lines of the report say which were missed and how to get
them. With NANOBOT_TEST_PEERS=required a missing peer is a failure, so that a machine that should have them all cannot pass
without.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

REQUIRED = "required"
INSTALL_S = 300


@attrs.frozen
class Peer:
    programs: tuple[str, ...]
    """All of them must be on the PATH."""
    how: str
    """How to get it."""


PEERS: Mapping[str, Peer] = {
    "bwrap": Peer(("bwrap",), "apt-get install bubblewrap"),
    "chromium": Peer(("chromium-headless-shell",), "apt-get install chromium-headless-shell"),
    "node": Peer(("node", "npm"), "Node.js 20 or later with npm, from nodejs.org"),
    "mail": Peer(("dovecot", "doveadm", "postfix", "openssl"), "apt-get install dovecot-imapd postfix openssl"),
    "mcp": Peer(
        ("mcp-server-everything", "mcp-server-filesystem", "mcp-server-time"), "Node.js with npm, and the registries of both"
    ),
    "ext4": Peer(("mkfs.ext4", "dumpe2fs", "mount", "umount", "losetup"), "apt-get install e2fsprogs mount"),
}
NODE_PACKAGES = ("@modelcontextprotocol/server-everything@2026.8.31", "@modelcontextprotocol/server-filesystem@2026.8.31")
PYTHON_PACKAGES = ("mcp-server-time==2026.10.19",)
"""Real MCP servers, fetched once into a folder of this machine."""
missed: set[str] = set()
"""The peers that tests of this run did without."""


def require_peer(name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Go on only where the peer is there. Raises: pytest's skip or failure; KeyError for a name that is not in `PEERS`."""
    peer = PEERS[name]
    if all(shutil.which(program, path=environ.get("PATH")) for program in peer.programs):
        return
    if environ.get("NANOBOT_TEST_PEERS") == REQUIRED:
        pytest.fail(f"{name} is missing and required: {peer.how}", pytrace=False)
    missed.add(name)
    pytest.skip(f"{name} is missing: {peer.how}")


def mcp_servers() -> Path:
    """The folder with the programs of the packages, installed when first asked for; skips where that cannot be done."""
    require_peer("node")
    names = " ".join((*NODE_PACKAGES, *PYTHON_PACKAGES))
    folder = Path(tempfile.gettempdir()) / f"nanobot-mcp-{os.getuid()}-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "bin").is_dir():
            try:
                _install(folder)
            except (OSError, subprocess.SubprocessError):
                pass
    require_peer("mcp", {"PATH": str(folder / "bin")})
    return folder / "bin"


def _install(folder: Path) -> None:
    """Raises: OSError, SubprocessError."""
    npm = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", *NODE_PACKAGES]
    subprocess.run(npm, cwd=folder, check=True, capture_output=True, timeout=INSTALL_S)
    venv.create(folder / "env", with_pip=True)
    pip: list[str | Path] = [folder / "env" / "bin" / "python", "-m", "pip", "install", "--quiet", *PYTHON_PACKAGES]
    subprocess.run(pip, check=True, capture_output=True, timeout=INSTALL_S)
    made = folder / "made"
    made.mkdir(exist_ok=True)
    for program in PEERS["mcp"].programs:
        below = "env/bin" if program == "mcp-server-time" else "node_modules/.bin"
        (made / program).symlink_to(folder / below / program)
    made.rename(folder / "bin")


def told() -> str:
    """One line on what was not tested, empty if all peers were there."""
    return "; ".join(f"not tested here without {name} ({PEERS[name].how})" for name in sorted(missed))
