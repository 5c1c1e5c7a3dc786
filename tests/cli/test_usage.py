"""`nanobot usage`: from the ledger, made up from the journals, in money where there are prices."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from nanobot.messages import Usage
from nanobot.session.state import Session
from nanobot.usage.ledger import Ledger
from nanobot.usage.spent import Kind, Spent
from tests.cli.command import CommandLine
from tests.session.talks import ME, Talk, journals_in, talk


def data(nanobot: CommandLine) -> Path:
    return nanobot.home / ".nanobot"


def configured(nanobot: CommandLine, **usage: object) -> None:
    data(nanobot).mkdir()
    root = {"configVersion": 1, "agents": {"defaults": {"timezone": "UTC"}}, "usage": usage}
    (data(nanobot) / "config.json").write_text(json.dumps(root))


def booked(nanobot: CommandLine, *calls: Spent) -> None:
    Ledger(data(nanobot) / "usage.db").book(calls)


def call(session: str, turn: int, back_s: float = 0.0, **more: object) -> Spent:
    usage = Usage(1000, 200, 400)
    return Spent(session, turn, 1, time.time() - back_s, "m", usage, principal=ME, **more)  # type: ignore[arg-type]


PRICES = {"m": {"input": 2.0, "output": 10.0, "cached": 0.5}}
COST = (600 * 2 + 400 * 0.5 + 200 * 10) / 1e6


def test_where_nothing_was_used_nothing_is_made(nanobot: CommandLine) -> None:
    assert nanobot("usage").out == "Nothing was used up yet.\n"
    assert json.loads(nanobot("usage", "--json").out) == {}
    assert not data(nanobot).exists()


def test_for_people(nanobot: CommandLine) -> None:
    configured(nanobot, prices=PRICES, currency="EUR", caps=[{"of": "everything", "tokens": 3000, "action": "stop"}])
    booked(
        nanobot, call("cli:default:me", 1), call("telegram:default:1", 1, job="a1b2"), call("cli:default:me", 9, kind=Kind.MEMORY)
    )
    ended = nanobot("usage", "--days", "2")
    assert (ended.code, ended.err) == (0, "Days begin at midnight in UTC.\n")
    lines = [line.split() for line in ended.out.splitlines()]
    assert lines[0] == ["calls", "read", "from", "cache", "written", "EUR"]
    rows = {" ".join(words[:-5]): words[-5:] for words in lines[1:] if len(words) > 5}
    assert rows["last 2 days"] == ["3", "3,000", "1,200", "600", f"{3 * COST:.4f}"]
    assert rows["cli:me"][:2] == ["2", "2,000"]
    assert rows["a1b2"][:2] == ["1", "1,000"]
    assert rows["memory"][0] == "1"
    assert rows["m"][0] == "3"
    assert rows["cli:me"][0] == "2"
    assert "limit on everything: 3,600 tokens of 3,000 tokens a day" in ended.out
    assert ended.out.endswith("REACHED, stops\n")


def test_for_programs_and_by_day(nanobot: CommandLine) -> None:
    configured(nanobot)
    booked(nanobot, call("cli:default:me", 1), *(call("cli:default:me", 10 + n, 86400.0 * n) for n in range(1, 5)))
    told = json.loads(nanobot("usage", "--days", "3", "--json").out)
    assert (told["timezone"], told["currency"], told["caps"]) == ("UTC", None, [])
    assert told["today"]["calls"] == 1
    assert told["span"] == {"name": "last 3 days", "calls": 3, "input": 3000, "cached": 1200, "output": 600}
    assert [row["calls"] for row in told["byDay"]] == [1, 1, 1]
    assert [row["name"] for row in told["byChat"]] == ["cli:me"]


def test_a_model_without_a_price_is_said(nanobot: CommandLine) -> None:
    configured(nanobot, prices={"other": {"input": 1.0}})
    booked(nanobot, call("cli:default:me", 1))
    ended = nanobot("usage")
    assert "Without a price in usage.prices, and not in the sums: m\n" in ended.out
    assert "0.0000+" in ended.out


def asked_and_answered(one: Talk) -> None:
    one.at = time.time() - 5
    one.exchange("hi", "hello")
    one.exchange("and?", "well")


def test_without_a_gateway_the_journals_make_up_for_what_is_missing(nanobot: CommandLine) -> None:
    one = talk(journals_in(nanobot.home))
    asked_and_answered(one)
    one.cut()
    one.exchange("and now?", "fine")  # in another segment, and the session not asleep
    one.journal.close()
    for _ in range(2):
        assert json.loads(nanobot("usage", "--json").out)["today"]["calls"] == 3
    assert isinstance(one.session, Session)


@pytest.mark.parametrize("days", ["0", "801", "x"])
def test_what_are_no_days(nanobot: CommandLine, days: str) -> None:
    assert nanobot("usage", "--days", days).code == 2


@pytest.mark.parametrize(
    ("usage", "mistake"),
    [
        ({"caps": [{"of": "everything"}]}, "usage.caps[0]: expected tokens or money, the limit"),
        ({"caps": [{"of": "everything", "money": 1.0}]}, "usage.caps[0].money: expected prices in usage.prices to count it by"),
        ({"caps": [{"of": "all", "tokens": 1}]}, "usage.caps[0].of"),
    ],
)
def test_a_cap_that_could_never_be_reached_is_a_mistake(nanobot: CommandLine, usage: dict[str, object], mistake: str) -> None:
    configured(nanobot, **usage)
    ended = nanobot("usage")
    assert (ended.code, mistake in ended.err) == (2, True), ended.err
