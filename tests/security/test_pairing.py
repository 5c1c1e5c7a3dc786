"""The pairing store: codes, what two processes and a kill do to the file, and files that others wrote."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobot.cli import pairing as command
from nanobot.messages import Principal
from nanobot.security import pairing as module
from nanobot.security.pairing import (
    ALPHABET,
    CODE_LIVES_S,
    MOST_OPEN,
    NoSuchCode,
    NotPaired,
    Pairing,
    PairingUnavailable,
    Request,
)
from nanobot.security.pairing_order import NoSuchOrder, PairingOrder, perform

NOW = 1_790_000_000.0
ANN = Principal("telegram", "default", "42", "42")
BEN = Principal("telegram", "default", "99", "99")


def store(folder: Path, say: Callable[[str], None] = print) -> Pairing:
    return Pairing(folder / "pairing.json", say)


def asked(pairing: Pairing, who: Principal = ANN, at: float = NOW) -> Request:
    request = pairing.code_for(who, at)
    assert request is not None
    return request


# --- codes


def test_a_code_is_of_the_known_form_without_signs_that_look_alike(tmp_path: Path) -> None:
    codes = {asked(store(tmp_path), Principal("t", "a", str(n), str(n))).code for n in range(MOST_OPEN)}
    assert len(codes) == MOST_OPEN
    assert all(re.fullmatch(rf"[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}", code) for code in codes)
    assert not set("01OIL") & set(ALPHABET)


def test_who_asks_again_gets_the_same_code_until_it_expires(tmp_path: Path) -> None:
    pairing = store(tmp_path)
    first = asked(pairing)
    assert asked(pairing, at=NOW + CODE_LIVES_S - 1) == first
    assert asked(pairing, at=NOW + CODE_LIVES_S).code != first.code


def test_an_expired_code_lets_nobody_in(tmp_path: Path) -> None:
    pairing = store(tmp_path)
    code = asked(pairing).code
    with pytest.raises(NoSuchCode):
        pairing.approve(code, NOW + CODE_LIVES_S)
    assert not pairing.admits("telegram", "42")


def test_a_channel_has_a_bound_of_open_codes_and_others_are_not_touched_by_it(tmp_path: Path) -> None:
    pairing = store(tmp_path)
    for number in range(MOST_OPEN):
        asked(pairing, Principal("telegram", "default", str(number), str(number)))
    assert pairing.code_for(Principal("telegram", "default", "x", "x"), NOW) is None
    asked(pairing, Principal("telegram", "default", "0", "0"))
    asked(pairing, Principal("slack", "default", "x", "x"))
    asked(pairing, Principal("telegram", "default", "x", "x"), NOW + CODE_LIVES_S)


@pytest.mark.parametrize("typed", [str, str.lower, lambda code: code.replace("-", ""), lambda code: f" {code} "])
def test_a_code_may_be_typed_as_people_type(tmp_path: Path, typed: Callable[[str], str]) -> None:
    pairing = store(tmp_path)
    pairing.approve(typed(asked(pairing).code), NOW)
    assert pairing.admits("telegram", "42")


def test_approving_twice_is_approving_once_and_may_still_make_an_owner(tmp_path: Path) -> None:
    pairing = store(tmp_path)
    code = asked(pairing).code
    assert [pairing.approve(code, NOW).owner for _ in range(2)] == [False, False]
    assert pairing.approve(code, NOW, owner=True).owner
    assert pairing.book().owners == {str(ANN)}
    assert json.loads(pairing.path.read_bytes())["approved"] == {"telegram": ["42"]}


def test_a_denied_code_is_good_for_nothing(tmp_path: Path) -> None:
    pairing = store(tmp_path)
    code = asked(pairing).code
    assert pairing.deny(code, NOW) == ANN
    for again in (pairing.approve, pairing.deny):
        with pytest.raises(NoSuchCode):
            again(code, NOW)


def test_what_is_revoked_comes_back_by_no_code_that_was_used(tmp_path: Path) -> None:
    pairing = store(tmp_path)
    code = asked(pairing).code
    pairing.approve(code, NOW, owner=True)
    pairing.revoke("telegram", "42", NOW)
    assert (pairing.admits("telegram", "42"), pairing.book().owners) == (False, frozenset())
    with pytest.raises(NoSuchCode):
        pairing.approve(code, NOW)
    with pytest.raises(NotPaired):
        pairing.revoke("telegram", "42", NOW)


# --- the file


def test_the_file_is_ours_alone_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    pairing = store(tmp_path / "new")
    asked(pairing)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()}
    assert modes == {"pairing.json": 0o600, "pairing.lock": 0o600}


def test_a_file_of_hkuds_is_taken_over_and_what_is_unknown_is_kept(tmp_path: Path) -> None:
    theirs = {
        "approved": {"telegram": ["42", 7], "slack": None},
        "pending": {
            "AB0D-EFG1": {"channel": "discord", "sender_id": "99", "created_at": NOW, "expires_at": NOW + 5, "more": [1]},
            "odd": "row",
        },
        "later": {"x": 1},
    }
    pairing = store(tmp_path)
    pairing.path.write_text(json.dumps(theirs))
    assert pairing.admits("telegram", "42")
    assert pairing.admits("telegram", "7")
    assert pairing.approve("AB0D-EFG1", NOW).who == Principal("discord", "default", "99", "99")
    kept = json.loads(pairing.path.read_bytes())
    assert (kept["later"], kept["pending"]) == ({"x": 1}, {"odd": "row"})
    assert kept["approved"] == {"telegram": ["42", 7], "slack": None, "discord": ["99"]}
    assert kept["answered"]["AB0D-EFG1"]["more"] == [1]


def test_the_names_of_the_last_so_many_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.security.pairing.MOST_NAMED", 2)
    for user in ("1", "2", "1", "3"):
        store(tmp_path).note("telegram", user, [f"@{user}"], NOW)
    assert store(tmp_path).book().names == {("telegram", "1"): ("@1",), ("telegram", "3"): ("@3",)}


def test_another_writer_is_seen_at_once(tmp_path: Path) -> None:
    """What the gateway holds in memory is not what counts."""
    gateway, another = store(tmp_path), store(tmp_path)
    code = asked(gateway).code
    another.approve(code, NOW)
    assert gateway.admits("telegram", "42")
    another.revoke("telegram", "42", NOW)
    assert not gateway.admits("telegram", "42")
    gateway.path.unlink()
    assert gateway.book().requests == ()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"approved": []}', '{"pending": {}, "owners": "x"}', "\xff", '{"approved": {"t": 1}}']
)
def test_a_damaged_file_lets_nobody_in_and_is_put_aside_by_the_next_change(tmp_path: Path, content: str) -> None:
    said: list[str] = []
    pairing = store(tmp_path, said.append)
    pairing.path.write_text(content, encoding="latin-1")
    assert not pairing.admits("telegram", "42")
    assert not pairing.admits("telegram", "42")
    assert (len(said), pairing.path.read_text(encoding="latin-1")) == (1, content)
    asked(pairing)
    (aside,) = tmp_path.glob("pairing.json.damaged-*")
    assert aside.read_text(encoding="latin-1") == content
    assert f"put aside as {aside.name}" in said[1]


def test_a_change_that_cannot_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairing = store(tmp_path)
    code = asked(pairing).code
    before = pairing.path.read_bytes()

    def full(_path: Path, _text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "replace", full)
    with pytest.raises(PairingUnavailable, match="No space left"):
        pairing.approve(code, NOW)
    assert (pairing.path.read_bytes(), pairing.admits("telegram", "42")) == (before, False)


# --- other processes

ASK_FOR_MANY = """
import sys
from pathlib import Path
from nanobot.messages import Principal
from nanobot.security.pairing import Pairing
pairing = Pairing(Path(sys.argv[1]), print)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    user = f"{sys.argv[2]}{number}"
    request = pairing.code_for(Principal("t" + user, "default", user, user), 1790000000.0)
    pairing.approve(request.code, 1790000000.0)
    print(user, flush=True)
