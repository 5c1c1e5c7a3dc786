"""What a server lists, made safe to be offered. Pure.

Lists come from strangers. Each entry is looked at by itself: one that is malformed is left out with a line that says why, and
hides no other. Descriptions and schemas are bounded and hold no sign that does not show; schemas.py makes these what services of
models take.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Iterator, Sequence

import attrs

from nanobot.mcp.naming import safe
from nanobot.mcp.schemas import SCHEMA_CHARS, Malformed, parameters
from nanobot.tools.plain import hidden, visible
from nanobot.wire import Json, JsonObject

MOST_TOOLS = 100
"""Of one server, and of all together (servers.py): some services of models take 128 in all, and the rest are ours."""
MOST_OTHERS = 32
"""Resources, and as many prompts: each is a tool without which one can live."""
DESCRIPTION_CHARS = 1024
"""What the strictest service takes."""
OFFERED_CHARS = 200_000
"""Of descriptions and schemas of one server: 50,000 tokens, which stand in every request; more leaves no room to talk."""
ENTRY_CHARS = 4 * SCHEMA_CHARS
"""Of an entry as the server sends it, with what is taken out of it."""
LIST_CHARS = 600_000
"""Of one page of a list, as it comes: looking at it holds everybody for up to 0.2 s."""
MOST_ENTRIES = 4000
"""Of one page that are looked at; far fewer are offered."""
LABEL_CHARS = 200
ALL = "*"


class Kind(enum.StrEnum):
    """What is asked of the server when the model calls."""

    TOOL = "tool"
    RESOURCE = "resource"
    PROMPT = "prompt"


LISTS = {Kind.TOOL: "tools", Kind.RESOURCE: "resources", Kind.PROMPT: "prompts"}
"""The key of each list."""


@attrs.frozen
class Offer:
    """Something that a server offers."""

    kind: Kind
    raw: str
    """What the server knows it by: a name, or a resource's address."""
    label: str
    """What its name here is made of."""
    description: str
    schema: str
    """JSON Schema of its parameters, as text."""
    reads: bool
    """It says of itself that it changes nothing. A server's word, not ours."""


@attrs.frozen
class Listing:
    """What is offered, and a line for each thing that is not."""

    offers: tuple[Offer, ...] = ()
    left_out: tuple[str, ...] = ()


def sound(kind: Kind, items: Json) -> tuple[list[Json], list[str]]:
    """The entries of a list that can be offered, stripped to what we use, and a line for each other one."""
    if not isinstance(items, list):
        return [], [f"its list of {LISTS[kind]} is none"]
    kept: list[Json] = []
    wrong: list[str] = []
    room = LIST_CHARS
    for place, item in enumerate(items):
        size = len(json.dumps(item, ensure_ascii=False))
        room -= size if size <= ENTRY_CHARS else 0  # what is longer is not looked at
        if room < 0 or place == MOST_ENTRIES:
            wrong.append(f"its list of {LISTS[kind]} is too long: {len(items) - place:,} of {len(items):,} are not looked at")
            break
        try:
            kept.append(_stripped(kind, item, size))
        except Malformed as error:
            wrong.append(f"{_called(kind, item, place)}: {error}")
    return kept, wrong


def listing(server: str, enabled: Sequence[str], lists: dict[Kind, list[Json]], wrong: Iterable[str]) -> Listing:
    """What is offered of entries that are sound. `enabled`: names there or here; whoever names some wants no resources."""
    left_out = list(wrong)
    offers: list[Offer] = []
    for kind, items in lists.items():
        if kind is not Kind.TOOL and ALL not in enabled:
            continue
        found = sorted((_offer(kind, item) for item in items if isinstance(item, dict)), key=lambda one: (one.label, one.raw))
        if ALL not in enabled:
            found = [one for one in found if one.raw in enabled or safe(server, one.label) in enabled]
            known = {name for one in found for name in (one.raw, safe(server, one.label))}
            left_out += [f"enabledTools: there is no {visible(name)}" for name in enabled if name not in known]
        most = MOST_TOOLS if kind is Kind.TOOL else MOST_OTHERS
        if len(found) > most:
            left_out.append(
                f"{len(found) - most:,} of {len(found):,} {LISTS[kind]}: more than {most}; name those in enabledTools"
            )
        offers += found[:most]
    kept = list(_within(offers[:MOST_TOOLS], OFFERED_CHARS))
    if len(kept) < len(offers):
        some, bounds = f"{len(offers) - len(kept):,} of {len(offers):,} offers", f"{MOST_TOOLS}, or {OFFERED_CHARS:,} characters"
        left_out.append(f"{some}: together more than {bounds}; name those in enabledTools")
    return Listing(tuple(kept), tuple(left_out))


