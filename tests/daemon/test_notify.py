from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nanobot.daemon.notify import Notify


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_hears_of_it(tmp_path: Path, abstract: bool) -> None:
    name = f"nanobot-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        notify = Notify.of({"NOTIFY_SOCKET": "@" + name if abstract else name, "WATCHDOG_USEC": "3000000"})
        notify.ready()
        notify.alive()
        notify.reloading()
        notify.stopping()
        heard = [manager.recv(200).decode() for _ in range(4)]
    assert [text.partition("=")[0] for text in heard] == ["READY", "WATCHDOG", "RELOADING", "STOPPING"]
    assert "MONOTONIC_USEC=" in heard[2]
    assert notify.watchdog_s == 3.0


def test_nobody_to_tell() -> None:
    Notify.of({}).ready()
    assert Notify.of({}).watchdog_s is None


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    assert Notify.of({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_a_manager_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    Notify(str(tmp_path / "gone")).ready()
