"""From HTML to Markdown or plain text, and JSON on lines of its own, in a process of its own: a page can be made so that parsing
it takes hours and the interpreter's lock with it (300,000 attributes on one tag do), and this can be ended.

Standard input: a line of JSON (`mode`: `markdown`, `text` or `json`; `url`), then the page in UTF-8. Standard output: one JSON
object, `title` and `text`; nothing where JSON is none.

What is around the text (navigation, footers, forms) is left out where the page says what it is, by its elements or by the
names of their classes, and kept where there would be little left. What is left out by a name is small beside the page: text
that is missing is worse than text that is too much. Recursion is avoided: pages are nested as deep as their authors like.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser, LexborNode

MEMORY = 1024 * 1024 * 1024
"""Bytes of address space of this process."""
CPU_S = 20
"""Seconds of processor time of this process."""
LITTLE = 200
"""Characters of text below which the whole page is taken instead."""
NESTED = 8
"""Most marks and links inside each other that are shown."""
NEVER = frozenset(
    ["script", "style", "noscript", "template", "svg", "iframe", "object", "head", "select", "option", "button", "input"]
)
AROUND = frozenset(["nav", "footer", "aside", "header", "form", "dialog"])
HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
LISTS = frozenset(["ul", "ol", "li", "dl", "dt", "dd", "table", "tr"])
DIVISIONS = frozenset(
    ["p", "div", "section", "article", "main", "body", "figure", "figcaption", "fieldset", "blockquote", "pre", "hr"]
)
BLOCKS = AROUND | HEADINGS | LISTS | DIVISIONS | frozenset(["details", "summary", "address"])
MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "code": "`", "kbd": "`", "samp": "`"}
_NAMES = """
ad ads advert advertisement banner breadcrumb breadcrumbs consent cookie cookies footer menu nav navbar navigation newsletter
promo recommended related share sharing sidebar sidenav skip social sponsored subscribe toc topbar widget
"""
NAMES = frozenset(_NAMES.split())
"""Words of class names and ids for what is around the text."""
SMALL = 1 / 3
"""Part of a page's text that something of such a name may have at most, to be left out."""
WEIGHED = 500
"""Most elements of such names that are looked at; pages have some dozens."""
LONGEST_TITLE = 1000
"""Characters; a page can have megabytes of it."""
DEEPEST = 16
"""Levels of JSON that are indented; it may have thousands, with a million values on the last."""
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]\s*[\]}]|[\[{\]},:]|[^\s"\[\]{},:]+')
HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
SPACE = re.compile(r"[ \t\r\n\f]+")


class Writer:
    """Takes the nodes of a tree one by one, `enter` and `leave`, and keeps the text they make."""

    def __init__(self, url: str, *, marks: bool) -> None:
        self._url, self._marks = url, marks
        self._blocks: list[str] = []
        self._line: list[str] = []
        self._begins: list[int] = []
        """Where in the line the open marks and links begin."""
        self._prefixes: list[str] = []
        """Of every line: quotes, indents of lists. The last one's marker stands before its first line only."""
        self._marker = ""
        self._counts: list[int | None] = []
        self._flat = 0
        """Inside links and rows of tables blocks do not begin new lines."""
        self._pre = 0
        self._columns = -1

    @property
    def text(self) -> str:
        self._end_block()
        return "\n".join(self._blocks).strip("\n")

    def say(self, text: str) -> None:
        self._line.append(text if self._pre else SPACE.sub(" ", text))

    def enter(self, node: LexborNode, tag: str) -> None:
        if tag in BLOCKS:
            self._begin_block(tag)
        if tag == "br":
            self._line.append("\n")
        elif tag == "img" and self._marks and (alt := SPACE.sub(" ", node.attributes.get("alt") or "").strip()):
            self._line.append(f"![{alt}]")
        elif tag in MARKS or tag == "a":
            self._begins.append(len(self._line))
            self._flat += tag == "a"

    def leave(self, node: LexborNode, tag: str) -> None:
        if tag == "a":
            self._flat -= 1
            self._wrap("[", f"]({address})" if (address := self._address(node)) else "")
        elif tag in MARKS:
            self._wrap(MARKS[tag], MARKS[tag])
        elif tag in BLOCKS:
            self._leave_block(tag)

    def _begin_block(self, tag: str) -> None:
        if self._flat:
            self._line.append(" ")
            return
        self._end_block()
        if tag in ("ul", "ol"):
            self._counts.append(0 if tag == "ol" else None)
        elif tag == "li":
            self._begin_item()
        elif tag == "blockquote":
            self._prefixes.append("> ")
        elif tag == "pre":
            self._pre += 1
        elif tag == "table":
            self._columns = -1
        elif tag == "tr":
            self._flat += 1
        elif tag == "hr":
            self._blocks.append("---\n")
        elif tag in HEADINGS and self._marks:
            self._marker = "#" * int(tag[1]) + " "

    def _begin_item(self) -> None:
        count = self._counts[-1] if self._counts else None
        if count is not None:
            self._counts[-1] = count + 1
        self._marker = "- " if count is None else f"{count + 1}. "
        self._prefixes.append(" " * len(self._marker))

    def _leave_block(self, tag: str) -> None:
        if tag == "tr" and self._flat:
            self._flat -= 1
            if not self._flat:
                self._end_row()
            return
        if self._flat:
            self._line.append(" ")
            return
        self._end_block()
        if tag in ("ul", "ol"):
            self._counts.pop()
            if not self._counts:
                self._gap()
        elif tag == "table":
            self._gap()
        elif tag in ("li", "blockquote"):
            self._prefixes.pop()
            self._marker = ""
        elif tag == "pre":
            self._pre -= 1

    def _end_row(self) -> None:
        cells = [cell.strip() for cell in "".join(self._line).replace("\n", " ").split("\0")[1:]]
        self._line.clear()
        if any(cells):
            self._line.append(f"| {' | '.join(cells)} |" if self._marks else "  ".join(cells))
            if self._marks and self._columns < 0:
                self._line.append("\n|" + " --- |" * len(cells))
            self._columns = len(cells)
            self._end_block(gap=False)

    def cell(self) -> None:
        if self._flat:
            self._line.append("\0")

    def _end_block(self, *, gap: bool = True) -> None:
        text = "".join(self._line).replace("\0", " ")
        self._line.clear()
        self._begins = [0] * len(self._begins)
        text = text.strip("\n") if self._pre else re.sub(r" *\n *", "\n", re.sub(" {2,}", " ", text)).strip()
        if not text.strip():
            return
        if self._pre and self._marks:
            text = f"```\n{text}\n```"
        indent = "".join(self._prefixes)
        first = indent[: len(indent) - len(self._marker)] + self._marker if self._prefixes and self._marker[-2:] != "# " else ""
        lines = text.split("\n")
        head = (first or indent + self._marker) + lines[0]
        self._blocks.append("\n".join([head, *(indent + line for line in lines[1:])]))
        self._marker = ""
        if gap and not self._counts:
            self._gap()

    def _gap(self) -> None:
        if self._blocks and not self._blocks[-1].endswith("\n"):
            self._blocks[-1] += "\n"

    def _wrap(self, before: str, after: str) -> None:
        begin = self._begins.pop()
        if len(self._begins) >= NESTED:
            return
        text = "".join(self._line[begin:])
        inner = text.strip()
        if not (self._marks and after and inner) or self._pre or "\0" in text:
            return
        lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        self._line[begin:] = [lead, before, SPACE.sub(" ", inner), after, trail]

    def _address(self, node: LexborNode) -> str:
        href = (node.attributes.get("href") or "").strip()
        try:
            address = urljoin(self._url, href) if href else ""
        except ValueError:
            return ""
        return address.replace(" ", "%20").replace(")", "%29") if address.startswith(("http://", "https://", "mailto:")) else ""


class Sieve:
    """Tells what is left out of a page."""

    def __init__(self, left_out: frozenset[str], text: int) -> None:
        """text: characters of the page; 0 leaves out nothing by its name."""
        self._tags, self._most, self._weighed = NEVER | left_out, text * SMALL, 0

    def takes(self, node: LexborNode, tag: str) -> bool:
        if tag.startswith(("-", "!", "_")) or tag in self._tags:
            return False
        attributes = node.attributes
        if "hidden" in attributes or HIDING.search(attributes.get("style") or ""):
            return False
        return not (self._most and tag in DIVISIONS | LISTS and self._around(node, attributes))

    def _around(self, node: LexborNode, attributes: Mapping[str, str | None]) -> bool:
        names = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
        if self._weighed >= WEIGHED or not NAMES & set(re.split(r"[\s_-]+", names.lower())):
            return False
        self._weighed += 1
        return len(node.text()) < self._most and node.css_first("h1") is None


def walk(root: LexborNode, writer: Writer, sieve: Sieve) -> None:
    for node, tag, entering in _visits(root, sieve):
        if tag == "-text":
            writer.say(node.text_content or "")
        elif entering:
            if tag in ("td", "th"):
                writer.cell()
            writer.enter(node, tag)
        else:
            writer.leave(node, tag)


def _visits(root: LexborNode, sieve: Sieve) -> Iterator[tuple[LexborNode, str, bool]]:
    """Every node that is shown, with its tag: on the way in, and but for text on the way out."""
    stack: list[tuple[LexborNode, str, bool]] = [(root, root.tag or "", True)]
    while stack:
        node, tag, entering = stack.pop()
        yield node, tag, entering
        if tag == "-text" or not entering:
            continue
        stack.append((node, tag, False))
        child = node.last_child
        while child is not None:
            name = child.tag or ""
            if name == "-text" or sieve.takes(child, name):
                stack.append((child, name, True))
            child = child.prev


def converted(html: str, url: str, *, marks: bool) -> tuple[str, str]:
    """Title and text of a page."""
    tree = LexborHTMLParser(html)
    title = tree.css_first("title")
    name = SPACE.sub(" ", title.text(deep=False)).strip()[:LONGEST_TITLE] if title is not None else ""
    text = ""
    tree.strip_tags(["script", "style", "noscript", "template", "svg"])  # their text is none of the page's
    for root, sieve in _choices(tree):
        writer = Writer(url, marks=marks)
        walk(root, writer, sieve)
        text = writer.text
        if len(text) >= LITTLE:
            break
    return name, text


def _choices(tree: LexborHTMLParser) -> Iterator[tuple[LexborNode, Sieve]]:
    """What may be the text of the page, the best first; the last one is everything."""
    articles = tree.css("article")
    main = tree.css_first("main, [role=main]") or (articles[0] if len(articles) == 1 else None)
    if main is not None:
        yield main, Sieve(frozenset(["nav", "aside", "footer"]), len(main.text()))
    if tree.body is not None:
        yield tree.body, Sieve(AROUND, len(tree.body.text()))
        yield tree.body, Sieve(frozenset(), 0)


def laid_out(text: str) -> str:
    """JSON with a line for each value; numbers stay as they are written, and names that come twice.

    Raises: ValueError, RecursionError.
    """
    json.loads(text)
    pieces: list[str] = []
    depth = 0
    for found in TOKEN.finditer(text):
        token = found[0]
        if token in "[{":
            depth += 1
            pieces.append(token + _new_line(depth))
        elif token in "]}":
            depth -= 1
            pieces.append(_new_line(depth) + token)
        elif token == ",":
            pieces.append(token + _new_line(depth))
        elif token == ":":
            pieces.append(": ")
        else:
            pieces.append(_shown(token))
    return "".join(pieces)


def _new_line(depth: int) -> str:
    return "\n" + "  " * min(depth, DEEPEST)


def _shown(token: str) -> str:
    """Letters instead of escapes, but for halves of a letter."""
    if token[0] in "[{":
        return token[0] + token[-1]
    if "\\u" not in token:
        return token
    shown = json.dumps(json.loads(token), ensure_ascii=False)
    return shown if shown == shown.encode("utf-8", "replace").decode() else token


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    request = json.loads(sys.stdin.buffer.readline())
    html = sys.stdin.buffer.read().decode("utf-8", "replace")
    if request["mode"] != "json":
        title, text = converted(html, request["url"], marks=request["mode"] == "markdown")
        sys.stdout.write(json.dumps({"title": title, "text": text}))
        return
    with suppress(ValueError, RecursionError):
        sys.stdout.write(json.dumps({"text": laid_out(html)}))


if __name__ == "__main__":
    main()
