"""What the checks of `nanobot doctor` look at and what they find. A finding that is not ok ends in what mends it."""

from __future__ import annotations

import enum
import shlex
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs

from nanobot.archive.reading import Reader
from nanobot.config.paths import Places
from nanobot.config.schema import Config, ExecConfig
from nanobot.journal.disk import RealDisk


class Verdict(enum.StrEnum):
    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    SKIPPED = "skipped"


@attrs.frozen
class Finding:
    verdict: Verdict
    text: str


class Isolation(Protocol):
    """processes/sandbox.py."""

    @property
    def sandboxed(self) -> bool: ...

    @property
    def reason(self) -> str: ...


def isolation(config: ExecConfig, environ: Mapping[str, str]) -> Isolation:
    """Starts a command in the sandbox, to see whether it works."""
    import trio  # noqa: PLC0415 -- 0.3 s, for the one check that needs it

    from nanobot.processes.sandbox import probe  # noqa: PLC0415 -- so does that

    return trio.run(probe, config, environ)


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
    isolated: Callable[[ExecConfig, Mapping[str, str]], Isolation] = isolation

    @property
    def option(self) -> str:
        """What to add to commands that are named."""
        return f" --config {shlex.quote(str(self.places.config))}" if self.places.named else ""

    @property
    def reader(self) -> Reader:
        return Reader(str(self.places.journals))


Check = Callable[[Facts], Finding]


def ok(text: str) -> Finding:
    return Finding(Verdict.OK, text)


def warn(text: str) -> Finding:
    return Finding(Verdict.WARN, text)


def bad(text: str) -> Finding:
    return Finding(Verdict.BAD, text)


UNREAD = Finding(Verdict.SKIPPED, "not looked at, because the configuration cannot be loaded")
