"""From a page of DuckDuckGo's results to the results, in a process of its own, for the reasons of web_child.py.

Standard input: a line of JSON, then the page in UTF-8. Standard output: what `duckduckgo` returns, as JSON. A page that is not
recognised is `strange`, never one without results.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from urllib.parse import parse_qs, urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

MEMORY = 512 * 1024 * 1024
"""Bytes of address space of this process."""
CPU_S = 10
"""Seconds of processor time of this process."""
CHALLENGE = ".anomaly-modal, [class^=anomaly-modal], #challenge-form, form[action*='anomaly.js']"
NOTHING = ".no-results, .result--no-result"


def duckduckgo(html: str) -> Mapping[str, object]:
    """`state` (`found`, `none`, `challenge` where it asks for a person, `strange`) and `found`: title, address, text of each."""
    tree = LexborHTMLParser(html)
    found = [entry for result in tree.css(".result:not(.result--ad)") if (entry := _result(result))]
    if found:
        return {"state": "found", "found": found}
    if tree.css_first(CHALLENGE) is not None:
        return {"state": "challenge", "found": []}
    return {"state": "strange" if tree.css_first(NOTHING) is None else "none", "found": []}


def _result(result: LexborNode) -> tuple[str, str, str] | None:
    link, text = result.css_first("a.result__a"), result.css_first(".result__snippet")
    if link is None:
        return None
    try:
        address = urljoin("https://duckduckgo.com/", link.attributes.get("href") or "")
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.hostname == "duckduckgo.com":  # wrapped, or an advertisement
        address = parse_qs(parts.query).get("uddg", [""])[0] if parts.path == "/l/" else ""
    return (link.text(), address, "" if text is None else text.text()) if address else None


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    sys.stdin.buffer.readline()
    html = sys.stdin.buffer.read().decode("utf-8", "replace")
    sys.stdout.write(json.dumps(duckduckgo(html)))


if __name__ == "__main__":
    main()
