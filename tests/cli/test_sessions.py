"""`nanobot sessions` over real journals, some of them in use by another process."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanobot.archive.reading import Reader
from nanobot.errors import NanobotError
from nanobot.journal import names
from nanobot.journal.journal import Journals
from nanobot.memory.index import Index, Query
from nanobot.memory.sources import Sources
from nanobot.messages import CallState, SessionKey
from nanobot.session import events as ev
from tests.cli.command import CommandLine
from tests.fakes.gateway import FakeGateway, listening
from tests.session.talks import KEY, Talk, journals_in, listing, written

OTHER = "telegram:default:42"
HOLDER = (
    "import fcntl, os, sys\nfcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\nprint('held', flush=True)\ninput()"
)


def a_talk(one: Talk) -> None:
    one.exchange("good morning", "Good morning!")
    one.command(ev.New())
    one.ask("list files")
    one.answer("I look.", listing())
    one.call_ends("call1", "\n".join(f"file{n}" for n in range(20)))
    one.answer("There are twenty.")
    one.delivered()


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    made = journals_in(tmp_path)
    written(made, KEY, a_talk)
    return made


@pytest.fixture
def in_use(journals: Journals) -> Iterator[None]:
    """Another process holds the session, as a chat does."""
    command = [sys.executable, "-c", HOLDER, f"{journals.root}/{names.encode(KEY)}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate("\n")


def files(home: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_no_sessions(nanobot: CommandLine) -> None:
    assert nanobot("sessions", "list").out == "There are no sessions yet. Begin one: nanobot chat\n"
    assert json.loads(nanobot("sessions", "list", "--json").out) == []
    assert not (nanobot.home / ".nanobot").exists()


def test_list_says_what_is_left_to_do(nanobot: CommandLine, journals: Journals) -> None:
    def unfinished(one: Talk) -> None:
        one.at += 3600
        one.ask("are you there?")

    def waits(one: Talk) -> None:
        one.at += 7200
        one.ask("hi")
        one.answer("hello")
        one.tell(ev.ChannelDown(one.session.outbox[0].outbound.id, 0, one.at, "offline"))
        one.journal.sleep(owes="channel:telegram", at=one.at)

    written(journals, OTHER, unfinished)
    written(journals, "telegram:default:43", waits)
    newest, middle, oldest = nanobot("sessions", "list").out.splitlines()
    assert (newest[:11], oldest[:10]) == ("telegram:43", "cli:direct")
    assert [line.split("KiB")[1].strip() for line in (newest, middle, oldest)] == ["unfinished", "unfinished", ""]


def test_list_as_json(nanobot: CommandLine, journals: Journals) -> None:
    (listed,) = json.loads(nanobot("sessions", "list", "--json").out)
    assert (listed["key"], listed["owes"], listed["trouble"]) == (KEY, None, None)


def test_list_shows_trouble(nanobot: CommandLine, journals: Journals) -> None:
    folder = Path(journals.root) / names.encode(OTHER)
    folder.mkdir()
    (folder / "00000001.jsonl").write_bytes(b'{"crc":"00000000","format":9,"least":9}\n')
    assert "was written by a newer nanobot" in nanobot("sessions", "list").out
    ended = nanobot("sessions", "show", OTHER)
    assert (ended.code, "Update nanobot" in ended.err) == (1, True)


def test_show_has_the_prompt(nanobot: CommandLine, journals: Journals) -> None:
    shown = nanobot("sessions", "show", "cli:direct").out
    assert shown.startswith("cli:direct: 1 exchange in the prompt; 1 earlier: show them with --all\n\nme, 20")
    assert '  list_dir {"path": "."}: done\n    file0\n' in shown
    assert "file7\n    (… 82 more characters)\n" in shown
    assert "There are twenty." in shown
    assert "good morning" not in shown


def test_show_all_has_everything(nanobot: CommandLine, journals: Journals) -> None:
    shown = nanobot("sessions", "show", KEY, "--all").out
    assert shown.index("good morning") < shown.index("--- a new conversation ---") < shown.index("list files")


def test_show_as_json(nanobot: CommandLine, journals: Journals) -> None:
    told = json.loads(nanobot("sessions", "show", "cli:direct", "--all", "--json").out)
    assert [e["entries"][0]["text"] for e in told["exchanges"]] == ["good morning", "list files"]
    assert [e["inPrompt"] for e in told["exchanges"]] == [False, True]
    assert told["exchanges"][1]["entries"][1]["calls"][0]["state"] == CallState.DONE


def test_what_others_wrote_cannot_steer_the_terminal(nanobot: CommandLine, journals: Journals) -> None:
    written(journals, OTHER, lambda one: one.exchange("\x1b]0;owned\x07 \ud800 sk-abcdefghijklmnopqrstuv", "ok\x1b[2J"))
    for command in (["show", OTHER], ["export", OTHER]):
        ended = nanobot("sessions", *command)
        assert ended.code == 0
        assert "\x1b" not in ended.out
        assert "\\x1b]0;owned\\x07 \\ud800" in ended.out
        assert "sk-abc" not in ended.out
    target = nanobot.home / "talk.json"
    nanobot("sessions", "export", OTHER, "--format", "json", "-o", str(target))
    assert (
        json.loads(target.read_text())["exchanges"][0]["entries"][0]["text"]
        == "\x1b]0;owned\x07 \ud800 sk-abcdefghijklmnopqrstuv"
    )


@pytest.mark.parametrize("format", ["md", "json"])
def test_export_writes_a_private_file(nanobot: CommandLine, journals: Journals, format: str) -> None:
    target = nanobot.home / "talk"
    ended = nanobot("sessions", "export", "cli:direct", "--format", format, "-o", str(target))
    assert (ended.code, ended.out) == (0, "")
    assert target.stat().st_mode & 0o777 == 0o600
    assert "file19" in target.read_text()
    assert nanobot("sessions", "export", "cli:direct", "--format", format).out == target.read_text()


def test_export_where_nothing_can_be_written(nanobot: CommandLine, journals: Journals) -> None:
    ended = nanobot("sessions", "export", "cli:direct", "-o", "/proc/nothing/here")
    assert (ended.code, "Choose another file" in ended.err) == (1, True)


def test_a_fence_is_longer_than_any_inside(nanobot: CommandLine, journals: Journals) -> None:
    def tell(one: Talk) -> None:
        one.ask("x")
        one.answer("", listing())
        one.call_ends("call1", "````\nx\n````")
        one.answer("done")

    written(journals, OTHER, tell)
    assert "`````\n````\nx\n````\n`````" in nanobot("sessions", "export", OTHER).out


@pytest.mark.parametrize("command", ["show", "export", "delete"])
def test_an_unknown_session_is_met_with_the_nearest(nanobot: CommandLine, journals: Journals, command: str) -> None:
    for text, hint in (("cli:dirct", "Did you mean cli:direct?"), ("xyz", "See: nanobot sessions list")):
        ended = nanobot("sessions", command, text)
        assert (ended.code, ended.err) == (1, f"There is no session {text}. {hint}\n")


def test_reading_while_it_is_in_use_changes_nothing(nanobot: CommandLine, journals: Journals, in_use: None) -> None:
    before = files(nanobot.home)
    for command in (["list"], ["show", KEY, "--all"], ["export", KEY]):
        assert nanobot("sessions", *command).code == 0
    assert files(nanobot.home) == before


def test_delete_is_refused_while_it_is_in_use(nanobot: CommandLine, journals: Journals, in_use: None) -> None:
    before = files(nanobot.home)
    ended = nanobot("sessions", "delete", "cli:direct", "--yes")
    assert ended.code == 1
    assert ended.err.startswith(f"session {KEY} is in use by process ")
    assert ended.err.endswith("End that first; nothing was deleted\n")
    assert files(nanobot.home) == before


class Holding(FakeGateway):
    """A gateway that has the session open and lets it go when it is asked, for good the `gives_up`th time."""

    def __init__(self, journals: Journals, gives_up: int) -> None:
        super().__init__()
        self.left = gives_up
        self.lock = os.open(f"{journals.root}/{names.encode(KEY)}", os.O_RDONLY)
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    async def release(self, key: SessionKey) -> None:
        await super().release(key)
        self.left -= 1
        if self.left == 0:
            os.close(self.lock)


@pytest.mark.parametrize("times", [1, 3])
def test_delete_asks_a_running_gateway_to_let_go(nanobot: CommandLine, journals: Journals, times: int) -> None:
    """Somebody may speak in the session in between, and then it is asked again."""
    with listening(nanobot.home / ".nanobot", Holding(journals, times)) as gateway:
        ended = nanobot("sessions", "delete", "cli:direct", "--yes")
    assert (ended.code, ended.out, ended.err) == (0, "Deleted cli:direct.\n", "")
    assert gateway.asked == [f"release {KEY}"] * times
    assert nanobot("sessions", "list").out.startswith("There are no sessions")


@pytest.mark.parametrize(
    ("gateway", "sentence"),
    [
        (lambda journals: Holding(journals, 100), f"session {KEY} is in use by process {os.getpid()}. End that first"),
        (lambda _: FakeGateway(error=NanobotError("A turn is running in cli:direct")), "A turn is running in cli:direct"),
    ],
    ids=["does not let go", "refuses"],
)
def test_delete_where_the_gateway_keeps_it(
    nanobot: CommandLine, journals: Journals, gateway: Callable[[Journals], FakeGateway], sentence: str
) -> None:
    before = files(nanobot.home)
    with listening(nanobot.home / ".nanobot", gateway(journals)):
        ended = nanobot("sessions", "delete", "cli:direct", "--yes")
    assert (ended.code, ended.out, files(nanobot.home)) == (1, "", before)
    assert ended.err.startswith(sentence)
    assert ended.err.endswith("othing was deleted\n")


def test_reading_does_not_ask_the_gateway(nanobot: CommandLine, journals: Journals) -> None:
    with listening(nanobot.home / ".nanobot", FakeGateway()) as gateway:
        for command in (["list"], ["show", KEY], ["export", KEY]):
            assert nanobot("sessions", *command).code == 0
    assert gateway.asked == []


@pytest.mark.parametrize(("typed", "code"), [("no\n", 0), ("\n", 0), ("", 1)])
def test_delete_asks(nanobot: CommandLine, journals: Journals, typed: str, code: int) -> None:
    before = files(nanobot.home)
    ended = nanobot("sessions", "delete", "cli:direct", typed=typed)
    assert (ended.code, "othing was deleted" in ended.out + ended.err) == (code, True)
    assert ended.err.startswith("Delete cli:direct, exchanges: 2, for good? yes or no [no]: ")
    assert files(nanobot.home) == before


def test_delete_leaves_nothing_of_the_conversation_but_its_ids(nanobot: CommandLine, journals: Journals) -> None:
    results = nanobot.home / ".nanobot" / "results" / names.encode(KEY)
    results.mkdir(parents=True)
    (results / "read.txt").write_text("file0")
    data = nanobot.home / ".nanobot"
    assert Index(data / "search.db", Sources(data / "journals", data / "workspace")).search(Query("twenty")).hits
    assert nanobot("sessions", "delete", "cli:direct", typed="yes\n").out == "Deleted cli:direct.\n"
    left = b"".join(files(nanobot.home).values())
    assert not any(word in left for word in (b"good morning", b"file0", b"list_dir", b"twenty"))
    live = Reader(journals.root).live(KEY)
    assert live is not None
    assert ([i for i, _ in live.session.seen], live.session.next_turn, live.session.next_out) == (["m1", "c2", "m3"], 3, 4)
    assert nanobot("sessions", "list").out.startswith("There are no sessions")
    assert nanobot("sessions", "show", "cli:direct").code == 1


def test_a_deleted_session_begins_anew_and_knows_old_messages(journals: Journals, nanobot: CommandLine) -> None:
    nanobot("sessions", "delete", KEY, "--yes")
    journal, loaded = journals.open(KEY)
    journal.close()
    assert (loaded.slept, loaded.damaged, len(list(Path(journals.root).glob("*/*")))) == (True, None, 1)
    live = Reader(journals.root).live(KEY)
    assert live is not None
    assert (live.session.exchanges, "m1" in live.session.seen) == ((), True)


def test_a_damaged_session_can_be_seen_and_deleted(nanobot: CommandLine, journals: Journals) -> None:
    written(journals, OTHER, lambda one: one.exchange("one", "1"))
    (path,) = (Path(journals.root) / names.encode(OTHER)).glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"damage\n", *lines[2:]]))
    assert "not readable: " in nanobot("sessions", "show", OTHER).out
    assert nanobot("sessions", "delete", OTHER, "--yes").code == 0
    live = Reader(journals.root).live(OTHER)
    assert live is not None
    assert live.session.next_turn > 1_000_000_000, "ids that may have been given are not given again"
