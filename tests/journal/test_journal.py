"""The journal on a real disk: who may write, what damage does, what deletion leaves, and what opening costs."""

from __future__ import annotations

import errno
import multiprocessing
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanobot.errors import InUse, JournalDamaged, JournalError, JournalTooNew, JournalUnwritable
from nanobot.journal import names, segment
from nanobot.journal.journal import Journal, Journals, Loaded
from nanobot.journal.segment import NOW, Header, Line
from tests.fakes.disk import Call, MemoryDisk

KEY = "telegram:default:42"
SECRET = "the code is 4711"


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    made = Journals(f"{tmp_path}/data/journals")
    made.prepare()
    return made


def folder_of(journals: Journals, key: str = KEY) -> Path:
    return Path(journals.root) / names.encode(key)


def write(journals: Journals, *texts: str, key: str = KEY, sleep: bool = True) -> None:
    """A session that was told `texts`, one line each, and ended."""
    journal, loaded = journals.open(key)
    if journal.must_cut:
        journal.cut(loaded.snapshot or [], owes=None, at=1.0)
    for text in texts:
        say(journal, text)
    if sleep:
        journal.sleep(owes=None, at=3.0)
    journal.close()


def say(journal: Journal, text: str) -> None:
    journal.append([text], owes=NOW, at=2.0, snapshot_after=lambda: [text])


def load(journals: Journals, key: str = KEY) -> Loaded:
    journal, loaded = journals.open(key)
    journal.close()
    return loaded


def damage(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


# -- a life


def test_a_session_is_born_told_and_found_again(journals: Journals) -> None:
    assert load(journals) == Loaded(created=True)
    write(journals, "a", "b")
    assert load(journals) == Loaded([], ("a", "b"), None, 3.0, slept=True)
    write(journals, "c")
    assert load(journals).records == ("a", "b", "c")
    assert [path.name for path in folder_of(journals).iterdir()] == ["00000001.jsonl"]


def test_only_the_owner_of_the_files_can_read_them(journals: Journals) -> None:
    write(journals, "a")
    paths = [Path(journals.root), folder_of(journals), *folder_of(journals).iterdir()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o700, 0o700, 0o600]


def test_after_a_crash_the_first_write_is_a_cut(journals: Journals) -> None:
    write(journals, "a", sleep=False)
    journal, loaded = journals.open(KEY)
    assert (journal.must_cut, loaded.slept, loaded.records) == (True, False, ("a",))
    journal.append(["b"], owes=NOW, at=4.0, snapshot_after=lambda: ["a", "b"])
    journal.close()
    loaded = load(journals)
    assert (loaded.snapshot, loaded.records) == (["a", "b"], ())


def test_what_a_crashed_cut_left_goes_when_opened(journals: Journals) -> None:
    write(journals, "a")
    leftover = folder_of(journals) / "cut.tmp"
    leftover.write_text("half")
    load(journals)
    assert not leftover.exists()


def test_a_segment_of_an_older_format_is_cut_first(journals: Journals, monkeypatch: pytest.MonkeyPatch) -> None:
    write(journals, "a")
    monkeypatch.setattr(segment, "FORMAT", 2)
    journal, loaded = journals.open(KEY)
    journal.close()
    assert (journal.must_cut, loaded.format, loaded.slept) == (True, 1, True)


def test_looking_at_a_sleeping_session_changes_nothing(journals: Journals) -> None:
    write(journals, "a")
    (path,) = folder_of(journals).iterdir()
    before = path.read_bytes()
    journal, _ = journals.open(KEY)
    journal.sleep(owes=None, at=9.0)
    journal.close()
    assert path.read_bytes() == before
    journal, _ = journals.open(KEY)
    journal.sleep(owes=50.0, at=9.0)
    journal.close()
    assert load(journals).owes == 50.0


def test_a_segment_grows_until_a_cut_is_worth_it(journals: Journals) -> None:
    journal, _ = journals.open(KEY)
    journal.cut(["s" * 100_000], owes=None, at=1.0)
    for _ in range(19):
        say(journal, "x" * 10_000)
    small = journal.oversize
    say(journal, "x" * 20_000)
    large = journal.oversize
    journal.cut([], owes=None, at=1.0)
    assert (small, large, journal.oversize) == (False, True, False)
    journal.close()


# -- who may write


def test_two_openers_in_one_process(journals: Journals) -> None:
    journal, _ = journals.open(KEY)
    with pytest.raises(InUse, match=r"telegram:default:42 is in use by process \d+"):
        journals.open(KEY)
    journal.close()
    load(journals)


def _hold(root: str, ready: Callable[[object], None], end: Callable[[], object]) -> None:
    journal, _ = Journals(root).open(KEY)
    ready(journal.key)
    end()


def test_another_process_holds_it_until_it_is_killed(journals: Journals) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_hold, args=(journals.root, there.send, there.recv), daemon=True)
    child.start()
    here.recv()
    with pytest.raises(InUse, match=f"in use by process {child.pid}"):
        journals.open(KEY)
    child.kill()
    child.join()
    load(journals)


