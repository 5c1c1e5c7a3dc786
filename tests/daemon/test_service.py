from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from nanobot.daemon.service import CannotInstall, Service, install, remove


def service(home: Path, *, macos: bool = False, config: str = "/data/my bots/config.json") -> Service:
    return Service("nanobot", Path(config), 10.0, python="/opt/python", home=home, macos=macos)


def test_the_unit(tmp_path: Path) -> None:
    text = service(tmp_path).text
    assert 'ExecStart=/opt/python -m nanobot gateway --config "/data/my bots/config.json"' in text
    assert "Type=notify" in text
    assert "TimeoutStopSec=30" in text
    assert "RestartPreventExitStatus=2" in text, "a mistake in the configuration would fail for ever"
    assert "EnvironmentFile=-/data/my bots/env" in text


@pytest.mark.parametrize("config", ["/d/100%/c.json", '/d/a"b/c.json', "/d/$HOME/c.json", "/d/a;b/c.json"])
def test_a_path_stays_one_word_and_is_not_expanded(tmp_path: Path, config: str) -> None:
    line = next(line for line in service(tmp_path, config=config).text.splitlines() if line.startswith("ExecStart="))
    assert line.replace("%%", "%").replace("$$", "$").replace('\\"', '"').rstrip('"').endswith(config)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    file = tmp_path / "nanobot.service"
    file.write_text(service(tmp_path).text.replace("/opt/python", "/bin/sh"))
    done = subprocess.run(["systemd-analyze", "verify", "--user", file], capture_output=True, text=True, check=False)
    assert "Unknown" not in done.stderr
    assert "Failed to parse" not in done.stderr


def test_the_agent_is_a_property_list(tmp_path: Path) -> None:
    agent = plistlib.loads(service(tmp_path, macos=True, config="/a&b/c.json").text.encode())
    assert agent["ProgramArguments"] == ["/opt/python", "-m", "nanobot", "gateway", "--config", "/a&b/c.json"]
    assert agent["KeepAlive"]


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service manager that writes down what it is asked, and refuses what is in `refuse`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "systemctl"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ ! -e {tmp_path}/refuse ] || {{ echo no bus >&2; exit 1; }}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin:/bin")
    return tmp_path


def test_installed_and_removed(manager: Path) -> None:
    one = service(manager)
    install(one)
    assert one.file.read_text() == one.text
    assert remove(one)
    assert not one.file.exists()
    assert not remove(one)
    asked = (manager / "asked").read_text().splitlines()
    assert asked == ["--user daemon-reload", "--user enable --now nanobot.service", "--user disable --now nanobot.service"]


def test_what_the_manager_says_is_told(manager: Path) -> None:
    (manager / "refuse").touch()
    with pytest.raises(CannotInstall, match="no bus"):
        install(service(manager))


def test_without_a_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotInstall, match="nanobot gateway"):
        install(service(tmp_path))
    assert not service(tmp_path).file.exists()
