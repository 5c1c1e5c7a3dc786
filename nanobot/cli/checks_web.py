"""What `nanobot doctor` says about the web tools and about files that are not text."""

from __future__ import annotations

from importlib.util import find_spec

from nanobot.cli.findings import UNREAD, Facts, Finding, bad, ok
from nanobot.errors import ToolError
from nanobot.tools.web_services import chosen

LIBRARIES = {"docx": "Word", "openpyxl": "Excel", "pptx": "PowerPoint"}


def search(facts: Facts) -> Finding:
    """Whether the service that is chosen has what it needs."""
    if facts.config is None:
        return UNREAD
    web = facts.config.tools.web
    if not web.enable:
        return ok("off (tools.web.enable)")
    try:
        found = chosen(web.search, facts.environ)
    except ToolError as error:
        return bad(f"{error}: nanobot guide tools")
    at = f" at {found.base}" if found.own else ""
    return ok(f"{found.service.title}{at}{'' if found.service.keyed else ', which needs no key'}")


def documents(_facts: Facts) -> Finding:
    """What kinds of files can be read. Those of the extra are nobody's duty."""
    missing = [kind for name, kind in LIBRARIES.items() if find_spec(name) is None]
    if not missing:
        return ok(f"PDF, {', '.join(LIBRARIES.values())}")
    return ok(f"PDF; for {', '.join(missing)}: pip install 'nanobot[documents]'")
