"""What the tests of tools share: a workspace inside a data directory, and one way to make a call."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import attrs

from nanobot.config.schema import Config
from nanobot.messages import CallId, Principal, SessionKey
from nanobot.processes.sandbox import Isolation
from nanobot.tools.port import Result, ToolTurn
from nanobot.tools.registry import Tools, build_tools

NO_SANDBOX = Isolation(sandboxed=False, reason="a test")
ENVIRON = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "ANTHROPIC_API_KEY": "sk-secret"}
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480) + bytes(9)
"""As much of a picture as is looked at."""


def make_turn(data: Path, *, restrict: bool = True) -> ToolTurn:
    """`data/` with `config.json`, `results/` and the workspace `workspace/`, as an installation has them."""
    workspace, results = data / "workspace", data / "results"
    workspace.mkdir(parents=True, exist_ok=True)
    results.mkdir(mode=0o700, exist_ok=True)
    (data / "config.json").write_text('{"apiKey": "sk-secret"}')
    return ToolTurn(
        workspace=workspace.resolve(),
        session=SessionKey("test", "1"),
        principal=Principal("test", "default", "1", "me", owner=True),
        call=CallId("call-1"),
        results=results,
        data=data,
        readable=(results,),
        restrict=restrict,
    )


@attrs.frozen
class Kit:
    """Tools and a turn to call them in."""

    turn: ToolTurn
    tools: Tools

    @property
    def workspace(self) -> Path:
        return self.turn.workspace

    def put(self, name: str, content: str | bytes) -> Path:
        path = self.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    async def call(self, name: str, **arguments: object) -> Result:
        return await self.tools.run(name, json.dumps(arguments), self.turn)

    async def refused(self, name: str, **arguments: object) -> str:
        result = await self.call(name, **arguments)
        assert result.failed, result.text
        return result.text

    async def text(self, name: str, **arguments: object) -> str:
        result = await self.call(name, **arguments)
        assert not result.failed, result.text
        return result.text


def make_kit(tmp_path: Path, config: Config | None = None, *, restrict: bool = True, isolation: Isolation = NO_SANDBOX) -> Kit:
    turn = make_turn(tmp_path / "data", restrict=restrict)
    return Kit(turn, build_tools(config or Config(), isolation, environ=ENVIRON))
