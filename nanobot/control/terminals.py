"""The terminals that are attached to sessions: `nanobot chat` while the gateway runs.

`Terminals` is the session's way to the chat (ports.Outlet) for what no network serves, and watches for all sessions. A reply
is delivered when one of the terminals that show it says that it has printed it; with none there it waits for the next. What
terminals say is acknowledged when it is on disk, and taken once however often they say it.

A session whose network is another (`nanobot chat -s telegram:42`) is shown here too, replies included; delivering them is its
network's business.

Each connection has three tasks: one hears the terminal, one sends to it (feed.py), one sees to it that a session that ended
by a fault while somebody waits for it is opened again.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import attrs
import trio

from nanobot import __version__
from nanobot.config.redaction import clean
from nanobot.control.frames import Say, say_of, snapshot
from nanobot.control.port import BadRequest, Connection, ConnectionGone
from nanobot.control.seats import Asker, Screen, Seat
from nanobot.errors import ConfigError, InUse, NanobotError
from nanobot.messages import Attachment, Inbound, Outbound, OutboundId, Principal, SessionKey
from nanobot.session import events as ev
from nanobot.session.ports import DeliveryEnd, Progress
from nanobot.session.registry import Registry
from nanobot.session.state import Pending, Session
from nanobot.wire import Json, JsonObject

NOBODY = "no terminal shows this conversation"
USER = "user"
"""Who speaks at a terminal, as HKUDS/nanobot names it."""
LOOK_S = 1.0
MOST_OPENED = 5
"""Times that a session is opened again for one terminal; a turn that crashes twice is ended by the session itself."""


@attrs.frozen
class Inside:
    """What terminals need of the house."""

    registry: Registry
    deliver: Callable[[Inbound], Awaitable[None]]
    """Raises: NanobotError. With `code` "stopping" the terminal says it again later."""
    describe: Callable[[str | None], str]
    """Which model that is, for people. Raises: ConfigError."""
    media: Callable[[str], Path]
    """The folder of the files that a session, by its key, was given."""
    workspace: Path
    warnings: tuple[str, ...] = ()
    """What the configuration says about itself at each start."""


@attrs.define(eq=False)
class Terminals:
    """See the module. `inside` is set as soon as there is a house, and before anybody can attach."""

    clock: Callable[[], float]
    """Seconds since the epoch."""
    is_network: Callable[[str], bool] = lambda _channel: False
    """Whether a channel of that name delivers its replies itself."""
    inside: Inside | None = None
    _seats: dict[str, list[Seat]] = attrs.field(factory=dict, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set, and made anew, when a terminal comes, goes, or has printed something."""
    _closed: JsonObject | None = attrs.field(default=None, init=False)

    # --- the sessions' side

    def serves(self, session_key: str) -> bool:
        """Whether replies of this session are ours to deliver."""
        return not self.is_network(SessionKey.parse(session_key).channel)

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        out = pending.outbound.id
        offered: list[Seat] = []
        try:
            while True:
                seats = self._seats_for(session.key, pending.outbound)
                for seat in [seat for seat in seats if seat not in offered]:
                    offered.append(seat)
                    seat.printed[out] = None
                    seat.offer(session, pending, part)
                if any(seat.printed[out] for seat in seats):
                    return ev.PartDelivered(out, part, self.clock())
                if all(seat.printed[out] is False for seat in seats):
                    return ev.ChannelDown(out, part, self.clock(), seats[0].error if seats else _nobody(session.key))
                await self._changed.wait()
        finally:
            for seat in offered:
                del seat.printed[out]

    def watch(self, key: str, progress: Progress) -> None:
        """Told of every session; must not block or raise."""
        for seat in self._seats.get(key, ()):
            seat.watch(progress, ours=self.serves(key))

    async def close(self, *, restarting: bool = False) -> None:
        """The gateway ends: from now on nobody is here. Returns when all are told, or did not listen for some seconds."""
        code, how = ("restarting", "starts again") if restarting else ("stopping", "has been stopped")
        self._closed = {"type": "bye", "code": code, "reason": f"the gateway {how}"}
        for seat in [seat for seats in self._seats.values() for seat in seats]:
            seat.feed.end(self._closed)
        while self._seats:
            await self._changed.wait()

    def _seats_for(self, key: str, reply: Outbound) -> list[Seat]:
        """Who shows it: every screen, and whoever asked for it; else one of those who asked for something else."""
        seats = [] if self._closed else self._seats.get(key, [])
        return [seat for seat in seats if seat.shows(reply)] or seats[:1]

    # --- the terminals' side: streams of the control socket

    async def attach(self, request: JsonObject, connection: Connection) -> None:
        """Serve an interactive chat until it leaves or the gateway ends. Raises: NanobotError, which it is told."""
        inside, key = self._admit(request)
        session = await _opened(inside, key)  # no checkpoint from here until it is seated: it must miss no record
        seat = Screen(str(key), session)
        seat.feed.put({"ok": self._hello(inside, session) | {"session": snapshot(session)}})
        await self._serve(seat, key, connection)

    async def ask(self, request: JsonObject, connection: Connection) -> None:
        """Serve a chat of one message until it has its answer. Raises: NanobotError, which it is told."""
        inside, key = self._admit(request)
        session = await _opened(inside, key)
        seat = Asker(str(key))
        seat.feed.put({"ok": self._hello(inside, session)})
        await self._serve(seat, key, connection)

    def _admit(self, request: JsonObject) -> tuple[Inside, SessionKey]:
        """Raises: BadRequest."""
        if self.inside is None or self._closed:
            raise BadRequest("the gateway is starting or stopping; try again in a moment", code="stopping")
        match request.get("workspace"):
            case str(asked) if asked != str(self.inside.workspace):
                raise BadRequest(
                    f"the gateway that runs works in {self.inside.workspace}; --workspace is for a chat without a gateway",
                    code="usage",
                )
        try:
            return self.inside, SessionKey.parse(str(request.get("session")))
        except ValueError as exc:
            raise BadRequest(str(exc), code="usage") from exc

    def _hello(self, inside: Inside, session: Session) -> JsonObject:
        try:
            model = inside.describe(session.model)
        except ConfigError as error:
            model = str(error)
        warnings: list[Json] = [clean(warning) for warning in inside.warnings]
        return {"model": clean(model), "warnings": warnings, "network": not self.serves(session.key), "version": __version__}

    async def _serve(self, seat: Seat, key: SessionKey, connection: Connection) -> None:
        assert self.inside is not None
        with self._seated(seat):
            if self.serves(seat.key):
                self.inside.registry.wake(key, self.clock())  # what waited for a terminal is sent now
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._hear, seat, key, connection, nursery.cancel_scope)
                    nursery.start_soon(self._keep_open, seat, key)
                    await seat.feed.pump(connection)
                    nursery.cancel_scope.cancel()
            except* ConnectionGone:
                pass

    @contextmanager
    def _seated(self, seat: Seat) -> Iterator[None]:
        self._seats.setdefault(seat.key, []).append(seat)
        self._stir()
        try:
            yield
        finally:
            self._seats[seat.key].remove(seat)
            if not self._seats[seat.key]:
                del self._seats[seat.key]
            self._stir()

    def _stir(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _hear(self, seat: Seat, key: SessionKey, connection: Connection, scope: trio.CancelScope) -> None:
        """Until the terminal is gone."""
        with _told_to(seat):
            while (frame := await connection.receive()) is not None:
                match frame:
                    case {"type": "say"}:
                        await self._take(seat, key, say_of(frame))
                    case {"type": "sent", "id": str(out), "ok": bool(ok)} if out in seat.printed:
                        seat.printed[OutboundId(out)] = ok
                        seat.error = clean(str(frame.get("error", "")))
                        self._stir()
                    case {"type": str()}:  # a late word, or one of a later version
                        pass
                    case _:
                        raise BadRequest("a frame has a type")
            scope.cancel()

    async def _take(self, seat: Seat, key: SessionKey, said: Say) -> None:
        """Hand a message over, and say what came of it."""
        assert self.inside is not None
        try:
            files = tuple([await _checked(file, self.inside.media(str(key))) for file in said.files])
            seat.says(said.id)
            principal = Principal("cli", "default", key.chat, USER, owner=True)
            await self.inside.deliver(Inbound(said.id, key, principal, said.text, self.clock(), files))
        except NanobotError as error:
            code = getattr(error, "code", "")
            seat.feed.put({"type": "refused", "id": said.id, "reason": clean(str(error)), "code": code})
        else:
            seat.feed.put({"type": "said", "id": said.id})

    async def _keep_open(self, seat: Seat, key: SessionKey) -> NoReturn:
        assert self.inside is not None
        opened = 0
        while True:
            await trio.sleep(LOOK_S)
            if seat.waits and seat.key not in self.inside.registry.live() and not self._closed:
                opened += 1
                with _told_to(seat):
                    if opened > MOST_OPENED:
                        raise BadRequest(f"session {key.short} fails again and again; the log says why", code="failed")
                    await self.inside.registry.open(key)


@contextmanager
def _told_to(seat: Seat) -> Iterator[None]:
    """What goes wrong is the last thing the terminal hears."""
    try:
        yield
    except NanobotError as error:
        seat.feed.end({"error": clean(str(error)), "code": getattr(error, "code", "failed")})


async def _opened(inside: Inside, key: SessionKey) -> Session:
    """Raises: InUse, JournalError."""
    try:
        return await inside.registry.open(key)
    except InUse as exc:
        raise InUse(f"session {key.short}", exc.holder) from exc


async def _checked(file: Attachment, folder: Path) -> Attachment:
    """The file, if it is one of the session's own. Raises: BadRequest."""
    return await trio.to_thread.run_sync(_check, file, folder, abandon_on_cancel=True)


def _check(file: Attachment, folder: Path) -> Attachment:
    real = os.path.realpath(file.path)
    if os.path.dirname(real) == os.path.realpath(folder) and os.path.isfile(real):
        return attrs.evolve(file, path=real, size=os.path.getsize(real))
    raise BadRequest(f"{file.name} is no file of this conversation, whose files are in {folder}", code="usage")


def _nobody(session_key: str) -> str:
    """A message may go to a name that is none, by mistake."""
    channel = SessionKey.parse(session_key).channel
    return NOBODY if channel == "cli" else f"no network is called {channel}, and {NOBODY}"