def _grow(journals: Journals) -> None:
    (path,) = folder_of(journals).glob("*.jsonl")
    path.write_bytes(path.read_bytes() + segment.encode(Line(2, 1.0, None, ["theirs"])))


def _cut_away(journals: Journals) -> None:
    (folder_of(journals) / "00000002.jsonl").write_bytes(segment.encode(Header(KEY, [], 2, 1.0)))


@pytest.mark.parametrize("intrude", [_grow, _cut_away])
def test_a_second_writer_where_locks_lie(journals: Journals, intrude: Callable[[Journals], None]) -> None:
    journal, _ = journals.open(KEY)
    journal.cut([], owes=None, at=1.0)
    intrude(journals)
    before = [path.read_bytes() for path in sorted(folder_of(journals).iterdir())]
    for attempt in (say, say, lambda journal, text: journal.cut([text], owes=None, at=1.0)):
        with pytest.raises(InUse):
            attempt(journal, "mine")
    assert [path.read_bytes() for path in sorted(folder_of(journals).iterdir())] == before
    journal.close()


# -- damage


def test_from_damage_is_salvaged_what_came_before_and_nothing_is_written(journals: Journals) -> None:
    write(journals, "a", "b", "c")
    (path,) = folder_of(journals).iterdir()
    damage(path, b'"b"', b'"B"')
    before = path.read_bytes()
    journal, loaded = journals.open(KEY)
    assert (loaded.records, loaded.slept) == (("a",), False)
    assert loaded.damaged is not None
    assert (loaded.damaged.file, loaded.damaged.line) == (str(path), 3)
    with pytest.raises(JournalDamaged):
        say(journal, "d")
    with pytest.raises(JournalDamaged):
        journal.cut([], owes=None, at=1.0)
    journal.sleep(owes=None, at=1.0)
    assert path.read_bytes() == before
    journal.cut(["a"], owes=None, at=1.0, accept_damage=True)
    say(journal, "d")
    journal.close()
    loaded = load(journals)
    assert (loaded.snapshot, loaded.records, loaded.damaged) == (["a"], ("d",), None)


@pytest.mark.parametrize("content", [b"", bytes(4096), b"{\n"])
def test_an_unreadable_header_is_salvaged_from_the_segment_before(journals: Journals, content: bytes) -> None:
    write(journals, "a")
    (folder_of(journals) / "00000002.jsonl").write_bytes(content)
    loaded = load(journals)
    assert loaded.damaged is not None
    assert "00000002" in loaded.damaged.file
    assert loaded.records == ("a",)


def test_nothing_to_salvage(journals: Journals) -> None:
    write(journals, "a")
    (folder_of(journals) / "00000001.jsonl").write_bytes(b"")
    loaded = load(journals)
    assert (loaded.damaged is not None, loaded.snapshot, loaded.created) == (True, None, False)


def test_a_journal_that_a_newer_version_wrote_is_left_untouched(journals: Journals) -> None:
    write(journals, "a")
    path = folder_of(journals) / "00000002.jsonl"
    path.write_bytes(segment.encode(Header(KEY, [], 2, 1.0, format=7, least=7)))
    before = path.read_bytes()
    with pytest.raises(JournalTooNew, match="Update nanobot"):
        journals.open(KEY)
    assert path.read_bytes() == before
    with pytest.raises(JournalTooNew):
        journals.open(KEY)  # and the lock was let go


