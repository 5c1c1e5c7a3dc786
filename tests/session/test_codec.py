"""Records and snapshots survive JSON, nothing unknown is guessed at, and what was released stays readable.

`journals/format-N.json` holds one of each record and a whole session as format N writes them, how they are read, and the
fields of every class in them. `python -m tests.session.test_codec` writes the file of a new format; no file is ever changed.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NewType, get_args, get_origin

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanobot.session.codec import (
    FORMAT,
    RECORD_TYPES,
    UnknownFormat,
    decode,
    decode_session,
    encode,
    encode_session,
)
from nanobot.session.records import Record
from nanobot.session.state import AwaitingTool, SeenIds, Session
from tests.session.strategies import AT, fields_of, seen_ids, values

JOURNALS = Path(__file__).parent / "journals"
GOLDEN = JOURNALS / f"format-{FORMAT}.json"
slow_to_draw = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=50)


def through_json(value: object) -> object:
    text = json.dumps(value)
    assert text.isascii()
    return json.loads(text)


# --- there and back


@pytest.mark.parametrize("cls", RECORD_TYPES, ids=lambda cls: cls.__name__)
@slow_to_draw
@given(st.data())
def test_every_record_survives(cls: type[Record], data: st.DataObject) -> None:
    record = data.draw(values(cls))
    assert isinstance(record, cls)
    assert decode(through_json(encode([record]))) == [record]  # type: ignore[arg-type]


@slow_to_draw
@given(values(Session))
def test_every_session_survives(session: object) -> None:
    assert isinstance(session, Session)
    assert decode_session(through_json(encode_session(session))) == session  # type: ignore[arg-type]


def test_any_text_survives_also_what_is_no_text() -> None:
    session = Session("a", model="\ude00 \ud800 \u2028 \x00")
    assert decode_session(through_json(encode_session(session))) == session  # type: ignore[arg-type]


def test_fields_at_their_default_are_left_out() -> None:
    assert encode_session(Session("a")) == {"key": "a"}


# --- nothing is guessed at

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(json_values, st.sampled_from([cls.__name__.lower() for cls in RECORD_TYPES]))
def test_other_json_is_refused_and_nothing_else_happens(row: object, tag: str) -> None:
    for found in (row, {"t": tag, "x": row}, {"t": tag, "turn": row, "said": row}):
        with pytest.raises(UnknownFormat):
            decode([found])  # type: ignore[list-item]
    with pytest.raises(UnknownFormat):
        decode_session({"key": "a", "state": row, "x": row})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"t": "fulfilled", "at": 1.0}, "fulfilled"),
        ({"at": 1.0}, "None"),
        ({"t": "draining", "at": 1.0, "why": "power"}, "why"),
        ({"t": "draining"}, "at"),
        ({"t": "turn_ended", "turn": 1, "end": "exploded", "at": 1.0}, "exploded"),
        ({"t": "accepted", "said": {"id": "m1", "text": "", "at": 1.0, "principal": "a", "mood": "good"}}, "mood"),
        ({"t": "answered", "turn": 1, "reply": {"text": "", "calls": [{"id": "c", "name": "n", "arguments": "", "x": 1}]}}, "x"),
    ],
)
def test_what_a_later_version_added_is_refused_by_name(row: object, names: str) -> None:
    with pytest.raises(UnknownFormat, match=names):
        decode([row])  # type: ignore[list-item]


STRANGE: tuple[object, ...] = (
    {"key": "a", "mood": 1},
    {"key": "a", "state": {"t": "dreaming"}},
    {"key": "a", "outbox": [{"x": 1}]},
    {},
    [],
    None,
    "a",
)


@pytest.mark.parametrize("row", STRANGE)
def test_a_session_of_a_later_version_is_refused(row: object) -> None:
    with pytest.raises(UnknownFormat):
        decode_session(row)  # type: ignore[arg-type]


# --- what was released


def sample(kind: object, name: str = "") -> object:
    """A value of a type with every field set, always the same."""
    plain: dict[object, object] = {str: name, int: 7, float: AT, bool: True, SeenIds: seen_ids([("seen", AT)])}
    if kind in plain:
        return plain[kind]
    if isinstance(kind, NewType):
        return sample(kind.__supertype__, name)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return list(kind)[-1]
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return tuple(sample(each, name) for each in (get_args(item) if attrs_union(item) else (item,)))
    if isinstance(kind, type) and attrs.has(kind):
        return kind(**{each: sample(hint, each) for each, hint in fields_of(kind).items()})
    return sample(AwaitingTool if AwaitingTool in get_args(kind) else get_args(kind)[0], name)


def attrs_union(kind: object) -> bool:
    return bool(get_args(kind)) and all(attrs.has(each) for each in get_args(kind))


def reachable(kinds: Iterable[object]) -> dict[str, list[str]]:
    """The fields, types and defaults of every class that a journal of this format can hold; the values of every enum."""
    found: dict[str, list[str]] = {}
    todo = list(kinds)
    while todo:
        kind = todo.pop()
        name = f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else ""
        if name in found:
            continue
        if isinstance(kind, type) and attrs.has(kind):
            defaults = {field.name: field.default for field in attrs.fields(kind)}
            shown = {each: "" if default is attrs.NOTHING else f" = {default!r}" for each, default in defaults.items()}
            found[name] = [f"{each}: {type_name(hint)}{shown[each]}" for each, hint in fields_of(kind).items()]
            todo += fields_of(kind).values()
        elif isinstance(kind, type) and issubclass(kind, enum.Enum):
            found[name] = [member.value for member in kind]
        todo += get_args(kind)
    return dict(sorted(found.items()))


def type_name(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("nanobot.", "")


def golden() -> dict[str, object]:
    records = [sample(cls) for cls in RECORD_TYPES]
    session = sample(Session)
    assert isinstance(session, Session)
    return {
        "format": FORMAT,
        "classes": reachable([*RECORD_TYPES, Session]),
        "records": [{"written": encode([record])[0], "read": repr(record)} for record in records],  # type: ignore[list-item]
        "session": {"written": encode_session(session), "read": repr(session)},
    }


def test_a_change_of_what_is_written_raises_the_format() -> None:
    assert GOLDEN.exists(), "write it: python -m tests.session.test_codec"
    released = json.loads(GOLDEN.read_text())["classes"]
    assert reachable([*RECORD_TYPES, Session]) == released, "a record, field or value changed: raise FORMAT in codec.py"


def test_each_record_stands_in_the_golden_file() -> None:
    tags = [row["written"]["t"] for row in json.loads(GOLDEN.read_text())["records"]]
    assert len(set(tags)) == len(tags) == len(RECORD_TYPES)


@pytest.mark.parametrize("path", sorted(JOURNALS.glob("format-*.json")), ids=lambda path: path.stem)
def test_what_a_release_wrote_is_read_as_it_was(path: Path) -> None:
    released = json.loads(path.read_text())
    for row in released["records"]:
        assert repr(decode([row["written"]])[0]) == row["read"]
    assert repr(decode_session(released["session"]["written"])) == released["session"]["read"]


def test_what_is_read_is_written_as_it_was() -> None:
    released = json.loads(GOLDEN.read_text())
    rows = [row["written"] for row in released["records"]]
    assert through_json(encode(decode(rows))) == rows
    assert through_json(encode_session(decode_session(released["session"]["written"]))) == released["session"]["written"]


if __name__ == "__main__":
    with GOLDEN.open("x") as file:
        file.write(json.dumps(golden(), indent=1) + "\n")
