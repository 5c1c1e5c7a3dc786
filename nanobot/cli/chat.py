"""`nanobot chat` (also `agent`): talk to the assistant in this terminal, or ask it one thing.

What is imported when is part of the contract: the prompt is on the terminal before anything but its own library is loaded,
and one message to a pipe never loads a terminal library. So this module imports next to nothing, and each way its own part.

Exit codes: 0 answered or left, 1 failed, 2 usage or config, 70 had to be ended, 128 + N ended by signal N (130 Ctrl-C).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nanobot.cli.chatting.answering import FAILED, tell_failure
from nanobot.cli.chatting.meeting import meet
from nanobot.cli.chatting.request import DEFAULT_SESSION, ChatRequest, UsageMistake, message_of, readable, session_key
from nanobot.cli.chatting.signals import Signals, caught
from nanobot.cli.chatting.stdio import claim, colours, is_terminal, printable, read_stdin
from nanobot.cli.options import ConfigOption, WorkspaceOption
from nanobot.errors import NanobotError

USAGE = 2


def chat(
    *,
    message: Annotated[str | None, Parameter(name=["--message", "-m"], help="Ask this and end; else talk.")] = None,
    session: Annotated[str, Parameter(name=["--session", "-s"], help="Conversation, as channel:chat.")] = DEFAULT_SESSION,
    attach: Annotated[list[Path] | None, Parameter(name="--attach", negative="", help="File to send along; repeatable.")] = None,
    workspace: WorkspaceOption = None,
    config: ConfigOption = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print the answer as one JSON object.")] = False,
    markdown: Annotated[bool, Parameter(name="--markdown", help="Draw Markdown on a terminal.")] = True,
    logs: Annotated[bool, Parameter(name="--logs", help="Show the log on standard error.")] = False,
) -> int:
    """Talk to the assistant in this terminal."""
    claim()
    try:
        text = message_of(message, terminals=_terminals(), stdin_is_terminal=is_terminal(0), read=read_stdin)
        files = readable(attach or ())
        request = ChatRequest(session_key(session), text, files, config, workspace, json, markdown, logs)
        request.check()
    except UsageMistake as mistake:
        print(mistake, file=sys.stderr)
        return USAGE
    with caught() as signals:
        return _talk(request, signals) if text is None else _ask(request, signals)


def _terminals() -> bool:
    return is_terminal(0) and is_terminal(1)


def _ask(request: ChatRequest, signals: Signals) -> int:
    """By the gateway, if one runs, else in this process."""
    try:
        met = meet(request, "ask", lambda: signals.heard)
    except UsageMistake as mistake:
        print(mistake, file=sys.stderr)
        return USAGE
    except NanobotError as error:
        tell_failure(request, str(error))
        return FAILED
    if met is not None:
        from nanobot.cli.chatting import asking  # noqa: PLC0415 -- see the module

        return asking.run(request, met, signals, _draw(request))
    from nanobot.cli.chatting import oneshot  # noqa: PLC0415

    return oneshot.run(request, signals, _draw(request), time.time)


def _draw(request: ChatRequest) -> Callable[[str], str]:
    """How an answer looks on this stdout."""
    if not is_terminal(1) or request.as_json:
        return str
    if request.markdown and colours(os.environ):
        from nanobot.cli.chatting import render  # noqa: PLC0415 -- rich is for Markdown on a terminal alone

        return render.markdown
    return printable


def _talk(request: ChatRequest, signals: Signals) -> int:
    """The prompt first, then everything else."""
    from nanobot.cli.chatting.opening import open_screen  # noqa: PLC0415 -- see the module

    with open_screen(request, drawn=colours(os.environ)) as (screen, keyboard):
        from nanobot.cli.chatting import talk  # noqa: PLC0415

        return talk.run(request, signals, screen, keyboard)