def _within(offers: Iterable[Offer], room: int) -> Iterator[Offer]:
    """The first ones that fit, tools before the others."""
    for offer in offers:
        if (room := room - len(offer.description) - len(offer.schema)) < 0:
            return
        yield offer


def _offer(kind: Kind, item: JsonObject) -> Offer:
    name, said = str(item.get("name", "")), str(item.get("description", ""))
    match kind:
        case Kind.TOOL:
            notes = item.get("annotations")
            reads = isinstance(notes, dict) and notes.get("readOnlyHint") is True
            return Offer(kind, name, name, said, json.dumps(item["inputSchema"], ensure_ascii=False), reads)
        case Kind.RESOURCE:
            uri = str(item["uri"])
            text = f"Read {uri}. {said}".strip()[:DESCRIPTION_CHARS]
            return Offer(kind, uri, f"resource_{name or uri}", text, _nothing(), reads=True)
        case Kind.PROMPT:
            text = f"Get a prompt that the server keeps. {said}".strip()[:DESCRIPTION_CHARS]
            return Offer(kind, name, f"prompt_{name}", text, json.dumps(parameters(_of_prompt(item))), reads=True)


def _nothing() -> str:
    return json.dumps({"type": "object", "properties": {}})


def _of_prompt(item: JsonObject) -> JsonObject:
    given = item.get("arguments")
    arguments = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    properties: JsonObject = {
        str(one["name"]): {"type": "string", "description": str(one.get("description", ""))} for one in arguments
    }
    required: list[Json] = [str(one["name"]) for one in arguments if one.get("required") is True]
    return {"type": "object", "properties": properties, "required": required}


# --- one entry


def _stripped(kind: Kind, item: Json, size: int) -> JsonObject:
    """Raises: Malformed."""
    if not isinstance(item, dict):
        raise Malformed("it is no object")
    if size > ENTRY_CHARS:
        raise Malformed(f"it has {size:,} characters, more than {ENTRY_CHARS:,}")
    name = _label(item.get("name"), "name")
    kept: JsonObject = {"name": name}
    if said := _description(item):
        kept["description"] = said
    match kind:
        case Kind.TOOL:
            kept["inputSchema"] = parameters(item.get("inputSchema"))
            notes = item.get("annotations")
            reads = isinstance(notes, dict) and notes.get("readOnlyHint") is True and notes.get("destructiveHint") is not True
            kept["annotations"] = {"readOnlyHint": reads}
        case Kind.RESOURCE:
            kept["uri"] = _label(item.get("uri"), "address")
        case Kind.PROMPT:
            kept["arguments"] = list(_arguments(item.get("arguments")))
            parameters(_of_prompt(kept))
    return kept


def _label(value: Json, what: str) -> str:
    """Raises: Malformed."""
    if not isinstance(value, str) or not value.strip():
        raise Malformed(f"it has no {what}")
    if len(value) > LABEL_CHARS:
        raise Malformed(f"its {what} has {len(value):,} characters")
    if (why := hidden(value)) is not None:
        raise Malformed(f"its {what}: {why}")
    return value


def _description(item: JsonObject) -> str:
    said = item.get("description") or item.get("title")
    return _shortened(said) if isinstance(said, str) else ""


def _shortened(text: str) -> str:
    text = visible(text[:DESCRIPTION_CHARS].encode("utf-8", "replace").decode())
    return text if len(text) < DESCRIPTION_CHARS else f"{text[: DESCRIPTION_CHARS - 1]}…"


def _arguments(value: Json) -> Iterator[Json]:
    """Raises: Malformed."""
    for one in value if isinstance(value, list) else ():
        if not isinstance(one, dict):
            raise Malformed("an argument of it is no object")
        said, required = _description(one), one.get("required") is True
        yield {"name": _label(one.get("name"), "argument's name"), "description": said, "required": required}


_NAME_SHOWN = re.compile(r"\s+")


def _called(kind: Kind, item: Json, place: int) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    shown = _NAME_SHOWN.sub(" ", visible(name[:60].encode("utf-8", "replace").decode())) if isinstance(name, str) else ""
    return f"{kind.value} {shown or f'number {place + 1}'}"
