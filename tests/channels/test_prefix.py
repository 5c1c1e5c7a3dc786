"""Cumulative acknowledges: nothing is confirmed while anything before it is not on disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.channels.prefix import Prefix


@given(numbers=st.sets(st.integers(-5, 50), max_size=12).map(sorted), data=st.data())
def test_the_durable_number_is_the_last_before_the_first_gap(numbers: list[int], data: st.DataObject) -> None:
    """Against the obvious model, begun and done in any interleaving."""
    prefix, begun, done = Prefix(), list[int](), set[int]()
    while len(done) < len(numbers):
        open_ones = sorted(set(begun) - done)
        if len(begun) < len(numbers) and (not open_ones or data.draw(st.booleans())):
            begun.append(numbers[len(begun)])
            prefix.begin(begun[-1])
        else:
            number = data.draw(st.sampled_from(open_ones))
            done.add(number)
            prefix.done(number)
        gap = next((i for i, n in enumerate(begun) if n not in done), len(begun))
        assert prefix.durable == (begun[gap - 1] if gap else None)
        assert prefix.waiting == len(begun) - gap


def test_numbers_only_rise() -> None:
    prefix = Prefix(durable=7)
    with pytest.raises(ValueError, match="7 comes after 7"):
        prefix.begin(7)


def test_nothing_is_done_twice_or_unasked() -> None:
    prefix = Prefix()
    for number in (1, 2):
        prefix.begin(number)
    prefix.done(2)
    for number in (2, 3):
        with pytest.raises(ValueError, match="not waiting"):
            prefix.done(number)