"""


def other(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    """A process that lets `count` users in, from when it is told to; it names each when that is done."""
    program = [sys.executable, "-c", ASK_FOR_MANY, str(folder / "pairing.json"), name, str(count)]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    with other(tmp_path, "a", 40) as one, other(tmp_path, "b", 40) as two:
        begin(one)
        begin(two)
        assert (one.wait(60), two.wait(60)) == (0, 0)
    users = {user for _, user in store(tmp_path).book().approved}
    assert users == {f"{name}{number}" for name in "ab" for number in range(40)}


DIE_IN_A_WRITE = """
import itertools, os, signal, sys
from pathlib import Path
from nanobot.security.pairing import Pairing
calls, real = itertools.count(1), getattr(os, sys.argv[3])
def deadly(*arguments):
    if next(calls) == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
setattr(os, sys.argv[3], deadly)
Pairing(Path(sys.argv[1]), print).approve(sys.argv[2], 1790000000.0)
"""


@pytest.mark.parametrize(
    ("call", "number", "approved"),
    [("fsync", 1, False), ("replace", 1, False), ("fsync", 2, True)],
    ids=["written, not synced", "synced, not renamed", "renamed, the folder not synced"],
)
def test_a_kill_in_a_write_leaves_the_old_file_or_the_new_one(tmp_path: Path, call: str, number: int, *, approved: bool) -> None:
    said: list[str] = []
    pairing = store(tmp_path, said.append)
    pairing.approve(asked(pairing, BEN).code, NOW)
    program = [sys.executable, "-c", DIE_IN_A_WRITE, str(pairing.path), asked(pairing).code, call, str(number)]
    assert subprocess.run(program, timeout=60, check=False).returncode == -signal.SIGKILL
    assert pairing.admits("telegram", "99")
    assert pairing.admits("telegram", "42") is approved
    pairing.revoke("telegram", "99", NOW)
    assert (said, {file.name for file in tmp_path.iterdir()}) == ([], {"pairing.json", "pairing.lock"})


def test_a_lock_that_is_not_let_go_ends_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_PATIENCE_S", 0.05)
    pairing = store(tmp_path)
    code = asked(pairing).code
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    program = [sys.executable, "-c", hold, str(tmp_path / "pairing.lock")]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(PairingUnavailable, match="held by another process"):
            pairing.approve(code, NOW)
        assert pairing.code_for(ANN, NOW) is not None
        holder.communicate()
    pairing.approve(code, NOW)


# --- what is said


def said(pairing: Pairing, *words: str, configured: bool = False) -> str:
    return perform(pairing, words, configured=configured, now=NOW)


def test_the_first_approval_offers_to_make_an_owner(tmp_path: Path) -> None:
    pairing = store(tmp_path)
    code = asked(pairing).code
    assert f"/pairing approve {code} owner" in said(pairing, "approve", code)
    assert said(pairing, "approve", code, configured=True) == "42 on telegram is let in, in private chats."
    assert said(pairing, "approve", code, "owner") == "42 on telegram is let in, and owns this assistant in that chat."
    assert said(pairing, "approve", asked(pairing, BEN).code) == "99 on telegram is let in, in private chats."


def test_the_listing(tmp_path: Path) -> None:
    pairing = store(tmp_path)
    assert said(pairing) == "Nobody waits to be let in, and nobody was let in by pairing."
    pairing.approve(asked(pairing).code, NOW, owner=True)
    code = asked(pairing, Principal("telegram", "default", "99", "9\n9")).code
    assert said(pairing, "list").splitlines() == [
        f"{code}  9?9 on telegram, waits to be let in, 10 minutes left",
        "42 on telegram, let in and an owner",
    ]


def test_words_that_mean_nothing(tmp_path: Path) -> None:
    for words in (["approve"], ["revoke", "telegram"], ["approve", "A", "boss"], ["open"]):
        with pytest.raises(NoSuchOrder, match="/pairing approve CODE"):
            said(store(tmp_path), *words)


async def test_the_slash_command_answers_everything(tmp_path: Path) -> None:
    async def run(_what: str, work: Callable[[], str]) -> str:
        return work()

    pairing = store(tmp_path)
    order = PairingOrder(pairing, lambda: True, run, lambda: NOW)
    code = asked(pairing).code
    assert code in await order("", BEN)
    assert await order(f"approve {code}", BEN) == "42 on telegram is let in, in private chats."
    assert await order("revoke 42", BEN) == "42 on telegram is let in no more by pairing."
    assert "There is no code" in await order(f"deny {code}", BEN)
    assert "It goes: " in await order("approve", BEN)


# --- the command line


def test_the_commands_work_on_the_file_that_a_gateway_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"configVersion": 1}')
    gateway = store(tmp_path)
    request = asked(gateway, at=time.time())
    command.list_(config=config)
    assert capsys.readouterr().out == f"{request.code}  42 on telegram, waits to be let in, 10 minutes left\n"
    command.approve(request.code, owner=True, config=config)
    assert (gateway.admits("telegram", "42"), gateway.book().owners) == (True, frozenset({str(ANN)}))
    capsys.readouterr()
    command.list_(config=config, json=True)
    listed = json.loads(capsys.readouterr().out)
    assert listed == {"waiting": [], "approved": [{"channel": "telegram", "user": "42"}], "owners": [str(ANN)]}
    command.revoke("telegram", "42", config=config)
    assert not gateway.admits("telegram", "42")
    with pytest.raises(NoSuchCode, match="There is no code"):
        command.deny(request.code, config=config)
