"""Real servers: the reference server over its three transports, a file server, and one in Python."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from nanobot.config.schema import McpServerConfig
from tests.fakes.peers import mcp_servers
from tests.mcp.kit import HERE, PATIENCE_S, Kept, configured, keeping

EVERYTHING = "mcp-server-everything"
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The SDK leaves the stream of each answer to the garbage collector, which Python tells developers of."""


@asynccontextmanager
async def everything(folder: Path, transport: str) -> AsyncIterator[Kept]:
    program = mcp_servers() / EVERYTHING
    if transport == "stdio":
        config = McpServerConfig(command=str(program), args=("stdio",))
        async with keeping(folder, configured(one=config)) as kept:
            await kept.until_up()
            yield kept
        return
    async with served(program, transport) as port:
        url = f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"
        async with keeping(folder, configured(one=McpServerConfig(url=url, networks=HERE))) as kept:
            await kept.until_up()
            yield kept


@asynccontextmanager
async def served(program: Path, transport: str) -> AsyncIterator[int]:
    """The server on a port of its choice or, as it has none, of ours."""
    listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener[0].socket.getsockname()[1]
    await listener[0].aclose()
    env = {"PATH": os.environ["PATH"], "PORT": str(port)}
    run = partial(trio.run_process, [program, transport], env=env, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    async with trio.open_nursery() as nursery:
        process = await nursery.start(run)
        said = b""
        with trio.fail_after(PATIENCE_S):
            while not re.search(rb"(?i)(listening|running) on port", said):
                said += await process.stderr.receive_some()
        yield port
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("transport", ["stdio", "streamableHttp", "sse"])
async def test_the_reference_server(tmp_path: Path, transport: str) -> None:
    async with everything(tmp_path, transport) as kept:
        assert len(kept.names()) >= 20
        assert (await kept.call("mcp_one_echo", message="hello")).text == "Echo: hello"
        image = await kept.call("mcp_one_get-tiny-image")
        assert [one.mime for one in image.attachments] == ["image/png"]
        assert '"temperature"' in (await kept.call("mcp_one_get-structured-content", location="New York")).text
        lines: list[str] = []
        await kept.call("mcp_one_trigger-long-running-operation", lines.append, duration=1, steps=4)
        assert lines == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
        wrong = await kept.call("mcp_one_get-sum", a="one")
        assert wrong.failed
        assert "Invalid" in wrong.text
        resource = next(name for name in kept.names() if "_resource_features" in name)
        assert (await kept.call(resource)).text.startswith("[demo://")
        assert (await kept.call("mcp_one_prompt_args-prompt", city="Paris")).text.startswith("[user]\n")


@pytest.mark.parametrize("transport", ["stdio", "streamableHttp", "sse"])
async def test_a_long_call_is_cancelled(tmp_path: Path, transport: str) -> None:
    async with everything(tmp_path, transport) as kept:
        with trio.move_on_after(0.3) as scope:
            await kept.call("mcp_one_trigger-long-running-operation", duration=30, steps=5)
        assert trio.current_time() - scope.deadline < 1.0
        assert (await kept.call("mcp_one_echo", message="after")).text == "Echo: after"


async def test_the_environment_that_the_reference_server_sees(tmp_path: Path) -> None:
    config = McpServerConfig(command=str(mcp_servers() / EVERYTHING), env={"FOR_IT": "yes"})
    async with keeping(tmp_path, configured(one=config), ANTHROPIC_API_KEY="secret") as kept:
        await kept.until_up()
        seen = (await kept.call("mcp_one_get-env")).text
    assert '"FOR_IT": "yes"' in seen
    assert "secret" not in seen


async def test_a_file_server(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    config = McpServerConfig(command=str(mcp_servers() / "mcp-server-filesystem"), args=(str(shared),))
    async with keeping(tmp_path, configured(files=config)) as kept:
        await kept.until_up("files")
        path = str(shared / "note.txt")
        assert not (await kept.call("mcp_files_write_file", path=path, content="buy milk")).failed
        assert "buy milk" in (await kept.call("mcp_files_read_text_file", path=path)).text
        outside = await kept.call("mcp_files_read_text_file", path="/etc/hostname")
        assert outside.failed
        offers = {offer.raw: offer.reads for offer in kept.get("files").listing.offers}
        assert (offers["read_text_file"], offers["write_file"]) == (True, False)


async def test_a_server_in_python_that_speaks_the_newest_protocol(tmp_path: Path) -> None:
    config = McpServerConfig(command=str(mcp_servers() / "mcp-server-time"))
    async with keeping(tmp_path, configured(time=config)) as kept:
        await kept.until_up("time")
        assert "2026-07-28" in kept.get("time").about
        assert "Europe/Paris" in (await kept.call("mcp_time_get_current_time", timezone="Europe/Paris")).text
        assert (await kept.call("mcp_time_get_current_time", timezone="Nope/X")).failed
