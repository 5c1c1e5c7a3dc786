"""The built-in demo: a stand-in for a model, offline, deterministic, without a key. It says so in its first line.

It understands a few plain English requests about files and commands, really asks for the tools that serve them, and reports
what came of it. Everything else it answers with what it can do and how a real model is set. It never invents an answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence

import attrs
import trio

from nanobot.messages import Call, CallState, Entry, Reply, Said, Usage
from nanobot.providers.port import CallDelta, Completion, Finish, OnDelta, Request, RequestedCall, TextDelta

HELLO = (
    "This is nanobot's built-in demo, not a language model. For a real one run `nanobot onboard`, or set a key such as "
    "ANTHROPIC_API_KEY, OPENAI_API_KEY or OPENROUTER_API_KEY, or start Ollama, and start again."
)
HELP = """The demo understands:
- list files, list files in FOLDER
- read FILE
- write FILE: TEXT, write TEXT to FILE, create a file FILE with TEXT
- run COMMAND
- help"""
CHARS_PER_TOKEN = 4  # a rough English average, so that usage shows something


@attrs.frozen
class Wish:
    """A request that a tool serves."""

    tool: str
    arguments: dict[str, str]


Pattern = tuple[re.Pattern[str], str, Callable[[re.Match[str]], dict[str, str]]]


def _pattern(text: str, tool: str, arguments: Callable[[re.Match[str]], dict[str, str]]) -> Pattern:
    return re.compile(rf"(?:please\s+|can you\s+|could you\s+)?{text}", re.IGNORECASE | re.DOTALL), tool, arguments


def _path(found: re.Match[str]) -> dict[str, str]:
    return {"path": _plain(found["path"] or ".")}


def _file(found: re.Match[str]) -> dict[str, str]:
    return {"path": _plain(found["path"]), "content": _plain(found["text"])}


def _command(found: re.Match[str]) -> dict[str, str]:
    return {"command": found["command"].strip().strip("`")}


PATTERNS: tuple[Pattern, ...] = (
    _pattern(r"(?:list|show)\s+(?:all\s+|the\s+|my\s+)*files(?:\s+(?:in|of|under)\s+(?P<path>.+))?", "list_dir", _path),
    _pattern(r"(?:list|ls)(?:\s+(?P<path>\S+))?", "list_dir", _path),
    _pattern(r"(?:what|which) files are (?:there\s*)?(?:in\s+(?P<path>\S+))?", "list_dir", _path),
    _pattern(r"(?:read|show|cat|open)\s+(?:the\s+)?(?:file\s+)?(?P<path>\S+)", "read_file", _path),
    _pattern(r"write\s+(?:the\s+)?(?:file\s+)?(?P<path>[^\s:]+)\s*:\s*(?P<text>.+)", "write_file", _file),
    _pattern(
        r"(?:write|save|put)\s+(?P<text>.+)\s+(?:in|into|to)\s+(?:the\s+|a\s+)?(?:file\s+)?(?P<path>\S+)", "write_file", _file
    ),
    _pattern(
        r"(?:create|make|write)\s+(?:a\s+|the\s+)?(?:new\s+)?file\s+(?:called\s+|named\s+)?(?P<path>\S+)\s+"
        r"(?:with|containing|saying)\s+(?:the\s+)?(?:text\s+|content\s+)?(?P<text>.+)",
        "write_file",
        _file,
    ),
    _pattern(r"(?:run|execute|exec)\s+(?:the\s+command\s+)?(?P<command>.+)", "exec", _command),
)


def _plain(text: str) -> str:
    """Without quotes around it, and without the full stop of a sentence after a file's name."""
    text = text.strip()
    for quote in "\"'`":
        if len(text) > 1 and text[0] == text[-1] == quote:
            return text[1:-1]
    return text[:-1] if text.endswith((".", "?")) and len(text) > 1 and text[-2].isalnum() and " " not in text else text


def understand(text: str) -> Wish | None:
    """The tool call that serves a request, None for what the demo does not understand."""
    for pattern, tool, arguments in PATTERNS:
        found = pattern.fullmatch(text.strip())
        if found:
            return Wish(tool, arguments(found))
    return None


def _report(call: Call) -> str:
    what = f"{call.name}({', '.join(map(repr, _values(call.arguments)))})"
    match call.state:
        case CallState.DONE:
            return f"{what} gave:\n{call.result or '(nothing)'}"
        case CallState.FAILED:
            return f"{what} failed:\n{call.result}"
        case CallState.DEFERRED:
            return f"{what} waits. {call.result}"
        case _:
            return f"{what} did not finish ({call.state.value.replace('_', ' ')}). {call.result}".rstrip()


def _values(arguments: str) -> list[str]:
    return [str(value)[:60] for value in json.loads(arguments).values()]


def _since_asked(entries: Sequence[Entry]) -> tuple[Said | None, tuple[Call, ...]]:
    """The last message, and the calls that were made for it."""
    calls: tuple[Call, ...] = ()
    for entry in reversed(entries):
        if isinstance(entry, Said):
            return entry, calls
        if isinstance(entry, Reply):
            calls = entry.calls + calls
    return None, calls


def think(request: Request) -> Completion:
    """The whole of the demo's mind."""
    said, done = _since_asked(request.entries)
    first = not any(isinstance(entry, Reply) and entry.text for entry in request.entries)
    intro = f"{HELLO}\n\n" if first else "Demo: "
    if done:
        return _answer(request, intro + "\n\n".join(map(_report, done)))
    if said is not None and said.ours:
        return _answer(request, f"{intro}{said.text}")
    wish = understand(said.text) if said is not None else None
    if wish is None:
        return _answer(request, f"{intro}{_otherwise(said)}")
    if request.no_tools or wish.tool not in {tool.name for tool in request.tools}:
        return _answer(request, f"{intro}That needs the tool {wish.tool}, which is not available here.")
    return _call(request, wish, said)


def _otherwise(said: Said | None) -> str:
    asked = said.text.strip().lower().rstrip("!?.") if said is not None else ""
    if asked in ("", "help", "hello", "hi", "hey"):
        return HELP
    return f"I cannot answer that: I only match a few phrases, and understand nothing else.\n\n{HELP}"


def _call(request: Request, wish: Wish, said: Said | None) -> Completion:
    asked = f"{said.id if said is not None else ''}:{len(request.entries)}"
    identity = f"demo_{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
    call = RequestedCall(identity, wish.tool, json.dumps(wish.arguments))
    return Completion("", (call,), finish=Finish.CALLS, usage=_usage(request, call.arguments), model=request.model)


def _answer(request: Request, text: str) -> Completion:
    return Completion(text, usage=_usage(request, text), model=request.model)


def _usage(request: Request, written: str) -> Usage:
    read = len(request.system) + sum(len(getattr(entry, "text", "")) for entry in request.entries)
    return Usage(read // CHARS_PER_TOKEN + 1, len(written) // CHARS_PER_TOKEN + 1)


def _words(text: str) -> Iterator[str]:
    return (found[0] for found in re.finditer(r"\s*\S+\s*?(?=\s|$)|\s+", text))


@attrs.frozen
class Demo:
    """The demo as a Provider."""

    name: str = "demo"

    async def complete(self, request: Request, on_delta: OnDelta) -> Completion:
        completion = think(request)
        for index, call in enumerate(completion.calls):
            on_delta(CallDelta(index, call.name, call.arguments))
        for word in _words(completion.text) if request.stream else ():
            on_delta(TextDelta(word))
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        return completion
