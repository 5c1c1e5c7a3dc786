"""The search services as loopback servers: what each takes, finds and refuses, in the shapes that their documentation shows.

`serving("brave")` is one service. It finds `RESULTS`, checks the key and the form of each request as the real one does, and
answers with `instead` where that is set.
"""

from __future__ import annotations

import html
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, quote, unquote, urlsplit

import attrs

from tests.fakes.loopback import HttpRequest, Responder, loopback

KEY = "key-of-a-test"
RESULTS = (
    ("Trio – a friendly library", "https://trio.example/docs?a=1&b=2", "Structured <concurrency> & more", "2026-01-31"),
    ("Nurseries", "https://trio.example/nurseries", "Where tasks live", ""),
    ("Cancel scopes", "https://trio.example/scopes", "", ""),
)
PATHS = {"brave": "/res/v1", "kagi": "/api/v0"}
"""Of the bases that are more than a host."""

Results = Sequence[tuple[str, str, str, str]]


@attrs.frozen
class Reply:
    body: str
    status: int = 200
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@attrs.define
class Service:
    name: str
    base: str = ""
    results: Results = RESULTS
    instead: Reply | None = None
    """What to answer whatever is asked."""
    asked: list[HttpRequest] = attrs.field(factory=list)

    @property
    def queries(self) -> list[str]:
        return [QUERIES[self.name](request) for request in self.asked]


@asynccontextmanager
async def serving(name: str, results: Results = RESULTS) -> AsyncIterator[Service]:
    service = Service(name, results=results)

    async def handler(request: HttpRequest, responder: Responder) -> None:
        service.asked.append(request)
        reply = service.instead or ANSWERS[name](request, service.results)
        await responder.reply(reply.status, reply.body.encode(), reply.headers, reply.kind)

    async with loopback(handler) as server:
        service.base = server.url + PATHS.get(name, "")
        yield service


def said(value: object, status: int = 200) -> Reply:
    return Reply(json.dumps(value), status)


def challenge() -> Reply:
    """What DuckDuckGo sends to whom it takes for a program."""
    tiles = '<img class="anomaly-modal__image" src="../assets/anomaly/images/challenge/1.jpg">' * 9
    return Reply(
        '<html><head><title>DuckDuckGo</title></head><body><form id="challenge-form" method="POST" '
        'action="//duckduckgo.com/anomaly.js?sv=html&amp;cc=botnet"><div class="anomaly-modal__mask"><div '
        'class="anomaly-modal__title">Unfortunately, bots use DuckDuckGo too.</div><div class="anomaly-modal__description">'
        f"Please complete the following challenge to confirm this search was made by a human.</div>{tiles}</div></form></body>",
        202,
        "text/html; charset=UTF-8",
    )


# -- each service -------------------------------------------------------------------------------------------------------


def duckduckgo(request: HttpRequest, results: Results) -> Reply:
    assert (request.method, request.path) == ("POST", "/html/")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    if not request.headers["user-agent"].startswith("Mozilla/5.0 "):
        return challenge()
    ad = '<div class="result results_links results_links_deep result--ad"><h2 class="result__title"><a rel="nofollow" class='
    ad += '"result__a" href="https://duckduckgo.com/y.js?ad_domain=shop.example&amp;u3=https%3A%2F%2Fshop.example">Buy</a></h2></div>'
    found = "".join(_duckduckgo_result(number, *result) for number, result in enumerate(results))
    none = (
        '<div class="result results_links results_links_deep result--no-result"><div class="no-results">No  results.</div></div>'
    )
    page = f'<div class="serp__results"><div id="links" class="results">{ad}{found or none}</div></div>'
    return Reply(f"<!DOCTYPE html><html><head><title>at DuckDuckGo</title></head><body>{page}</body></html>", 200, "text/html")


def _duckduckgo_result(number: int, title: str, url: str, text: str, _date: str) -> str:
    """Every other address is wrapped: both kinds are seen."""
    href = html.escape(f"//duckduckgo.com/l/?uddg={quote(url, safe='')}&rut=0123" if number % 2 else url)
    snippet = f'<a class="result__snippet" href="{href}">{html.escape(text)}</a>' if text else ""
    return (
        '<div class="result results_links results_links_deep web-result "><div class="links_main links_deep result__body">'
        f'<h2 class="result__title"><a rel="nofollow" class="result__a" href="{href}">{html.escape(title)}</a></h2>'
        f'<div class="result__extras"><span>a.example</span></div>{snippet}<div class="clear"></div></div></div>'
    )


def brave(request: HttpRequest, results: Results) -> Reply:
    assert (request.method, _path(request)) == ("GET", "/res/v1/web/search")
    assert 1 <= int(_query(request)["count"]) <= 20
    if request.headers["x-subscription-token"] != KEY:
        detail = "The provided subscription token is invalid."
        error = {
            "id": "1",
            "status": 422,
            "code": "SUBSCRIPTION_TOKEN_INVALID",
            "detail": detail,
            "meta": {"component": "authentication"},
        }
        return said({"type": "ErrorResponse", "error": error, "time": 1767225600}, 422)
    answer: dict[str, object] = {"type": "search", "query": {"original": _query(request)["q"], "more_results_available": False}}
    if results:
        found = [
            {
                "title": title,
                "url": url,
                "description": html.escape(text).replace("Structured", "<strong>Structured</strong>"),
                "age": date,
            }
            for title, url, text, date in results
        ]
        answer["web"] = {"type": "search", "results": found, "family_friendly": True}
    return said(answer)


