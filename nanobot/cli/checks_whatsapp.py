"""What `nanobot doctor` says about WhatsApp without asking it: Node, the bridge, the link, and numbers that are none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

from nanobot.cli.findings import UNREAD, Facts, Finding, bad, ok, warn
from nanobot.config.schema import WhatsAppConfig

LOGIN = "nanobot channels login whatsapp"
PERSON = re.compile(r"\*|\+?[1-9]\d{6,14}|[1-9]\d{6,14}@s\.whatsapp\.net|\d{10,20}@lid")
GROUP = re.compile(r"\d+(-\d+)?@g\.us")


def whatsapp(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    settings = facts.config.channels.whatsapp
    if not settings.enabled:
        return ok("not enabled")
    if settings.autostart and (wrong := _bridge(facts)):
        return bad(wrong)
    if odd := list(_odd(settings)):
        return warn("; ".join(odd))
    return ok(f"set up as far as can be seen from here; who we are there: nanobot channels test whatsapp{facts.option}")


def _bridge(facts: Facts) -> str:
    from nanobot.channels.whatsapp.bridge import Home  # noqa: PLC0415 -- trio and more, for who has WhatsApp

    built = Home(facts.places.data).program is not None
    missing = [program for program in ("node", *(() if built else ("npm",))) if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} cannot be found: install Node.js 20 or later with npm, then: {LOGIN}"
    if not (facts.places.data / "whatsapp-auth" / "creds.json").is_file():
        return f"it is not linked to a number: {LOGIN}{facts.option}"
    return "" if built else f"the bridge of this version is not built: {LOGIN}{facts.option}"


def _odd(settings: WhatsAppConfig) -> Iterator[str]:
    """What cannot be meant."""
    people = [one for one in settings.allow_from if not PERSON.fullmatch(one)]
    if people:
        yield f"channels.whatsapp.allowFrom: {people[0]!r} is no number; write it in international form, such as 4915112345678"
    groups = [one for one in settings.group_allow_from if not GROUP.fullmatch(one)]
    if groups:
        yield f"channels.whatsapp.groupAllowFrom: {groups[0]!r} is no group; their ids end with @g.us: nanobot sessions list"
