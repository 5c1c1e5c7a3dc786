"""The model's side of a turn: choose the provider, build the request, call with retries, hand back an event.

Fills the session's `Mind` port. Providers are opened when first used and shared by all sessions; nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from nanobot.agent import context
from nanobot.agent.guard import Guard
from nanobot.agent.scales import Room, Scales
from nanobot.agent.toolbox import Toolbox
from nanobot.config.schema import Config
from nanobot.errors import ConfigError
from nanobot.memory.port import user_document
from nanobot.messages import Call, CallId, MessageId, Principal, Reply, Said, SessionKey
from nanobot.providers import registry
from nanobot.providers.client import SdkMissing, SharedHttp
from nanobot.providers.factory import open_provider
from nanobot.providers.local import find_local
from nanobot.providers.port import (
    Completion,
    ContextTooLong,
    Delta,
    Finish,
    Provider,
    ProviderError,
    Request,
    StartedOver,
    TextDelta,
    ThinkingDelta,
    ToolSpec,
)
from nanobot.providers.registry import Selection, Wire
from nanobot.providers.retry import Policy, complete_with_retry
from nanobot.providers.vision import Seeing
from nanobot.session import events as ev
from nanobot.session.ports import Show, Shown, Waiting
from nanobot.session.state import Session, Turn
from nanobot.usage.spent import Kind, Meter, Spent, Uncounted, job_of


@attrs.frozen
class _Chosen:
    selection: Selection
    provider: Provider

    @property
    def name(self) -> str:
        return _named(self.selection)


def _named(selection: Selection) -> str:
    """A model of a service, for what is known of it."""
    return f"{selection.provider}/{selection.model}"


@attrs.frozen
class Ask:
    """A call that belongs to no turn. `about`: of calls with the same, a service may keep what they have in common."""

    system: str
    text: str
    tools: tuple[ToolSpec, ...] = ()
    about: str = ""


@attrs.define(eq=False)
class ModelMind:
    """See the module. One for all sessions."""

    _config: Config
    _environ: Mapping[str, str]
    http: SharedHttp
    _system: context.SystemPrompt
    _box: Toolbox
    _guard: Guard
    _clock: Callable[[], float]
    scales: Scales = attrs.field(factory=Scales, kw_only=True)
    meter: Meter = attrs.field(factory=Uncounted, kw_only=True)
    kind: Kind = attrs.field(default=Kind.TURN, kw_only=True)
    """What its calls are counted as."""
    _chosen: dict[str | None, _Chosen] = attrs.field(factory=dict, init=False)

    def reconfigure(self, config: Config) -> None:
        """For the calls that begin from now on."""
        self._config = config
        self._system.reconfigure(config)
        self._chosen.clear()

    async def think(self, session: Session, turn: Turn, show: Show) -> ev.ModelAnswered | ev.ModelFailed | ev.ContextFull:
        await self._box.ready()
        if why := self.meter.refusal(session, turn, self.kind):
            return ev.ModelFailed(turn.number, turn.step, self._clock(), "cap", why)
        try:
            chosen = await self._choose(session.model)
            return await self._call(session, turn, chosen, show)
        except (ConfigError, SdkMissing) as error:
            return ev.ModelFailed(turn.number, turn.step, self._clock(), "config", str(error))
        except ProviderError as error:
            return ev.ModelFailed(turn.number, turn.step, self._clock(), error.kind, str(error))

    async def _call(self, session: Session, turn: Turn, chosen: _Chosen, show: Show) -> ev.ModelAnswered | ev.ContextFull:
        request, model = self._request(session, turn, chosen.selection), chosen.name
        measure = self.scales.measure(request)
        tokens = self.scales.tokens(session.key, model, measure)
        leaving = self._leaving(session, chosen.selection, tokens)
        if leaving:
            return ev.ContextFull(turn.number, turn.step, self._clock(), session.base + leaving, consolidate=True)
        try:
            completion = await complete_with_retry(
                chosen.provider,
                request,
                lambda delta: _show_delta(delta, turn, show),
                policy=self._policy(),
                on_wait=lambda error, seconds: show(Waiting(str(error), self._clock() + seconds)),
            )
        except ContextTooLong:
            self.scales.refused(model, tokens)
            keep_from = session.base + self._leaving(session, chosen.selection, tokens, refused=True)
            return ev.ContextFull(turn.number, turn.step, self._clock(), keep_from, refused=True, consolidate=True)
        self.scales.learn(session.key, model, measure, completion.usage.input)
        self._book(session, turn, completion)
        return await self._answered(session, turn, completion)

    def _book(self, session: Session, turn: Turn, completion: Completion) -> None:
        """Also what is thrown away, being empty, is paid for."""
        model, usage, at = completion.model, completion.usage, self._clock()
        job = job_of(turn.inputs)
        self.meter.spent(Spent(session.key, turn.number, turn.step, at, model, usage, self.kind, turn.principal, job))

    async def answer(self, model: str | None, ask: Ask) -> Completion:
        """A call beside all conversations, tried again as those of a turn are. Raises: ProviderError, ConfigError, SdkMissing."""
        chosen, defaults = await self._choose(model), self._config.agents.defaults
        request = Request(
            model=chosen.selection.model,
            system=ask.system,
            entries=(Said(MessageId("ask"), ask.text, 0.0, ""),),
            tools=ask.tools,
            params=registry.params(self._config, chosen.selection),
            cache_key=ask.about,
            stream=defaults.stream,
        )
        return await complete_with_retry(chosen.provider, request, lambda _delta: None, policy=self._policy())

    def remembers(self, model: str | None) -> bool:
        """Whether what leaves the conversations with that model becomes memory: not by the demo, which understands nothing."""
        return self._config.memory.consolidate and self._spec(self._config.memory.model or model) is not Wire.DEMO

    def room(self, model: str | None) -> Room:
        """How much it can read. Raises: ConfigError."""
        known = self._chosen.get(model)
        return self._room(known.selection if known else self._select(model))

    def sizes(self, session: Session) -> list[float]:
        """Likely tokens of each exchange of its history."""
        known = self._chosen.get(session.model)
        return self.scales.sizes(known.name if known else "", session.exchanges)

    def check(self, model: str) -> str:
        """Why a model cannot be used here, empty if it can."""
        try:
            self._select(model)
        except ConfigError as error:
            return str(error)
        return ""

    def describe(self, model: str | None) -> str:
        """Which model that is, for people. Raises: ConfigError."""
        known = self._chosen.get(model)
        selection = known.selection if known else self._select(model)
        return f"{selection.model or 'the first model it lists'} ({selection.provider}: {selection.why})"

    def _select(self, model: str | None) -> Selection:
        config = self._config
        if model is not None:
            defaults = attrs.evolve(config.agents.defaults, model=model)
            config = attrs.evolve(config, agents=attrs.evolve(config.agents, defaults=defaults))
        return registry.select(config, self._environ)

    async def _choose(self, model: str | None) -> _Chosen:
        chosen = self._chosen.get(model)
        if chosen is None:
            selection = self._select(model)
            if selection.may_look_local:
                selection = await find_local(self.http) or selection
            provider = Seeing(open_provider(selection, self._config, self.http), registry.sight(self._config, selection))
            chosen = self._chosen[model] = _Chosen(selection, provider)
        return chosen

    def _request(self, session: Session, turn: Turn, selection: Selection) -> Request:
        key = SessionKey.parse(session.key)
        block = context.runtime_block(self._clock(), key.channel, key.chat, Principal.parse(turn.principal).user)
        return Request(
            model=selection.model,
            system=self._system.text() + self._of_person(session, turn),
            entries=context.entries(session.exchanges, turn.entries),
            tools=self._guard.offered(session, turn),
            params=registry.params(self._config, selection),
            runtime=block + self._system.named(turn.entries, turn.principal),
            cache_key=session.key,
            no_tools=bool(turn.last_call),
            stream=self._config.agents.defaults.stream,
        )

    def _of_person(self, session: Session, turn: Turn) -> str:
        person = self._guard.person(session, turn) if self._config.memory.per_user else None
        return self._system.of_person(user_document(person)) if person else ""

    def _leaving(self, session: Session, selection: Selection, tokens: float, *, refused: bool = False) -> int:
        """How many exchanges a request of so many tokens must do without."""
        sizes, most = self.sizes(session), self._config.agents.defaults.memory_window
        room = context.history_room(self._room(selection), tokens, sum(sizes))
        budget = context.Budget(room, most * (context.BEHIND if self.remembers(session.model) else 1))
        return context.keep_from(session.exchanges, sizes, budget, refused=refused)

    def _room(self, selection: Selection) -> Room:
        window, params = registry.known_window(self._config, selection), registry.params(self._config, selection)
        return self.scales.room(_named(selection), window, params.max_tokens)

    def _policy(self) -> Policy:
        defaults = self._config.agents.defaults
        return Policy.of(defaults.deadlines, defaults.retry_delays)

    def _spec(self, model: str | None) -> Wire | None:
        """Over which wire a model is reached, None where it cannot be."""
        known = self._chosen.get(model)
        try:
            return (known.selection if known else self._select(model)).spec.wire
        except ConfigError:
            return None

    async def _answered(self, session: Session, turn: Turn, completion: Completion) -> ev.ModelAnswered:
        named = [call for call in completion.calls if call.name]
        calls = tuple(
            Call(
                CallId(f"t{turn.number}s{turn.step}c{index}"),
                call.name,
                call.arguments,
                self._box.tools.effect_of(call.name),
                principal=turn.principal,
                extra=call.extra,
            )
            for index, call in enumerate(named)
        )
        tainted = self._guard.tainted(session, turn)
        reply = Reply(completion.text, calls, completion.thinking, completion.usage, completion.model, tainted)
        reply, asks = (reply, ()) if turn.last_call else await self._guard.judge(session, turn, reply)
        nameless, length = len(completion.calls) - len(named), completion.finish is Finish.LENGTH
        return ev.ModelAnswered(turn.number, turn.step, self._clock(), reply, nameless, length, asks)


def _show_delta(delta: Delta, turn: Turn, show: Show) -> None:
    match delta:
        case TextDelta(text):
            show(Shown(turn.number, text=text))
        case ThinkingDelta(text):
            show(Shown(turn.number, thinking=text))
        case StartedOver(reason):
            show(Shown(turn.number, void=reason))
        case _:  # calls are shown when they run; signs of life are for the deadline
            pass
