"""`exec`: what comes back, and that nothing stays behind."""

from __future__ import annotations

import time
from pathlib import Path

import attrs
import pytest

from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, ExecConfig
from nanobot.tools import courtesy
from nanobot.tools.registry import Tools, bound
from nanobot.tools.shell import exec_tool
from tests.tools.kit import ENVIRON, Kit, make_kit


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("true", "Exit code: 0"),
        ("echo out; echo err >&2", "out\nerr\nExit code: 0"),
        ("printf partial", "partial\nExit code: 0"),
        ("exit 3", "Exit code: 3"),
        ("kill -KILL $$", "Exit code: 137 (signal 9)"),
        ("cat", "Exit code: 0"),
        ("printf '\\377'", "\ufffd\nExit code: 0"),
        ("nosuchcommand 2>/dev/null", "Exit code: 127"),
    ],
)
async def test_what_a_command_answers(command: str, text: str, kit: Kit) -> None:
    result = await kit.call("exec", command=command)
    assert result.text == text
    assert result.failed == ("Exit code: 0" not in text)


async def test_where_it_runs(kit: Kit) -> None:
    kit.put("sub/file", "")
    assert await kit.text("exec", command="pwd") == f"{kit.workspace}\nExit code: 0"
    assert await kit.text("exec", command="ls", working_dir="sub") == "file\nExit code: 0"
    assert "the assistant's own data" in await kit.refused("exec", command="ls", working_dir="..")
    assert "outside the workspace" in await kit.refused("exec", command="ls", working_dir="/")
    assert "nowhere does not exist" in await kit.refused("exec", command="ls", working_dir="nowhere")


async def test_it_sees_an_allow_listed_environment(kit: Kit) -> None:
    text = await kit.text("exec", command="env | cut -d= -f1 | sort")
    assert "ANTHROPIC_API_KEY" not in text
    assert (
        {"HOME", "LANG", "PATH"}
        <= set(text.split())
        <= {"HOME", "LANG", "PATH", "PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}
        | {
            "Exit",
            "code:",
            "0",
        }
    )


async def test_a_timeout_answers_with_what_came_until_then(kit: Kit) -> None:
    start = time.monotonic()
    result = await kit.call("exec", command="echo begun; sleep 1000 | cat", timeout=0.3)
    assert result.text == "begun\nExit code: none, timed out after 0.3 s; everything it started is gone"
    assert result.failed
    assert time.monotonic() - start < 5


async def test_the_configured_timeout_holds_without_one_of_the_call(tmp_path: Path) -> None:
    tools = Tools([bound(exec_tool(ExecConfig(timeout=0.2), ENVIRON, 1000))], 1000)
    kit = attrs.evolve(make_kit(tmp_path), tools=tools)
    assert "timed out after 0.2 s" in await kit.refused("exec", command="sleep 1000")


async def test_long_output_is_shown_in_part_and_kept_whole(tmp_path: Path) -> None:
    config = Config(agents=AgentsConfig(defaults=AgentDefaults(max_tool_result_chars=1000)))
    kit = make_kit(tmp_path, config)
    result = await kit.call("exec", command="seq 1 5000; exit 4")
    (file,) = kit.turn.results.iterdir()
    assert len(result.text) <= 1000
    assert result.text.startswith("1\n2\n")
    assert result.text.endswith("\n5000\nExit code: 4")
    assert f'read it with read_file(path="{file}")' in result.text
    assert result.full == str(file)
    assert file.read_text() == "".join(f"{n}\n" for n in range(1, 5001))


async def test_output_without_end_is_stopped_and_said(tmp_path: Path) -> None:
    tools = Tools([bound(exec_tool(ExecConfig(), ENVIRON, 1000, output_limit=200_000))], 1000)
    kit = attrs.evolve(make_kit(tmp_path), tools=tools)
    text = await kit.refused("exec", command="yes")
    assert text.endswith("Exit code: none, it wrote more than 200,000 bytes and was stopped")


async def test_whoever_watches_sees_lines(kit: Kit) -> None:
    lines: list[str] = []
    watched = attrs.evolve(kit, turn=attrs.evolve(kit.turn, progress=lines.append))
    await watched.text("exec", command="echo one; sleep 0.05; printf two")
    assert lines == ["one", "two"]


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /",
        "rm -rf /*",
        "rm -fr ~",
        "sudo -u root rm -r --no-preserve-root /",
        "cd x && rm --recursive $HOME/",
        "rm -R '/etc'",
        "rm -rf build /usr/",
        "rm -rf /usr/../",
        "bash -c 'rm -rf /'",
        "X=1 env Y=2 rm -rf //",
        "true; mkfs.ext4 /dev/sda1",
        "dd if=/dev/zero of=/dev/nvme0n1 bs=1M",
        "echo x > /dev/sda",
        "cat y >/dev/vda1",
        ":(){ :|:& };:",
        "bomb() { bomb | bomb & }; bomb",
        "sudo shutdown -h now",
        "/sbin/reboot",
        "init 0",
        "systemctl poweroff",
        "timeout 5 halt",
    ],
)
async def test_catastrophes_are_not_run(command: str, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.tools.shell.run", None)  # a miss must not run it
    assert "Not run: it " in await kit.refused("exec", command=command)


@pytest.mark.parametrize(
    "command",
    [
        "rm -f x",
        "rm -rf build ./node_modules",
        "rm -rf *",
        "rm -rf /tmp/scratch",
        "rm -rf ~/project/build",
        "rm file",
        "git format-patch -1",
        "ls > /dev/null 2>&1",
        "dd if=/dev/zero of=disk.img bs=1M count=1",
        "dd if=/dev/sda of=backup.img",
        "echo shutdown",
        "grep -r 'rm -rf /' docs",
        "echo 'mkfs is dangerous'",
        "man reboot",
        "python -c 'print(\"halt\")'",
        "systemctl status nginx",
        "git commit -m 'do not rm -rf /'",
        "f() { echo hi; }; f",
        "npm init -y",
        "echo 'an open quote",
    ],
)
def test_good_neighbours_pass(command: str) -> None:
    assert courtesy.objection(command) is None
