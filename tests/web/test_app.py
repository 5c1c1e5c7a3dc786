"""What the server answers, and the websocket of the chat over a real connection."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from trio.testing import wait_all_tasks_blocked

from nanobot.channels.web.channel import RESTARTING, SessionLine
from nanobot.supervise.status import Node
from nanobot.web import files
from nanobot.web.app import GOING_AWAY
from tests.fakes.web import TOKEN
from tests.fakes.ws import Gone, connect
from tests.web.kit import BEARER, Server, served, tree


@pytest.fixture(name="server")
async def _server() -> AsyncIterator[Server]:
    async with served() as running:
        yield running


# --- health and status


@pytest.mark.parametrize(("state", "status"), [("up", 200), ("starting", 503), ("stopping", 503), ("stuck", 503)])
async def test_health_is_good_only_while_the_tree_is_up(server: Server, state: str, status: int) -> None:
    server.root = tree(state)
    answer = await server.get("/health")
    assert (answer.status_code, answer.json()["state"]) == (status, state)
    assert answer.headers["cache-control"] == "no-store"


async def test_health_says_what_is_parked_and_why_not(server: Server) -> None:
    bad = Node("telegram", "channel", "parked", 1.0, error="401: the token 123:ABC is revoked")
    server.root = tree("up", bad, Node("qq", "channel", "stuck", 1.0), Node("web", "channel", "up", 1.0))
    answer = await server.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"state": "up", "parked": ["telegram"], "stuck": ["qq"]}  # no errors: it wants no token


async def test_status_is_the_tree(server: Server) -> None:
    server.root = tree("up", Node("web", "channel", "up", 5.0, facts=(("connections", "2"),)))
    answer = await server.get("/status.json", **BEARER)
    (web,) = answer.json()["children"]
    assert web == {"name": "web", "kind": "channel", "state": "up", "since": 5.0, "facts": {"connections": "2"}}


async def test_sessions_are_listed(server: Server) -> None:
    server.lines = [SessionLine("web:c1", "c1", "The old days", 5.0, unfinished=True)]
    answer = await server.get("/sessions.json", **BEARER)
    assert answer.json() == [{"key": "web:c1", "chat": "c1", "title": "The old days", "at": 5.0, "unfinished": True}]


async def test_what_is_not_there_says_so_and_nothing_else(server: Server) -> None:
    for path in ("/nothing", "/status.json/", "/app.js/", "/../pyproject.toml", "/page", "/%00"):
        answer = await server.get(path, **BEARER)
        assert (answer.status_code, answer.json()) == (404, {"error": "there is nothing here", "code": "not_found"})


async def test_a_bug_is_in_the_log_and_not_in_the_answer(server: Server, claimed_errors: list[str]) -> None:
    server.root = "not a tree"  # type: ignore[assignment]
    answer = await server.get("/status.json", **BEARER)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "Attribute" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    server.root = tree()
    assert (await server.get("/health")).status_code == 200
    assert claimed_errors


# --- the page


async def test_every_file_of_the_page_is_served_as_what_it_is(server: Server) -> None:
    for path in files.HERE.iterdir():
        answer = await server.get(f"/{path.name}")
        assert (answer.status_code, answer.content) == (200, path.read_bytes())
        assert answer.headers["content-type"] == files.TYPES[path.suffix]
    start = await server.get("/")
    assert start.content == (files.HERE / "index.html").read_bytes()
    assert TOKEN not in start.text


async def test_a_browser_that_has_it_is_told_so(server: Server) -> None:
    first = await server.get("/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await server.get("/app.js", if_none_match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    assert (await server.get("/app.js", if_none_match='"another"')).status_code == 200


async def test_only_files_of_known_kinds_are_served_and_only_those_of_the_start(tmp_path: Path) -> None:
    for name in ("index.html", "secret.txt", ".hidden.js"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.js").mkdir()
    async with served(tmp_path) as server:
        (tmp_path / "later.js").write_text("later")
        for name, status in {"": 200, "index.html": 200, "secret.txt": 404, "folder.js": 404, "later.js": 404}.items():
            assert (await server.get(f"/{name}", **BEARER)).status_code == status


# --- the chat


async def test_a_conversation(server: Server) -> None:
    async with connect(server.port, TOKEN) as page:
        await page.send("message", id="m1", chat="c", text="hello ✓")
        await page.expect("accepted", id="m1")
        wire = server.house.say("c", "hi ✓", "m1")
        answer = await page.expect("message", chat="c")
        assert (answer["id"], answer["replyTo"], answer["text"]) == (wire, "m1", "hi ✓")
        await page.send("ack", id=wire)
        await page.send("open", chat="c")
        await page.expect("history", items=[])
    assert server.house.settled == [wire]
    assert [arrived.text for arrived in server.house.arrived] == ["hello ✓"]


async def test_what_was_not_acknowledged_comes_again_after_a_cut(server: Server) -> None:
    async with connect(server.port, TOKEN) as page:
        await page.send("open", chat="c")
        await page.expect("history")
        wire = server.house.say("c", "hi")
        await page.expect("message", id=wire)
    async with connect(server.port, TOKEN) as page:
        await page.expect("message", id=wire)
        await page.send("ack", id=wire)
        await page.send("open", chat="c")
        await page.expect("history")
    assert server.house.settled == [wire]


async def test_the_end_of_the_channel_leaves_the_server_and_says_goodbye(server: Server) -> None:
    async with connect(server.port, TOKEN) as page:
        server.house.life.cancel()
        assert await page.closed() == RESTARTING
    assert (await server.get("/health")).status_code == 200


async def test_the_end_of_the_server_says_goodbye_at_once(server: Server) -> None:
    async with connect(server.port, TOKEN) as page, connect(server.port, None) as stranger:
        await wait_all_tasks_blocked(0.02)
        before = time.monotonic()
        server.scope.cancel()
        assert await page.closed() == GOING_AWAY
        assert await stranger.closed() == GOING_AWAY
        assert time.monotonic() - before < 1.0
    await wait_all_tasks_blocked()
    assert server.house.channel.connections == 0


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "nonsense",
        "[]",
        "null",
        '"auth"',
        b"\x00",
        '{"type": ["auth"]}',
        "[" * 100_000,
        "9" * 5000,
        '{"type": "ack", "id": 1e999}',
    ],
)
async def test_hostile_frames_are_answered_and_end_nothing(server: Server, frame: str | bytes) -> None:
    async with connect(server.port, TOKEN) as page:
        await page.send_raw(frame)
        assert (await page.next())["type"] == "error"
        await page.send("message", id="m1", chat="c", text="hello")
        await page.expect("accepted", id="m1")


async def test_a_frame_of_two_megabytes_ends_its_connection_and_no_other(server: Server) -> None:
    async with connect(server.port, TOKEN) as page, connect(server.port, TOKEN) as other:
        try:
            await page.send_raw("x" * 2_000_000)
        except Gone:
            pass
        assert await page.closed() == 1009
        await other.send("message", id="m1", chat="c", text="hello")
        await other.expect("accepted", id="m1")


async def test_a_client_that_stops_reading_holds_up_nobody(server: Server) -> None:
    async with connect(server.port, TOKEN) as page, connect(server.port, TOKEN) as other:
        for n in range(12):
            for client in (page, other):  # which reads no more from here on
                await client.send("open", chat=f"c{n}")
                await client.expect("history", chat=f"c{n}")
        wires = {server.house.say(f"c{n}", "x" * 1_000_000) for n in range(12)}
        while wires - set(server.house.settled):
            frame = await page.expect("message")
            await page.send("ack", id=frame["id"])
            await wait_all_tasks_blocked(0.001)
