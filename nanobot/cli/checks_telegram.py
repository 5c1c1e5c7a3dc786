"""What `nanobot doctor` says about Telegram without asking it: what people get wrong in its part of the configuration."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator

from nanobot.cli.findings import UNREAD, Facts, Finding, bad, ok, warn
from nanobot.config.schema import TelegramConfig

TOKEN = re.compile(r"\d{6,12}:[A-Za-z0-9_-]{30,50}")
ASK = "nanobot channels test telegram"


def telegram(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    settings = facts.config.channels.telegram
    if not settings.enabled:
        return ok("not enabled")
    if importlib.util.find_spec("telegram") is None:
        return bad("what speaks to Telegram is not installed: pip install 'nanobot[telegram]'")
    if wrong := _token(settings.token.reveal()):
        return bad(wrong)
    if odd := list(_odd(settings)):
        return warn("; ".join(odd))
    return ok(f"set up as far as can be seen from here; who it is there: {ASK}{facts.option}")


def _token(token: str) -> str:
    if not token:
        return 'channels.telegram.token is empty: @BotFather gives you one: "token": "${TELEGRAM_TOKEN}"'
    if TOKEN.fullmatch(token):
        return ""
    return "channels.telegram.token is not like one (123456789:AA..., without blanks or quotes): copy it from @BotFather again"


def _odd(settings: TelegramConfig) -> Iterator[str]:
    """What cannot be meant."""
    groups = [one for one in settings.group_allow_from if not re.fullmatch(r"-\d+", one)]
    if groups:
        yield f"channels.telegram.groupAllowFrom: {groups[0]!r} is no group; their ids begin with -, most with -100"
    users = [one for one in settings.allow_from if re.fullmatch(r"-\d+", one)]
    if users:
        yield (
            f"channels.telegram.allowFrom: {users[0]} is a group or a channel, and names what is written in its own name, as by"
            " administrators who hide; groups that are answered under allowlist go into groupAllowFrom"
        )
    named = [one for one in settings.allow_from if one != "*" and not re.fullmatch(r"-?\d+(\|.*)?", one)]
    if named:
        yield f"channels.telegram.allowFrom: {named[0]!r} is a name, which somebody else may take one day; write the number"
    if settings.group_policy in ("open", "allowlist"):
        yield (
            f"channels.telegram.groupPolicy is {settings.group_policy}, for which the bot must see all that is said in a group:"
            f" whether its privacy mode lets it, says {ASK}"
        )
