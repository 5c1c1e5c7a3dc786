"""The model's side of a turn: choose the provider, build the request, call with retries, hand back an event.

Fills the session's `Mind` port. Providers are opened when first used and shared by all sessions; nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from nanobot.agent import context
from nanobot.agent.guard import Guard
from nanobot.agent.toolbox import Toolbox
from nanobot.config.schema import Config
from nanobot.errors import ConfigError
from nanobot.messages import Call, CallId, Principal, Reply, SessionKey
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
)
from nanobot.providers.registry import Selection
from nanobot.providers.retry import Policy, complete_with_retry
from nanobot.providers.vision import Seeing
from nanobot.session import events as ev
from nanobot.session.ports import Show, Shown, Waiting
from nanobot.session.state import Session, Turn


@attrs.frozen
class _Chosen:
    selection: Selection
    provider: Provider


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
    _chosen: dict[str | None, _Chosen] = attrs.field(factory=dict, init=False)

    def reconfigure(self, config: Config) -> None:
        """For the calls that begin from now on."""
        self._config = config
        self._system.reconfigure(config)
        self._chosen.clear()

    async def think(self, session: Session, turn: Turn, show: Show) -> ev.ModelAnswered | ev.ModelFailed | ev.ContextFull:
        await self._box.ready()
        try:
            chosen = await self._choose(session.model)
            return await self._call(session, turn, chosen, show)
        except (ConfigError, SdkMissing) as error:
            return ev.ModelFailed(turn.number, turn.step, self._clock(), "config", str(error))
        except ProviderError as error:
            return ev.ModelFailed(turn.number, turn.step, self._clock(), error.kind, str(error))

    async def _call(self, session: Session, turn: Turn, chosen: _Chosen, show: Show) -> ev.ModelAnswered | ev.ContextFull:
        defaults = self._config.agents.defaults
        request = self._request(session, turn, chosen.selection)
        leaving = self._leaving(session, turn, chosen.selection, request)
        if leaving:
            return ev.ContextFull(turn.number, turn.step, self._clock(), session.base + leaving)
        try:
            completion = await complete_with_retry(
                chosen.provider,
                request,
                lambda delta: _show_delta(delta, turn, show),
                policy=Policy.of(defaults.deadlines, defaults.retry_delays),
                on_wait=lambda error, seconds: show(Waiting(str(error), self._clock() + seconds)),
            )
        except ContextTooLong:
            leaving = self._leaving(session, turn, chosen.selection, request, refused=True)
            return ev.ContextFull(turn.number, turn.step, self._clock(), session.base + leaving, refused=True)
        return await self._answered(session, turn, completion)

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
            system=self._system.text(),
            entries=context.entries(session.exchanges, turn.entries),
            tools=self._guard.offered(session, turn),
            params=registry.params(self._config, selection),
            runtime=block + self._system.named(turn.entries, turn.principal),
            cache_key=session.key,
            no_tools=bool(turn.last_call),
            stream=self._config.agents.defaults.stream,
        )

    def _leaving(self, session: Session, turn: Turn, selection: Selection, request: Request, *, refused: bool = False) -> int:
        tools = sum(len(tool.schema) + len(tool.description) for tool in request.tools)
        fixed = len(request.system) + len(request.runtime) + tools
        window = registry.context_window(self._config, selection)
        budget = context.Budget(self._config.agents.defaults.memory_window, window * context.WINDOW_SHARE, fixed)
        return context.keep_from(session.exchanges, turn.entries, budget, refused=refused)

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
