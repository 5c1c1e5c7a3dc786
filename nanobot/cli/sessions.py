"""`nanobot sessions`: list, show, export and delete conversations.

All but `delete` only read: they work while a chat or the gateway uses the session, take no lock and change nothing. A running
gateway is asked to let go of a session that is to be deleted.
"""

from __future__ import annotations

import difflib
import shutil
import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from nanobot.archive.conversation import Archive
from nanobot.archive.reading import Reader, short
from nanobot.archive.tombstone import delete as forget
from nanobot.cli import transcript
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import Cancelled, ask, opened, say, tell, tell_warnings
from nanobot.cli.texts import plain, when
from nanobot.config.durable import replace
from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.control import client
from nanobot.control.client import Refused
from nanobot.errors import InUse, NanobotError, StoreUnusable
from nanobot.journal import names
from nanobot.journal.journal import Journals
from nanobot.journal.segment import NOW, Owes
from nanobot.journal.survey import Seen
from nanobot.memory.index import index_at
from nanobot.messages import SessionKey
from nanobot.wire import Json

RELEASES = 5
"""How often a gateway is asked to let go of a session that somebody speaks in."""
RELEASE_S = 65.0
"""Seconds: a turn that is under way is waited for, and the gateway gives up before."""

app = App(name="sessions", help="List and show conversations.", version_flags=[])
KeyArgument = Annotated[str, Parameter(help="The session, as `nanobot sessions list` shows it.")]


class NoSession(NanobotError):
    """There is no session of that name."""


class NotDeleted(NanobotError):
    """The session is used by somebody, or its files refuse."""


class CannotExport(NanobotError):
    """The file cannot be written."""


@app.command(name="list", sort_key=1)
def list_(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the sessions, the latest first, and what each has left to do."""
    found = _reader(config).sessions()
    if json:
        say(transcript.json_text([_as_json(seen) for seen in found]))
        return
    if not found:
        say("There are no sessions yet. Begin one: nanobot chat")
    width = max((len(plain(short(seen.key))) for seen in found), default=0)
    for seen in found:
        say(f"{plain(short(seen.key)):<{width}}  {_line(seen)}".rstrip())


@app.command(sort_key=2)
def show(
    key: KeyArgument,
    /,
    *,
    every: Annotated[bool, Parameter(name="--all", negative="", help="Also what has left the prompt.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show who said what, and which tools were used with what outcome."""
    archive = _conversation(_reader(config), key, everything=every)
    if json:
        say(transcript.json_text(transcript.as_json(archive)))
        return
    for line in transcript.lines(archive, everything=every):
        say(line)


@app.command(sort_key=3)
def export(
    key: KeyArgument,
    /,
    *,
    format: Annotated[Literal["md", "json"], Parameter(help="Markdown to read, or JSON for programs.")] = "md",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="File to write, readable by you alone.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write out a whole conversation, to the terminal or, as it is, to a file."""
    archive = _conversation(_reader(config), key, everything=True)
    text = f"{transcript.json_text(transcript.as_json(archive))}\n" if format == "json" else transcript.markdown(archive)
    if output is None:
        say(text.rstrip("\n"))
        return
    try:
        replace(output.expanduser().absolute(), text)
    except OSError as exc:
        raise CannotExport(f"{output} cannot be written: {exc.strerror}. Choose another file with --output") from exc
    tell(f"Wrote {output}, readable by you alone.")


@app.command(sort_key=4)
def delete(
    key: KeyArgument,
    /,
    *,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Delete a conversation for good, with what is unfinished in it."""
    instance = opened(config)
    places = instance.places
    archive = _conversation(Reader(str(places.journals)), key, everything=True)
    if not yes and not _agreed(_question(archive)):
        say("Nothing was deleted.")
        return
    name = archive.session.key
    try:
        _forget(places, name)
        _remove_results(places.results / names.encode(name))
        _remove_words(places, instance.config)
    except StoreUnusable as exc:
        raise NotDeleted(
            f"Deleted, but its words are still in the index: {exc}. Remove {places.search}: it is made anew"
        ) from exc
    except InUse as exc:
        raise NotDeleted(f"{exc}. End that first; nothing was deleted") from exc
    except Refused as exc:
        raise NotDeleted(f"{exc}. Nothing was deleted") from exc
    except OSError as exc:
        raise NotDeleted(f"Deleted, but not all results of its tools: {exc.filename}: {exc.strerror}") from exc
    say(f"Deleted {short(name)}.")


def _forget(places: Places, name: str) -> None:
    """Delete it under its lock, which a running gateway is asked for: who speaks meanwhile takes it back, so again.

    Raises: InUse, Refused, NotAnswering, JournalError.
    """
    for attempt in range(1, RELEASES + 1):
        released = _released(places.data, name)
        try:
            forget(Journals(str(places.journals)), name, time.time())
        except InUse:
            if not released or attempt == RELEASES:
                raise
        else:
            return


def _released(data: Path, name: str) -> bool:
    """Whether a gateway let go of the session. Raises: Refused, NotAnswering."""
    try:
        client.ask(data, {"do": "release", "key": name}, RELEASE_S)
    except client.NotRunning:
        return False
    return True


def _agreed(question: str) -> bool:
    try:
        return ask(question, "no").lower() in ("y", "yes")
    except Cancelled:
        raise NotDeleted("Nothing was deleted. Without the question: --yes") from None


def _remove_results(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _remove_words(places: Places, config: Config) -> None:
    """No search finds them from now on; after this they are in no file either."""
    if places.search.exists():
        index_at(places, config).refresh()


# --- what they share


def _reader(option: Path | None) -> Reader:
    instance = opened(option)
    tell_warnings(instance.warnings)
    return Reader(str(instance.places.journals))


def _conversation(reader: Reader, text: str, *, everything: bool) -> Archive:
    """Raises: NoSession with the nearest known key. JournalError."""
    try:
        key = str(SessionKey.parse(text))
    except ValueError:
        key = text
    archive = reader.conversation(key, everything=everything) if key else None
    if archive is None:
        known = {name: seen for seen in reader.sessions() for name in (seen.key, short(seen.key))}
        near = difflib.get_close_matches(text, known, n=1)
        hint = f"Did you mean {short(known[near[0]].key)}?" if near else "See: nanobot sessions list"
        raise NoSession(f"There is no session {plain(text)}. {hint}")
    return archive


def _question(archive: Archive) -> str:
    session = archive.session
    open_ends = [f"{len(session.outbox)} not delivered"] if session.outbox else []
    open_ends += ["a turn is unfinished"] if session.turn is not None else []
    open_ends += [f"{len(session.inbox)} unanswered"] if session.inbox else []
    also = f" ({', '.join(open_ends)})" if open_ends else ""
    return f"Delete {short(session.key)}, exchanges: {len(archive.past)}{also}, for good? yes or no"


def _line(seen: Seen) -> str:
    last = "                " if seen.at is None else when(seen.at)
    return f"{last}  {_size(seen.size):>8}  {seen.trouble or _owes(seen.owes)}"


def _size(size: int) -> str:
    return f"{size / 1024:.0f} KiB" if size < 1024 * 1024 else f"{size / 1024 / 1024:.1f} MiB"


def _owes(owes: Owes) -> str:
    match owes:
        case None:
            return ""
        case str() if owes == NOW:
            return "unfinished"
        case str():
            return f"waits for {owes.partition(':')[2] or owes}"
        case _:
            return f"goes on at {when(owes)}"


def _as_json(seen: Seen) -> Json:
    return {"key": seen.key, "at": seen.at, "size": seen.size, "owes": seen.owes, "trouble": seen.trouble}
