"""What servers offer, as tools beside ours.

A call of them is judged by the rows `mcp` and `mcp:reads` of the policy table: a server's word that a tool changes nothing makes
it ask less, and never makes it run again by itself. An approval is void when the tool has come to mean something else. What a
server says is text of strangers, unless the owner has said otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from nanobot.errors import ToolError
from nanobot.mcp import content
from nanobot.mcp.errors import ServerError
from nanobot.mcp.listing import MOST_TOOLS, Kind, Offer
from nanobot.mcp.naming import assigned
from nanobot.mcp.server import Server
from nanobot.messages import Effect
from nanobot.providers.port import ToolSpec
from nanobot.tools.plain import visible
from nanobot.tools.port import Intent, Result, ToolTurn
from nanobot.tools.registry import Bound
from nanobot.wire import JsonObject

if TYPE_CHECKING:
    from nanobot.mcp.wire import Link

READS = "reads"
"""The row for what a server says changes nothing."""
PROGRESS_CHARS = 200
MARK = 16
"""Signs of a hash: fewer could be met on purpose by a server that tries descriptions."""


Pair = tuple[Server, Offer]


def chosen(servers: Sequence[Server]) -> list[Pair]:
    """What servers offer, in their order; of one server by name. Of too many, each server may bring as many as any other."""
    there = [server.listing.offers if server.is_offered else () for server in servers]
    pairs: list[Pair] = []
    for server, offers, share in zip(servers, there, shares([len(one) for one in there], MOST_TOOLS), strict=True):
        server.crowded_out = len(offers) - share
        pairs += [(server, offer) for offer in offers[:share]]
    return pairs


def shares(wanted: Sequence[int], most: int) -> list[int]:
    """How many each gets of `most`: who wants little gets all of that, the others the same."""
    got = [0] * len(wanted)
    for done, place in enumerate(sorted(range(len(wanted)), key=lambda at: wanted[at])):
        got[place] = min(wanted[place], (most - sum(got)) // (len(wanted) - done))
    return got


def bound(pairs: Sequence[Pair], servers: Iterable[str]) -> tuple[Bound, ...]:
    """servers: the names of all that are configured."""
    names = assigned([(server.name, offer.label) for server, offer in pairs], servers)
    return tuple(_bound(name, server, offer) for name, (server, offer) in zip(names, pairs, strict=True))


def _bound(name: str, server: Server, offer: Offer) -> Bound:
    spec = ToolSpec(name, offer.description or f"{offer.raw}, of the server {server.name}.", offer.schema)
    intent, run = partial(_intent, name, server, offer), partial(_run, name, server, offer)
    return Bound(spec, intent, run, Effect.WRITES, server.config.tool_timeout)


def _intent(name: str, server: Server, offer: Offer, arguments: str, _turn: ToolTurn) -> Intent:
    """Raises: ToolError."""
    given = _parsed(arguments)
    meant = f"{offer.kind} {offer.raw}\n{offer.description}\n{offer.schema}\n{server.config!r}"
    mark = hashlib.sha256(meant.encode("utf-8", "surrogatepass")).hexdigest()[:MARK]
    terms = f"{offer.kind} {visible(offer.raw)} of the MCP server {server.name}, as it is described now ({mark})"
    return Intent(f"{name}:{READS}" if offer.reads else name, json.dumps(given, ensure_ascii=False), terms)


async def _run(name: str, server: Server, offer: Offer, arguments: str, turn: ToolTurn) -> Result:
    """Raises: ToolError."""
    given, tainted = _parsed(arguments), not server.config.trusted
    try:
        answer = await server.request(partial(_ask, offer, given, turn))
    except ServerError as error:  # it may hold what a stranger says
        return Result(f"Error: {error}", tainted=tainted, failed=True)
    return await content.kept(answer, turn, name, tainted=tainted)


async def _ask(offer: Offer, given: JsonObject, turn: ToolTurn, link: Link) -> content.Answer:
    """Raises: ServerError."""

    async def told(progress: float, total: float | None, message: str | None) -> None:
        share = f"{progress:g} of {total:g}" if total else f"{progress:g}"
        turn.progress(visible((message or share)[:PROGRESS_CHARS]))

    match offer.kind:
        case Kind.TOOL:
            return content.of_call(await link.call(offer.raw, given, told))
        case Kind.RESOURCE:
            return content.of_resource(await link.read(offer.raw))
        case Kind.PROMPT:
            texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
            return content.of_prompt(await link.prompt(offer.raw, texts))


def _parsed(arguments: str) -> JsonObject:
    """Raises: ToolError."""
    try:
        given = json.loads(arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise ToolError(f"the arguments are not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise ToolError("the arguments must be an object with the tool's parameters")
    return given
