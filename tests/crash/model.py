"""The model of the crash tests, as a process: it does what the plan in the last message says, and checks every request.

`python -m tests.crash.model PORT_FILE VIOLATIONS`: each violation of a wire's rules becomes a line of that file. It
ends with its standard input. Stateless: how far a plan has come is counted from the conversation, so a call that is made
once more gets the same answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio

from tests.crash.plans import EFFECTS, MARK_DIGITS
from tests.fakes.llm import Answer, Asked, ModelServer, ToolCall
from tests.fakes.loopback import loopback

PLAN = "plan {"


async def follow(asked: Asked) -> Answer:
    plan, done = _progress(asked)
    steps = plan["steps"]
    step = steps[done] if done < len(steps) else plan
    await trio.sleep(step["think"])
    if step is plan:
        return Answer(plan["answer"] + " and so on" * plan.get("longer", 0), burst=True)
    return Answer(calls=tuple(_call(call, n) for n, call in enumerate(step["calls"])), burst=True)


def command(call: dict[str, Any]) -> str:
    """The command line of a writing call. Every process that it starts has the round's mark in its own."""
    mark = call["token"].strip("T").partition("-")[0].zfill(MARK_DIGITS)[-MARK_DIGITS:]
    effect, pause = f"echo {call['token']} >> {EFFECTS}", f"sleep {call['pause']:.3f}{mark}"
    left = f"(setsid sleep 60.000{mark} > /dev/null 2>&1 &); " if call["leaves"] else ""
    if not call["pause"]:
        return left + effect
    return left + (f"{pause}; {effect}" if call["late"] else f"{effect}; {pause}")


def _call(call: dict[str, Any], n: int) -> ToolCall:
    if call.get("file"):
        return ToolCall("write_file", {"path": f"{call['token']}.txt", "content": call["token"]})
    if call["token"]:
        return ToolCall("exec", {"command": command(call)})
    return ToolCall("read_file", {"path": "notes.txt", "limit": n + 1})


def _progress(asked: Asked) -> tuple[dict[str, Any], int]:
    """The plan of the last message, and how many of its steps have been asked for."""
    plan: dict[str, Any] = {"steps": [], "think": 0.0, "answer": "no plan"}
    done = 0
    for message in asked.messages:
        if message["role"] == "assistant":
            done += 1 if _calls(message) else 0
        for text in _texts(message) if message["role"] == "user" else ():
            if PLAN in text:
                plan, _ = json.JSONDecoder().raw_decode(text, text.rindex(PLAN) + len(PLAN) - 1)
                done = 0
    return plan, done


def _calls(message: dict[str, Any]) -> bool:
    blocks = message["content"] if isinstance(message["content"], list) else []
    return bool(message.get("tool_calls")) or any(block["type"] == "tool_use" for block in blocks)


def _texts(message: dict[str, Any]) -> Iterator[str]:
    if isinstance(message["content"], str):
        yield message["content"]
        return
    yield from (block["text"] for block in message["content"] if block["type"] == "text")


async def serve(port_file: Path, violations: Path) -> None:
    server = ModelServer(follow)

    def note(_asked: Asked) -> None:
        with violations.open("a") as file:
            file.writelines(f"{violation}\n" for violation in server.violations)
        server.violations.clear()
        server.requests.clear()

    server.on_request = note
    async with loopback(server.handle) as server.http:
        half = port_file.with_suffix(".half")
        half.write_text(str(server.http.port))
        half.replace(port_file)
        await trio.lowlevel.FdStream(os.dup(0)).receive_some()


if __name__ == "__main__":
    trio.run(serve, Path(sys.argv[1]), Path(sys.argv[2]))
