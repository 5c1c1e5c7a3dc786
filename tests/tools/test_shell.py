"""`exec`: what comes back, and that nothing stays behind."""

from __future__ import annotations

import time
from pathlib import Path

import attrs
import pytest

from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, ExecConfig
from nanobot.errors import ToolError
from nanobot.processes.sandbox import Isolation, probe
from nanobot.tools import courtesy
from nanobot.tools.port import Intent, Tool
from nanobot.tools.registry import Tools, bound
from nanobot.tools.shell import Exec, exec_tool
from tests.tools.kit import ENVIRON, NO_SANDBOX, Kit, make_kit

SANDBOX = Isolation(sandboxed=True)


def shell(config: ExecConfig, isolation: Isolation = NO_SANDBOX, *, output_limit: int = 1_000_000) -> Tool[Exec]:
    return exec_tool(config, ENVIRON, 1000, isolation=isolation, output_limit=output_limit)


@pytest.fixture(params=["sandbox", "bare"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Kit:
    if request.param == "sandbox" and not (found := await probe(ExecConfig(), ENVIRON)).sandboxed:
        pytest.skip(found.reason)
    return make_kit(tmp_path, isolation=SANDBOX if request.param == "sandbox" else NO_SANDBOX)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("true", "Exit code: 0"),
        ("echo out; echo err >&2", "out\nerr\nExit code: 0"),
        ("printf partial", "partial\nExit code: 0"),
        ("exit 3", "Exit code: 3"),
        ("cat", "Exit code: 0"),
        ("printf '\\377'", "\ufffd\nExit code: 0"),
        ("nosuchcommand 2>/dev/null", "Exit code: 127"),
    ],
)
async def test_what_a_command_answers(command: str, text: str, kit: Kit) -> None:
    result = await kit.call("exec", command=command)
    assert result.text == text
    assert result.failed == ("Exit code: 0" not in text)


async def test_a_command_that_is_killed_says_so(kit: Kit) -> None:
    text = await kit.refused("exec", command="kill -KILL $$")
    assert text.removeprefix("Killed\n") == "Exit code: 137 (signal 9)", "a shell around it may say so, too"


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
        <= {"HOME", "LANG", "PATH", "PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE", "TMPDIR"}
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
    tools = Tools([bound(shell(ExecConfig(timeout=0.2)))], 1000)
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
    tools = Tools([bound(shell(ExecConfig(), output_limit=200_000))], 1000)
    kit = attrs.evolve(make_kit(tmp_path), tools=tools)
    text = await kit.refused("exec", command="yes")
    assert text.endswith("Exit code: none, it wrote more than 200,000 bytes and was stopped")


async def test_whoever_watches_sees_lines(kit: Kit) -> None:
    lines: list[str] = []
    watched = attrs.evolve(kit, turn=attrs.evolve(kit.turn, progress=lines.append))
    await watched.text("exec", command="echo one; sleep 0.05; printf two")
    assert lines == ["one", "two"]


# --- the sandbox, and what policy is told


async def test_in_the_sandbox_there_is_the_workspace_and_nothing_else_of_the_user(tmp_path: Path) -> None:
    if not (found := await probe(ExecConfig(), ENVIRON)).sandboxed:
        pytest.skip(found.reason)
    kit = make_kit(tmp_path, isolation=SANDBOX)
    (kit.turn.results / "full.txt").write_text("all of it")
    (tmp_path / "private").write_text("mine")
    assert await kit.text("exec", command="echo new > file; cat file") == "new\nExit code: 0"
    assert (kit.workspace / "file").read_text() == "new\n"
    assert await kit.text("exec", command=f"cat {kit.turn.results}/full.txt") == "all of it\nExit code: 0"
    for hidden in (kit.turn.data / "config.json" if kit.turn.data else "", tmp_path / "private"):
        assert "No such file" in await kit.refused("exec", command=f"cat {hidden}")
    assert (await kit.call("exec", command="cat /proc/net/dev | grep -c :")).text == "1\nExit code: 0", "loopback only"


