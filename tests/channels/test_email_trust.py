"""Whose From is believed, and whose is not."""

from __future__ import annotations

import re

import pytest

from nanobot.channels.email.mime import HEADER_BYTES, split
from nanobot.channels.email.trust import Verdict, judge, sender

OURS = "mx.example.net"


def verdict(*results: str, sender: str = "ann@example.org", authserv_id: str = OURS) -> Verdict:
    fields = [f"Authentication-Results: {result}" for result in results]
    return judge(split("\r\n".join([*fields, f"From: {sender}", "", ""]).encode())[0], authserv_id)


@pytest.mark.parametrize(
    "results",
    [
        f"{OURS}; dmarc=pass header.from=example.org",
        f"{OURS.upper()} 1; dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=example.org",
        f'"{OURS}"; spf=fail smtp.mailfrom=x.org; dmarc=pass header.from=example.org',
        f"{OURS};\r\n\tdkim=pass header.i=@example.org header.s=20230601 header.b=A/+d=;\r\n\tdmarc=pass header.from=EXAMPLE.org",
        f"{OURS}; dmarc=none header.from=example.org; dkim=pass header.d=example.org",
        f"{OURS}; dkim=fail header.d=example.org; dkim=pass header.i=@example.org",
        f"{OURS}; spf=pass smtp.mailfrom=bounces+SRS=ab=cd=x@example.org",
        f"{OURS}; dmarc=pass header.from=example.org; x-odd=(comment (nested \\) ; dmarc=fail)) pass",
    ],
)
def test_believed(results: str) -> None:
    assert verdict(results) == Verdict("ann@example.org", "", OURS)


@pytest.mark.parametrize(
    ("results", "why"),
    [
        ([], "has not said whether its sender is real"),
        ([f"{OURS}; none"], "nothing proves"),
        ([OURS], "nothing proves"),
        (["other.example; dmarc=pass header.from=example.org"], "is of 'other.example', not of"),
        (["other.example; none", f"{OURS}; dmarc=pass header.from=example.org"], "topmost"),
        ([f"{OURS}.evil.example; dmarc=pass header.from=example.org"], "topmost"),
        (["; dmarc=pass header.from=example.org"], "a text that cannot be read"),
        (["dmarc=pass header.from=example.org"], "a text that cannot be read"),
        ([f"{OURS}; dmarc=fail header.from=example.org"], "failed the check"),
        ([f"{OURS}; dmarc=fail header.from=example.org; dkim=pass header.d=example.org"], "failed the check"),
        ([f"{OURS}; dmarc=temperror header.from=example.org; spf=pass smtp.mailfrom=example.org"], "failed the check"),
        ([f"{OURS}; dmarc=pass header.from=evil.example"], r"what passed \(DMARC\) is not example.org"),
        ([f"{OURS}; dmarc=pass header.from=sub.example.org"], "what passed"),
        ([f"{OURS}; dmarc=pass"], "what passed"),
        ([f"{OURS}; dmarc=pass header.from=example.org; dmarc=pass header.from=evil.example"], "what passed"),
        ([f"{OURS}; dmarc=pass header.from=example.org; dmarc=fail header.from=example.org"], "failed the check"),
        ([f"{OURS}; dmarc=pass header.from=example.org; dmarc=p=q r"], "failed the check"),
        ([f"{OURS}; dkim=pass header.d=evil.example; spf=pass smtp.mailfrom=ann@evil.example"], "nothing proves"),
        ([f"{OURS}; dkim=pass header.d=sub.example.org"], "nothing proves"),
        ([f"{OURS}; dkim=pass header.d=org"], "nothing proves"),
        ([f"{OURS}; dkim=pass header.d=xample.org"], "nothing proves"),
        ([f"{OURS}; spf=softfail smtp.mailfrom=ann@example.org"], "nothing proves"),
        ([f'{OURS}; spf=pass smtp.mailfrom="x; dmarc=pass header.from=example.org"@evil.example'], "nothing proves"),
        (
            [f"{OURS}; spf=fail (x) y; dmarc=pass header.from=example.org) smtp.mailfrom=evil.example"],
            "cannot be read|nothing|failed",
        ),
        ([f"{OURS}; dkim=pass header.d=example.co.uk.example.org"], "nothing proves"),
        ([f'{OURS}; spf=pass (of "x) ; dmarc=pass header.from=example.org ("@evil.example) smtp.mailfrom=evil.example'], "read"),
        ([f"{OURS}; spf=fail (dmarc=pass header.from=example.org"], "a text that cannot be read"),
        ([f'{OURS}; spf=fail reason="dmarc=pass; dmarc=pass header.from=example.org'], "a text that cannot be read"),
        ([f"{OURS}; " + "x=y; " * 3000 + "dmarc=pass header.from=example.org"], "a text that cannot be read"),
    ],
)
def test_not_believed(results: list[str], why: str) -> None:
    assert re.search(why, verdict(*results).why)


