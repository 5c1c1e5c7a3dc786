"""What of HEARTBEAT.md is active, and which files are none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import nanobot.agent
from nanobot.scheduler.heartbeat_file import MOST_BYTES, NAME, active, look

TEMPLATE = Path(nanobot.agent.__file__).parent / "templates" / NAME
THEIRS = """\
# Heartbeat Tasks

This file is checked every 30 minutes by your nanobot agent.
Add tasks below that you want the agent to work on periodically.

If this file has no tasks (only headers and comments), the agent will skip the heartbeat.

## Active Tasks

<!-- Add your periodic tasks below this line -->
{}

## Completed

<!-- Move completed tasks here or delete them -->
- watered the plants
"""
"""As HKUDS/nanobot makes it."""


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t\n",
        "# Tasks\n## Active\n## Done\n",
        "# Tasks\n\n- [ ]\n* [ ]\n- [x]\n-\n1.\n---\n",
        "<!-- water\nthe plants -->\n<!-- not closed: feed the cat",
        "- [x] done already\n* [X] this too",
        "# Tasks ##\n \t[ ]\n12) [x] \n- --- \n***\n",
        "## Done\n- watered\n### more of it\n- fed",
        "Everything is looked at.\n## Active\n\n## Done\n- x",
        TEMPLATE.read_text(),
        THEIRS.format(""),
        THEIRS.format("- [ ]"),
    ],
)
def test_nothing_is_active(text: str) -> None:
    assert active(text) == ""
    assert active(text.replace("\n", "\r\n")) == ""


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("water the plants", "water the plants"),
        ("- [ ] water the plants", "- [ ] water the plants"),
        ("# Home\n- water <!-- daily --> the plants\n- [x] feed the cat\n", "# Home\n- water  the plants"),
        ("a\n## Done\nb\n## Later\nc", "a\n## Later\nc"),
        (THEIRS.format("- look at the mail\n### At night\n- lock up"), "- look at the mail\n### At night\n- lock up"),
        (TEMPLATE.read_text().replace("## Active\n", "## Active\n\n- look at the mail\n"), "- look at the mail"),
        ("日記を書く", "日記を書く"),
        ("-5 degrees outside?", "-5 degrees outside?"),
        ("#\tHome ##\n#plants", "#\tHome ##\n#plants"),
    ],
)
def test_what_is_active(text: str, tasks: str) -> None:
    assert active(text) == tasks


@pytest.mark.parametrize("line", ["# a{}x", "- [ ] {}x", "-{}x", "{}x"])
def test_a_long_line_does_not_hold_up_the_gateway(line: str) -> None:
    """Nothing else runs in the process while an expression is matched, so its time must not grow with a power of the length."""
    began = time.perf_counter()
    active(line.format(" " * 3000))
    assert time.perf_counter() - began < 0.1


def never(_path: Path) -> bool:
    return False


def test_a_file_that_is_not_there_has_no_tasks(tmp_path: Path) -> None:
    found = look(tmp_path, never)
    assert (found.text, found.trouble) == ("", "")


def test_who_wrote_it_is_asked_of_the_resolved_path(tmp_path: Path) -> None:
    (tmp_path / "real.md").write_text("water the plants")
    (tmp_path / NAME).symlink_to("real.md")
    found = look(tmp_path, lambda path: path == tmp_path / "real.md")
    assert (found.text, found.tainted) == ("water the plants", True)


@pytest.mark.parametrize("kind", ["outside", "pipe", "folder", "large"])
def test_what_is_no_file_of_the_workspace_is_not_read(tmp_path: Path, kind: str) -> None:
    workspace, file = tmp_path / "workspace", tmp_path / "workspace" / NAME
    workspace.mkdir()
    match kind:
        case "outside":
            (tmp_path / "secret").write_text("a secret")
            file.symlink_to(tmp_path / "secret")
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case _:
            file.write_text("x" * (MOST_BYTES + 1))
    found = look(workspace, never)
    assert (found.text, bool(found.trouble)) == ("", True)


def test_the_same_tasks_have_the_same_digest_whatever_stands_around_them(tmp_path: Path) -> None:
    digests = set()
    for text in (THEIRS.format("- a"), THEIRS.format("- a <!-- b -->").replace(" <!-- b", "<!-- b"), "- a", "- b"):
        (tmp_path / NAME).write_text(text)
        digests.add(look(tmp_path, never).digest)
    assert len(digests) == 2
