from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nanobot.config.paths import Places
from nanobot.daemon import lock
from nanobot.errors import InUse


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "config.json", named=True)


def test_chats_share_it(places: Places) -> None:
    with lock.shared(places), lock.shared(places):
        pass


def test_the_gateway_has_it_alone_and_the_later_one_says_who_holds_it(places: Places) -> None:
    with lock.alone(places):
        for later in (lock.shared(places), lock.alone(places, patience_s=0)):
            with pytest.raises(InUse) as refused, later:
                pass
            assert refused.value.holder == os.getpid()
        assert lock.is_held(places.lock)
    assert not lock.is_held(places.lock)


def test_a_chat_keeps_the_gateway_out(places: Places) -> None:
    with lock.shared(places), pytest.raises(InUse), lock.alone(places, patience_s=0):
        pass


def test_the_children_of_a_dead_gateway_are_waited_for(places: Places) -> None:
    with lock.alone(places) as held:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"], pass_fds=(held,))
    try:
        with lock.alone(places, patience_s=10):
            assert child.wait(0.2) == 0
    finally:
        child.kill()
        child.wait()


def test_nobody_holds_a_lock_that_was_never_made(places: Places) -> None:
    assert not lock.is_held(places.lock)
