"""What a tool may do for whom: one table, and the exceptions of the configuration.

A row is a kind of call: a tool's name and, where it matters how it would run, what is behind the colon (`exec:network`). A
column is who gave the order and whether text of strangers stands in the conversation (security/taint.py), for whoever wrote
that text may be the one who gives the order. The table is deny by default: an unknown tool that may change something is the
owner's alone.

A rule of `tools.policy` that fits is believed before the table; the first one counts. A pattern that allows a command must
mean all of it: it fits no command line that a shell takes apart, so that `git *` allows no `git log; rm -rf x`, and no patch
that has a file beside.

The guide's page `policy` shows the table; a test compares them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence

import attrs

from nanobot.config.schema import Decision, PolicyRule, Who
from nanobot.messages import Effect

WHO: tuple[Who, ...] = ("owner", "paired", "group", "scheduled")
BY_STRICTNESS: tuple[Decision, ...] = ("allow", "ask", "deny")
LETTERS: dict[str, Decision] = {"+": "allow", "?": "ask", "-": "deny"}
OTHER = {Effect.READS: "(other, reads)", Effect.WRITES: "(other, writes)", Effect.RECORDS: "(other, writes)"}

_TABLE = """
                        owner   paired  group   scheduled
read_file               + +     + +     - -     + +
list_dir                + +     + +     - -     + +
find_files              + +     + +     - -     + +
grep                    + +     + +     - -     + +
write_file              + +     - -     - -     + +
write_file:instructions + ?     - -     - -     + -
edit_file               + +     - -     - -     + +
edit_file:instructions  + ?     - -     - -     + -
apply_patch             + +     - -     - -     + +
apply_patch:instructions + ?     - -     - -     + -
exec                    + ?     ? -     ? -     ? -
exec:network            ? ?     ? -     - -     ? -
exec:unsandboxed        ? ?     - -     - -     ? -
write_stdin             + +     + +     + +     + +
list_processes          + +     + +     + +     + +
kill_process            + +     + +     + +     + +
message                 + +     + +     + +     + +
message:files           + +     + +     - -     + +
message:elsewhere       + ?     - -     - -     + ?
web_fetch               + +     + +     + +     + +
web_search              + +     + +     + +     + +
search_history          + +     + +     + +     + +
propose_change          + -     - -     - -     + -
spawn                   + +     + +     - -     + +
cron                    + ?     + -     - -     - -
cron:reads              + +     + +     - -     + +
cron:elsewhere          + ?     - -     - -     - -
mcp                     + ?     ? -     ? -     ? -
mcp:reads               + +     ? -     - -     + +
(other, reads)          + +     + +     - -     + +
(other, writes)         + ?     - -     - -     + -
"""
"""Two signs a column: clean, then tainted. + allow, ? ask the owner, - deny."""


def _read(table: str) -> dict[str, tuple[Decision, ...]]:
    rows = {}
    for line in table.strip().splitlines()[1:]:
        name, signs = re.split(r" (?=[+?-])", line, maxsplit=1)
        rows[name.strip()] = tuple(LETTERS[sign] for sign in signs.split())
    return rows


TABLE = _read(_TABLE)
"""By row: clean and tainted for each of `WHO`, in that order."""

SHELL_SIGNS = frozenset(";&|<>$`\\\n(){}*?[]~")
"""A command line that holds one of these is more than the words it begins with."""


@attrs.frozen
class Case:
    """Who wants what. `row` and `subject` as in `tools.port.Intent`."""

    row: str
    effect: Effect
    subject: str
    who: Who
    channel: str
    tainted: bool


def decide(case: Case, rules: Sequence[PolicyRule]) -> Decision:
    """What becomes of the call."""
    for rule in rules:
        if _fits(rule, case):
            return rule.decision
    row = TABLE.get(_general(case.row)) or TABLE[OTHER[case.effect]]
    return row[2 * WHO.index(case.who) + case.tainted]


def strictest(decisions: Iterable[Decision]) -> Decision:
    return max(decisions, key=BY_STRICTNESS.index)


def offered(tool: str, effect: Effect, who: Who, channel: str, rules: Sequence[PolicyRule]) -> bool:
    """Whether the model is told of a tool at all: a call of it may be allowed, or asked for. Taint makes no difference, so
    that the list stays the same for as long as the configuration does."""
    general = _general(tool)
    rows = [f"{tool}{row.removeprefix(general)}" for row in TABLE if row.partition(":")[0] == general] or [tool]
    if any(_about(rule, tool) and rule.decision != "deny" and _for(rule, who, channel) for rule in rules):
        return True
    simple = [rule for rule in rules if rule.pattern is None and rule.tainted is None]
    return any(decide(Case(row, effect, "", who, channel, tainted=False), simple) != "deny" for row in rows)


def _general(row: str) -> str:
    """The row of the table for a call of a server's tool: `mcp_files_read:reads` is judged as `mcp:reads`."""
    name, colon, kind = row.partition(":")
    return f"mcp{colon}{kind}" if name.startswith("mcp_") else row


def _fits(rule: PolicyRule, case: Case) -> bool:
    if not (_means(rule.tool, case.row) and _for(rule, case.who, case.channel)):
        return False
    if rule.tainted is not None and rule.tainted is not case.tainted:
        return False
    return rule.pattern is None or _matches(rule.pattern, case, whole=rule.decision == "allow")


def _means(pattern: str, row: str) -> bool:
    """A rule that names a tool of a server means it however it would run: what it claims of itself changes nothing."""
    name = row.partition(":")[0]
    return fnmatch.fnmatchcase(row, pattern) or (name.startswith("mcp_") and fnmatch.fnmatchcase(name, pattern))


def _about(rule: PolicyRule, tool: str) -> bool:
    """Whether a rule can be about calls of the tool, however they would run."""
    return fnmatch.fnmatchcase(tool, rule.tool) or fnmatch.fnmatchcase(tool, rule.tool.partition(":")[0])


def _for(rule: PolicyRule, who: Who, channel: str) -> bool:
    return rule.who in (None, who) and rule.channel in (None, channel)


def _matches(pattern: str, case: Case, *, whole: bool) -> bool:
    """Whether the pattern means the call. One that allows must mean all of a command; one that does not, any part of it."""
    if not _is_command(case.row):
        lines = [fnmatch.fnmatchcase(line, pattern) for line in case.subject.split("\n")]  # a patch has one for each file
        return all(lines) if whole else any(lines) or fnmatch.fnmatchcase(case.subject, pattern)
    if whole:
        return not SHELL_SIGNS & set(case.subject) and fnmatch.fnmatchcase(" ".join(case.subject.split()), pattern)
    parts = re.split(r"[;&|\n()`{}]|\$\(", case.subject)
    return any(fnmatch.fnmatchcase(" ".join(part.split()), pattern) for part in (case.subject, *parts))


def _is_command(row: str) -> bool:
    return row.partition(":")[0] == "exec"
