"""Folder names of session keys: reversible, and one per key also where case is ignored."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.journal import names

KEYS = st.text(st.characters(), min_size=1, max_size=40)
CASES = {
    "telegram:default:42": "telegram+default+42",
    "slack:default:Caaa": "slack+default+=43aaa",
    "web:default:..": "web+default+=2e=2e",
    "cli:default:café": "cli+default+caf=c3=a9",
    "x:\ud800": "x+=ed=a0=80",
}


@pytest.mark.parametrize("key", CASES)
def test_names_read_well(key: str) -> None:
    assert names.encode(key) == CASES[key]
    assert names.decode(CASES[key]) == key


@given(KEYS)
def test_reversible_or_hashed(key: str) -> None:
    name = names.encode(key)
    assert set(name) <= set(string.ascii_lowercase + string.digits + "+-=~")
    assert len(name) <= names.LONGEST < 255 - len("/00000001.jsonl")
    assert names.decode(name) == (None if names.is_hashed(name) else key)


@given(KEYS)
def test_case_and_length_never_join_two_keys(key: str) -> None:
    others = {key, key.swapcase(), key.lower(), key.upper(), key + "a", key * 200, key * 200 + "a"}
    assert len({names.encode(other).casefold() for other in others}) == len(others)


@pytest.mark.parametrize("name", ["", "Telegram+42", "a=2", "a=ZZ", "a=61", "a=ff", "a.b", "lost+found!", "a~b"])
def test_foreign_names_have_no_key(name: str) -> None:
    assert names.decode(name) is None


def test_empty_key() -> None:
    with pytest.raises(ValueError, match="empty"):
        names.encode("")
