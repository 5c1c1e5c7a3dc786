"""The search services: a table, and what each is asked and answers. Pure.

A row makes a request (`ask`) and reads an answer (`read`). Reading is strict: an answer in which the place of the results is not
where the service documents it is `Unreadable`, so that a changed service, a page of a proxy or a challenge for people is never
taken for a search that found nothing. DuckDuckGo has no interface for programs: its page of results is taken apart in a child
process (web_search_child.py) before it gets here.

Written after the documentation of each service; which of them were tried for real, the guide says (`nanobot guide tools`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import quote, urlencode

import attrs

from nanobot.config.schema import SearchProvider, Secret, WebSearchConfig
from nanobot.errors import ToolError
from nanobot.wire import Json, JsonObject

Since = Literal["day", "week", "month", "year"]
FORM = "application/x-www-form-urlencoded"


class UnreadableError(Exception):
    """The answer is not what the service documents. The text says what is missing, in our words."""


class SaidError(Exception):
    """The service says in its answer that it did not search. The text is what it says."""


@attrs.frozen
class Wish:
    """A search. `since_day` is the first day of `since`, as 2026-01-31."""

    query: str
    count: int
    since: Since | None = None
    since_day: str = ""


@attrs.frozen
class Sending:
    """A request, its address without the base. `headers` have lower-case names."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: bytes = b""


@attrs.frozen
class Hit:
    """A result as the service words it: text of strangers."""

    title: str
    url: str
    text: str = ""
    date: str = ""


@attrs.frozen
class Service:
    """A row of the table."""

    name: SearchProvider
    title: str
    base: str
    """Address that paths are put behind; empty: the owner's server."""
    ask: Callable[[Wish, str], Sending]
    """The request for a wish, with a key."""
    read: Callable[[Json], list[Hit]]
    """Raises: UnreadableError, SaidError."""
    env: str = ""
    """Variable of the environment with its key, or with its address where it takes no key; empty: it needs neither."""
    keyed: bool = True
    dated: bool = True
    """It can be asked for what is new."""
    page: bool = False
    """It answers with a page for people."""


# -- each service: what it is asked, what it answers ---------------------------------------------------------------------


def ask_duckduckgo(wish: Wish, _key: str) -> Sending:
    """The form on its page without scripts."""
    since = {"df": wish.since[0]} if wish.since else {}
    body = urlencode({"q": wish.query, "b": "", "kl": "wt-wt", **since}).encode()
    return Sending("/html/", "POST", {"content-type": FORM, "accept": "text/html"}, body)


def read_duckduckgo(value: Json) -> list[Hit]:
    match value:
        case {"state": "found", "found": list(found)}:
            return [Hit(*map(str, one)) for one in found if isinstance(one, list) and len(one) == 3]
        case {"state": "none"}:
            return []
        case {"state": "challenge"}:
            raise SaidError(
                "it wants proof that a person is asking, as it does after several searches in a row. Wait some minutes. If it "
                "goes on, the owner can choose a service with a key (tools.web.search.provider)"
            )
        case _:
            raise UnreadableError("its page is not the one that is known")


def ask_brave(wish: Wish, key: str) -> Sending:
    since = {"freshness": f"p{wish.since[0]}"} if wish.since else {}
    query = urlencode({"q": wish.query, "count": wish.count, **since})
    return Sending(f"/web/search?{query}", headers=_json({"x-subscription-token": key}))


def read_brave(value: Json) -> list[Hit]:
    match value:
        case {"type": "search", "web": {"results": list(found)}}:
            return _hits(found, "title", "url", "description", "age")
        case {"type": "search", "web": dict()}:
            raise UnreadableError("web.results is missing")
        case {"type": "search", "query": {"original": str()}}:  # it leaves out what it has nothing for
            return []
        case _:
            raise UnreadableError("web.results is missing")


def ask_tavily(wish: Wish, key: str) -> Sending:
    since: JsonObject = {"time_range": wish.since} if wish.since else {}
    body: JsonObject = {"query": wish.query, "max_results": wish.count, "search_depth": "basic", **since}
    return _posted("/search", body, {"authorization": f"Bearer {key}"})


def read_tavily(value: Json) -> list[Hit]:
    return _hits(_list(value, "results"), "title", "url", "content", "published_date")


def ask_searxng(wish: Wish, _key: str) -> Sending:
    since = {"time_range": wish.since} if wish.since else {}
    return Sending(f"/search?{urlencode({'q': wish.query, 'format': 'json', **since})}", headers=_json({}))


def read_searxng(value: Json) -> list[Hit]:
    hits = _hits(_list(value, "results"), "title", "url", "content", "publishedDate")
    match value:
        case {"unresponsive_engines": [_, *_] as silent} if not hits:
            named = ", ".join(str(one[0]) for one in silent if isinstance(one, list) and one)
            raise SaidError(f"engines that it asks did not answer: {named or 'unknown'}")
        case _:
            return hits


def ask_exa(wish: Wish, key: str) -> Sending:
    since: JsonObject = {"startPublishedDate": f"{wish.since_day}T00:00:00.000Z"} if wish.since else {}
    text: JsonObject = {"text": {"maxCharacters": 500}}
    body: JsonObject = {"query": wish.query, "numResults": wish.count, "type": "auto", "contents": text, **since}
    return _posted("/search", body, {"x-api-key": key})


def read_exa(value: Json) -> list[Hit]:
    return _hits(_list(value, "results"), "title", "url", "text", "publishedDate")


