"""The command line in a test: in this process, or, where time and pipes matter, as a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from nanobot.cli.app import run_cli


@attrs.frozen
class Ended:
    code: int
    out: str
    err: str


@attrs.frozen
class CommandLine:
    """Runs commands with a home folder of its own and an environment without settings and keys."""

    home: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, typed: str = "", **environ: str) -> Ended:
        with self.monkeypatch.context() as patch:
            for name in list(os.environ):
                if name.startswith("NANOBOT_") or name.endswith("_API_KEY"):
                    patch.delenv(name)
            for name, value in {"HOME": str(self.home), **environ}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO(typed))
            code = run_cli(arguments)
        out, err = self.capsys.readouterr()
        return Ended(code, out, err)


def process(*arguments: str, home: Path, **more: str) -> Ended:
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], **more}
    done = subprocess.run(
        [sys.executable, "-m", "nanobot", *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)
