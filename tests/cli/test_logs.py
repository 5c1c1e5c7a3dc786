from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path

from nanobot.cli.logs import follow, last, of_session

KEY = "telegram:default:42"


def line(number: int, key: str = "") -> str:
    extra = f"{{'session': '{key}'}}" if key else "{}"
    return f"2026-11-22 10:00:00.{number:03} +0000 INFO    nanobot:1 {extra} message {number}\n"


def every(_line: str) -> bool:
    return True


def test_the_last_lines_over_rotated_files(tmp_path: Path) -> None:
    (tmp_path / "nanobot.log.1").write_text(line(1) + line(2))
    (tmp_path / "nanobot.log").write_text(line(3))
    assert [text[-1] for text in last(tmp_path, 2, every)] == ["2", "3"]
    assert len(last(tmp_path, 10, every)) == 3


def test_of_one_session_with_its_tracebacks(tmp_path: Path) -> None:
    trace = "Traceback (most recent call last):\n  File x\nValueError: \x1b[31mno\n"
    (tmp_path / "nanobot.log").write_text(line(1, KEY) + trace + line(2, "telegram:default:421") + line(3))
    found = last(tmp_path, 10, of_session(KEY))
    assert [text[-1] for text in found] == ["1", ":", "x", "o"]
    assert "\x1b" not in "".join(found), "what others wrote cannot steer the terminal"


def test_no_log_yet(tmp_path: Path) -> None:
    assert last(tmp_path, 10, every) == []


def test_following_goes_on_after_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "nanobot.log"
    file.write_text(line(1))
    coming = follow(tmp_path, every)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(islice(coming, 2)))
    with file.open("a") as log:
        reader.start()
        while not found:  # the first line may come before the reader has looked for the end
            log.write(line(2))
            log.flush()
            reader.join(0.05)
    file.replace(tmp_path / "nanobot.log.1")
    file.write_text(line(3))
    reader.join(10)
    assert found[0].endswith("message 2")
    assert not reader.is_alive()
