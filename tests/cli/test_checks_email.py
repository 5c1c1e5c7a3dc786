"""What `nanobot doctor` says about e-mail."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from nanobot.cli.checks_email import email
from nanobot.cli.findings import Facts, Verdict
from nanobot.config.paths import Places
from nanobot.config.schema import ChannelsConfig, Config, Secret
from tests.channels.mails import config


@pytest.mark.parametrize(
    ("more", "verdict", "said"),
    [
        ({"enabled": False}, Verdict.OK, "not enabled"),
        ({"consent_granted": False}, Verdict.BAD, '"consentGranted": true'),
        ({"smtp_host": ""}, Verdict.BAD, "must be set"),
        ({"imap_password": Secret()}, Verdict.BAD, "must be set"),
        ({"smtp_password": Secret()}, Verdict.BAD, "smtpPassword is not set"),
        ({"imap_host": "imap.gmail.com"}, Verdict.BAD, "no app password of Google"),
        ({"imap_host": "imap.gmail.com", "imap_password": Secret("abcd efgh ijkl mnop")}, Verdict.OK, "imap.gmail.com"),
        ({"imap_host": "outlook.office365.com"}, Verdict.BAD, "lets nobody in by password"),
        ({"smtp_port": 465}, Verdict.BAD, "smtpUseSsl"),
        ({"imap_port": 143}, Verdict.BAD, "imapUseSsl"),
        ({"imap_port": 993, "imap_use_ssl": False}, Verdict.BAD, "imapUseSsl"),
        ({"smtp_port": 587, "smtp_use_ssl": True}, Verdict.BAD, "smtpUseSsl"),
        ({"imap_host": "imap.notlive.com"}, Verdict.OK, "imap.notlive.com"),
        ({"authserv_id": ""}, Verdict.BAD, "nanobot channels test email --to bot@test.example"),
        (
            {"authserv_id": "", "imap_username": "bot", "smtp_username": "bot", "from_address": "b@x.org"},
            Verdict.BAD,
            "--to b@x.org",
        ),
        ({"allow_from": ("Ann@x.org",)}, Verdict.WARN, "write ann@x.org for Ann@x.org"),
        ({}, Verdict.OK, "bot@test.example at localhost"),
    ],
)
def test_what_people_get_wrong(tmp_path: Path, more: dict[str, object], verdict: Verdict, said: str) -> None:
    settings = Config(channels=attrs.evolve(ChannelsConfig(), email=config(**more)))
    found = email(Facts(Places(tmp_path / "config.json", named=True), {}, settings))
    assert found.verdict is verdict
    assert said in found.text
