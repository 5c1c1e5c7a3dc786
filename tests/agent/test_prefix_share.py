"""The prefix of prompts stays cacheable over consolidations: bytes are counted, over a shorter script than the bench's."""

from __future__ import annotations

from pathlib import Path

from tests.bench.prefix_share import common, converse


async def test_most_of_what_is_sent_begins_an_earlier_request(tmp_path: Path) -> None:
    """Goal of the bench, over 200 turns: 95 %. Of a short conversation the new is a larger part, so here it is the ceiling."""
    share = await converse(tmp_path, turns=30, seed=7, window=60)
    assert share.consolidations >= 3
    assert share.cached / share.all >= 0.92
    assert share.cached >= 0.965 * share.ceiling


def test_what_two_texts_begin_with() -> None:
    assert [common(b"abcd", other) for other in (b"abxx", b"abcd", b"x", b"")] == [2, 4, 0, 0]
