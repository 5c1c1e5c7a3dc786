from pathlib import Path

import pytest

from tests.cli.chats import Around, alone, attached
from tests.cli.command import CommandLine


@pytest.fixture
def nanobot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture(params=[alone, attached], ids=["alone", "attached"])
def around(request: pytest.FixtureRequest) -> Around:
    """A chat is the same to the person whether a gateway runs or not."""
    way: Around = request.param
    return way
