"""Who is answered: the table of the guide's page `access`, in every case that it stands for, and what its words mean."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from nanobot.channels.port import Arrived
from nanobot.cli.guide import read
from nanobot.config.schema import ChannelConfig, GatewayConfig
from nanobot.messages import MessageId, Principal
from nanobot.security.access import CROWDED, UNAVAILABLE, Access, Allowed, Ignored, Strange
from nanobot.security.pairing import MOST_OPEN, Pairing

NOW = 1_790_000_000.0
ME, OTHER = "42", "99"

# --- the whole space: what each word of the table stands for

WHO = {
    "an owner": (GatewayConfig(owners=("telegram:42",)),),
    "somebody else": (GatewayConfig(), GatewayConfig(owners=("telegram:99", "slack:42", "telegram:default:elsewhere:42"))),
}
NAMED = {
    "yes": (("*",), (ME,), ("@me",), (OTHER, "42|@me"), ("*", OTHER)),
    "no": ((), (OTHER,), ("42|@you",), ("4", "420", "@m", "", "|")),
}
PAIRED = {"yes": True, "no": False}


def arrived(*, direct: bool = False, mentioned: bool = False, chat: str = "room") -> Arrived:
    return Arrived(MessageId("1"), chat, ME, "/stop", NOW, direct=direct, mentioned=mentioned, names=("@me",))


PRIVATE = arrived(direct=True, chat="dm")
ASIDE, ADDRESSED = arrived(), arrived(mentioned=True)
MENTION, OPEN = ChannelConfig(), ChannelConfig(group_policy="open")
LISTED = ChannelConfig(group_policy="allowlist", group_allow_from=("room",))
UNLISTED = ChannelConfig(group_policy="allowlist", group_allow_from=("another", "roo"))
WHERE = {
    "private chat": tuple((PRIVATE, config) for config in (MENTION, OPEN, LISTED, UNLISTED)),
    "group, `mention`, not addressed": ((ASIDE, MENTION), (ASIDE, attrs.evolve(MENTION, group_allow_from=("room",)))),
    "group, `mention`, addressed": ((ADDRESSED, MENTION),),
    "group, `open`": ((ASIDE, OPEN), (ADDRESSED, OPEN)),
    "group, `allowlist`, that group": ((ASIDE, LISTED), (ADDRESSED, LISTED)),
    "group, `allowlist`, another group": ((ASIDE, UNLISTED), (ADDRESSED, UNLISTED)),
}


def table() -> Iterator[tuple[str, str, str, str, str]]:
    """Who, named, paired, where and the outcome, from the guide; `yes or no` is both."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in read("access").splitlines() if line[:1] == "|"]
    head, _, *lines = rows
    assert head == ["who", "named in `allowFrom`", "paired", *WHERE]
    for who, named, paired, *outcomes in lines:
        for one, other in itertools.product(named.split(" or "), paired.split(" or ")):
            for where, outcome in zip(WHERE, outcomes, strict=True):
                yield who, one, other, where, outcome


TABLE = list(table())


def test_the_table_has_every_case_once() -> None:
    assert sorted(row[:4] for row in TABLE) == sorted(itertools.product(WHO, NAMED, PAIRED, WHERE))


@pytest.mark.parametrize("row", TABLE, ids=" / ".join)
def test_the_table_of_the_guide(tmp_path: Path, row: tuple[str, str, str, str, str]) -> None:
    who, named, paired, where, outcome = row
    pairing = store(tmp_path, Principal("telegram", "default", "dm", ME) if PAIRED[paired] else None)
    for gateway, allow_from, (message, config) in itertools.product(WHO[who], NAMED[named], WHERE[where]):
        verdict = Access(pairing, lambda: NOW, gateway).judge("telegram", message, attrs.evolve(config, allow_from=allow_from))
        assert outcome_of(verdict) == outcome, (gateway, allow_from, config)


def store(folder: Path, approved: Principal | None = None, *, owner: bool = False) -> Pairing:
    pairing = Pairing(folder / "pairing.json", print)
    if approved is not None:
        request = pairing.code_for(approved, NOW)
        assert request is not None
        pairing.approve(request.code, NOW, owner=owner)
    return pairing


