"""The one owner of retries and of waiting for tokens. The SDKs' own retries are off.

What can pass (rate limits, overload, transport, stalls) is tried again after 1, 2 and 4 seconds with jitter, or after the time
the service asked for, up to a cap; beyond that it is said when it may work again. What cannot pass is raised at once. What
had been shown of a failed attempt is taken back with `StartedOver`; every wait is told through `on_wait`.

A cancelled caller leaves nothing behind: the attempt's own cleanup is the provider's, and there is no task here.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
import trio

from nanobot.config.schema import Deadlines
from nanobot.providers.port import (
    Alive,
    Completion,
    Delta,
    OnDelta,
    Provider,
    ProviderError,
    Request,
    Stalled,
    StartedOver,
)

OnWait = Callable[[ProviderError, float], None]
"""Called before each wait with the reason and the seconds. Called on the loop, must not block."""

WHOLE = 300.0  # seconds for an answer that is not streamed: nothing shows its progress, so it gets the time of a long one


@attrs.frozen
class Policy:
    """All in seconds."""

    first_token: float = 90.0
    between_tokens: float = 90.0
    whole: float = WHOLE
    """For an answer that is not streamed."""
    delays: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Before each further attempt; when they are used up the error is raised."""
    longest_wait: float = 60.0
    """The longest time a service may ask us to wait; beyond it a person would rather be told."""
    jitter: float = 0.25
    """Part of a delay that is drawn, so that chats that failed together do not return together."""

    @classmethod
    def of(cls, deadlines: Deadlines, delays: tuple[float, ...] = (1.0, 2.0, 4.0)) -> Policy:
        return cls(deadlines.first_token, deadlines.between_tokens, deadlines.whole_answer, delays)

    def wait(self, error: ProviderError, attempt: int) -> float:
        """Seconds before the attempt after number `attempt` (from 0)."""
        drawn = self.delays[attempt] * (1 + self.jitter * random.random())
        return max(drawn, error.retry_after or 0.0)


async def complete_with_retry(
    provider: Provider,
    request: Request,
    on_delta: OnDelta,
    *,
    policy: Policy | None = None,
    on_wait: OnWait = lambda _error, _seconds: None,
) -> Completion:
    """An answer, or the error that stays. Raises: ProviderError."""
    policy = policy or Policy()
    attempt = 0
    while True:
        watch = _Watch(provider, request, on_delta, policy)
        try:
            return await watch.attempt()
        except ProviderError as error:
            if not error.retryable or attempt >= len(policy.delays):
                raise
            seconds = policy.wait(error, attempt)
            if seconds > policy.longest_wait:
                raise _later(error, seconds) from error
            attempt += 1
            on_wait(error, seconds)
            watch.start_over(error.kind)
            await trio.sleep(seconds)


def _later(error: ProviderError, seconds: float) -> ProviderError:
    """The same error, saying when it may work again."""
    minutes = round(seconds / 60)
    when = f"{minutes} minutes" if minutes > 1 else f"{round(seconds)} seconds"
    text = f"{error} It may work again in about {when}."
    return type(error)(text, status=error.status, retry_after=error.retry_after)


@attrs.define
class _Watch:
    """One attempt, ended when nothing comes for too long."""

    provider: Provider
    request: Request
    on_delta: OnDelta
    policy: Policy
    alive: bool = False
    """Something came."""
    shown: bool = False
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def attempt(self) -> Completion:
        """Raises: ProviderError; Stalled when a deadline has passed."""
        patience = self.policy.first_token if self.request.stream else self.policy.whole
        with self.scope:
            self.scope.deadline = trio.current_time() + patience
            return await self.provider.complete(self.request, self._delta)
        silence = self.policy.between_tokens if self.alive else patience
        raise Stalled(f"{self.provider.name} sent nothing for too long ({silence:g} s): try again, or choose another model")

    def start_over(self, reason: str) -> None:
        if self.shown:
            self.on_delta(StartedOver(reason))

    def _delta(self, delta: Delta) -> None:
        self.scope.deadline = trio.current_time() + self.policy.between_tokens
        self.alive = True
        self.shown = self.shown or not isinstance(delta, Alive)
        self.on_delta(delta)