def test_the_key_in_the_header_is_the_truth(journals: Journals) -> None:
    write(journals, "a", key="cli:default:one")
    shutil.copytree(folder_of(journals, "cli:default:one"), folder_of(journals))
    with pytest.raises(JournalDamaged, match="belongs to cli:default:one"):
        journals.open(KEY)


# -- a disk that refuses


def refusing(*whats: str) -> Callable[[Call], int | None]:
    return lambda call: errno.ENOSPC if call.what in whats else None


def test_a_full_disk_is_told_and_the_line_can_be_tried_again() -> None:
    disk = MemoryDisk()
    journals = Journals("/data/journals", disk)
    journals.prepare()
    journal, _ = journals.open(KEY)
    say(journal, "a")
    say(journal, "b")
    (path,) = segments(disk)
    before = disk.reach(path)
    disk.fail = refusing("fsync", "create_file")
    for _ in range(3):
        with pytest.raises(JournalUnwritable, match=r"No space left on device.*acknowledged is safe"):
            journal.append(["c"], owes=NOW, at=2.0, snapshot_after=lambda: ["a", "b", "c"])
        assert journal.must_cut
        assert disk.reach(path) == before, "the next process would read what nobody may believe"
    disk.fail = lambda _call: None
    journal.append(["c"], owes=NOW, at=2.0, snapshot_after=lambda: ["a", "b", "c"])
    say(journal, "d")
    journal.close()
    loaded = load(journals)
    assert (loaded.snapshot, loaded.records) == (["a", "b", "c"], ("d",))


def test_a_mark_of_sleep_that_fails_retires_the_segment() -> None:
    disk = MemoryDisk()
    journals = Journals("/data/journals", disk)
    journals.prepare()
    journal, _ = journals.open(KEY)
    say(journal, "a")
    disk.fail = refusing("fsync")
    with pytest.raises(JournalUnwritable):
        journal.sleep(owes=None, at=2.0)
    assert journal.must_cut


@pytest.mark.parametrize("what", ["make_folder", "fsync", "unlink"])
def test_opening_says_so_and_lets_the_lock_go(what: str) -> None:
    disk = MemoryDisk()
    journals = Journals("/data/journals", disk)
    journals.prepare()
    if what == "unlink":
        disk.make_folder(f"/data/journals/{names.encode(KEY)}")
        disk.plant(f"/data/journals/{names.encode(KEY)}/cut.tmp", b"")
    disk.fail = refusing(what)
    with pytest.raises(JournalError, match="No space left"):
        journals.open(KEY)
    disk.fail = lambda _call: None
    load(journals)


@pytest.mark.parametrize(("free", "low"), [(2**26 - 1, True), (2**26, False)])
def test_low_space(free: int, low: bool) -> None:
    journals = Journals("/data/journals", MemoryDisk(free=free))
    journals.prepare()
    assert journals.low_space() is low


# -- deletion


def delete(journals: Journals) -> None:
    journal, _ = journals.open(KEY)
    journal.cut(["ids"], owes=None, at=5.0, forget=True)
    journal.close()


def test_deletion_keeps_the_tombstone_only(journals: Journals) -> None:
    write(journals, SECRET, sleep=False)
    write(journals, SECRET)
    delete(journals)
    assert load(journals).snapshot == ["ids"]
    assert SECRET not in "".join(path.read_text() for path in folder_of(journals).iterdir())


def deletions(without: frozenset[str] = frozenset()) -> Iterator[MemoryDisk]:
    """Disks of a session that was deleted, each after a failure of another operation and a second try."""
    for what in ("create_file", "write", "rename", "unlink", "nothing"):
        disk = MemoryDisk(without=without)
        journals = Journals("/data/journals", disk)
        journals.prepare()
        write(journals, SECRET, sleep=False)
        write(journals, SECRET)
        disk.fail = refusing(what)
        try:
            delete(journals)
        except JournalError:
            disk.fail = lambda _call: None
            disk.kill()
            delete(journals)
        yield disk


def secrets_left(disk: MemoryDisk) -> bool:
    return any(SECRET.encode() in disk.reach(path) for path in segments(disk))


def segments(disk: MemoryDisk) -> list[str]:
    folder = f"/data/journals/{names.encode(KEY)}"
    return [f"{folder}/{name}" for name in disk.names(folder)]


def test_a_deletion_that_was_promised_survives_a_power_cut() -> None:
    for disk in deletions():
        assert not any(secrets_left(image) for image in disk.images())


