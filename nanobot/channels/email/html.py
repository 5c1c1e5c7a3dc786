"""Text of HTML mail, made in a process of its own that can be ended: what strangers send can be made to take hours to parse."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import trio

import nanobot.tools
from nanobot.config.schema import ExecConfig
from nanobot.errors import NanobotError
from nanobot.processes.children import clean_env, open_child

CHILD = Path(nanobot.tools.__file__ or "").with_name("web_child.py")
CONVERT_S = 10.0
"""Seconds; mails that people send take 0.1."""
HTML_CHARS = 200_000
"""Of the source: mail programs fold away what is longer than half of that."""
ANSWER_BYTES = 8_000_000


class NotConverted(NanobotError):
    """Why, for the text."""


async def text_of(html: str, folder: Path) -> str:
    """Raises: NotConverted."""
    request = json.dumps({"mode": "text", "url": ""}).encode() + b"\n" + html[:HTML_CHARS].encode("utf-8", "replace")
    answer = bytearray()
    with trio.move_on_after(CONVERT_S):
        try:
            argv = [sys.executable, "-I", str(CHILD)]
            env = clean_env(ExecConfig(), os.environ)
            async with open_child(argv, cwd=folder, env=env, stdin=True, merged=False) as child, trio.open_nursery() as nursery:
                assert child.stdin is not None
                nursery.start_soon(_feed, child.stdin, request)
                async for chunk in child.stdout:
                    answer += chunk[: ANSWER_BYTES - len(answer)]
        except OSError as error:
            raise NotConverted(f"it is HTML, which cannot be converted now: {error.strerror}") from error
    try:
        return str(json.loads(answer)["text"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotConverted(f"it is HTML that could not be converted within {CONVERT_S:g} s and the memory for it") from error


async def _feed(stdin: trio.abc.SendStream, request: bytes) -> None:
    try:
        await stdin.send_all(request)
    except trio.BrokenResourceError:  # it has ended early; its answer says so
        pass
    await stdin.aclose()