def ask_jina(wish: Wish, key: str) -> Sending:
    headers = {"authorization": f"Bearer {key}", "x-respond-with": "no-content"}
    return Sending(f"/?q={quote(wish.query, safe='')}", headers=_json(headers))


def read_jina(value: Json) -> list[Hit]:
    match value:
        case {"code": 200, "data": list(found)}:
            return _hits(found, "title", "url", "description", "date")
        case {"code": 422, "message": str(message)} if message.startswith("No search results"):
            return []
        case _:
            raise UnreadableError("data is missing")


def ask_serper(wish: Wish, key: str) -> Sending:
    since: JsonObject = {"tbs": f"qdr:{wish.since[0]}"} if wish.since else {}
    return _posted("/search", {"q": wish.query, "num": wish.count, **since}, {"x-api-key": key})


def read_serper(value: Json) -> list[Hit]:
    match value:
        case {"organic": list(found)}:
            return _hits(found, "title", "link", "snippet", "date")
        case _:
            raise UnreadableError("organic is missing")


def ask_kagi(wish: Wish, key: str) -> Sending:
    query = urlencode({"q": wish.query, "limit": wish.count})
    return Sending(f"/search?{query}", headers=_json({"authorization": f"Bot {key}"}))


def read_kagi(value: Json) -> list[Hit]:
    found = [one for one in _list(value, "data") if not (isinstance(one, dict) and one.get("t") == 1)]  # 1: what else to ask
    return _hits(found, "title", "url", "snippet", "published")


SERVICES: Mapping[SearchProvider, Service] = {
    service.name: service
    for service in (
        Service(
            "duckduckgo", "DuckDuckGo", "https://html.duckduckgo.com", ask_duckduckgo, read_duckduckgo, keyed=False, page=True
        ),
        Service("brave", "Brave", "https://api.search.brave.com/res/v1", ask_brave, read_brave, "BRAVE_API_KEY"),
        Service("tavily", "Tavily", "https://api.tavily.com", ask_tavily, read_tavily, "TAVILY_API_KEY"),
        Service("searxng", "SearXNG", "", ask_searxng, read_searxng, "SEARXNG_BASE_URL", keyed=False),
        Service("exa", "Exa", "https://api.exa.ai", ask_exa, read_exa, "EXA_API_KEY"),
        Service("jina", "Jina", "https://s.jina.ai", ask_jina, read_jina, "JINA_API_KEY", dated=False),
        Service("serper", "Serper", "https://google.serper.dev", ask_serper, read_serper, "SERPER_API_KEY"),
        Service("kagi", "Kagi", "https://kagi.com/api/v0", ask_kagi, read_kagi, "KAGI_API_KEY", dated=False),
    )
}


@attrs.frozen
class Chosen:
    """The service of the configuration, with what it needs."""

    service: Service
    base: str
    key: Secret
    own: bool
    """The address is the owner's."""


def chosen(config: WebSearchConfig, environ: Mapping[str, str]) -> Chosen:
    """Raises: ToolError where something is missing, with what the owner has to set. Never another service in its place, which
    was chosen for what it does with queries.
    """
    unset: SearchProvider = "brave" if config.api_key or environ.get(SERVICES["brave"].env) else "duckduckgo"
    service = SERVICES[config.provider or unset]
    key = config.api_key or Secret(environ.get(service.env, "")) if service.keyed else Secret()
    if service.keyed and not key:
        raise ToolError(f"{service.title} needs a key. The owner has to set tools.web.search.apiKey or {service.env}")
    given = config.base_url or ("" if service.base else environ.get(service.env, ""))
    base = (given or service.base).rstrip("/")
    if not base.startswith(("http://", "https://")):
        example = "tools.web.search.baseUrl, to an address such as http://127.0.0.1:8080"
        raise ToolError(f"{service.title} needs the address of a server. The owner has to set {example}")
    return Chosen(service, base.removesuffix("/search") if not service.base else base, key, bool(given))


def complaint(value: Json) -> str:
    """What a service says is wrong, where an error stands in their answers; empty where none does."""
    match value:
        case {"error": {"detail": str(text)} | {"message": str(text)} | str(text)}:  # Brave; Exa
            return text
        case {"detail": {"error": str(text)} | str(text)}:  # Tavily
            return text
        case {"error": [{"msg": str(text)}, *_]}:  # Kagi
            return text
        case {"readableMessage": str(text)} | {"message": str(text)}:  # Jina; Serper
            return text
        case _:
            return ""


def code(value: Json) -> str:
    """Brave's word for an error, whose status alone does not tell."""
    match value:
        case {"error": {"code": str(word)}}:
            return word
        case _:
            return ""


def _json(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {"accept": "application/json", **headers}


def _posted(path: str, body: JsonObject, headers: Mapping[str, str]) -> Sending:
    return Sending(path, "POST", _json({"content-type": "application/json", **headers}), json.dumps(body).encode())


def _list(value: Json, name: str) -> list[Json]:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise UnreadableError(f"{name} is missing")
    return found


def _hits(found: list[Json], *names: str) -> list[Hit]:
    """Each result by the names of its title, address, text and date."""
    hits = [hit for one in found if isinstance(one, dict) and (hit := _hit(one, names)).url]
    if found and not hits:
        raise UnreadableError(f"none of its results has {names[1]}")
    return hits


def _hit(one: JsonObject, names: tuple[str, ...]) -> Hit:
    return Hit(*(value if isinstance(value := one.get(name), str) else "" for name in names))
