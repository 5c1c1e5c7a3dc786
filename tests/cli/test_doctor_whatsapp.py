"""What `doctor` says about WhatsApp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from nanobot.cli.checks_whatsapp import whatsapp
from nanobot.cli.findings import Facts, Verdict
from nanobot.config.paths import Places
from nanobot.config.schema import ChannelsConfig, Config, WhatsAppConfig


def found(place: Path, **keys: Any) -> tuple[Verdict, str]:
    config = Config(channels=ChannelsConfig(whatsapp=WhatsAppConfig(**{"enabled": True, **keys})))
    finding = whatsapp(attrs.evolve(facts(place), config=config))
    return finding.verdict, finding.text


def facts(place: Path) -> Facts:
    return Facts(Places(place / "config.json", named=True), {}, None)


@pytest.mark.parametrize(
    ("keys", "verdict", "word"),
    [
        ({"enabled": False}, Verdict.OK, "not enabled"),
        (
            {"allow_from": ("4915112345678", "+4915112345678", "*", "111222333444555@lid")},
            Verdict.OK,
            "as far as",
        ),
        ({"allow_from": ("Ann",)}, Verdict.WARN, "'Ann' is no number"),
        ({"allow_from": ("0151 1234567",)}, Verdict.WARN, "international form"),
        ({"allow_from": ("015112345678",)}, Verdict.WARN, "international form"),
        ({"allow_from": ("004915112345678",)}, Verdict.WARN, "international form"),
        ({"allow_from": ("+4915112345678@s.whatsapp.net",)}, Verdict.WARN, "international form"),
        ({"group_allow_from": ("4915112345678",)}, Verdict.WARN, "end with @g.us"),
        ({"group_allow_from": ("120363000000000001@g.us", "4915112345678-1400000000@g.us")}, Verdict.OK, "as far as"),
    ],
)
def test_the_configuration(tmp_path: Path, keys: dict[str, Any], verdict: Verdict, word: str) -> None:
    (tmp_path / "whatsapp-auth").mkdir()
    (tmp_path / "whatsapp-auth" / "creds.json").touch()
    keys = {"autostart": False, **keys}
    told, text = found(tmp_path, **keys)
    assert (told, word in text) == (verdict, True), text


@pytest.mark.parametrize(
    ("there", "built", "linked", "verdict", "word"),
    [
        ((), False, True, Verdict.BAD, "node and npm cannot be found"),
        (("node",), False, True, Verdict.BAD, "npm cannot be found"),
        (("node", "npm"), False, True, Verdict.BAD, "is not built"),
        (("node",), True, False, Verdict.BAD, "not linked"),
        (("node",), True, True, Verdict.OK, "as far as"),
    ],
)
def test_the_bridge(  # noqa: PLR0917
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...],
    built: bool,
    linked: bool,
    verdict: Verdict,
    word: str,
) -> None:
    monkeypatch.setattr("nanobot.cli.checks_whatsapp.shutil.which", lambda name: name if name in there else None)
    (tmp_path / "sources" / "src").mkdir(parents=True)
    for name in ("package.json", "package-lock.json", "tsconfig.json", ".npmrc"):
        (tmp_path / "sources" / name).touch()
    monkeypatch.setattr("nanobot.channels.whatsapp.bridge.sources", lambda: tmp_path / "sources")
    if built:
        for folder in ("node_modules", "dist"):
            (tmp_path / "sources" / folder).mkdir()
        (tmp_path / "sources" / "dist" / "main.js").touch()
    if linked:
        (tmp_path / "whatsapp-auth").mkdir()
        (tmp_path / "whatsapp-auth" / "creds.json").touch()
    told, text = found(tmp_path)
    assert (told, word in text) == (verdict, True), text
    assert verdict is Verdict.OK or "nanobot channels login whatsapp" in text
