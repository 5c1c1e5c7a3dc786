"""Markdown as WhatsApp shows it: *bold*, _italic_, ~struck~, `code`, and lines. Pure. Code is left as it is; marks that are
far apart are no marks, so that no text takes long."""

from __future__ import annotations

import re

from nanobot.channels.splitting import utf16_units

_CODE = re.compile(r"(?P<fence>`{3,})(?P<body>.*?)(?P<end>(?P=fence)`*|\Z)|`[^`\n]+`", re.DOTALL)
_HEADING = re.compile(r"^[ ]{0,3}#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_ITALIC = re.compile(r"(?<![*\w])\*(?![\s*])([^*\n]+?)(?<![\s*])\*(?![*\w])")
_BOLD = re.compile(r"\*\*(?=\S)(.{1,1000}?)(?<=\S)\*\*(?!\*)|(?<!\w)__(?=\S)(.{1,1000}?)(?<=\S)__(?!\w)")
_STRUCK = re.compile(r"~~(?=\S)(.{1,1000}?)(?<=\S)~~")
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\(([^\s()]{1,2000})(?:[ \t]+\"[^\"\n]{0,200}\")?\)")
_BULLET = re.compile(r"^([ \t]*)[*+][ \t]+", re.MULTILINE)
_INFO = re.compile(r"\A[\w+#.-]+\n")
_TICKS, _SHOWN_TICKS = "```", "`\u2060`\u2060`"
"""Inside of code, which WhatsApp has no longer fence for, they would end it: they are parted by something that nobody sees."""
_MARK = "\ue000"
"""Stands for a bold asterisk while italics are looked for; of the private use area, and no text's own outside of code."""


def render(text: str) -> str:
    shown, at = [], 0
    for found in _CODE.finditer(text):
        shown += [_prose(text[at : found.start()]), _code(found)]
        at = found.end()
    return "".join((*shown, _prose(text[at:])))


def length(text: str) -> int:
    """How long WhatsApp finds a text of ours."""
    return utf16_units(render(text))


def _code(found: re.Match[str]) -> str:
    if not found["fence"]:
        return found[0]
    body = _INFO.sub("\n", found["body"]).replace(_TICKS, _SHOWN_TICKS)
    return f"{_TICKS}{body}{_TICKS if found['end'] else ''}"


def _prose(text: str) -> str:
    text = _BULLET.sub(r"\1- ", text.replace(_MARK, "\ufffd"))
    text = _LINK.sub(_link, text)
    text = _BOLD.sub(lambda found: f"{_MARK}{found[1] or found[2]}{_MARK}", text)
    text = _ITALIC.sub(r"_\1_", text)
    text = _STRUCK.sub(r"~\1~", text)
    text = _HEADING.sub(_heading, text)
    return text.replace(_MARK, "*")


def _heading(found: re.Match[str]) -> str:
    return f"{_MARK}{found[1].rstrip(' #').replace(_MARK, '')}{_MARK}"


def _link(found: re.Match[str]) -> str:
    """The address stands behind the words, for nothing else leads there; alone where it is the words."""
    words, address = found[1], found[2]
    return address if words in ("", address) else f"{words} ({address})"
