"""A server on this machine is believed only if it lists a model, and never waited for."""

from __future__ import annotations

import attrs
import pytest
import trio

from nanobot.providers.client import open_http
from nanobot.providers.local import LOCAL, find_local
from nanobot.providers.registry import Spec
from tests.fakes.llm import model_server, refused_port
from tests.fakes.loopback import HttpRequest, Responder, loopback


def row(port: int, name: str = "ollama") -> Spec:
    return attrs.evolve(next(spec for spec in LOCAL if spec.name == name), base=f"http://127.0.0.1:{port}/v1")


async def test_first_row_that_lists_a_model() -> None:
    async with model_server([]) as server, open_http() as http:
        rows = [row(await refused_port()), row(server.http.port, "lm_studio"), row(server.http.port, "vllm")]
        found = await find_local(http, rows)
    assert found is not None
    assert (found.provider, found.model, found.base) == ("lm_studio", "model-one", rows[1].base)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": []}', b'{"data": [{"name": "x"}]}', b"null"])
async def test_anything_else_is_not_believed(body: bytes) -> None:
    async def other(_request: HttpRequest, respond: Responder) -> None:
        await respond.reply(200, body)

    async with loopback(other) as server, open_http() as http:
        assert await find_local(http, [row(server.port)]) is None


async def test_a_silent_port_is_not_waited_for() -> None:
    async def silent(_request: HttpRequest, _respond: Responder) -> None:
        await trio.sleep_forever()

    async with loopback(silent) as server, open_http() as http:
        with trio.fail_after(5):
            assert await find_local(http, [row(server.port)]) is None


async def test_a_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{await refused_port()}")
    async with model_server([]) as server, open_http() as http:
        assert await find_local(http, [row(server.http.port)]) is not None