def tavily(request: HttpRequest, results: Results) -> Reply:
    body = _posted(request, "/search")
    if request.headers["authorization"] != f"Bearer {KEY}":
        return said({"detail": {"error": "Unauthorized: missing or invalid API key."}}, 401)
    found = [
        {
            "title": title,
            "url": url,
            "content": text,
            "score": 0.9,
            "raw_content": None,
            **({"published_date": date} if date else {}),
        }
        for title, url, text, date in results
    ]
    return said({"query": body["query"], "answer": None, "images": [], "results": found, "response_time": 1.1})


def searxng(request: HttpRequest, results: Results) -> Reply:
    assert (request.method, _path(request), _query(request)["format"]) == ("GET", "/search", "json")
    found = [
        {"title": title, "url": url, "content": text, "engine": "brave", "publishedDate": date or None}
        for title, url, text, date in results
    ]
    rest: dict[str, object] = {"answers": [], "corrections": [], "infoboxes": [], "suggestions": [], "unresponsive_engines": []}
    return said({"query": _query(request)["q"], "number_of_results": len(found), "results": found, **rest})


def exa(request: HttpRequest, results: Results) -> Reply:
    body = _posted(request, "/search")
    assert isinstance(body["contents"], dict)
    if request.headers["x-api-key"] != KEY:
        return said({"requestId": "1", "error": "Invalid API key", "tag": "INVALID_API_KEY"}, 401)
    found = [
        {"id": url, "title": title, "url": url, "publishedDate": date or None, "author": None, "text": text}
        for title, url, text, date in results
    ]
    return said({"requestId": "1", "resolvedSearchType": "neural", "results": found, "costDollars": {"total": 0.005}})


def jina(request: HttpRequest, results: Results) -> Reply:
    assert (request.method, _path(request)) == ("GET", "/")
    assert (request.headers["accept"], request.headers["x-respond-with"]) == ("application/json", "no-content")
    if request.headers["authorization"] != f"Bearer {KEY}":
        text = "Authentication is required to use this endpoint. Please provide a valid API key via Authorization header."
        return said(_jina_error(401, "AuthenticationRequiredError", 40103, text), 401)
    if not results:
        text = f"No search results available for query {_query(request)['q']}"
        return said(_jina_error(422, "AssertionFailureError", 42206, text), 422)
    found = [
        {"title": title, "url": url, "description": text, "date": date, "content": "", "usage": {"tokens": 1000}}
        for title, url, text, date in results
    ]
    return said({"code": 200, "status": 20000, "data": found, "meta": {"usage": {"tokens": 10000}}})


def _jina_error(code: int, name: str, status: int, text: str) -> object:
    return {"data": None, "code": code, "name": name, "status": status, "message": text, "readableMessage": f"{name}: {text}"}


def serper(request: HttpRequest, results: Results) -> Reply:
    body = _posted(request, "/search")
    if request.headers["x-api-key"] != KEY:
        return said({"message": "Unauthorized.", "statusCode": 403}, 403)
    found = [
        {"title": title, "link": url, "snippet": text, "position": number, **({"date": date} if date else {})}
        for number, (title, url, text, date) in enumerate(results, 1)
    ]
    return said({"searchParameters": {"q": body["q"], "type": "search", "engine": "google"}, "organic": found, "credits": 1})


def kagi(request: HttpRequest, results: Results) -> Reply:
    assert (request.method, _path(request)) == ("GET", "/api/v0/search")
    meta = {"id": "1", "node": "us-central1", "ms": 213}
    if request.headers["authorization"] != f"Bot {KEY}":
        return said({"meta": meta, "data": None, "error": [{"code": 1, "msg": "Unauthorized", "ref": None}]}, 401)
    found: list[object] = [
        {"t": 0, "rank": number, "title": title, "url": url, "snippet": text, "published": date or None}
        for number, (title, url, text, date) in enumerate(results, 1)
    ]
    return said({"meta": meta, "data": [*found, {"t": 1, "list": ["what else to ask"]}]})


ANSWERS: Mapping[str, Callable[[HttpRequest, Results], Reply]] = {
    answer.__name__: answer for answer in (duckduckgo, brave, tavily, searxng, exa, jina, serper, kagi)
}


# -- requests -----------------------------------------------------------------------------------------------------------


def _path(request: HttpRequest) -> str:
    return urlsplit(request.path).path


def _query(request: HttpRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}


def _posted(request: HttpRequest, path: str) -> dict[str, object]:
    assert (request.method, request.path, request.headers["content-type"]) == ("POST", path, "application/json")
    body: dict[str, object] = json.loads(request.body)
    return body


def _in_form(request: HttpRequest) -> str:
    return parse_qs(request.body.decode())["q"][0]


def _in_address(request: HttpRequest) -> str:
    return unquote(_query(request)["q"])


def _in_body(request: HttpRequest) -> str:
    body = json.loads(request.body)
    return str(body.get("query") or body["q"])


QUERIES: Mapping[str, Callable[[HttpRequest], str]] = {
    "duckduckgo": _in_form,
    **dict.fromkeys(["brave", "searxng", "jina", "kagi"], _in_address),
    **dict.fromkeys(["tavily", "exa", "serper"], _in_body),
}
