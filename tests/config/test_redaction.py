import base64
import json
from collections.abc import Callable

import pytest

from nanobot.config import redaction
from nanobot.config.redaction import clean, redact

LOOKS_LIKE_A_KEY = [
    ("Authorization: Bearer abcdefghijk", "Authorization: Bearer ***"),
    ("socks5://user:pass@proxy:1080/x", "socks5://***@proxy:1080/x"),
    ("key sk-proj-abcdefghijklmnop123 refused", "key *** refused"),
    ("https://api.telegram.org/bot123456789:" + "A" * 35 + "/getMe", "https://api.telegram.org/bot***/getMe"),
]
INNOCENT = ["https://host:8080/a@b", "risk-averse people", "sk-learn", "12:30:45", "telegram:123456789"]


@pytest.fixture(autouse=True)
def _empty_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_registered", ())


@pytest.mark.parametrize(("text", "cleaned"), LOOKS_LIKE_A_KEY)
def test_what_looks_like_a_key_is_taken_out(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize("text", INNOCENT)
def test_what_does_not_stays(text: str) -> None:
    assert clean(text) == text


def test_a_registered_secret_is_taken_out_in_both_forms_and_whole() -> None:
    redact("hunter")
    redact("hunter/22")
    assert clean("a hunter/22, a hunter%2F22, a hunter") == "a ***, a ***, a ***"


def test_a_short_secret_would_spoil_every_line() -> None:
    redact("abc")
    assert clean("abcdef") == "abcdef"


SECRET = 'pä"ss wo\\rd/+?'


@pytest.mark.parametrize("before", ["", "x", "xy", "user:", "a longer text before it "])
@pytest.mark.parametrize("after", ["", "z", "zz", " and after"])
@pytest.mark.parametrize("coded", [base64.b64encode, base64.urlsafe_b64encode])
def test_in_base64_only_its_edges_are_left(before: str, after: str, coded: Callable[[bytes], bytes]) -> None:
    redact(SECRET)
    whole = coded(f"{before}{SECRET}{after}".encode()).decode()
    cleaned = clean(f"<{whole}>")
    assert redaction.MASK in cleaned
    around = len(coded(f"{before}{after}".encode()))
    assert len(cleaned) <= around + len("<***>") + 4


@pytest.mark.parametrize("form", [json.dumps(SECRET), json.dumps(SECRET, ensure_ascii=False), repr(SECRET)])
def test_as_a_program_writes_it(form: str) -> None:
    redact(SECRET)
    assert clean(form)[1:-1] == redaction.MASK
