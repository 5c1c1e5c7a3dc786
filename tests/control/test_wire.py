"""What goes over the control socket, byte by byte: other programs may be written against it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nanobot import __version__
from nanobot.control.letters import Kind, Letter
from nanobot.errors import ConfigError, NanobotError
from nanobot.supervise.status import Node
from tests.fakes.gateway import STARTED, FakeGateway, listening, tree

LETTER = Letter("telegram:42/o7", Kind.DEAD, STARTED, "blocked by the user", "Good morning!", perhaps_delivered=True)
WAITING = Node("telegram", "channel", "waiting", STARTED, 2, "reset", "its restart", STARTED + 8, (("account", "me"),))

SAMPLES = [
    (
        '{"version":1,"do":"status"}',
        '{"ok":{"name":"gateway","kind":"gateway","state":"up","since":1790000000.0,"children":['
        '{"name":"control","kind":"service","state":"up","since":1790000000.0},'
        '{"name":"channels","kind":"group","state":"up","since":1790000000.0,"children":['
        '{"name":"telegram","kind":"channel","state":"waiting","since":1790000000.0,"restarts":2,"error":"reset",'
        '"waiting":"its restart","until":1790000008.0,"facts":{"account":"me"}}]}],"version":"VERSION","pid":PID}}',
        [],
    ),
    ('{"do":"health"}', '{"ok":{"healthy":true,"text":"up"}}', []),
    ('{"do":"page"}', '{"ok":"http://127.0.0.1:18790/#token"}', []),
    ('{"do":"restart_channel","name":"telegram"}', '{"ok":null}', ["restart_channel telegram"]),
    ('{"do":"reload"}', '{"ok":"restarted: telegram"}', ["reload"]),
    ('{"do":"stop"}', '{"ok":null}', ["stop"]),
    ('{"do":"restart"}', '{"ok":null}', ["restart"]),
    (
        '{"do":"letters"}',
        '{"ok":[{"id":"telegram:42/o7","kind":"dead","at":1790000000.0,"why":"blocked by the user","text":"Good morning!",'
        '"perhapsDelivered":true,"until":null}]}',
        ["letters"],
    ),
    ('{"do":"retry","ids":["telegram:42/o7","web:a/o1"]}', '{"ok":2}', ["retry telegram:42/o7 web:a/o1"]),
    ('{"do":"drop","ids":["telegram:42/o7"]}', '{"ok":1}', ["drop telegram:42/o7"]),
    ('{"do":"release","key":"cli:direct"}', '{"ok":null}', ["release cli:default:direct"]),
]
REFUSALS = [
    (
        "garbage",
        '{"error":"a frame is a JSON object in one line: Expecting value: line 1 column 1 (char 0)","code":"bad_request"}',
    ),
    ("[1]", '{"error":"a frame is a JSON object in one line: no JSON object","code":"bad_request"}'),
    ("[" * 100_000, '{"error":"a frame is a JSON object in one line: nested too deep","code":"bad_request"}'),
    ("{}", '{"error":"a request says what to do: {\\"do\\": \\"status\\"}","code":"bad_request"}'),
    (
        '{"do":"dance"}',
        f'{{"error":"this gateway is nanobot {__version__} and does not know \'dance\': it was updated while it ran. '
        'Start it again: nanobot gateway restart","code":"unknown"}',
    ),
    (
        '{"do":"status","version":2}',
        f'{{"error":"this gateway is nanobot {__version__}, older than the command: it was updated while it ran. '
        'Start it again: nanobot gateway restart","code":"version"}',
    ),
    ('{"do":"restart_channel"}', '{"error":"restart_channel needs name, a text","code":"bad_request"}'),
    ('{"do":"retry","ids":"o7"}', '{"error":"retry needs ids, a list of texts","code":"bad_request"}'),
    (
        '{"do":"release","key":"x"}',
        '{"error":"\'x\' is not a session key: expected channel:chat or channel:account:chat[:topic]","code":"bad_request"}',
    ),
]


def told(data: Path, line: str) -> str:
    """What the server answers to one line, until it closes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(f"{data}/control.sock")
        connection.sendall(f"{line}\n".encode())
        with connection.makefile("rb") as answers:
            return answers.read().decode()


@pytest.mark.parametrize(("line", "answer", "asked"), SAMPLES, ids=lambda value: None)
def test_requests_and_answers(tmp_path: Path, line: str, answer: str, asked: list[str]) -> None:
    with listening(tmp_path, FakeGateway(tree(WAITING), [LETTER])) as gateway:
        expected = answer.replace("VERSION", __version__).replace("PID", str(os.getpid()))
        assert told(tmp_path, line) == f"{expected}\n"
    assert gateway.asked == asked


@pytest.mark.parametrize(("line", "answer"), REFUSALS, ids=lambda value: value[:20])
def test_refusals(tmp_path: Path, line: str, answer: str) -> None:
    with listening(tmp_path, FakeGateway()) as gateway:
        assert told(tmp_path, line) == f"{answer}\n"
        assert told(tmp_path, '{"do":"health"}') == '{"ok":{"healthy":true,"text":"up"}}\n', "the next one is served"
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (NanobotError("there is no channel x"), '{"error":"there is no channel x","code":"failed"}'),
        (ConfigError(["x: wrong"]), '{"error":"1 mistake in the configuration\\n  x: wrong","code":"config"}'),
    ],
)
def test_what_the_gateway_refuses(tmp_path: Path, error: NanobotError, answer: str) -> None:
    with listening(tmp_path, FakeGateway(error=error)):
        assert told(tmp_path, '{"do":"reload"}') == f"{answer}\n"


@pytest.mark.parametrize(
    ("state", "channel", "answer"),
    [
        ("up", "parked", '{"healthy":true,"text":"up; telegram is parked"}'),
        ("up", "stuck", '{"healthy":true,"text":"up; telegram is stuck"}'),
        ("starting", "up", '{"healthy":false,"text":"starting"}'),
        ("stopping", "up", '{"healthy":false,"text":"stopping"}'),
    ],
)
def test_health(tmp_path: Path, state: str, channel: str, answer: str) -> None:
    root = tree(Node("telegram", "channel", channel, STARTED), state=state)
    with listening(tmp_path, FakeGateway(root)):
        assert told(tmp_path, '{"do":"health"}') == f'{{"ok":{answer}}}\n'
