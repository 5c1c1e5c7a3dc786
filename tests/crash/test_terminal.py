"""Somebody talks in a terminal, the process is killed while a command runs, and they start it again."""

from __future__ import annotations

from pathlib import Path

import trio

from nanobot.session.sentences import UNKNOWN
from tests.crash.model import follow
from tests.crash.plans import EFFECTS
from tests.crash.rounds import left_behind, settle
from tests.fakes.llm import model_server
from tests.fakes.tty import terminal

MARK = "987654321"
CALL = f'{{"token": "T{MARK}-0T", "pause": 9, "late": false, "leaves": false}}'
PLAN = f'plan {{"steps": [{{"think": 0, "calls": [{CALL}]}}], "think": 0, "answer": "all is told"}}'


async def test_the_next_chat_goes_on_without_running_the_command_again(tmp_path: Path) -> None:
    async with model_server(follow) as model:
        settle(tmp_path, "openai", model.base)
        chat = ("chat", "--config", str(tmp_path / "config.json"))
        effects = tmp_path / "ws" / EFFECTS

        async with terminal(*chat, home=tmp_path) as tty:
            await tty.types(f"{PLAN}\r")
            with trio.fail_after(30):
                while not effects.exists():  # noqa: ASYNC110  # another process writes it
                    await trio.sleep(0.01)
            tty.process.kill()
            await tty.process.wait()
        assert left_behind(MARK) == []

        async with terminal(*chat, home=tmp_path) as tty:
            await tty.shows("all is told")

        assert effects.read_text().split() == [f"T{MARK}-0T"]
        assert UNKNOWN in model.requests[-1].results[0]
