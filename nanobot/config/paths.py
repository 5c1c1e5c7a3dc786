"""Where things are: the configuration's file decides the data directory, and everything of ours lies below that.

Nothing is created by asking for a path; `made` creates a folder, closed to others, when something is about to be put there.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from nanobot.config.schema import Config

HOME_FOLDER = "~/.nanobot"
FILE_NAMES = ("config.json", "config.yaml", "config.yml")
"""Looked for in this order; the first is written where there is none."""


@attrs.frozen
class Places:
    """The files and folders of one instance. All absolute."""

    config: Path
    named: bool
    """The user named the file, so that it must exist (but for `onboard`, which creates it)."""

    @property
    def written(self) -> bool:
        """The configuration's file is there, as far as we may look."""
        return os.path.exists(self.config)

    @property
    def data(self) -> Path:
        return self.config.parent

    @property
    def journals(self) -> Path:
        return self.data / "journals"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def results(self) -> Path:
        """Full tool results."""
        return self.data / "results"

    @property
    def media(self) -> Path:
        return self.data / "media"

    @property
    def history(self) -> Path:
        """What was typed at the terminal's prompt."""
        return self.data / "history" / "cli_history"

    @property
    def pairing(self) -> Path:
        """Who was let in."""
        return self.data / "pairing.json"

    @property
    def tainted(self) -> Path:
        """Which files of the workspace hold text of strangers (security/ledger.py)."""
        return self.data / "tainted.json"

    @property
    def memory(self) -> Path:
        """Every version of the memory's files, and what was taken from which conversation."""
        return self.data / "memory.db"

    @property
    def search(self) -> Path:
        """The index over history and conversations; made anew from them where it is missing."""
        return self.data / "search.db"

    @property
    def jobs(self) -> Path:
        """Scheduled work."""
        return self.data / "cron" / "jobs.json"

    @property
    def runs(self) -> Path:
        """What became of scheduled work."""
        return self.data / "cron" / "runs.db"

    @property
    def heartbeat(self) -> Path:
        """What the heartbeat remembers."""
        return self.data / "cron" / "heartbeat.json"

    @property
    def usage(self) -> Path:
        """What model calls used up."""
        return self.data / "usage.db"

    @property
    def lock(self) -> Path:
        """Held shared by chats in the terminal, exclusively by the gateway."""
        return self.data / "lock"

    def workspace(self, config: Config) -> Path:
        """The folder the assistant works in. A relative one is taken from the data directory."""
        return (self.data / Path(config.agents.defaults.workspace).expanduser()).resolve()


def places(option: Path | None = None) -> Places:
    """The places of the instance whose configuration is `option` (`--config FILE`), by default the one in the home folder."""
    if option is not None:
        return Places(option.expanduser().absolute(), named=True)
    home = Path(HOME_FOLDER).expanduser()
    found = next((home / name for name in FILE_NAMES if os.path.exists(home / name)), home / FILE_NAMES[0])
    return Places(found, named=False)


def made(folder: Path) -> Path:
    """The folder, it and those above it created with mode 0700 if missing; what exists is left as it is. Raises: OSError."""
    if not folder.parent.exists():
        made(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