def outcome_of(verdict: Allowed | Strange | Ignored) -> str:
    match verdict:
        case Allowed(principal):
            return "as owner" if principal.owner else "answered"
        case Strange():
            return "a code"
        case Ignored():
            return "silence"


# --- owners


@pytest.mark.parametrize(
    ("entry", "principal", "owner"),
    [
        ("telegram:42", "telegram:default:42:42", True),
        ("telegram:42", "telegram:default:room:42", True),
        ("telegram:42", "telegram:work:room:42", True),
        ("telegram:42", "telegram:default:42:4", False),
        ("telegram:42", "slack:default:42:42", False),
        ("telegram:default:42:42", "telegram:default:42:42", True),
        ("telegram:default:42:42", "telegram:default:room:42", False),
        ("telegram:default:42:42", "telegram:work:42:42", False),
        ("matrix:@me:example.org", "matrix:default:!room%3Aexample.org:@me%3Aexample.org", True),
        ("matrix:@me%3Aexample.org", "matrix:default:!room%3Aexample.org:@me%3Aexample.org", True),
        ("irc:default:42:42", "irc:x:y:default%3A42%3A42", False),
        ("telegram:", "telegram:default:room:", False),
        ("telegram", "telegram:default:room:telegram", False),
        ("", "", False),
        ("telegram:42", "telegram:42", False),
        ("telegram:42", "cli:default:direct:anybody", True),
        ("telegram:42", "web:default:c1:owner", True),
    ],
)
def test_what_makes_an_owner(tmp_path: Path, entry: str, principal: str, *, owner: bool) -> None:
    assert Access(store(tmp_path), lambda: NOW, GatewayConfig(owners=(entry,))).owns(principal) is owner


def test_an_owner_by_pairing_owns_in_that_chat_only(tmp_path: Path) -> None:
    pairing = store(tmp_path, Principal("telegram", "default", "dm", ME), owner=True)
    access = Access(pairing, lambda: NOW, GatewayConfig())
    config = ChannelConfig(allow_from=(ME,), group_policy="open")
    assert outcome_of(access.judge("telegram", PRIVATE, config)) == "as owner"
    assert outcome_of(access.judge("telegram", ASIDE, config)) == "answered"
    assert outcome_of(access.judge("telegram", attrs.evolve(PRIVATE, account="work"), config)) == "answered"


def test_a_changed_configuration_counts_at_once(tmp_path: Path) -> None:
    access = Access(store(tmp_path), lambda: NOW, GatewayConfig(owners=("telegram:42",)))
    access.reconfigure(GatewayConfig())
    assert not access.owns("telegram:default:dm:42")


@pytest.mark.parametrize("channel", ["web", "cli"])
@pytest.mark.parametrize("message", [PRIVATE, ASIDE])
def test_page_and_terminal_are_the_owner_whatever_is_configured(tmp_path: Path, channel: str, message: Arrived) -> None:
    verdict = Access(store(tmp_path), lambda: NOW, GatewayConfig()).judge(channel, message, ChannelConfig())
    assert verdict == Allowed(Principal(channel, "default", message.chat, ME, owner=True))


# --- who is named


@pytest.mark.parametrize(
    ("user", "names", "entry"),
    [("", (), ""), ("", (), "|"), ("x|42", (), "42"), ("x", ("42|y",), "42"), ("x", (), "X")],
)
def test_no_part_of_an_identity_is_taken_for_the_whole(tmp_path: Path, user: str, names: tuple[str, ...], entry: str) -> None:
    message = attrs.evolve(ADDRESSED, user=user, names=names)
    verdict = Access(store(tmp_path), lambda: NOW, GatewayConfig()).judge("t", message, ChannelConfig(allow_from=(entry,)))
    assert outcome_of(verdict) == "silence"


# --- what somebody has left behind


ANN = "telegram:default:dm:42"
SPEAKS: list[tuple[str, ChannelConfig | None, bool]] = [
    (ANN, ChannelConfig(allow_from=(ME,)), True),
    (ANN, ChannelConfig(allow_from=("*",)), True),
    (ANN, ChannelConfig(allow_from=(OTHER, "me", "@me")), False),
    (ANN, ChannelConfig(), False),
    (ANN, None, False),
    ("telegram:default:dm:7", ChannelConfig(), True),
    ("cli:default:direct:user", None, True),
    ("nonsense", None, False),
]


