"""What `nanobot gateway ...` does beside asking the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nanobot.cli.gateway_cmd import _again
from nanobot.cli.logs import last, of_session

LINE = "2026-11-22 10:00:00.000 +0000 INFO    nanobot:1 {} hello\n"


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (-1, 0), (1, 1), (9, 3)])
def test_as_many_lines_as_were_asked_for(tmp_path: Path, count: int, shown: int) -> None:
    (tmp_path / "nanobot.log").write_text(3 * LINE)
    assert len(last(tmp_path, count, lambda _line: True)) == shown


@pytest.mark.parametrize("key", ["web:default:plain", "web:default:it's", "web:default:\\"])
def test_the_lines_of_a_session_with_any_name(key: str) -> None:
    written = LINE.format({"session": key})
    assert (of_session(key)(written), of_session("web:default:other")(written)) == (True, False)


class Begun(Exception):
    """Instead of the other program."""


@pytest.mark.parametrize("given", [["/bin/nanobot", "gateway"], ["-P", "-m", "nanobot", "gateway", "-v"]])
def test_it_starts_again_as_it_was_started(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    """And not by `-m` where it was a script: then a `trio.py` in the working folder, which a tool may write, would be run."""

    def execv(program: str, words: list[str]) -> None:
        assert (program, words) == (sys.executable, [sys.executable, *given])
        raise Begun

    monkeypatch.setattr(sys, "orig_argv", ["python", *given])
    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(Begun):
        _again()
