"""What the person sees of a session: the answer as it grows, a line per tool call, the state, and each reply exactly once.

`watch` is called by the session on the loop; it only decides and hands on to the screen. `send` is the session's way to the
chat: it returns `PartDelivered` when the terminal has the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import trio

from nanobot.cli.chatting import calls, words
from nanobot.cli.chatting.offers import offers
from nanobot.cli.chatting.screen import Screen
from nanobot.cli.chatting.status import Status
from nanobot.cli.chatting.stdio import printable
from nanobot.cli.chatting.stream import Stream, still_to_print
from nanobot.messages import CallId, Outbound, OutboundId, Reply, TurnNumber
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.ports import Adopted, DeliveryEnd, Progress, Shown, Waiting, Working
from nanobot.session.state import Pending, Session

TERMINAL_GONE = "the terminal is gone"
MOST_LIVE = 2_000
"""Characters of a growing block that are drawn as Markdown, 20 times a second; what is longer is shown as it is."""


@attrs.frozen
class Style:
    """How texts are drawn; identities where escape codes are not wanted."""

    markdown: Callable[[str], str]
    aside: Callable[[str], str]
    """What is said beside the conversation."""
    question: Callable[[str], str]
    """A line of what waits for an answer."""


@attrs.define(eq=False)
class Scene:
    """See the module."""

    screen: Screen
    style: Style
    status: Status
    clock: Callable[[], float]
    put_aside: str = words.PUT_ASIDE
    """What is said when the house puts a turn aside."""
    _streams: dict[TurnNumber, Stream] = attrs.field(factory=dict, init=False)
    _shown: dict[OutboundId, str] = attrs.field(factory=dict, init=False)
    """The beginning of a reply that was printed while it arrived."""
    _grown: trio.Event = attrs.field(factory=trio.Event, init=False)
    _whole: trio.Event = attrs.field(factory=trio.Event, init=False)
    """An answer that was growing has ended, or was withdrawn."""
    _offered: Mapping[str, str] = attrs.field(factory=dict, init=False)

    # --- the session's side

    def watch(self, _key: str, progress: Progress) -> None:
        match progress:
            case Shown(turn, text, _, void):
                self._void(turn, void) if void else self._grow(turn, text)
            case Adopted(records, session):
                self._book(records, session)
                self._offer(session)
            case Working() | Waiting():
                pass
        self.status.watch(progress)
        self.refresh()

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        reply = pending.outbound
        if reply.buttons:
            await self._between_answers()
            ok = await self._printed(self._standing_out(reply.text))
            return self._sent(pending, part, ok=ok)
        rest = still_to_print(reply.text, self._shown.pop(reply.id, ""))
        draw = self.style.markdown if calls.by_model(session, reply.reply_to) else printable
        texts = [draw(rest)] if rest.strip() else []
        texts += [self.style.aside(printable(f"· file: {file.path}")) for file in reply.attachments]
        return self._sent(pending, part, ok=await self._printed("\n".join(texts)))

    # --- the chat's side

    def start_over(self, session: Session) -> None:
        """The session as it is now; what was streamed before does not go on."""
        for turn in list(self._streams):
            self._void(turn, "the connection was lost")
        self.status.watch(Adopted((), session))
        self._offer(session)
        self.refresh()

    def aside(self, text: str) -> None:
        """Say something beside the conversation."""
        self.screen.post(self.style.aside(printable(text)))

    def refresh(self) -> None:
        self.screen.status(self.status.line(self.clock()), busy=self.status.busy)

    async def draw_tail(self, every_s: float) -> None:
        """Keep the growing part of the answer on the screen, drawn at most once in `every_s` seconds. Runs until cancelled."""
        while True:
            await self._grown.wait()
            self._grown = trio.Event()
            live = "\n".join(stream.tail for stream in self._streams.values())
            draw = self.style.markdown if len(live) <= MOST_LIVE else printable
            self.screen.tail(draw(live) if live.strip() else "")
            await trio.sleep(every_s)

    # --- pieces

    async def _printed(self, text: str) -> bool:
        """Print, after all that was posted before; True when the terminal has it."""
        token = trio.lowlevel.current_trio_token()
        done: list[bool] = []
        written = trio.Event()

        def tell(success: bool) -> None:
            done.append(success)
            token.run_sync_soon(written.set)

        self.screen.post(text, tell)
        await written.wait()
        return done[0]

    def _sent(self, pending: Pending, part: int, *, ok: bool) -> DeliveryEnd:
        if ok:
            return ev.PartDelivered(pending.outbound.id, part, self.clock())
        return ev.ChannelDown(pending.outbound.id, part, self.clock(), TERMINAL_GONE)

    async def _between_answers(self) -> None:
        """Wait while the beginning of an answer stands on the screen whose rest is still to come."""
        while any(stream.printed for stream in self._streams.values()):
            self._whole = trio.Event()
            await self._whole.wait()

    def _standing_out(self, text: str) -> str:
        lines = [self.style.question(f"┃ {line}".rstrip()) for line in printable(text).split("\n")]
        return "\n".join(["", *lines, ""])

    def _offer(self, session: Session) -> None:
        now = offers(session)
        if now != self._offered:
            self._offered = now
            self.screen.offer(now)

    def _grow(self, turn: TurnNumber, text: str) -> None:
        if text:
            self._print_block(self._streams.setdefault(turn, Stream()).add(text))
            self._grown.set()

    def _print_block(self, text: str) -> None:
        if text.strip():
            self.screen.post(self.style.markdown(text) + "\n")

    def _void(self, turn: TurnNumber, why: str) -> None:
        stream = self._streams.pop(turn, None)
        self._grown.set()
        self._whole.set()
        if stream is not None and stream.printed:
            self.aside(f"· the answer starts over ({why})")

    def _finish(self, turn: TurnNumber) -> str:
        """What was streamed of the turn stays on the screen; returns it."""
        stream = self._streams.pop(turn, Stream())
        self._print_last(stream.flush())
        self._grown.set()
        self._whole.set()
        return stream.text

    def _print_last(self, text: str) -> None:
        if text.strip():
            self.screen.tail("")
            self.screen.post(self.style.markdown(text))

    def _book(self, records: tuple[r.Record, ...], session: Session) -> None:
        ended: str = ""
        for record in records:
            match record:
                case r.Answered(turn, reply) if reply.calls:
                    self._finish(turn)
                    self._tell_settled(reply)
                case r.CallSettled(call=call):
                    self._tell_call(session, call)
                case r.TurnEnded(turn):
                    ended = self._finish(turn)
                case r.Queued(outbound):
                    self._expect(outbound, ended)
                    ended = ""
                case r.Accepted(said) if not any(isinstance(other, r.TurnStarted) for other in records):
                    self.aside("· noted, and read before the next step" if said.text else "· noted")
                case r.Restarted() if session.turn is not None:
                    self.aside(f"· {words.RESUMING}")
                case r.Suspended():
                    self.aside(f"· {self.put_aside}")
                case _:  # the other records change nothing that is on the screen
                    pass

    def _expect(self, outbound: Outbound, streamed: str) -> None:
        if streamed:
            self._shown[outbound.id] = streamed

    def _tell_settled(self, reply: Reply) -> None:
        """Calls that the policy refused have their outcome at once."""
        for call in reply.calls:
            if call.state.settled:
                self.aside(calls.outcome(call))

    def _tell_call(self, session: Session, wanted: CallId) -> None:
        call = calls.find(session, wanted)
        if call is not None:
            self.aside(calls.outcome(call))
