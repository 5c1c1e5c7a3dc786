"""The whole gateway as a process: how it starts, ends, is asked and is told."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from nanobot.errors import InUse
from nanobot.wire import Json, JsonObject
from tests.fakes.daemon import Daemon, nanobot, running, start


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def test_up_healthy_and_ended_in_order(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        base, _ = daemon.address()
        assert get(f"{base}/health") == {"state": "up", "parked": [], "stuck": []}
        assert nanobot("status", "--health", folder=tmp_path).returncode == 0
        started = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert time.monotonic() - started < 2 + 1 + 2, "drainS, a second, and the interpreter's own end"
    assert "is ending: stopped" in daemon.log()
    assert nanobot("status", "--health", folder=tmp_path).returncode == 1
    assert not (tmp_path / "control.sock").exists()
    assert list((tmp_path / "starts").iterdir()) == [], "an end in order is no crash"


def test_one_gateway_in_a_data_directory(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        second = nanobot("gateway", folder=tmp_path)
        assert second.returncode == 1
        assert str(InUse(f"the data directory {tmp_path}", daemon.process.pid)) in second.stderr


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.signal(signal.SIGSTOP)  # both are there when it goes on
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGINT)
        daemon.signal(signal.SIGCONT)
        assert daemon.wait(10) in (128 + signal.SIGINT, 128 + signal.SIGTERM)


@pytest.mark.parametrize("by", ["signal", "command"])
def test_a_file_with_mistakes_changes_nothing_and_says_so(tmp_path: Path, by: str) -> None:
    with running(tmp_path) as daemon:
        before = daemon.config.read_text()
        daemon.config.write_text('{"gatewai": {}}')
        if by == "command":
            done = nanobot("gateway", "reload", folder=tmp_path)
            daemon.config.write_text(before)
            assert (done.returncode, "gatewai" in done.stderr) == (2, True)
        else:
            daemon.signal(signal.SIGHUP)
            await_log(daemon, "nothing is changed")
            assert "gatewai: unknown key" in daemon.log()
        assert daemon.status()["state"] == "up"


def test_only_what_changed_starts_anew(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        control = since(daemon, "control")
        assert nanobot("gateway", "reload", folder=tmp_path).stdout == "Nothing has changed.\n"
        daemon.configure({"configVersion": 1, "gateway": {"port": 0, "token": "abc"}, "channels": {"web": {"enabled": False}}})
        said = nanobot("gateway", "reload", folder=tmp_path).stdout
        assert "http has started anew" in said
        assert daemon.address()[1] == "abc"
        assert "web" not in names(daemon)
        assert since(daemon, "control") == control
        daemon.configure({"configVersion": 1, "gateway": {"port": 0, "token": "abc"}})
        daemon.signal(signal.SIGHUP)
        await_log(daemon, "web has started anew")
        assert "web" in names(daemon)


def test_restart_keeps_the_process(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        before = daemon.status()
        done = nanobot("gateway", "restart", folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, "The gateway has started again.\n"), done.stderr
        after = daemon.status()
        assert (after["pid"], after["since"] == before["since"]) == (before["pid"], False)


def test_the_owner_restarts_it_by_a_message(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        before = daemon.status()["since"]
        done = nanobot("chat", "-m", "/restart", folder=tmp_path)
        assert "starts again" in done.stdout, done.stderr
        until = time.monotonic() + 20
        await_log(daemon, "is ending: restart")
        daemon.wait_until_up()
        assert daemon.status()["since"] != before
        assert time.monotonic() < until


def test_stop_waits_for_its_end(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        assert nanobot("gateway", "stop", folder=tmp_path).stdout == "The gateway has ended.\n"
        assert daemon.wait(2) == 0
    done = nanobot("gateway", "stop", folder=tmp_path)
    assert (done.returncode, "not running" in done.stderr) == (1, True)


def test_others_are_not_let_in_without_a_token(tmp_path: Path) -> None:
    daemon = start(tmp_path, {"gateway": {"host": "0.0.0.0"}})
    assert daemon.wait() == 2
    assert "gateway.token" in daemon.said()


def test_without_a_page(tmp_path: Path) -> None:
    with running(tmp_path, {"gateway": {"http": False}}) as daemon:
        assert "http" not in names(daemon)
        assert nanobot("web", folder=tmp_path).returncode == 1


def test_a_port_that_is_taken_stops_nothing_else(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, running(tmp_path, {"gateway": {"port": taken.getsockname()[1]}}) as daemon:
        node = find(daemon.status(), "http")
        assert node["state"] in ("waiting", "starting")
        assert "in use" in str(node["error"])
        assert nanobot("chat", "-m", "list files", folder=tmp_path).returncode == 0


def test_it_exits_when_a_channel_is_parked_where_that_is_wanted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = start(tmp_path, {"gateway": {"port": port, "onParked": "exit", "restarts": {"parkAfter": 1}}})
        assert daemon.wait() == 3


def test_systemd_hears_of_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"}
        with running(tmp_path, environ=environ):
            heard = {manager.recv(100) for _ in range(3)}
        assert {b"READY=1", b"WATCHDOG=1"} <= heard
        rest: list[bytes] = []
        manager.setblocking(False)
        while not rest or rest[-1] != b"STOPPING=1":
            rest.append(manager.recv(100))


def test_the_log_of_one_session(tmp_path: Path) -> None:
    with running(tmp_path):
        nanobot("chat", "-m", "hello", folder=tmp_path)
        assert "is up in" in nanobot("gateway", "logs", folder=tmp_path).stdout
        assert "is up in" not in nanobot("gateway", "logs", "--session", "cli:direct", folder=tmp_path).stdout


def test_the_service_as_it_would_be_installed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    shown = nanobot("gateway", "install-service", "--dry-run", folder=tmp_path).stdout
    assert f"gateway --config {tmp_path}/config.json" in shown
    assert not (tmp_path / ".config").exists()
    assert "disable --now" in nanobot("gateway", "uninstall-service", "--dry-run", folder=tmp_path).stdout


# --- looks


def await_log(daemon: Daemon, text: str) -> None:
    until = time.monotonic() + 20
    while text not in daemon.log():
        assert time.monotonic() < until, daemon.log()
        time.sleep(0.02)


def find(node: Json, name: str) -> JsonObject:
    """The node of that name, empty if there is none."""
    if not isinstance(node, dict):
        return {}
    if node["name"] == name:
        return node
    below = node.get("children", [])
    found = (find(child, name) for child in below) if isinstance(below, list) else ()
    return next((one for one in found if one), {})


def names(daemon: Daemon) -> set[str]:
    return {name for name in ("web", "http", "control") if find(daemon.status(), name)}


def since(daemon: Daemon, name: str) -> object:
    return find(daemon.status(), name)["since"]
