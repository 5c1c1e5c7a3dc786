from pathlib import Path

import pytest

from tests.cli.command import CommandLine


@pytest.fixture
def nanobot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capsys)