@pytest.mark.parametrize(
    ("tool", "asks", "row", "terms"),
    [
        (shell(ExecConfig(), SANDBOX), False, "exec", "in {}, in the sandbox, without network"),
        (shell(ExecConfig(), SANDBOX), True, "exec:network", "in {}, in the sandbox, with network"),
        (shell(ExecConfig(network=True), SANDBOX), False, "exec", "in {}, in the sandbox, with network"),
        (shell(ExecConfig(network=True), SANDBOX), True, "exec", "in {}, in the sandbox, with network"),
        (shell(ExecConfig(), NO_SANDBOX), False, "exec:unsandboxed", "in {}, without a sandbox (a test)"),
        (shell(ExecConfig(), NO_SANDBOX), True, "exec:unsandboxed", "in {}, without a sandbox (a test)"),
    ],
)
async def test_what_policy_is_told(tool: Tool[Exec], asks: bool, row: str, terms: str, tmp_path: Path) -> None:
    kit = make_kit(tmp_path)
    kit.put("a b/file", "")
    params = Exec("echo", "a b", network=asks)
    assert tool.intent is not None
    assert tool.intent(params, kit.turn) == Intent(row, "echo", terms.format(kit.workspace / "a b"))
    if row == "exec:unsandboxed" or (await probe(ExecConfig(), ENVIRON)).sandboxed:
        assert (await tool.run(params, kit.turn)).tainted is not terms.endswith("without network")


@pytest.mark.parametrize(
    ("config", "isolation", "said"),
    [
        (ExecConfig(), SANDBOX, "it has no network unless network is true"),
        (ExecConfig(network=True), SANDBOX, "It has network."),
        (ExecConfig(), NO_SANDBOX, "There is no sandbox on this machine: every command waits for the owner's approval."),
    ],
)
def test_the_description_says_what_a_command_may_do(config: ExecConfig, isolation: Isolation, said: str) -> None:
    assert said in shell(config, isolation).description


async def test_no_command_without_the_sandbox_that_is_demanded(tmp_path: Path) -> None:
    demanding = shell(ExecConfig(sandbox="bwrap"))
    kit = attrs.evolve(make_kit(tmp_path), tools=Tools([bound(demanding)], 1000))
    assert "tools.exec.sandbox wants bubblewrap, and it does not work here: a test" in await kit.refused("exec", command="true")
    assert demanding.intent is not None
    with pytest.raises(ToolError, match="wants bubblewrap"):
        demanding.intent(Exec("true"), kit.turn)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"command": "ls\0-l"}, "a sign that does not show, U+0000"),
        ({"command": "echo ok\rrm x"}, "a sign that does not show, U+000D"),
        ({"command": "echo \u202e#cba"}, "a sign that does not show, U+202E"),
        ({"command": "echo \x1b[2K"}, "a sign that does not show, U+001B"),
        ({"command": "x" * 1_000_000}, "a command of 1,000,000 bytes is too long"),
        ({"command": "ä" * 60_000}, "a command of 120,000 bytes is too long"),
        ({"working_dir": "file"}, "file cannot be reached"),
        ({"working_dir": "../.."}, "there is no right to write it"),
        ({"working_dir": "a\0b"}, "is not a path"),
        ({"timeout": 0}, "'timeout' must be at least 0.1, not 0"),
        ({"timeout": 601}, "timeout must be at most 600, not 601. For longer, give yield_time"),
        ({"timeout": 100_000, "yield_time": 1}, "timeout must be at most 86400, not 100000"),
        ({"yield_time": 31}, "'yield_time' must be at least 0 and at most 30, not 31"),
        ({"yield_time": -1}, "'yield_time' must be at least 0"),
        ({"network": "maybe"}, "'network' must be true or false"),
    ],
)
async def test_what_is_not_run(arguments: dict[str, object], complaint: str, kit: Kit) -> None:
    kit.put("file", "")
    assert complaint in await kit.refused("exec", **{"command": "touch ran", **arguments})
    assert not (kit.workspace / "ran").exists()


@pytest.mark.parametrize("command", ["printf 'a\tb\n' |\n cat", "echo 👩‍👩‍👧 'ä ö'", "touch 'a b' && rm -f 'a b' > /dev/null"])
async def test_good_work_is_not_refused(command: str, kit: Kit) -> None:
    await kit.text("exec", command=command)


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