@pytest.mark.parametrize("method", ["dkim=pass header.d", "spf=pass smtp.mailfrom"])
def test_who_may_send_for_a_domain_may_not_for_those_below_it(method: str) -> None:
    """Hosts give mailboxes to all in the domain that their customers' domains are below."""
    assert not verdict(f"{OURS}; {method}=hosting.example", sender="ann@customer.hosting.example").believed


def test_without_a_name_of_our_server_nobody_is_believed_and_it_can_be_learned() -> None:
    found = verdict(f"{OURS}; dmarc=pass header.from=example.org", authserv_id="")
    assert not found.believed
    assert found.found == OURS


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("ann@example.org", "ann@example.org"),
        ("  Ann <Ann@Example.ORG> ", "ann@example.org"),
        ('"Ann, the \\"first\\"" <ann@example.org>', "ann@example.org"),
        ("=?utf-8?q?boss=40bank=2Eexample?= <ann@example.org>", "ann@example.org"),
        ('"boss@bank.example" <ann@example.org>', "ann@example.org"),
        ("Änn (home) <ann@example.org>", "ann@example.org"),
        ("<ann+tag@example.org>", "ann+tag@example.org"),
        ("ann@example.org, boss@bank.example", ""),
        ("boss@bank.example <ann@example.org>", ""),
        ("<boss@bank.example> <ann@example.org>", ""),
        ("ann@example.org <boss@bank.example", ""),
        ("alice@example.org)bob@bank.example", ""),
        ("friends: ann@example.org;", ""),
        ('"a b"@example.org', ""),
        ("ann@exämple.org", ""),
        ("аnn@example.org", ""),  # the first letter is Cyrillic
        ("ann@example.org\u200b", ""),
        ("Ann \u202e<ann@example.org>", ""),
        ("ann@[192.0.2.1]", ""),
        ("a..b@example.org", ""),
        ("ann@example..org", ""),
        ("ann", ""),
        ("", ""),
        ("<" * 50_000, ""),
        ('"' + "a" * 7000 + " <ann@example.org>", ""),
    ],
)
def test_a_from_has_one_reading_or_none(field: str, address: str) -> None:
    assert sender(split(f"From: {field}\r\n\r\n".encode())[0]) == address


def test_two_from_are_none() -> None:
    assert sender(split(b"From: ann@example.org\r\nFROM : boss@bank.example\r\n\r\n")[0]) == ""


PASSED = f"Authentication-Results: {OURS}; dmarc=pass header.from=example.org\r\nFrom: ann@example.org\r\n"


@pytest.mark.parametrize(
    ("more", "believed"),
    [
        ("", True),
        ("X: y\r\n" * 900, True),
        ("X: y\r\n" * 1100, False),
        ("X: y\r\n z\r\n" * 20_000, False),
        ("X: " + "y" * 300_000 + "\r\n", False),
        ("no field\r\n", False),
        (">From ann Mon Jan 5 10:00:00 2026\r\n", False),
        ("\r\r\n", False),
    ],
)
@pytest.mark.parametrize("end", ["\r\n", ""])
def test_a_header_is_believed_only_if_all_of_it_was_read(more: str, believed: bool, end: str) -> None:
    """Below what we read there may be another From: the one that was signed, and checked."""
    header, _ = split((PASSED + more + end).encode()[:HEADER_BYTES])
    assert judge(header, OURS).believed is believed