def test_it_would_not_without_the_fsync() -> None:
    assert any(secrets_left(image) for disk in deletions(frozenset({"forget folder"})) for image in disk.images())


def test_a_deletion_cut_short_is_finished_by_the_next_open(journals: Journals) -> None:
    write(journals, SECRET)
    old = folder_of(journals) / "00000001.jsonl"
    content = old.read_bytes()
    delete(journals)
    old.write_bytes(content)
    assert journals.owing()[0].key == KEY
    load(journals)
    assert not old.exists()


# -- everybody at a glance


def end(journals: Journals, key: str, owes: segment.Owes) -> None:
    journal, _ = journals.open(key)
    journal.cut(["x" * 9000], owes=owes, at=1.0)
    journal.append(["a"], owes=owes, at=2.0, snapshot_after=list)
    journal.sleep(owes=owes, at=3.0)
    journal.close()


def test_owing_reads_last_lines_and_reports_what_it_cannot_read(journals: Journals) -> None:
    long = "email:default:" + "a" * 500
    for key, owes in {"a:b:none": None, "a:b:now": NOW, "a:b:time": 12.5, "a:b:up": "channel:telegram", long: NOW}.items():
        end(journals, key, owes)
    for key in ("x:b:torn", "x:b:new", "x:b:empty", long + "b"):
        end(journals, key, None)
    torn, new, empty, lost = (folder_of(journals, key) for key in ("x:b:torn", "x:b:new", "x:b:empty", long + "b"))
    damage(torn / "00000001.jsonl", b'"slept":true,"r":[]}\n', b'"slept"')
    (new / "00000002.jsonl").write_bytes(segment.encode(Header("x:b:new", 0, 9, 1.0, format=7, least=7)))
    (empty / "00000002.jsonl").write_bytes(b"")
    (lost / "00000001.jsonl").write_bytes(b"")
    (Path(journals.root) / "notes.txt").write_text("not a session")
    (Path(journals.root) / "never+born").mkdir()
    owing = {seen.key: seen for seen in journals.owing()}
    assert {key: seen.owes for key, seen in owing.items()} == {
        "a:b:now": NOW, "a:b:time": 12.5, "a:b:up": "channel:telegram", long: NOW,
        "x:b:torn": NOW, "x:b:new": NOW, "x:b:empty": NOW, lost.name: NOW,
    }  # fmt: skip
    assert "needs journal format 7" in str(owing["x:b:new"].trouble)
    assert "no header" in str(owing[lost.name].trouble)
    everybody = {seen.key: seen for seen in journals.survey()}
    assert (everybody["a:b:none"].at, everybody["a:b:none"].size > 9000) == (3.0, True)


def test_nobody_is_there_yet(tmp_path: Path) -> None:
    assert Journals(f"{tmp_path}/none").owing() == ()


# -- cost, as ratios


def seconds(work: Callable[[], object]) -> float:
    """The best of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def test_an_old_history_costs_nothing_to_open(journals: Journals) -> None:
    def grow(key: str, lines: int) -> None:
        write(journals, "new", key=key)
        folder = folder_of(journals, key)
        (folder / "00000001.jsonl").rename(folder / "00000002.jsonl")
        old = [segment.encode(Line(number, 1.0, None, ["x" * 300])) for number in range(1, lines)]
        (folder / "00000001.jsonl").write_bytes(segment.encode(Header(key, [], 0, 1.0)) + b"".join(old))

    grow("a:b:short", 100)
    grow("a:b:long", 10_000)
    assert seconds(lambda: load(journals, "a:b:long")) < 3 * seconds(lambda: load(journals, "a:b:short"))


def test_a_thousand_sessions_are_surveyed_without_parsing_them(journals: Journals) -> None:
    end(journals, KEY, 12.5)
    (path,) = folder_of(journals).iterdir()
    content = path.read_bytes() + b""
    for number in range(1000):
        folder = folder_of(journals, f"telegram:default:{number}")
        folder.mkdir(exist_ok=True)
        (folder / path.name).write_bytes(content)
    took = seconds(journals.owing)
    print(f"\nowing() of 1,000 sessions: {took * 1e3:.0f} ms")
    assert len(journals.owing()) == 1000
    assert took < 2.0
