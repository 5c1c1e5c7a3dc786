"""Memory of a workspace: saves, versions, proposals, and the files that show them. Fills the port `Memory`.

What a save decides is one transaction of `memory.db`: the new version, the entry of the history, the cursor. The files are
brought to it afterwards (projections.py); killed in between, they are at the next look. Any number of threads and processes
may do so at once: SQLite lets one write, and a save is taken only where the session's cursor is, on top of what is there.

Every look (`current`, `save`, `look`, all commands) takes up what was edited by hand. Every function blocks.
"""

from __future__ import annotations

import difflib
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Self

import attrs

from nanobot.config.schema import Config
from nanobot.database import Database
from nanobot.errors import NanobotError, StoreUnusable, ToolError
from nanobot.memory import checks, fitting, merging, rows
from nanobot.memory.files import LinkedOut, Workspace
from nanobot.memory.port import (
    HISTORY,
    MEMORY,
    MOST_BYTES,
    PROMPT_FILES,
    USERS,
    Author,
    Moved,
    Outcome,
    Outdated,
    Refused,
    Save,
    Saved,
    Update,
    Version,
    zone_named,
)
from nanobot.memory.projections import BY_HAND, Changer, Projections, Taints
from nanobot.memory.rows import Content, Logged, Proposal, Verdict

MOST_DROPPED = 0.2


class NoSuch(NanobotError):
    """There is no such version, document or proposal; or a proposal cannot be decided that way. The text says why."""


@attrs.frozen
class _Taken:
    """What became of an update inside its save."""

    version: Version
    rebased: bool
    proposal: str = ""
    why: str = ""


