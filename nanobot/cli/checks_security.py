"""What `nanobot doctor` says about what is open: who may do what, what commands reach, who can read our files."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from nanobot.cli.findings import UNREAD, Facts, Finding, bad, ok, warn
from nanobot.config.schema import ChannelConfig, ChannelsConfig, PolicyRule
from nanobot.config.tree import keys_of
from nanobot.messages import Effect
from nanobot.security.egress_address import METADATA, networks
from nanobot.security.policy import TABLE, WHO, Case, decide
from nanobot.web.token import FILE as TOKEN

DANGEROUS = [row for row in TABLE if row.startswith(("exec", "write_file:", "edit_file:", "apply_patch:"))]
"""Rows of the policy table that reach beyond a conversation."""
WIDEST = {4: 8, 6: 7}
"""Bits of the widest networks that are private as a whole: 10.0.0.0/8, fc00::/7."""
LONG_S = 7 * 86_400.0
"""An approval that waits longer is one that nobody remembers."""
MOST_NAMED = 5


# --- who may do what


def groups(facts: Facts) -> Finding:
    """Groups in which everything that is said is an order."""
    if facts.config is None:
        return UNREAD
    found = [key for key, settings in _channels(facts.config.channels) if settings.group_policy == "open"]
    if not found:
        return ok("answered where it is asked")
    named = ", ".join(f"channels.{name}.groupPolicy" for name in found)
    text = f"{named} is open: everything said in any group is a message to it"
    rights = [about for _, about, who in _allowed(facts.config.tools.policy) if "group" in who]
    if rights:
        return bad(f'{text}, and by tools.policy groups may use {", ".join(rights)}: set it to "mention" or "allowlist"')
    return warn(f'{text}; set it to "mention" or "allowlist"')


def policy(facts: Facts) -> Finding:
    """Rules that give away what the table keeps for the owner, or for clean conversations."""
    if facts.config is None:
        return UNREAD
    rules = facts.config.tools.policy
    found = [f"tools.policy[{place}] allows {about} for {who}" for place, about, who in _allowed(rules)]
    if found:
        text = f"{'; '.join(found)}, without asking you. Without it the table holds: nanobot guide policy"
        return bad(text) if any("exec:unsandboxed" in one for one in found) else warn(text)
    return ok(f"{len(rules)} {'rule' if len(rules) == 1 else 'rules'}, none dangerous" if rules else "the table alone")


def _allowed(rules: tuple[PolicyRule, ...]) -> Iterator[tuple[int, str, str]]:
    """Rules that allow what the table does not: the place, what it is about, and for whom."""
    for place, rule in enumerate(rules):
        given: dict[str, list[str]] = {}
        for row in DANGEROUS if rule.decision == "allow" else ():
            for who in WHO:
                for tainted in (False, True):
                    fits = fnmatchcase(row, rule.tool) and rule.who in (None, who) and rule.tainted in (None, tainted)
                    if fits and decide(Case(row, Effect.WRITES, "", who, "", tainted), ()) != "allow":
                        given.setdefault(f"{who}, tainted" if tainted else who, []).append(row)
        if given:
            rows = sorted({row for found in given.values() for row in found}, key=DANGEROUS.index)
            yield place, " and ".join(rows), "; ".join(given)


def approvals(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    seconds = facts.config.tools.approvals.expire_s
    if seconds <= LONG_S:
        return ok(f"a call waits {seconds / 3600:g} hours for your word")
    return warn(
        f"a call waits {seconds / 86_400:g} days for your word, and may then no longer be wanted: tools.approvals.expireS"
    )


# --- what is within reach


def sandbox(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    settings = facts.config.tools.exec
    if not settings.enable:
        return ok("not needed: exec is off")
    found = facts.isolated(settings, facts.environ)
    if found.sandboxed:
        return ok("commands run in bubblewrap")
    if settings.sandbox == "bwrap":
        return bad(f"no command can run, because tools.exec.sandbox is bwrap and {found.reason}")
    return warn(f"there is none for commands, so each one asks you: {found.reason}")


def network(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    settings = facts.config.tools.exec
    if not settings.enable or not settings.network:
        return ok("commands ask for it")
    text = "tools.exec.network lets every command reach the network, so that it can send away what it reads"
    return warn(f"{text}; without it a command asks when it needs it")


def files(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    if facts.config.tools.restrict_to_workspace:
        return ok("the workspace alone")
    return warn("tools.restrictToWorkspace is false: its file tools reach every file that you can reach; set it to true")


def inner_networks(facts: Facts) -> Finding:
    """What addresses in pages and messages may lead to, beside the public ones."""
    if facts.config is None:
        return UNREAD
    given = facts.config.tools.ssrf_whitelist
    allowed = networks(given)
    keys = [str(one) for one in allowed if one.num_addresses == 1 and one[0] in METADATA]
    wide = [str(one) for one in allowed if one.prefixlen < WIDEST[one.version]]
    if keys or wide:
        why = "is where a cloud hands out keys of this machine" if keys else "is nearly everything"
        return bad(
            f"tools.ssrfWhitelist: {', '.join(keys or wide)} {why}; name the network that you mean, such as 192.168.1.0/24"
        )
    return ok(f"{', '.join(map(str, allowed))} beside the public ones" if allowed else "public addresses alone")


def allowed_hosts(facts: Facts) -> Finding:
    """Names that never fit a request."""
    if facts.config is None:
        return UNREAD
    names = facts.config.gateway.allowed_hosts
    odd = [name for name in names if not name.strip() or set(name) & set("*/@ ") or name == "0.0.0.0"]
    if odd:
        shown = ", ".join(map(repr, odd))
        return warn(f"gateway.allowedHosts: {shown} fits no request; write a name, or name:port, as it stands in the address bar")
    return ok(", ".join(names) or "none, so that the page cannot be opened")


# --- who can read our files


def own_files(facts: Facts) -> Finding:
    """What is in the data directory, beside the configuration."""
    wide = [path for path in _own_files(facts) if _is_wide(path)]
    if not wide:
        return ok("closed to others")
    named = shlex.join(map(str, wide[:MOST_NAMED]))
    more = f" (and {len(wide) - MOST_NAMED} more)" if len(wide) > MOST_NAMED else ""
    return bad(f"others on this machine could read them{more}: chmod go= {named}")


def _own_files(facts: Facts) -> Iterator[Path]:
    places = facts.places
    yield from (places.data / TOKEN, places.tainted, places.pairing)
    for folder in (places.journals, places.logs, places.results, places.media, places.history.parent):
        yield folder
        yield from sorted(folder.rglob("*"))


def _is_wide(path: Path) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o077 != 0


def _channels(config: ChannelsConfig) -> Iterator[tuple[str, ChannelConfig]]:
    for key in keys_of(ChannelsConfig):
        settings = getattr(config, key.attribute)
        if isinstance(settings, ChannelConfig) and settings.enabled:
            yield key.name, settings
