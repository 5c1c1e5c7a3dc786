"""Signs that do not show: what a person reads of a command or a path must be what will be run or opened.

`hidden` says why a text is not taken; `visible` shows every such sign by its number. Refused are control characters (but tab
and line feed), whatever turns the direction of writing around, tags, and spaces and fillers without a width. What languages
and emoji need is left alone: joiners between signs of their scripts, direction marks, variation selectors, the three flags
that are spelled with tags. The same signs where they only hide something (between ASCII letters, in a row) are refused.
"""

from __future__ import annotations

import json
import re
import unicodedata

_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # control characters: they move the cursor and erase what stands there
    r"|[\u202a-\u202e\u2066-\u2069]"  # the direction of writing: what comes last is shown first
    r"|[\u00ad\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb]"  # no width, or a line that is none
    r"|[\u3164\uffa0]"  # fillers: letters that show nothing
    r"|[\ud800-\udfff]"  # halves of a character
    r"|(?P<flag>\U0001f3f4(?:\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074"
    r"|\U000e0077\U000e006c\U000e0073))\U000e007f)"  # England, Scotland, Wales
    r"|[\U000e0000-\U000e007f]"  # tags: a whole alphabet that does not show
    r"|(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"  # variants of what has none
    r"|(?<=[\ufe00-\ufe0f])[\ufe00-\ufe0f]"
    r"|(?<![^\x00-\x7f])[\u200c\u200d](?![^\x00-\x7f])"  # joiners that join nothing
    r"|(?<=[\u200c\u200d]{2})[\u200c\u200d]"
)


def hidden(text: str) -> str | None:
    """Why the text is not taken, for the model and for people; None where everything in it shows."""
    for found in _HIDDEN.finditer(text):
        if not found["flag"]:
            name = unicodedata.name(found[0], "a control character")
            return f"it holds a sign that does not show, U+{ord(found[0]):04X} ({name}), as character {found.start() + 1}"
    return None


def visible(text: str) -> str:
    """The text with every sign that does not show written out: `<U+202E>`."""
    return _HIDDEN.sub(lambda found: found["flag"] or f"<U+{ord(found[0]):04X}>", text)


def one_line(text: str) -> str:
    """A name for a list: as it is, or as JSON spells it where it would not show, or not as one line."""
    return json.dumps(text) if "\n" in text or hidden(text) else text