@attrs.define(eq=False)
class MemoryStore:
    """See the module. One per process and workspace will do."""

    _db: Path
    _workspace: Path
    most_dropped: float = MOST_DROPPED
    """Share of the facts that one save may drop."""
    zone: tzinfo | None = None
    """Of the times in files; None is the machine's."""
    taints: Taints | None = None
    clock: Callable[[], float] = time.time
    _database: Database = attrs.field(init=False)
    _files: Projections = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._database = Database(self._db, rows.SCHEMA)
        self._files = Projections(Workspace(self._workspace), self.taints)

    @classmethod
    def of(cls, config: Config, file: Path, workspace: Path, taints: Taints, clock: Callable[[], float] = time.time) -> Self:
        """As it is configured. file: `Places.memory`."""
        return cls(file, workspace, config.memory.most_dropped, zone_named(config.agents.defaults.timezone), taints, clock)

    def reconfigure(self, config: Config) -> None:
        """For the saves from now on."""
        self.most_dropped, self.zone = config.memory.most_dropped, zone_named(config.agents.defaults.timezone)

    def close(self) -> None:
        self._database.close()

    # --- what consolidation needs: see port.Memory

    def current(self, document: str = MEMORY) -> Version:
        fitting.checked(document)
        with self._database.transaction() as db:
            return self._look(db, document).version

    def cursor(self, session: str) -> int:
        with self._database.reading() as db:
            return rows.cursor(db, session)

    def skip(self, session: str, cursor: int) -> None:
        with self._database.transaction() as db:
            if cursor > rows.cursor(db, session):
                rows.set_cursor(db, session, cursor)

    def save(self, save: Save) -> Outcome:
        save = fitting.fit(save, self.zone)
        with self._database.transaction() as db:
            cursor = rows.cursor(db, save.session)
            if cursor != save.start:
                return Moved(cursor)
            taken = None if save.update is None else self._take(db, save, save.update)
            if isinstance(taken, Outdated):
                return taken
            rows.add_entry(db, save)
            rows.set_cursor(db, save.session, save.end)
        behind = self._show()
        if taken is None:
            return Saved(save.end, behind=behind)
        if taken.why:
            return Refused(save.end, taken.proposal, taken.why, behind)
        return Saved(save.end, taken.version, taken.rebased, behind)

    # --- what people and others need

    def look(self, by: Changer = BY_HAND) -> str:
        """Take up what the files say anew, as the work of `by`, and bring them to their latest versions.

        Returns why some could not be, empty if all were. Raises: StoreUnusable.
        """
        behind: list[str] = []
        with self._database.transaction() as db:
            for document in self._documents(db):
                try:
                    self._files.look(db, document, self.clock(), by)
                except OSError as error:
                    behind.append(_trouble(document, error))
        return "; ".join(filter(None, [*behind, self._show()]))

    def versions(self, document: str | None = None, most: int = 100) -> list[Logged]:
        """The latest first, of one document or of all. Raises: StoreUnusable."""
        with self._database.reading() as db:
            return rows.log(db, document, most)

    def documents(self) -> list[str]:
        """Those that have versions. Raises: StoreUnusable."""
        with self._database.reading() as db:
            return rows.documents(db)

    def version(self, document: str, number: int) -> Version:
        """Raises: NoSuch, StoreUnusable."""
        with self._database.reading() as db:
            return _content(db, document, number).version

    def diff(self, document: str, before: int, after: int) -> str:
        """Between two versions, as `diff -u` shows it; empty where they say the same. Raises: NoSuch, StoreUnusable."""
        old, new = self.version(document, before), self.version(document, after)
        return difference(old.text, new.text, f"{document} {before}", f"{document} {after}")

    def restore(self, document: str, number: int) -> Version:
        """Put what version `number` said on top as a new version. Raises: NoSuch, StoreUnusable."""
        with self._database.transaction() as db:
            then, now = _content(db, document, number), self._look(db, document)
            if then.data == now.data:
                raise NoSuch(f"{document} says what version {number} said already")
            change = Version(document, 0, then.version.text, Author.RESTORE, "", f"version {number} again", self.clock())
            version = rows.add_version(db, change, then.data)
        self._shown_or_said()
        return version

    def troubles(self) -> list[str]:
        """What keeps files from being read or shown as they should; changes nothing. Raises: StoreUnusable."""
        found: list[str] = []
        with self._database.reading() as db:
            for document in self._documents(db):
                try:
                    data = self._files.workspace.read(document) or b""
                except OSError as error:
                    found.append(_trouble(document, error))
                    continue
                if len(data) > MOST_BYTES:
                    found.append(f"{document} is {len(data) // 1024} KiB long: prompts take {MOST_BYTES // 1024} KiB; shorten it")
            if late := len(rows.entries(db, shown=False)):
                found.append(f"{HISTORY} lacks {late} entries, which are written as soon as it can be")
        return [one for one in found if one]

    def complete_history(self) -> int:
        """Append what was once written into HISTORY.md and is not in it now; how many entries. Raises: StoreUnusable."""
        with self._database.transaction() as db:
            try:
                text = self._files.workspace.history(HISTORY).decode("utf-8", "replace")
            except OSError as error:
                raise StoreUnusable(_sentence(HISTORY, error)) from error
            missing = [entry for entry in rows.entries(db, shown=True) if entry.text not in text]
            for entry in missing:
                rows.show_again(db, entry)
        self._shown_or_said()
        return len(missing)

    def proposals(self, verdict: Verdict | None = Verdict.OPEN) -> list[Proposal]:
        """Oldest first; None: the decided ones, too. Raises: StoreUnusable."""
        with self._database.reading() as db:
            return rows.proposals(db, verdict)

    def proposal(self, id: str) -> Proposal:
        """Raises: NoSuch, StoreUnusable."""
        with self._database.reading() as db:
            return _proposal(db, id)

    def accept(self, id: str) -> Version:
        """Make it the document's next version, merged with what came since. Raises: NoSuch, StoreUnusable."""
        with self._database.transaction() as db:
            one, version = self._accepted(db, id)
            version = rows.add_version(db, version)
            rows.decide(db, one.id, Verdict.ACCEPTED)
        self._shown_or_said()
        return version

    def refuse(self, id: str) -> None:
        """Raises: NoSuch, StoreUnusable."""
        with self._database.transaction() as db:
            rows.decide(db, _open(db, id).id, Verdict.REFUSED)

    # --- inside

    def _take(self, db: sqlite3.Connection, save: Save, update: Update) -> _Taken | Outdated:
        """Make the new version, if it may be one. Raises: StoreUnusable."""
        now, base = self._look(db, update.document).version, _content(db, update.document, update.base).version
        if why := checks.judge(base.text, update.text, self.most_dropped):
            return self._propose(db, save, update, now, why)
        text = merging.merged(base.text, update.text, now.text)
        if text is None:
            return Outdated(now)
        if why := checks.unfit(text, now.text):
            return self._propose(db, save, update, now, why)
        rebased = now.number != base.number and update.text != base.text
        if text == now.text:
            return _Taken(now, rebased)
        change = Version(update.document, 0, text, Author.CONSOLIDATION, save.session, save.reason, save.at)
        return _Taken(rows.add_version(db, change), rebased)

    def _propose(self, db: sqlite3.Connection, save: Save, update: Update, now: Version, why: str) -> _Taken:
        id = rows.propose(db, Proposal("", update.document, update.base, update.text, save.session, why, save.at))
        return _Taken(now, False, id, why)

    def _accepted(self, db: sqlite3.Connection, id: str) -> tuple[Proposal, Version]:
        one = _open(db, id)
        now, base = self._look(db, one.document).version, _content(db, one.document, one.base).version
        if fault := checks.unfit(one.text, base.text):
            raise NoSuch(f"{id} cannot be accepted. {fault}")
        text = merging.merged(base.text, one.text, now.text)
        if text is None:
            raise NoSuch(
                f"{one.document} was changed in the same lines since {id} was made. "
                f"See both with: nanobot memory proposals show {id}; then edit the file by hand, and refuse it"
            )
        return one, Version(one.document, 0, text, Author.PROPOSAL, one.session, f"proposal {id} accepted", self.clock())

    def _look(self, db: sqlite3.Connection, document: str) -> Content:
        """Raises: StoreUnusable."""
        try:
            return self._files.look(db, document, self.clock())
        except OSError as error:
            raise StoreUnusable(_sentence(document, error)) from error

    def _show(self) -> str:
        """Bring the files to what the database says; why some could not be, empty if all were. Raises: nothing."""
        try:
            with self._database.transaction() as db:
                documents = [one for one in rows.documents(db) if self._files.is_behind(db, one)]
                shows = {one: partial(self._files.show, db, one, self.clock()) for one in documents}
                shows[HISTORY] = partial(self._files.show_history, db)
                return "; ".join(filter(None, (_tried(document, show) for document, show in shows.items())))
        except StoreUnusable as error:
            return str(error)

    def _shown_or_said(self) -> None:
        if behind := self._show():
            raise StoreUnusable(f"It is kept, but the file does not show it yet. {behind}")

    def _documents(self, db: sqlite3.Connection) -> Sequence[str]:
        """Those that are always looked at, those that have versions, and those that were found."""
        return list(dict.fromkeys((*fitting.WATCHED, *rows.documents(db), *self._files.workspace.users(USERS))))


