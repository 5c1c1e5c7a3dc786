"""The table of networks: imported when used, and helpful when something is not there."""

from __future__ import annotations

import sys

import pytest

from nanobot.channels.port import ChannelFailed
from nanobot.channels.registry import SPECS, Spec, find, keyed
from nanobot.config.schema import ChannelsConfig
from nanobot.errors import ConfigError
from nanobot.supervise.policy import Cause

TABLE = {"fake": Spec("tests.fakes.channels:NativeChannel", "fake", keyed=True), "mute": Spec("x:Y", "mute")}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"channels\.fax: there is no such channel\. Known are: fake, mute, web"):
        find("fax", TABLE)


def test_a_row_is_imported_when_it_is_used() -> None:
    sys.modules.pop("tests.fakes.channels", None)
    spec = find("fake", TABLE)
    assert "tests.fakes.channels" not in sys.modules
    assert spec.load().__name__ == "NativeChannel"


def test_a_missing_sdk_says_which_extra_installs_it() -> None:
    with pytest.raises(ChannelFailed, match=r"no_such_sdk is not installed\. Run: pip install 'nanobot\[telegram\]'") as caught:
        Spec("no_such_sdk.client:Channel", "telegram", "telegram").load()
    assert caught.value.cause is Cause.CONFIG


def test_a_missing_module_of_ours_is_no_missing_sdk() -> None:
    with pytest.raises(ModuleNotFoundError):
        Spec("nanobot.channels.nowhere:Channel", "x", "x").load()


def test_keyed_is_known_before_the_network_is_imported() -> None:
    assert [keyed(name, TABLE) for name in ("fake", "mute", "cli")] == [True, False, True]


def test_every_row_has_its_part_of_the_configuration() -> None:
    assert {spec.config for spec in SPECS.values()} <= set(vars(type(ChannelsConfig())))
