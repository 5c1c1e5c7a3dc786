"""The policy's place in a turn: what the model is offered, and what becomes of each call of an answer before any of it runs.

A call is judged when the model has asked for it, against the conversation that it was written in, with the same parsed
arguments that would run. One that is denied is settled as refused; one that the owner must allow is settled as deferred, with
an errand that holds it word for word; a call that cannot be judged is refused with the reason. `approved` says whether what
an errand was allowed to do is still what would happen.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import attrs
import trio

from nanobot.agent import rights
from nanobot.agent.rights import Owns, Right
from nanobot.agent.toolbox import Toolbox
from nanobot.agent.workbench import Workbench
from nanobot.config.schema import Config, Decision
from nanobot.errors import ToolError
from nanobot.messages import Call, CallId, CallState, ErrandId, Principal, Reply
from nanobot.providers.port import ToolSpec
from nanobot.security import approvals, policy
from nanobot.session import events as ev
from nanobot.session.errands import open_approvals
from nanobot.session.state import Errand, ErrandKind, Session, Turn
from nanobot.tools.port import Intent
from nanobot.tools.registry import HINT

NOT_ALONE = frozenset(["spawn", "message", "cron"])
"""Tools that a subagent has not: it speaks to nobody, and begins nothing that outlives it."""


def new_id() -> str:
    """Short enough to be typed on a telephone; a number beside it is another chat's at the odds of 1 to 16 million."""
    return secrets.token_hex(3)


@attrs.frozen
class _Bar:
    """Before which the calls of one answer come."""

    session: Session
    turn: Turn
    right: Right


