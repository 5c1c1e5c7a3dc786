from __future__ import annotations

import signal

from nanobot.daemon.signals import caught


def test_the_first_asks_the_second_ends() -> None:
    left: list[str] = []
    ended: list[int] = []
    told: list[int] = []
    with caught(lambda: left.append("leaving"), end=ended.append) as signals:
        signal.raise_signal(signal.SIGHUP)
        signals.attach(told.append)
        assert told == [signal.SIGHUP], "what came early is not lost"
        signal.raise_signal(signal.SIGTERM)
        assert (left, ended) == (["leaving"], [])
        signal.raise_signal(signal.SIGINT)
    assert ended == [128 + signal.SIGINT]
    assert told == [signal.SIGHUP, signal.SIGTERM, signal.SIGINT]


def test_a_reload_is_no_end() -> None:
    left: list[str] = []
    with caught(lambda: left.append("leaving"), end=lambda _code: None) as signals:
        signals.attach(lambda _number: None)
        signal.raise_signal(signal.SIGHUP)
    assert left == []


def test_the_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with caught(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
