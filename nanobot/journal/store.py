"""The journals as async code sees them: the same operations, each in a writer thread (writers.py).

One operation at a time and journal: its actor is the one writer. A caller that was cancelled in an operation which hung
does not know what became of it; it must let the journal go and open it again. `close` begins when that operation has ended:
it would go on with numbers of descriptors that are somebody else's by then, and without the lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import attrs

from nanobot.journal.journal import Journal, Journals, Loaded
from nanobot.journal.segment import Owes
from nanobot.journal.survey import Seen
from nanobot.journal.writers import Writers
from nanobot.wire import Json

T = TypeVar("T")


@attrs.frozen
class OpenJournal:
    """`Journal`, from async code. What each operation promises and raises stands there."""

    journal: Journal
    writers: Writers
    _alone: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    """Held in the writer thread while an operation runs."""

    @property
    def oversize(self) -> bool:
        return self.journal.oversize

    async def append(self, records: Sequence[Json], *, owes: Owes, at: float, snapshot_after: Callable[[], Json]) -> None:
        """`snapshot_after` is called in the writer thread, so it may only read frozen values."""
        work = partial(self.journal.append, records, owes=owes, at=at, snapshot_after=snapshot_after)
        await self._run("append to", work)

    async def cut(self, snapshot: Json, *, owes: Owes, at: float, accept_damage: bool = False, forget: bool = False) -> None:
        work = partial(self.journal.cut, snapshot, owes=owes, at=at, accept_damage=accept_damage, forget=forget)
        await self._run("cut of", work)

    async def sleep(self, *, owes: Owes, at: float) -> None:
        await self._run("end of", partial(self.journal.sleep, owes=owes, at=at))

    async def close(self) -> None:
        await self._run("closing of", self.journal.close)

    async def _run(self, what: str, work: Callable[[], T]) -> T:
        def alone() -> T:
            with self._alone:
                return work()

        return await self.writers.run(f"{what} {self.journal.key}", alone)


@attrs.frozen
class Store:
    """`Journals`, from async code."""

    journals: Journals
    writers: Writers

    async def open(self, key: str) -> tuple[OpenJournal, Loaded]:
        """The caller owns what is returned and closes it."""
        journal, loaded = await self.writers.run(f"opening of {key}", partial(self.journals.open, key))
        return OpenJournal(journal, self.writers), loaded

    async def survey(self) -> tuple[Seen, ...]:
        return await self.writers.run("survey of all sessions", self.journals.survey)

    async def owing(self) -> tuple[Seen, ...]:
        return await self.writers.run("survey of who owes", self.journals.owing)

    async def low_space(self) -> bool:
        return await self.writers.run("look at free space", self.journals.low_space)
