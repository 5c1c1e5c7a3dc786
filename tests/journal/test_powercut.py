"""Power cuts, kills and failing disks at every file operation of a session's life.

The session is a toy: it says numbers in order, its snapshot is the list of them. What it may assume is the contract of the
journal: a number is acknowledged when `append` returns; what was read at open is believed once the cut it asks for is done.
`MemoryDisk` then shows every disk that a power cut could leave, and each must hold all that was acknowledged or believed,
and nothing that was never said.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Callable
from typing import TypeVar

import attrs
import pytest

from nanobot.errors import JournalDamaged, JournalError, JournalUnwritable
from nanobot.journal import names, segment
from nanobot.journal.journal import Journal, Journals, Loaded
from tests.fakes.disk import Call, Killed, MemoryDisk

ROOT = "/data/journals"
KEY = "cli:default:me"
FOLDER = f"{ROOT}/{names.encode(KEY)}"
SITES = ("root", "birth root", "cut file", "cut folder", "append", "sleep")
T = TypeVar("T")
WRITES = ("make_folder", "create_file", "write", "truncate", "fsync", "rename", "unlink")


@attrs.define
class Chat:
    """The toy session. `acked` and `said` count numbers; `slept` says that a sleep has been promised."""

    disk: MemoryDisk
    acked: int = 0
    said: int = 0
    slept: bool = False
    doubt: bool = False
    """A mark of sleep failed: it may show in the page cache, and be taken for a good one."""
    held: list[int] = attrs.Factory(list)
    journal: Journal | None = None

    def open(self) -> None:
        journals = Journals(ROOT, self.disk)
        insist(journals.prepare)
        self.journal, loaded = insist(lambda: journals.open(KEY))
        self.held = fold(loaded)
        self.said = max(self.said, len(self.held))
        if self.journal.must_cut:
            self.slept = False
            insist(self.cut)
        self.acked = len(self.held)

    def say(self) -> None:
        assert self.journal is not None
        journal, number = self.journal, len(self.held)
        self.said, self.slept, self.doubt = max(self.said, number + 1), False, False
        insist(lambda: journal.append([number], owes="now", at=1.0, snapshot_after=lambda: [*self.held, number]))
        self.held.append(number)
        self.acked = len(self.held)

    def cut(self) -> None:
        assert self.journal is not None
        self.slept = False
        self.journal.cut(list(self.held), owes="now", at=1.0)

    def cut_if_it_can(self) -> None:
        """For size, say: a cut that fails is not tried again, the talk goes on."""
        with contextlib.suppress(JournalUnwritable):
            self.cut()

    def sleep(self) -> None:
        assert self.journal is not None
        try:
            self.journal.sleep(owes=None, at=1.0)
        except JournalUnwritable:
            self.doubt = True
        else:
            self.slept = not self.journal.must_cut and not self.doubt
        self.journal.close()

    def crash(self) -> None:
        self.disk.kill()

    def check(self) -> None:
        for image in self.disk.images():
            loaded = reopen(image)
            held = fold(loaded)
            assert loaded.damaged is None
            assert held == list(range(len(held))), "something was never said, or not in this order"
            assert self.acked <= len(held) <= self.said, "something acknowledged is lost"
            assert loaded.slept or not self.slept, "an orderly end looks like a crash"


LIFE: tuple[Callable[[Chat], None], ...] = (
    Chat.open, Chat.say, Chat.say, Chat.cut_if_it_can, Chat.say, Chat.sleep,
    Chat.open, Chat.sleep, Chat.open, Chat.say, Chat.sleep,
    Chat.open, Chat.say, Chat.crash, Chat.open, Chat.say, Chat.sleep,
)  # fmt: skip


OPERATIONS = 60
"""More than a life has."""
AFTERMATH = 10
"""Operations until a failure has had its consequences."""


def fold(loaded: Loaded) -> list[int]:
    snapshot = loaded.snapshot if isinstance(loaded.snapshot, list) else []
    return [number for number in (*snapshot, *loaded.records) if isinstance(number, int)]


def reopen(disk: MemoryDisk) -> Loaded:
    journals = Journals(ROOT, disk)
    journals.prepare()
    return journals.open(KEY)[1]


def insist(work: Callable[[], T]) -> T:
    """The disk gets well again: the same is tried until it does."""
    for _ in range(20):
        try:
            return work()
        except JournalDamaged:
            raise
        except JournalError:
            pass
    raise AssertionError("the journal does not recover")


def live(chat: Chat, first: int = 1, last: int = 1000) -> None:
    """A whole life, with a look at every possible disk after each write operation from the `first` to the `last`."""
    count = [0]

    def look(call: Call) -> None:
        if call.what in WRITES:
            count[0] += 1
            if first <= count[0] <= last:
                chat.check()

    chat.disk.after = look
    for step in LIFE:
        step(chat)
    chat.check()


def live_until_killed(chat: Chat, first: int) -> bool:
    """As `live`; after the kill another process goes on with the same page cache. False if nothing was killed."""
    disk = chat.disk
    try:
        live(chat, first)
    except Killed:
        disk.kill()
        disk.before = lambda _call: None
        chat.open()
        chat.check()
        chat.say()
        chat.sleep()
        chat.check()
        return True
    return False


def killing_at(number: int) -> Callable[[Call], None]:
    """Ends the process before its `number`-th write operation."""
    left = [number]

    def before(call: Call) -> None:
        if call.what in WRITES:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

    return before


def failing_at(number: int, times: int, code: int) -> Callable[[Call], int | None]:
    """Fails the `number`-th write operation and those that follow it, `times` in all."""
    count = [0]

    def fail(call: Call) -> int | None:
        count[0] += call.what in WRITES
        return code if number <= count[0] < number + times and call.what in WRITES else None

    return fail


def failing_at_site(site: str, number: int) -> Callable[[Call], int | None]:
    """Fails the `number`-th fsync of a site."""
    count = itertools.count(1)
    return lambda call: errno.EIO if call.site == site and next(count) == number else None


def short_at(number: int) -> Callable[[Call], bool]:
    """Makes the `number`-th write take only half."""
    count = itertools.count(1)
    return lambda _call: next(count) == number


def kill_everywhere(without: frozenset[str] = frozenset(), kind: type[Chat] = Chat) -> int:
    number = 1
    while live_until_killed(kind(MemoryDisk(without=without, before=killing_at(number))), number):
        number += 1
    return number - 1


def test_power_cut_at_every_operation() -> None:
    live(Chat(MemoryDisk()))


def test_kill_at_every_operation_then_power_cut() -> None:
    assert kill_everywhere() > 40


@pytest.mark.parametrize("site", SITES)
def test_no_fsync_can_be_spared(site: str) -> None:
    with pytest.raises(AssertionError):
        kill_everywhere(frozenset({site}))


def test_every_fsync_site_is_named_above() -> None:
    disk = MemoryDisk()
    live(Chat(disk))
    assert sum(call.what in WRITES for call in disk.calls) < OPERATIONS
    assert {call.site for call in disk.calls if call.what == "fsync"} == set(SITES)


class Trusting(Chat):
    """Believes what the page cache shows after a crash, and goes on in the same segment."""

    def open(self) -> None:
        self.journal, loaded = Journals(ROOT, self.disk).open(KEY) if self.disk.exists(ROOT) else (None, None)
        if self.journal is None or loaded is None or loaded.created or loaded.slept:
            self.disk.kill()
            return super().open()
        newest = max(name for name in self.disk.names(FOLDER) if name.endswith(".jsonl"))
        self.journal.go_on(segment.read(self.disk.reach(f"{FOLDER}/{newest}"), newest))
        self.held = fold(loaded)
        self.acked = len(self.held)
        return None


def test_going_on_after_a_crash_without_a_cut_loses_what_was_shown() -> None:
    with pytest.raises(AssertionError, match="lost"):
        kill_everywhere(kind=Trusting)


class SyncingAgain(MemoryDisk):
    """Believes the second fsync after one that failed."""

    def fsync(self, fd: int, site: str) -> None:
        try:
            super().fsync(fd, site)
        except OSError:
            super().fsync(fd, site)


def test_syncing_again_after_a_failed_fsync_loses_what_was_acknowledged() -> None:
    disk = SyncingAgain(fail=failing_at_site("append", 2))
    with pytest.raises(AssertionError):
        live(Chat(disk))


@pytest.mark.parametrize(("times", "code"), [(1, errno.EIO), (2, errno.ENOSPC), (3, errno.EIO), (7, errno.ENOSPC)])
def test_disk_fails_at_every_operation(times: int, code: int) -> None:
    for number in range(1, OPERATIONS):
        disk = MemoryDisk(fail=failing_at(number, times, code))
        live(Chat(disk), number, number + AFTERMATH)
        assert_no_sync_is_repeated(disk, number)


def test_disk_fails_then_the_process_is_killed() -> None:
    for failed in range(1, OPERATIONS):
        for later in (1, 3):
            disk = MemoryDisk(fail=failing_at(failed, 2, errno.EIO), before=killing_at(failed + later))
            live_until_killed(Chat(disk), failed)


def test_short_writes() -> None:
    for number in range(1, 16):
        live(Chat(MemoryDisk(short=short_at(number))))


def assert_no_sync_is_repeated(disk: MemoryDisk, failed: int) -> None:
    """After a failed fsync the same file is synced again only if it was cut back, a folder only if a name was added. The
    folders above the journals are synced at every start, mostly with nothing to write."""
    calls = [call for call in disk.calls if call.what in WRITES]
    for index, call in enumerate(calls[failed - 1 :], failed - 1):
        if call.what != "fsync" or call.site == "root":
            break
        rest = calls[index + 1 :]
        again = next((at for at, later in enumerate(rest) if later.what == "fsync" and later.node == call.node), None)
        between = {later.what for later in rest[:again]}
        assert again is None or between & {"create_file", "truncate", "rename", "make_folder"}