@attrs.define(eq=False)
class Guard:
    """See the module. One for all sessions."""

    _config: Config
    _box: Toolbox
    _bench: Workbench
    _clock: Callable[[], float]
    _owns: Owns
    _new_id: Callable[[], str] = new_id
    alone: bool = False
    """For subagents: nobody can be asked."""

    def reconfigure(self, config: Config) -> None:
        """For the answers that come from now on."""
        self._config = config

    def offered(self, session: Session, turn: Turn) -> tuple[ToolSpec, ...]:
        """The tools that the model is told of in this turn."""
        right, channel = rights.of_turn(session, turn, self._owns), _channel(session)
        rules = self._config.tools.policy
        return self._box.tools.specs(
            lambda name, effect: (
                self._has(name) and all(policy.offered(name, effect, who, channel, rules) for who in right.columns)
            )
        )

    def person(self, session: Session, turn: Turn) -> Principal | None:
        """With whom a turn is alone; None for the owner, in groups and for work that nobody waits for."""
        right = rights.of_turn(session, turn, self._owns)
        return right.principal if right.who == "paired" and not self.alone else None

    def tainted(self, session: Session, turn: Turn) -> bool:
        """Whether text of strangers stands in what the model is shown."""
        return rights.of_turn(session, turn, self._owns).tainted

    async def still_allowed(self, session: Session, right: Right, call: Call) -> str:
        """The row of a call that was allowed; others may have come before it. Raises: ToolError where it is allowed no more."""
        if not self._has(call.name):
            return call.name
        intent = await self._intent(session, right, call.id, call.name, call.arguments)
        if self._decide(session, right, call.name, intent) != "allow":
            raise ToolError(
                f"not run: what {call.name} may do here has changed meanwhile. Ask for it again if it is still wanted"
            )
        return intent.row

    async def judge(self, session: Session, turn: Turn, reply: Reply) -> tuple[Reply, tuple[ev.Asked, ...]]:
        """The answer with its calls judged, and what the owner must be asked."""
        bar = _Bar(session, turn, rights.of_turn(session, turn, self._owns))
        calls: list[Call] = []
        asks: list[ev.Asked] = []
        for call in reply.calls:
            judged, ask = await self._judge(bar, call, asks)
            calls.append(judged)
            asks += [ask] if ask else []
        return attrs.evolve(reply, calls=tuple(calls)), tuple(asks)

    async def approved(self, session: Session, errand: Errand) -> None:
        """Whether an errand that was allowed would still do what was shown. Raises: ToolError."""
        assert errand.call is not None
        right = rights.of_errand(errand, self._owns)
        intent = await self._intent(session, right, errand.call, errand.tool, errand.arguments)
        if (intent.row, intent.terms) != (errand.row, errand.terms):
            then, now = errand.terms or errand.row, intent.terms or intent.row
            raise ToolError(approvals.CHANGED.format(then=then, now=now))
        if self._decide(session, right, errand.tool, intent) == "deny":
            raise ToolError(approvals.refused(intent.row, right.who, tainted=right.tainted))

    # --- inside

    async def _judge(self, bar: _Bar, call: Call, asks: Sequence[ev.Asked]) -> tuple[Call, ev.Asked | None]:
        if not self._has(call.name):
            there = [spec.name for spec in self.offered(bar.session, bar.turn)]
            return _refused(call, self._box.tools.unknown(call.name, there)), None
        try:
            intent = await self._intent(bar.session, bar.right, call.id, call.name, call.arguments)
            decision = self._decide(bar.session, bar.right, call.name, intent)
            if decision == "allow":
                return call, None
            if decision == "deny":
                return _refused(call, approvals.refused(intent.row, bar.right.who, tainted=bar.right.tainted)), None
            return (_refused(call, approvals.ALONE), None) if self.alone else self._ask(bar, call, intent, asks)
        except ToolError as error:
            return _refused(call, f"Error: {error}\n{HINT}"), None

    def _has(self, name: str) -> bool:
        return self._box.tools.has(name) and not (self.alone and name in NOT_ALONE)

    async def _intent(self, session: Session, right: Right, call: CallId, tool: str, arguments: str) -> Intent:
        """Raises: ToolError."""
        turn = self._bench.turn(session.key, right, call)
        return await trio.to_thread.run_sync(self._box.tools.intent, tool, arguments, turn)

    def _decide(self, session: Session, right: Right, tool: str, intent: Intent) -> Decision:
        effect, tainted = self._box.tools.effect_of(tool), right.tainted
        cases = [policy.Case(intent.row, effect, intent.subject, who, _channel(session), tainted) for who in right.columns]
        return policy.strictest(policy.decide(case, self._config.tools.policy) for case in cases)

    def _ask(self, bar: _Bar, call: Call, intent: Intent, asks: Sequence[ev.Asked]) -> tuple[Call, ev.Asked | None]:
        """Raises: ToolError for what nobody can read."""
        waiting = (*open_approvals(bar.session), *(ask.errand for ask in asks))
        same = next((e for e in waiting if (e.tool, e.arguments, e.row) == (call.name, call.arguments, intent.row)), None)
        if same is not None:
            return _refused(call, approvals.WAITS_ALREADY.format(same.id)), None
        if len(waiting) >= approvals.MOST_OPEN:
            return _refused(call, approvals.TOO_MANY), None
        errand, expire_s = self._errand(bar, call, intent), self._config.tools.approvals.expire_s
        if bar.right.who == "owner":
            ask = ev.Asked(errand, approvals.question(errand, expire_s), approvals.buttons(errand.id))
        else:
            ask = ev.Asked(errand, approvals.elsewhere(call.name))
        waits = approvals.WAITS.format(errand.id)
        return attrs.evolve(call, state=CallState.DEFERRED, result=waits, approval=errand.id), ask

    def _errand(self, bar: _Bar, call: Call, intent: Intent) -> Errand:
        return Errand(
            ErrandId(self._new_id()),
            ErrandKind.APPROVAL,
            approvals.shown(call.name, intent, call.arguments),
            bar.turn.principal,
            bar.turn.inputs[0],
            call.id,
            call.name,
            call.arguments,
            self._clock() + self._config.tools.approvals.expire_s,
            row=intent.row,
            terms=intent.terms,
            origin=bar.right.origin,
            tainted=bar.right.tainted,
        )


def _refused(call: Call, result: str) -> Call:
    return attrs.evolve(call, state=CallState.REFUSED, result=result)


def _channel(session: Session) -> str:
    return session.key.partition(":")[0]
