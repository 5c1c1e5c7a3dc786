"""Looking for a model server on this machine, when nothing is configured.

All known servers are asked at once, 0.3 s in all, and one is believed only if it answers with a list of models. To be called
after the prompt is shown: it loads the HTTP client.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import trio

from nanobot.providers.client import SharedHttp, load
from nanobot.providers.registry import SPECS, Kind, Selection, Spec
from nanobot.wire import Json

PATIENCE = 0.3  # seconds for all servers together; loopback answers in milliseconds or not at all
LOCAL = tuple(spec for spec in SPECS if spec.kind is Kind.LOCAL)


async def find_local(http: SharedHttp, specs: Sequence[Spec] = LOCAL) -> Selection | None:
    """The first in the table's order that lists a model, None if there is none. Raises: SdkMissing."""
    await http.client()  # building it is not part of the patience
    found: dict[str, str] = {}
    with trio.move_on_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for spec in specs:
                nursery.start_soon(_ask, http, spec, found)
    for spec in specs:
        if spec.name in found:
            return Selection(spec, found[spec.name], f"a local server answers at {spec.base}", base=spec.base)
    return None


async def _ask(http: SharedHttp, spec: Spec, found: dict[str, str]) -> None:
    httpx2 = await load("httpx2")
    client = await http.client()
    try:
        response = await client.get(f"{spec.base}/models", headers={"accept": "application/json", "connection": "close"})
        model = _first_model(json.loads(response.content)) if response.status_code == 200 else ""
    except (httpx2.HTTPError, ValueError):
        return
    if model:
        found[spec.name] = model


def _first_model(body: Json) -> str:
    """The id of the first model, empty if this is no list of models."""
    match body:
        case {"data": [{"id": str(first)}, *_]}:
            return first
        case _:
            return ""
