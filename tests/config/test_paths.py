from pathlib import Path

import pytest

from nanobot.config.paths import made, places
from nanobot.config.schema import AgentDefaults, AgentsConfig, Config


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_file_named_decides_the_data_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    assert places(Path("here/my.json")).data == home / "here"
    assert places(Path("~/my.json")).config == home / "my.json"
    assert places(Path("my.json")).named


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], "config.json"),
        (["config.yaml"], "config.yaml"),
        (["config.yml"], "config.yml"),
        (["config.yaml", "config.json"], "config.json"),
    ],
)
def test_the_default_is_in_the_home_folder(home: Path, there: list[str], found: str) -> None:
    folder = made(home / ".nanobot")
    for name in there:
        (folder / name).touch()
    assert places().config == folder / found
    assert not places().named


@pytest.mark.parametrize(
    ("written", "meant"),
    [("~/.nanobot/workspace", "home/.nanobot/workspace"), ("work", "data/work"), ("/srv/work", "/srv/work")],
)
def test_a_relative_workspace_lies_in_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = Config(agents=AgentsConfig(defaults=AgentDefaults(workspace=written)))
    assert places(tmp_path / "data" / "config.json").workspace(config) == tmp_path / meant


def test_asking_for_a_path_creates_nothing_and_a_folder_of_others_is_left_as_it_is(tmp_path: Path) -> None:
    where = places(tmp_path / "data" / "config.json")
    assert not where.journals.exists()
    assert not where.data.exists()
    (tmp_path / "open").mkdir(mode=0o755)
    assert made(tmp_path / "open").stat().st_mode & 0o777 == 0o755
    assert made(where.logs).stat().st_mode & 0o777 == 0o700