@pytest.mark.parametrize(("principal", "config", "speaks"), SPEAKS)
def test_who_still_speaks(tmp_path: Path, principal: str, config: ChannelConfig | None, *, speaks: bool) -> None:
    assert Access(store(tmp_path), lambda: NOW, GatewayConfig(owners=("telegram:7",))).speaks(principal, config) is speaks


def test_who_was_let_in_by_a_code_speaks_until_that_is_taken_back(tmp_path: Path) -> None:
    pairing = store(tmp_path, Principal("telegram", "default", "dm", ME))
    access = Access(pairing, lambda: NOW, GatewayConfig())
    assert access.speaks(ANN, ChannelConfig())
    pairing.revoke("telegram", ME, NOW)
    assert not access.speaks(ANN, ChannelConfig())


def test_who_is_let_in_by_another_name_speaks_over_restarts_until_it_goes(tmp_path: Path) -> None:
    named = ChannelConfig(allow_from=("@me",))
    Access(store(tmp_path), lambda: NOW, GatewayConfig()).judge("telegram", PRIVATE, named)
    after = Access(store(tmp_path), lambda: NOW, GatewayConfig())
    assert after.speaks(ANN, named)
    assert not after.speaks(ANN, ChannelConfig(allow_from=("@you",)))
    after.judge("telegram", attrs.evolve(PRIVATE, names=("@mine",)), named)
    assert not after.speaks(ANN, named), "the name is somebody else's now"


@pytest.mark.parametrize(
    ("message", "config"),
    [
        (PRIVATE, ChannelConfig(allow_from=("*",))),
        (PRIVATE, ChannelConfig(allow_from=(ME,))),
        (ADDRESSED, ChannelConfig(allow_from=("@me",))),
    ],
    ids=["everybody", "by the id", "in a group"],
)
def test_other_names_are_written_down_only_where_they_count(tmp_path: Path, message: Arrived, config: ChannelConfig) -> None:
    Access(store(tmp_path), lambda: NOW, GatewayConfig()).judge("telegram", message, config)
    assert not (tmp_path / "pairing.json").exists()


def test_a_disk_that_refuses_a_name_shuts_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "pairing.lock").mkdir()
    access = Access(store(tmp_path), lambda: NOW, GatewayConfig())
    assert outcome_of(access.judge("telegram", PRIVATE, ChannelConfig(allow_from=("@me",)))) == "answered"


# --- strangers


def test_a_stranger_is_told_a_code_that_lets_them_in(tmp_path: Path) -> None:
    pairing = store(tmp_path)
    access = Access(pairing, lambda: NOW, GatewayConfig())
    verdict = access.judge("telegram", PRIVATE, ChannelConfig())
    (request,) = pairing.book().requests
    assert isinstance(verdict, Strange)
    assert f"{request.code} (good for 10 minutes)" in verdict.text
    assert f"nanobot channels pair approve {request.code}" in verdict.text
    pairing.approve(request.code, NOW)
    assert access.judge("telegram", PRIVATE, ChannelConfig()) == Allowed(request.who)


def test_too_many_strangers_are_told_to_come_back(tmp_path: Path) -> None:
    access = Access(store(tmp_path), lambda: NOW, GatewayConfig())
    verdicts = [access.judge("t", attrs.evolve(PRIVATE, user=f"u{n}"), ChannelConfig()) for n in range(MOST_OPEN + 1)]
    assert verdicts[-1] == Strange(CROWDED)
    assert verdicts.count(Strange(CROWDED)) == 1


def test_a_store_that_cannot_be_written_lets_nobody_in_and_is_an_error(tmp_path: Path, claimed_errors: list[str]) -> None:
    (tmp_path / "file").write_text("")
    access = Access(store(tmp_path / "file"), lambda: NOW, GatewayConfig())
    assert access.judge("t", PRIVATE, ChannelConfig()) == Strange(UNAVAILABLE)
    assert len(claimed_errors) == 1
