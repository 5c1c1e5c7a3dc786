"""Runs tests again as the user nobody, who unlike root meets permissions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ENVIRON = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "PYTHONPATH": f"{REPOSITORY}:{sysconfig.get_path('purelib')}",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def run_again(*paths: str) -> None:
    """Run the tests in `paths` as nobody; fails with their report. Skips where we are not root or nobody has no Python."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    python = _python_for_nobody()
    if python is None:
        pytest.skip("no Python with our packages that nobody can run")
    done = _as_nobody([python, "-m", "pytest", "-p", "no:cacheprovider", *paths])
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@cache
def _python_for_nobody() -> str | None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin"))
    for python in filter(None, candidates):
        try:
            if _as_nobody([python, "-c", "import pytest_trio, nanobot.tools.registry"]).returncode == 0:
                return python
        except PermissionError:
            continue
    return None


def _as_nobody(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        check=False,
        user="nobody",
        group="nogroup",
        extra_groups=[],
        env=ENVIRON,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
