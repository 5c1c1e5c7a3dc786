"""Lines of a program's output, with bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.mcp.framing import EDGE, Flood, Lines, TooLong

LONG = b"x" * 2000


def fed(lines: Lines, *chunks: bytes) -> list[bytes | TooLong]:
    return [line for chunk in chunks for line in lines.feed(chunk)]


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    chunks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert fed(Lines(), *chunks) == lines


@pytest.mark.parametrize(
    ("line", "id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"text":"%s"}}', 7),
        (b'{"jsonrpc": "2.0", "id": 8, "result": {"text": "%s"}}', 8),
        (b'{"id":9,"jsonrpc":"2.0","result":{"text":"%s"}}', 9),
        (b'{"result":{"text":"%s"},"jsonrpc":"2.0","id":10}', 10),
        (b'{"result":{"text":"%s"},"id":11,"jsonrpc":"2.0"}\r', 11),
        (b'{"method":"notifications/message","params":{"data":"%s"}}', None),
        (b'{"result":{"id":12,"text":"%s"}}', None),
        (b"%s", None),
    ],
)
@pytest.mark.parametrize("size", [1, 700, 4096])
def test_of_a_long_line_only_its_id_is_kept(line: bytes, id: int | None, size: int) -> None:
    text = line % LONG + b'\n{"next":1}\n'
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    lines = Lines(most=1000)
    assert fed(lines, *chunks) == [TooLong(id), b'{"next":1}']


def test_a_line_of_just_the_size_is_kept() -> None:
    assert fed(Lines(most=5), b"12345\n123456\n") == [b"12345", TooLong(None)]


def test_a_line_without_an_end_is_a_flood() -> None:
    lines = Lines(most=1000, discard=100_000)
    with pytest.raises(Flood):
        fed(lines, *[b"x" * 10_000] * 11)
    assert sum(map(len, lines._parts)) + len(lines._edge) <= 2 * EDGE
