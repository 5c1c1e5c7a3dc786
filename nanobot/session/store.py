"""The journals as async code sees them: the same operations, each in a writer thread (writers.py).

One operation at a time and journal: its actor is the one writer. A caller that was cancelled in an operation which hung
does not know what became of it; it must let the journal go and open it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import attrs

from nanobot.session.journal import Journal, Journals, Loaded
from nanobot.session.segment import Owes
from nanobot.session.survey import Seen
from nanobot.session.writers import Writers
from nanobot.wire import Json


@attrs.frozen
class OpenJournal:
    """`Journal`, from async code. What each operation promises and raises stands there."""

    journal: Journal
    writers: Writers

    @property
    def oversize(self) -> bool:
        return self.journal.oversize

    async def append(self, records: Sequence[Json], *, owes: Owes, at: float, snapshot_after: Callable[[], Json]) -> None:
        """`snapshot_after` is called in the writer thread, so it may only read frozen values."""
        work = partial(self.journal.append, records, owes=owes, at=at, snapshot_after=snapshot_after)
        await self.writers.run(f"append to {self.journal.key}", work)

    async def cut(self, snapshot: Json, *, owes: Owes, at: float, accept_damage: bool = False, forget: bool = False) -> None:
        work = partial(self.journal.cut, snapshot, owes=owes, at=at, accept_damage=accept_damage, forget=forget)
        await self.writers.run(f"cut of {self.journal.key}", work)

    async def sleep(self, *, owes: Owes, at: float) -> None:
        await self.writers.run(f"end of {self.journal.key}", partial(self.journal.sleep, owes=owes, at=at))

    async def close(self) -> None:
        await self.writers.run(f"closing of {self.journal.key}", self.journal.close)


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
