"""Markdown as models write it, in the HTML that Telegram reads. Pure.

What comes out is always well-formed, whatever goes in: tags are made here, and everything else is escaped. What is no Markdown
stands as it was written. Telegram counts a message after it has read the tags, in UTF-16 units: `units` gives that number.

Where Telegram refuses the HTML all the same, `plain` is what to send instead: as long as what is counted, or shorter.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from nanobot.channels.splitting import utf16_units

WIDEST = 30
"""Columns of a table's cell that others are lined up with; longer ones stand out, and do not blow up the table."""
LONGEST_SPAN = 4096
"""Characters of what one pair of marks can hold."""
DEEPEST = 6
"""Of spans within one another."""
REMEMBERED = 256
"""Lines: to find where to cut, the same text is measured a dozen times."""

_FENCE = re.compile(r"[ ]{0,3}(?P<mark>`{3,}|~{3,})(?P<info>[^\n`]*)")
_HEADING = re.compile(r" {0,3}#{1,6}\s+(?P<text>.+?)(?:\s+#+)?\s*")
_RULE = re.compile(r" {0,3}(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})")
_QUOTE = re.compile(r" {0,3}>\s?(?P<text>.*)")
_BULLET = re.compile(r"(?P<indent>\s*)[-*+]\s+(?:\[(?P<box>[ xX])\]\s+)?(?P<text>.*)")
_TABLE_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
_LINK = re.compile(r"https?://([^/?#@]*@)?([^/?#:@]*\.[^/?#:@]*|\[[0-9a-f:.]+\])([:/?#]|$)|tg://", re.IGNORECASE)
"""What Telegram makes a link of: of anything else, as of a host without a dot, it silently shows the label alone."""
_TAG = re.compile(r"<[^>]*>")
_BOXES = {None: "• ", " ": "☐ ", "x": "☑ ", "X": "☑ "}


def _between(mark: str) -> str:
    """What may stand between two such marks: at most `LONGEST_SPAN` characters without another, with no blank at the ends."""
    return rf"(?=[^\s{mark}])(?:[^{mark}]|{mark}(?!{mark})){{1,{LONGEST_SPAN}}}+(?<=\S)"


_INLINE = re.compile(
    rf"""
      \\(?P<escaped>[\\`*_{{}}\[\]()#+\-.!|~<>])
    | (?P<ticks>`+)(?P<code>[^`]{{1,{LONGEST_SPAN}}}+|(?:[^`]|(?<!`)`(?!`)){{1,{LONGEST_SPAN}}}+)(?P=ticks)(?!`)
    | !?\[(?P<label>[^\[\]]{{1,{LONGEST_SPAN}}}+)\]\((?P<url>[^\s()<>]*+(?:\([^\s()<>]*\)[^\s()<>]*)*)(?:\s+"[^"]*")?\)
    | <(?P<auto>(?:https?://|mailto:)[^\s<>]++)>
    | \*\*\*(?P<both>(?=\S)[^*]{{1,{LONGEST_SPAN}}}+(?<=\S))\*\*\*
    | \*\*(?P<bold>{_between(chr(92) + "*")})\*\*
    | (?<!\w)__(?P<bold2>{_between("_")})__(?!\w)
    | ~~(?P<strike>{_between("~")})~~
    | \|\|(?P<spoiler>{_between(chr(92) + "|")})\|\|
    | (?<![\w*])\*(?P<italic>(?=\S)[^*]{{1,{LONGEST_SPAN}}}+(?<=\S))\*(?![\w*])
    | (?<![\w_])_(?P<italic2>(?=\S)(?:[^_]|(?<=\w)_(?=\w)){{1,{LONGEST_SPAN}}}+(?<=\S))_(?![\w_])
    """,
    re.VERBOSE,
)
_TAGS = {"bold": "b", "bold2": "b", "strike": "s", "spoiler": "tg-spoiler", "italic": "i", "italic2": "i"}


def render(text: str) -> str:
    """The HTML."""
    return "\n".join(_blocks(text.split("\n")))


def visible(rendered: str) -> str:
    """What a reader sees of some HTML of ours."""
    return html.unescape(_TAG.sub("", rendered))


def units(text: str) -> int:
    """What Telegram counts of it."""
    return utf16_units(visible(render(text)))


def plain(text: str, limit: int) -> str:
    """Without any tags: as it was written if that fits, else as it would have been seen."""
    return text if utf16_units(text) <= limit else visible(render(text))


