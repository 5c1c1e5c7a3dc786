"""The retry owner alone, under a virtual clock: how long it waits, for what, and when it gives up."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
import trio
import trio.testing

from nanobot.config.schema import Deadlines
from nanobot.providers.port import (
    Alive,
    AuthFailed,
    Completion,
    Delta,
    OnDelta,
    Overloaded,
    ProviderError,
    RateLimited,
    Request,
    Stalled,
    StartedOver,
    TextDelta,
)
from nanobot.providers.retry import Policy, complete_with_retry

REQUEST = Request("m", "", ())
STEADY = Policy(jitter=0)
Step = ProviderError | Completion | float | str


@attrs.define
class Scripted:
    """A provider that does what each attempt is scripted to: wait so many seconds, show a text, raise or answer."""

    attempts: list[Sequence[Step]]
    name: str = "scripted"
    made: int = 0

    async def complete(self, request: Request, on_delta: OnDelta) -> Completion:
        self.made += 1
        for step in self.attempts[self.made - 1]:
            if isinstance(step, ProviderError):
                raise step
            if isinstance(step, Completion):
                return step
            if isinstance(step, str):
                on_delta(TextDelta(step) if step else Alive())
            else:
                await trio.sleep(step)
        raise AssertionError("the attempt has no end")


@attrs.define
class Seen:
    deltas: list[Delta] = attrs.field(factory=list)
    waits: list[tuple[str, float]] = attrs.field(factory=list)

    def waited(self, error: ProviderError, seconds: float) -> None:
        self.waits.append((error.kind, seconds))


async def run(attempts: list[Sequence[Step]], policy: Policy = STEADY, request: Request = REQUEST) -> tuple[Seen, Completion]:
    seen = Seen()
    scripted = Scripted(attempts)
    completion = await complete_with_retry(scripted, request, seen.deltas.append, policy=policy, on_wait=seen.waited)
    return seen, completion


FINE = Completion("fine")


async def test_waits_one_two_and_four_seconds(autojump_clock: trio.testing.MockClock) -> None:
    seen, _ = await run([[Overloaded("x")]] * 3 + [[FINE]])
    assert seen.waits == [("overloaded", 1.0), ("overloaded", 2.0), ("overloaded", 4.0)]
    assert trio.current_time() == pytest.approx(7.0)


async def test_gives_up_after_the_last(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(Overloaded):
        await run([[Overloaded("x")]] * 4)


async def test_waits_as_long_as_the_service_asks(autojump_clock: trio.testing.MockClock) -> None:
    seen, _ = await run([[RateLimited("slow down", retry_after=30.0)], [FINE]])
    assert seen.waits == [("rate_limited", 30.0)]


async def test_does_not_wait_longer_than_a_person_would(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(RateLimited, match="in about 60 minutes"):
        await run([[RateLimited("slow down", retry_after=3600.0)]])
    assert trio.current_time() == 0


async def test_does_not_retry_what_cannot_pass(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(AuthFailed):
        await run([[AuthFailed("no")]])
    assert trio.current_time() == 0


async def test_first_token_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    seen, _ = await run([[100.0, FINE], [80.0, FINE]])
    assert seen.waits == [("stalled", 1.0)]
    assert trio.current_time() == pytest.approx(90 + 1 + 80)


async def test_every_delta_moves_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    seen, completion = await run([[80.0, "a", 80.0, "", 80.0, "b", 80.0, FINE]])
    assert (seen.waits, completion) == ([], FINE)


async def test_silence_between_tokens_is_a_stall(autojump_clock: trio.testing.MockClock) -> None:
    seen, _ = await run([["a", 91.0, FINE], ["b", FINE]])
    assert seen.deltas == [TextDelta("a"), StartedOver("stalled"), TextDelta("b")]


async def test_nothing_shown_nothing_taken_back(autojump_clock: trio.testing.MockClock) -> None:
    seen, _ = await run([["", Overloaded("x")], ["b", FINE]])
    assert seen.deltas == [Alive(), TextDelta("b")]


async def test_answer_that_is_not_streamed_gets_longer(autojump_clock: trio.testing.MockClock) -> None:
    whole = attrs.evolve(REQUEST, stream=False)
    _, completion = await run([[299.0, FINE]], request=whole)
    assert completion == FINE
    with pytest.raises(Stalled):
        await run([[301.0, FINE]] * 4, request=whole)


async def test_cancelling_ends_a_wait_at_once(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(0.5) as scope:
        await run([[Overloaded("x")]] * 4)
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(0.5)


def test_policy_from_the_configuration() -> None:
    policy = Policy.of(Deadlines(first_token=5, between_tokens=7))
    assert (policy.first_token, policy.between_tokens) == (5, 7)


def test_jitter_only_adds() -> None:
    waits = {Policy().wait(Overloaded("x"), 1) for _ in range(50)}
    assert 2.0 <= min(waits) < max(waits) <= 2.5
