"""Programs beside Python that some tests need: real peers, which a machine may lack.

`require_peer` skips the test where its peer is missing, and the last lines of the report say which were missed and how to get
them. With NANOBOT_TEST_PEERS=required a missing peer is a failure, so that a machine that should have them all cannot pass
without.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

import attrs
import pytest

REQUIRED = "required"


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
    "ext4": Peer(("mkfs.ext4", "dumpe2fs", "mount", "umount", "losetup"), "apt-get install e2fsprogs mount"),
}
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


def told() -> str:
    """One line on what was not tested, empty if all peers were there."""
    return "; ".join(f"not tested here without {name} ({PEERS[name].how})" for name in sorted(missed))