# --- blocks


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if fence := _FENCE.fullmatch(line):
            end = _end_of_fence(lines, at, fence["mark"])
            yield _code(lines[at + 1 : end], fence["info"].strip())
            at = end + 1
        elif _QUOTE.fullmatch(line):
            end = _while(_QUOTE, lines, at)
            yield f"<blockquote>{chr(10).join(_inline(_QUOTE.sub(_text_of, one)) for one in lines[at:end])}</blockquote>"
            at = end
        elif "|" in line and at + 1 < len(lines) and "|" in lines[at + 1] and _TABLE_RULE.fullmatch(lines[at + 1]):
            end = next((n for n in range(at + 2, len(lines)) if "|" not in lines[n]), len(lines))
            yield _table([line, *lines[at + 2 : end]])
            at = end
        else:
            yield _line(line)
            at += 1


def _line(line: str) -> str:
    if _RULE.fullmatch(line):
        return "———"
    if heading := _HEADING.fullmatch(line):
        return f"<b>{_inline(heading['text'])}</b>"
    if bullet := _BULLET.fullmatch(line):
        return f"{bullet['indent']}{_BOXES[bullet['box']]}{_inline(bullet['text'])}"
    return _inline(line)


def _end_of_fence(lines: list[str], start: int, mark: str) -> int:
    """The line that closes it; one behind the last where none does."""
    for at in range(start + 1, len(lines)):
        found = _FENCE.fullmatch(lines[at])
        if found and found["mark"].startswith(mark) and not found["info"].strip():
            return at
    return len(lines)


def _while(pattern: re.Pattern[str], lines: list[str], at: int) -> int:
    while at < len(lines) and pattern.fullmatch(lines[at]):
        at += 1
    return at


def _text_of(found: re.Match[str]) -> str:
    return found["text"]


def _code(lines: list[str], info: str) -> str:
    body = html.escape("\n".join(lines), quote=False)
    language = info.split(maxsplit=1)[0] if info else ""
    if not language:
        return f"<pre>{body}</pre>"
    return f'<pre><code class="language-{html.escape(language)}">{body}</code></pre>'


def _table(lines: list[str]) -> str:
    """Lined up in a type of one width."""
    rows = [[visible(_inline(cell.strip())) for cell in line.strip().strip("|").split("|")] for line in lines]
    widths = [min(WIDEST, max(map(_columns, column))) for column in _by_columns(rows)]
    shown = ["  ".join(cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=False)) for row in rows]
    return f"<pre>{html.escape(chr(10).join(row.rstrip() for row in shown), quote=False)}</pre>"


def _by_columns(rows: list[list[str]]) -> list[list[str]]:
    most = max(map(len, rows))
    return [[row[place] if place < len(row) else "" for row in rows] for place in range(most)]


def _columns(text: str) -> int:
    """How wide it is in a type of one width."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


# --- inside a line


@lru_cache(REMEMBERED)
def _inline(text: str, depth: int = 0) -> str:
    parts: list[str] = []
    at = 0
    for found in _INLINE.finditer(text) if depth < DEEPEST else ():
        parts += [html.escape(text[at : found.start()], quote=False), _span(found, depth)]
        at = found.end()
    return "".join((*parts, html.escape(text[at:], quote=False)))


def _span(found: re.Match[str], depth: int) -> str:
    kind = found.lastgroup or ""
    match kind:
        case "escaped":
            return html.escape(found["escaped"], quote=False)
        case "code":
            return f"<code>{html.escape(_unpadded(found['code']), quote=False)}</code>"
        case "label" | "url":
            return _link(found["label"], found["url"], depth)
        case "auto":
            return _link(found["auto"], found["auto"], DEEPEST)
        case "both":
            return f"<b><i>{_inline(found['both'], depth + 1)}</i></b>"
        case _:
            return f"<{_TAGS[kind]}>{_inline(found[kind], depth + 1)}</{_TAGS[kind]}>"


def _link(label: str, url: str, depth: int) -> str:
    shown = _inline(label, depth + 1)
    if not _LINK.match(url):
        return f"{shown} ({html.escape(url, quote=False)})" if url and url != label else shown
    return f'<a href="{html.escape(url)}">{shown}</a>'


def _unpadded(code: str) -> str:
    """Of "`` `x` ``" the blanks that only keep the marks apart are not meant."""
    padded = len(code) > 2 and code[0] == code[-1] == " " and code.strip() != ""
    return code[1:-1] if padded else code
