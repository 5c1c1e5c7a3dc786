"""The requests of the control socket that have one answer: what each takes, calls and gives.

status                          {version, pid, tree}: the live tree as data (supervise/status.py)
health                          {healthy, text}
restart_channel {name}          null, when it was started again
reload                          what changed, for people
stop, restart                   null, and then it is done
letters                         a list (letters.py)
retry {ids}, drop {ids}         how many there were
release {key}                   null, when a command may have the session
pairing {words}                 an answer for people
cron {order, id}                order "changed": the jobs were edited, null; "run": run that job now, the run's slot
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping

from nanobot import __version__
from nanobot.control.letters import as_json as letter_json
from nanobot.control.port import BadRequest, Gateway
from nanobot.messages import SessionKey
from nanobot.supervise import status
from nanobot.wire import Json, JsonObject

Request = Callable[[Gateway, JsonObject], Awaitable[Json]]
"""Raises: NanobotError, which is the answer then."""


async def _status(gateway: Gateway, _frame: JsonObject) -> Json:
    return {**status.as_json(gateway.tree()), "version": __version__, "pid": os.getpid()}


async def _health(gateway: Gateway, _frame: JsonObject) -> Json:
    tree = gateway.tree()
    bad = ", ".join(f"{node.name} is {node.state}" for node in status.troubled(tree))
    return {"healthy": tree.state == "up", "text": f"{tree.state}; {bad}" if bad else tree.state}


async def _page(gateway: Gateway, _frame: JsonObject) -> Json:
    return gateway.page()


async def _restart_channel(gateway: Gateway, frame: JsonObject) -> Json:
    await gateway.restart_channel(_text(frame, "name"))
    return None


async def _reload(gateway: Gateway, _frame: JsonObject) -> Json:
    return await gateway.reload()


async def _letters(gateway: Gateway, _frame: JsonObject) -> Json:
    return [letter_json(letter) for letter in await gateway.letters()]


async def _retry(gateway: Gateway, frame: JsonObject) -> Json:
    return await gateway.retry(_texts(frame, "ids"))


async def _drop(gateway: Gateway, frame: JsonObject) -> Json:
    return await gateway.drop(_texts(frame, "ids"))


async def _release(gateway: Gateway, frame: JsonObject) -> Json:
    try:
        key = SessionKey.parse(_text(frame, "key"))
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc
    await gateway.release(key)
    return None


async def _cron(gateway: Gateway, frame: JsonObject) -> Json:
    match _text(frame, "order"):
        case "changed":
            gateway.jobs_changed()
            return None
        case "run":
            return await gateway.run_job(_text(frame, "id"))
        case order:
            raise BadRequest(f"cron is ordered changed or run, not {order!r}")


REQUESTS: Mapping[str, Request] = {
    "status": _status,
    "health": _health,
    "page": _page,
    "restart_channel": _restart_channel,
    "reload": _reload,
    "letters": _letters,
    "retry": _retry,
    "drop": _drop,
    "release": _release,
    "cron": _cron,
}
ENDINGS: Mapping[str, Callable[[Gateway], None]] = {
    "stop": lambda gateway: gateway.stop(),
    "restart": lambda gateway: gateway.restart(),
}
"""What may end the connection before an answer is out: it is answered first."""


def _text(frame: JsonObject, name: str) -> str:
    match frame.get(name):
        case str() as text if text:
            return text
        case _:
            raise BadRequest(f"{frame.get('do')} needs {name}, a text")


def _texts(frame: JsonObject, name: str) -> tuple[str, ...]:
    match frame.get(name):
        case list() as texts if all(isinstance(text, str) for text in texts):
            return tuple(map(str, texts))
        case _:
            raise BadRequest(f"{frame.get('do')} needs {name}, a list of texts")