def difference(before: str, after: str, old: str, new: str) -> str:
    """As `diff -u` shows it."""
    return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), old, new, lineterm=""))


def _content(db: sqlite3.Connection, document: str, number: int) -> Content:
    try:
        return rows.content(db, document, number)
    except LookupError as error:
        raise NoSuch(f"{error}. See which there are: nanobot memory log") from error


def _proposal(db: sqlite3.Connection, id: str) -> Proposal:
    one = rows.proposal(db, id)
    if one is None:
        raise NoSuch(f"There is no proposal {id[:40]!r}. See which there are: nanobot memory proposals")
    return one


def _open(db: sqlite3.Connection, id: str) -> Proposal:
    one = _proposal(db, id)
    if one.verdict is not Verdict.OPEN:
        raise NoSuch(f"The proposal {id} is {one.verdict} already")
    return one


def _tried(document: str, show: Callable[[], None]) -> str:
    try:
        show()
    except OSError as error:
        return _sentence(document, error)
    except (StoreUnusable, ToolError) as error:
        return str(error)
    return ""


def _trouble(document: str, error: OSError) -> str:
    """Empty for a file of the prompt that is the user's own link: it is read as it is, without versions."""
    return "" if isinstance(error, LinkedOut) and document in PROMPT_FILES else _sentence(document, error)


def _sentence(document: str, error: OSError) -> str:
    what = error.strerror or str(error)
    return what if document in what else f"{document}: {what}"
