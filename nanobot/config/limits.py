"""Keys whose value must make sense with others, or to a clock: what is wrong with them, before anything starts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from nanobot.config.codec import Mistake
from nanobot.config.schema import Config, UsageConfig
from nanobot.scheduler.quiet import Quiet


def mistakes(config: Config) -> Iterator[Mistake]:
    yield from _of_zone(config.agents.defaults.timezone)
    yield from _of_quiet(config.gateway.heartbeat.quiet)
    yield from _of_caps(config.usage)


def _of_zone(name: str) -> Iterator[Mistake]:
    if not name:
        return
    from nanobot.scheduler.zones import BadSchedule, find  # noqa: PLC0415 -- 10 ms, for those who name one

    try:
        find(name)
    except BadSchedule as exc:
        yield Mistake(("agents", "defaults", "timezone"), str(exc))


def _of_quiet(text: str) -> Iterator[Mistake]:
    try:
        Quiet.parse(text)
    except ValueError as exc:
        yield Mistake(("gateway", "heartbeat", "quiet"), str(exc))


def _of_caps(usage: UsageConfig) -> Iterator[Mistake]:
    """A limit that could never be reached would be believed to be kept."""
    for place, cap in enumerate(usage.caps):
        if cap.tokens is None and cap.money is None:
            yield Mistake(("usage", "caps", place), "expected tokens or money, the limit")
        if cap.money is not None and not usage.prices:
            yield Mistake(("usage", "caps", place, "money"), "expected prices in usage.prices to count it by")
