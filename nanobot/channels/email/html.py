"""Text of HTML mail, made in a process of its own that can be ended: what strangers send can be made to take hours to parse."""

from __future__ import annotations

import os
from pathlib import Path

import trio

import nanobot.tools
from nanobot.config.schema import ExecConfig
from nanobot.errors import NanobotError, ToolError
from nanobot.processes.children import clean_env
from nanobot.tools.documents import Converter

CHILD = Path(nanobot.tools.__file__ or "").with_name("web_child.py")
CONVERT_S = 10.0
"""Seconds; mails that people send take 0.1."""
HTML_CHARS = 200_000
"""Of the source: mail programs fold away what is longer than half of that."""


class NotConverted(NanobotError):
    """Why, for the text."""


async def text_of(html: str, folder: Path) -> str:
    """Raises: NotConverted."""
    converter = Converter(clean_env(ExecConfig(), os.environ))
    with trio.move_on_after(CONVERT_S):
        try:
            found = await converter.ask(CHILD, {"mode": "text", "url": ""}, html[:HTML_CHARS].encode("utf-8", "replace"), folder)
        except ToolError as error:
            raise NotConverted(f"it is HTML, which cannot be converted now: {error}") from error
        if isinstance(found, dict) and isinstance(text := found.get("text"), str):
            return text
    raise NotConverted(f"it is HTML that could not be converted within {CONVERT_S:g} s and the memory for it")
