"""An MCP server in plain Python, without the SDK, that misbehaves on request: `python mcp_server.py [TRAIT ...]`.

Its tools do what their names say, at every call. A trait is about the whole life:

    silent           never answers anything          exits          ends at once, with words on its standard error
    deaf             reads nothing after the lists    stubborn       does not end on SIGTERM
    malformed        lists nonsense among its tools   crowded        lists 2,000 tools
    endless          its lists have no last page      old            does not know the protocol of 2026
    orphan           starts a child that left its session

It writes its process id, and that of its child, to the file in TRACE, and the calls it was told to give up to CANCELLED.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

TRAITS = set(sys.argv[1:])
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode()
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ABOUT = {
    "echo": "Says it again.",
    "look": "Changes nothing, it says.",
    "environment": "What it sees.",
    "hang": "Never answers.",
    "die": "Ends.",
    "fail": "Says that it failed.",
    "error": "An error of the protocol.",
    "nonsense": "No result at all.",
    "huge": "50 MB.",
    "huge_id_last": "50 MB, and whose answer it is stands behind them.",
    "flood": "A line without an end.",
    "rude": "Signs that move a terminal's cursor.",
    "picture": "A picture, and one that is none.",
    "noise": "Says something else in between.",
    "ask": "Asks back.",
    "grow": "Has one more tool from now on.",
    "swap": "Another tool stands in the place of one.",
    "cry": "Says for ever that its tools have changed.",
    "chatter": "Talks without an end.",
    "garbage": "Writes lines that are nothing without an end.",
    "requests": "Asks back without an end.",
    "answers": "Answers without an end what nobody asked.",
    "parcels": "Large news without an end.",
    "crumbs": "A million objects.",
    "stop_reading": "Reads nothing from now on.",
}
MALFORMED: list[Any] = [
    None,
    {"name": 7, "inputSchema": NOTHING},
    {"name": "no_schema"},
    {"name": "odd_schema", "inputSchema": "none"},
    {"name": "not_an_object", "inputSchema": {"type": "string"}},
    {"name": "bell\u0007", "inputSchema": NOTHING},
    {"name": "turned\u202earound", "inputSchema": NOTHING},
    {"name": "x" * 5000, "inputSchema": NOTHING},
    {"name": "large", "inputSchema": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5000)}}},
    {"name": "odd_annotations", "inputSchema": NOTHING, "annotations": 5},
    {"name": "odd_output", "inputSchema": NOTHING, "outputSchema": {"type": 9}},
]
more: list[str] = []
swapped: list[str] = []
writing = threading.Lock()


def put(data: bytes) -> None:
    with writing:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def send(message: dict[str, Any]) -> None:
    put(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def text(said: str, **also: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}], **also}


def tools(cursor: str | None) -> dict[str, Any]:
    if "crowded" in TRAITS:
        return {"tools": [{"name": f"tool_{n:04}", "inputSchema": NOTHING} for n in range(2000)]}
    if "endless" in TRAITS:
        page = int(cursor or 0)
        return {"tools": [{"name": f"page_{page:05}", "inputSchema": NOTHING}], "nextCursor": str(page + 1)}
    listed: list[Any] = [
        {
            "name": name,
            "description": about,
            "inputSchema": TEXT if name in ("echo", "look") else NOTHING,
            "annotations": {"readOnlyHint": name == "look"},
        }
        for name, about in {**ABOUT, **dict.fromkeys(more, "New."), **dict.fromkeys(swapped, "One.")}.items()
    ]
    return {"tools": [*MALFORMED, *listed] if "malformed" in TRAITS else listed}


def call(number: Any, name: str, arguments: dict[str, Any]) -> None:
    match name:
        case "echo" | "look":
            send({"id": number, "result": text(arguments["text"])})
        case "environment":
            send({"id": number, "result": text(json.dumps(dict(os.environ)))})
        case "hang":
            pass
        case "die":
            print("I am dying of it", file=sys.stderr, flush=True)
            os._exit(3)
        case "fail":
            send({"id": number, "result": text("there is no such city", isError=True)})
        case "error":
            send({"id": number, "error": {"code": -32000, "message": "no\u001b[2J"}})
        case "nonsense":
            send({"id": number, "result": {"content": "text"}})
        case "huge":
            send({"id": number, "result": text("x" * 50_000_000)})
        case "huge_id_last":
            result = json.dumps(text("x" * 50_000_000)).encode()
            put(b'{"result":%s,"jsonrpc":"2.0","id":%d}\n' % (result, number))
        case "flood":
            while True:
                put(b"x" * 65536)
        case "rude":
            send({"id": number, "result": text("a\u001b[2Jb\u202ec")})
        case "picture":
            image = {"type": "image", "data": PIXEL, "mimeType": "text/plain"}
            lie = {"type": "image", "data": base64.b64encode(b"#!/bin/sh").decode(), "mimeType": "image/png"}
            send({"id": number, "result": {"content": [image, lie, {"type": "audio", "data": "%%%", "mimeType": "audio/wav"}]}})
        case "noise":
            put(b"starting up...\n[1, 2\n\xff\xfe\n{}\n" + b"[" * 100_000 + b"\n")
            send({"id": 999_999, "result": text("nobody asked")})
            send({"id": number, "result": text("quiet")})
        case "ask":
            send({"id": "q1", "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}})
            send({"id": number, "result": text("asked")})
        case "grow":
            more.append(f"grown_{len(more)}")
            send({"method": "notifications/tools/list_changed"})
            send({"id": number, "result": text("grown")})
        case "swap":
            swapped[:] = ["in.place" if swapped == ["in place"] else "in place"]
            send({"method": "notifications/tools/list_changed"})
            send({"id": number, "result": text("swapped")})
        case "in place" | "in.place":
            send({"id": number, "result": text(name)})
        case "cry":
            send({"id": number, "result": text("crying")})
            threading.Thread(target=cry, daemon=True).start()
        case "chatter":
            while True:
                send({"method": "notifications/message", "params": {"level": "info", "data": "news"}})
        case "garbage":
            while True:
                put(b"y\n" * 1000)
        case "requests":
            while True:
                send({"id": "q", "method": "ping"})
        case "answers":
            while True:
                send({"id": 999_999, "result": {}})
        case "parcels":
            while True:
                send({"method": "notifications/message", "params": {"level": "info", "data": "x" * 9_000_000}})
        case "crumbs":
            send({"id": number, "result": text("", structuredContent={"all": [{}] * 1_000_000})})
        case "stop_reading":
            send({"id": number, "result": text("good night")})
            time.sleep(1000)
        case _:
            send({"id": number, "error": {"code": -32602, "message": f"unknown tool {name}"}})


def cry() -> None:
    while True:
        send({"method": "notifications/tools/list_changed"})
        time.sleep(0.005)


def note(variable: str, line: str) -> None:
    if variable in os.environ:
        with open(os.environ[variable], "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def answer(message: dict[str, Any]) -> None:
    number, params = message.get("id"), message.get("params") or {}
    match message.get("method"):
        case "initialize":
            able = {"tools": {"listChanged": True}}
            who = {"name": "misbehaving", "version": "1"}
            send({"id": number, "result": {"protocolVersion": "2025-11-25", "capabilities": able, "serverInfo": who}})
        case "tools/list":
            send({"id": number, "result": tools(params.get("cursor"))})
            if "deaf" in TRAITS:
                time.sleep(1000)
        case "tools/call":
            call(number, params["name"], params.get("arguments") or {})
        case "notifications/cancelled":
            note("CANCELLED", str(params.get("requestId")))
        case _ if number is not None and "method" in message:
            send({"id": number, "error": {"code": -32601, "message": "unknown method"}})


def main() -> None:
    note("TRACE", str(os.getpid()))
    if "exits" in TRAITS:
        print("there is no key", file=sys.stderr, flush=True)
        sys.exit(4)
    if "stubborn" in TRAITS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "orphan" in TRAITS:
        note("TRACE", str(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid))
    if "silent" in TRAITS:
        time.sleep(1000)
    for line in sys.stdin:
        answer(json.loads(line))
    while "stubborn" in TRAITS:
        time.sleep(1)


if __name__ == "__main__":
    main()
