"""The gateway as a service of the user: a systemd unit on Linux, a LaunchAgent on macOS. Pure, but for `install` and `remove`.

The unit starts at login, or at boot where lingering is on. A service does not see the environment of a shell, so that keys
which stand there are read from `<data>/env` (lines of `NAME=value`), if that file is there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import attrs

from nanobot.errors import NanobotError

STOP_MARGIN_S = 20
"""Seconds beyond the drain before systemd kills: longer than our own last resort, so that it says where it hung."""
WATCHDOG_S = 60
"""Seconds without a sign of life: longer than our own watchdog needs."""
COMMAND_S = 30.0


class CannotInstall(NanobotError):
    """The service manager is missing, or refused."""


@attrs.frozen
class Service:
    """What is to be run. All paths absolute."""

    name: str
    config: Path
    drain_s: float
    python: str = sys.executable
    home: Path = attrs.field(factory=Path.home)
    macos: bool = sys.platform == "darwin"

    @property
    def command(self) -> tuple[str, ...]:
        return (self.python, "-m", "nanobot", "gateway", "--config", str(self.config))

    @property
    def file(self) -> Path:
        """Where the service manager looks for it."""
        if self.macos:
            return self.home / "Library" / "LaunchAgents" / f"{self.name}.plist"
        return self.home / ".config" / "systemd" / "user" / f"{self.name}.service"

    @property
    def text(self) -> str:
        return _agent(self) if self.macos else _unit(self)

    @property
    def starting(self) -> tuple[tuple[str, ...], ...]:
        """The commands after the file is written."""
        if self.macos:
            return (("launchctl", "load", "-w", str(self.file)),)
        return (("systemctl", "--user", "daemon-reload"), ("systemctl", "--user", "enable", "--now", f"{self.name}.service"))

    @property
    def ending(self) -> tuple[tuple[str, ...], ...]:
        """The commands before the file is removed."""
        if self.macos:
            return (("launchctl", "unload", "-w", str(self.file)),)
        return (("systemctl", "--user", "disable", "--now", f"{self.name}.service"),)


def install(service: Service) -> None:
    """Write the file and start the service. Raises: CannotInstall, OSError."""
    _find(service.starting)
    service.file.parent.mkdir(parents=True, exist_ok=True)
    service.file.write_text(service.text, encoding="utf-8")
    for command in service.starting:
        _run(command)


def remove(service: Service) -> bool:
    """Stop the service and remove its file; False if there is none. Raises: CannotInstall, OSError."""
    if not service.file.exists():
        return False
    _find(service.ending)
    for command in service.ending:
        _run(command)
    service.file.unlink()
    return True


def _find(commands: Sequence[Sequence[str]]) -> None:
    program = commands[0][0]
    if shutil.which(program) is None:
        raise CannotInstall(f"There is no {program} here. Let what starts programs on this machine run: nanobot gateway")


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise CannotInstall(f"{' '.join(command)} did not end within {COMMAND_S:g} s") from exc
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise CannotInstall(f"{' '.join(command)} failed: {said}")


def _unit(service: Service) -> str:
    """systemd.service(5). A mistake in the configuration (exit 2) is not tried again: it would fail for ever."""
    return f"""\
[Unit]
Description=nanobot, a personal AI assistant
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(map(_quoted, service.command))}
ExecReload=/bin/kill -HUP $MAINPID
EnvironmentFile=-{str(service.config.parent / "env").replace("%", "%%")}
Restart=always
RestartSec=2
RestartPreventExitStatus=2
WatchdogSec={WATCHDOG_S}
TimeoutStopSec={service.drain_s + STOP_MARGIN_S:g}
KillMode=mixed
NoNewPrivileges=true

[Install]
WantedBy=default.target
"""


def _quoted(word: str) -> str:
    """A word of a command line in a unit: `%` and `$` are systemd's."""
    safe = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{safe}"' if any(sign in word for sign in " \t\"'\\;") else safe


def _agent(service: Service) -> str:
    """launchd.plist(5)."""
    words = "\n".join(f"    <string>{escape(word)}</string>" for word in service.command)
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{escape(service.name)}</string>
  <key>ProgramArguments</key>
  <array>
{words}
  </array>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <true/>
  <key>ExitTimeOut</key>
  <integer>{round(service.drain_s + STOP_MARGIN_S)}</integer>
</dict>
</plist>
"""
