"""The rules that hold for every test can fail, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from loguru import logger

from tests.fakes import peers

ROOT = Path(__file__).parents[1]
UNCLAIMED = "from loguru import logger\ndef test_it() -> None:\n    logger.error('look')\n"
WITHOUT_PEER = "from tests.fakes.peers import require_peer\ndef test_it() -> None:\n    require_peer('bwrap')\n"


def run(folder: Path, test: str, *arguments: str, **environ: str) -> tuple[int, str]:
    """Run one test under the rules of this folder."""
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    (folder / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), str(folder)]
    settings = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    done = subprocess.run(
        [*command, f"--rootdir={folder}", *arguments], env=settings, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout


def test_an_error_in_the_log_fails_a_test(tmp_path: Path) -> None:
    code, out = run(tmp_path, UNCLAIMED)
    assert (code, "errors that the test did not claim" in out) == (1, True)


def test_a_claimed_error_does_not(claimed_errors: list[str]) -> None:
    logger.error("look")
    assert claimed_errors == ["look"]


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["one process", "two"])
def test_a_missing_peer_is_named_at_the_end(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, out = run(tmp_path, WITHOUT_PEER, *arguments, PATH="/nowhere")
    assert code == 0
    assert "not tested here without bwrap (apt-get install bubblewrap)" in out


def test_a_missing_peer_fails_where_it_is_required(tmp_path: Path) -> None:
    code, out = run(tmp_path, WITHOUT_PEER, PATH="/nowhere", NANOBOT_TEST_PEERS="required")
    assert (code, "bwrap is missing and required" in out) == (1, True)


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_that_is_there_is_used(tmp_path: Path, name: str) -> None:
    for program in peers.PEERS[name].programs:
        (tmp_path / program).touch(0o755)
    peers.require_peer(name, {"PATH": str(tmp_path), "NANOBOT_TEST_PEERS": "required"})
