"""The format of a segment: what is torn, what is damaged, what is too new, and that every text fits."""

from __future__ import annotations

import json
import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.errors import JournalDamaged, JournalTooNew
from nanobot.journal import segment
from nanobot.journal.segment import NOW, Header, Line
from nanobot.wire import Json

HEAD = Header("cli:default:me", [0], 4, 1.0)
LINES = [Line(number, 2.0, NOW, [f"said {number}"]) for number in (5, 6, 7)]
ENCODED = [segment.encode(HEAD), *map(segment.encode, LINES)]
WHOLE = b"".join(ENCODED)
SLEPT = segment.encode(Line(8, 3.0, None, slept=True))

JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=3),
    max_leaves=6,
)


def records(data: bytes) -> list[Json]:
    return list(segment.read(data, "f").records)


def with_crc(body: bytes) -> bytes:
    return b'{"crc":"%08x",%b\n' % (zlib.crc32(body), body)


@given(JSON, st.lists(JSON, max_size=3))
def test_everything_comes_back(snapshot: Json, some: list[Json]) -> None:
    data = segment.encode(Header("k", snapshot, 0, 1.0)) + segment.encode(Line(1, 2.0, 3.5, some))
    assert data.isascii()
    assert data.count(b"\n") == 2
    found = segment.read(data, "f")
    assert (found.header.snapshot, list(found.records), found.last.owes) == (snapshot, some, 3.5)


@pytest.mark.parametrize("text", ["\ud800", "a\u2028b\u2029c\x85d", "\n\r\0", "😀", "\x7f"])
def test_texts_that_break_other_formats(text: str) -> None:
    assert records(ENCODED[0] + segment.encode(Line(5, 1.0, None, [text]))) == [text]


def test_not_a_number_comes_back() -> None:
    (value,) = records(ENCODED[0] + segment.encode(Line(5, 1.0, None, [math.nan])))
    assert isinstance(value, float)
    assert math.isnan(value)


def test_every_line_is_a_json_object_and_its_crc_covers_the_rest() -> None:
    for line in ENCODED:
        assert int(json.loads(line)["crc"], 16) == zlib.crc32(line[18:-1])


def test_torn_at_every_byte_drops_the_last_line_only() -> None:
    before = b"".join(ENCODED[:-1])
    for cut in range(1, len(ENCODED[-1])):
        for rest in (b"", bytes(len(ENCODED[-1]) - cut)):
            found = segment.read(before + ENCODED[-1][:cut] + rest, "f")
            assert (list(found.records), found.n, found.torn, found.damage) == (["said 5", "said 6"], 6, True, None)


def test_a_last_line_with_nuls_inside_is_torn() -> None:
    last = ENCODED[-1]
    found = segment.read(b"".join(ENCODED[:-1]) + bytes(30) + last[30:], "f")
    assert (list(found.records), found.torn, found.damage) == (["said 5", "said 6"], True, None)


def test_every_changed_byte_is_noticed() -> None:
    for place in range(len(ENCODED[0]), len(WHOLE) - len(ENCODED[-1])):
        data = WHOLE[:place] + bytes([WHOLE[place] ^ 1]) + WHOLE[place + 1 :]
        found = segment.read(data, "f")
        assert found.damage is not None
        assert found.records in ((), ("said 5",))


DAMAGED = {
    "nuls instead of a line": (ENCODED[0], bytes(len(ENCODED[1])), ENCODED[2]),
    "nuls instead of a line, its end kept": (ENCODED[0], bytes(len(ENCODED[1]) - 1), b"\n", ENCODED[2]),
    "a line is missing": (ENCODED[0], ENCODED[2]),
    "a line is there twice": (ENCODED[0], ENCODED[1], ENCODED[1]),
    "not of our form": (ENCODED[0], with_crc(b'"n":5}'), ENCODED[2]),
    "not JSON": (ENCODED[0], with_crc(b"}"), ENCODED[2]),
    "an empty line": (ENCODED[0], b"\n", ENCODED[1]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_keeps_what_came_before(name: str) -> None:
    found = segment.read(ENCODED[0] + b"".join(DAMAGED[name])[len(ENCODED[0]) :], "f")
    assert found.damage is not None
    assert (found.damage.file, found.damage.line in (2, 3)) == ("f", True)
    assert found.records in ((), ("said 5",))


@pytest.mark.parametrize("data", [b"", b"\n", ENCODED[0][:-1], bytes(500), b"{}\n", ENCODED[0].replace(b"me", b"ma"), ENCODED[1]])
def test_without_a_header_nothing_is_believed(data: bytes) -> None:
    with pytest.raises(JournalDamaged):
        segment.read(data, "f")


@pytest.mark.parametrize("change", [b"", b"x"])
def test_a_newer_format_is_told_even_if_its_crc_is_another(change: bytes) -> None:
    newer = segment.encode(Header("k", None, 0, 1.0, format=9, least=9)).replace(b'"key":"', b'"key":"' + change)
    with pytest.raises(JournalTooNew, match="format 9"):
        segment.read(newer, "f")


def test_a_later_version_may_add_fields_that_we_need_not_know() -> None:
    header = with_crc(b'"format":9,"least":1,"key":"k","n":0,"at":1,"owes":null,"forget":false,"new":[1],"snapshot":7}')
    line = with_crc(b'"n":1,"at":2,"owes":"now","slept":false,"r":[8],"new":{}}')
    found = segment.read(header + line, "f")
    assert (found.header.format, found.header.snapshot, found.records) == (9, 7, (8,))


def test_sleep_is_a_mark_that_the_next_line_overwrites() -> None:
    found = segment.read(WHOLE + SLEPT, "f")
    assert (found.slept, found.n, found.end) == (True, 7, len(WHOLE))
    assert not segment.read(WHOLE + SLEPT + b"{", "f").slept
