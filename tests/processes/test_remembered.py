"""A sandbox that worked is not looked for again, until anything that it hangs on is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobot.config.schema import ExecConfig
from nanobot.processes.remembered import KEPT_S, recall, remember
from nanobot.processes.sandbox import Isolation

THERE, NONE = Isolation(sandboxed=True), Isolation(sandboxed=False, reason="not installed")
CONFIG, NOW = ExecConfig(), 1_000_000.0


def environ(tmp_path: Path) -> dict[str, str]:
    """With a bubblewrap of its own."""
    program = tmp_path / "bin" / "bwrap"
    program.parent.mkdir(exist_ok=True)
    program.touch(0o755)
    return {"PATH": str(program.parent)}


def test_what_worked_is_remembered_for_a_day(tmp_path: Path) -> None:
    file, where = tmp_path / "sandbox.json", environ(tmp_path)
    assert recall(file, CONFIG, where, NOW) is None
    remember(file, CONFIG, where, NOW, THERE)
    assert recall(file, CONFIG, where, NOW + 1) == THERE
    assert recall(file, CONFIG, where, NOW + KEPT_S) is None
    assert recall(file, CONFIG, where, NOW - 1) is None, "a clock that was turned back"
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_did_not_work_is_looked_for_each_time(tmp_path: Path) -> None:
    file, where = tmp_path / "sandbox.json", environ(tmp_path)
    remember(file, CONFIG, where, NOW, THERE)
    remember(file, CONFIG, where, NOW, NONE)
    assert recall(file, CONFIG, where, NOW) is None


def test_another_program_is_looked_at(tmp_path: Path) -> None:
    file, where = tmp_path / "sandbox.json", environ(tmp_path)
    remember(file, CONFIG, where, NOW, THERE)
    (tmp_path / "bin" / "bwrap").write_text("another")
    assert recall(file, CONFIG, where, NOW) is None


@pytest.mark.parametrize("config", [ExecConfig(sandbox="off"), ExecConfig(sandbox_rw_binds=("/srv",)), ExecConfig(processes=9)])
def test_so_is_another_configuration(tmp_path: Path, config: ExecConfig) -> None:
    file, where = tmp_path / "sandbox.json", environ(tmp_path)
    remember(file, CONFIG, where, NOW, THERE)
    assert recall(file, config, where, NOW) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"circumstances": 1, "at": "x"}'])
def test_a_file_that_makes_no_sense_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sandbox.json"
    file.write_text(text)
    assert recall(file, CONFIG, environ(tmp_path), NOW) is None


def test_a_folder_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remember(tmp_path / "file" / "sandbox.json", CONFIG, environ(tmp_path), NOW, THERE)
