"""What a tool may do for whom: the table, its exceptions, and commands that would be more than a rule meant."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import attrs
import pytest

import nanobot.guide
from nanobot.config.schema import Config, Decision, PolicyRule, Who
from nanobot.messages import Effect
from nanobot.processes.sandbox import Isolation
from nanobot.security.policy import TABLE, WHO, Case, decide, offered
from nanobot.tools.registry import build_tools

GUIDE = (Path(nanobot.guide.__file__ or "").parent / "policy.md").read_text()
TOOLS = build_tools(Config(), Isolation(sandboxed=True), environ={})


def case(row: str, who: Who = "owner", subject: str = "", *, tainted: bool = False, channel: str = "cli") -> Case:
    name = row.partition(":")[0]
    return Case(row, TOOLS.effect_of(name) if TOOLS.has(name) else Effect.WRITES, subject, who, channel, tainted)


def test_the_guide_has_the_table() -> None:
    rows = dict(re.findall(r"^\| `?([^`|]+?)`? \| (.+) \|$", GUIDE, re.MULTILINE))
    for name, cells in TABLE.items():
        told = [tuple(cell.split(" / ")) for cell in rows[name].split(" | ")]
        assert [pair if len(pair) == 2 else pair * 2 for pair in told] == [cells[at : at + 2] for at in (0, 2, 4, 6)], name


def test_every_tool_has_its_row() -> None:
    assert [spec.name for spec in TOOLS.specs() if spec.name not in TABLE] == []


@pytest.mark.parametrize(("who", "tainted"), [(who, tainted) for who in WHO for tainted in (False, True)])
def test_text_of_strangers_never_opens_anything_and_nobody_may_more_than_the_owner(who: Who, tainted: bool) -> None:
    order: tuple[Decision, ...] = ("allow", "ask", "deny")
    for row in TABLE:
        this = order.index(decide(case(row, who, tainted=tainted), ()))
        assert this >= order.index(decide(case(row, who), ())), row
        assert this >= order.index(decide(case(row, "owner", tainted=tainted), ())), row


@pytest.mark.parametrize(
    ("row", "who", "tainted", "decision"),
    [
        ("exec", "owner", False, "allow"),
        ("exec", "owner", True, "ask"),
        ("exec", "paired", False, "ask"),
        ("exec:network", "owner", False, "ask"),
        ("exec:unsandboxed", "owner", False, "ask"),
        ("exec:unsandboxed", "paired", False, "deny"),
        ("write_file", "paired", False, "deny"),
        ("write_file:instructions", "owner", True, "ask"),
        ("write_file:instructions", "scheduled", True, "deny"),
        ("message:elsewhere", "owner", True, "ask"),
        ("cron", "owner", True, "ask"),
        ("cron", "paired", False, "allow"),
        ("cron", "paired", True, "deny"),
        ("cron", "scheduled", False, "deny"),
        ("cron:reads", "scheduled", True, "allow"),
        ("cron:elsewhere", "paired", False, "deny"),
        ("read_file", "group", False, "deny"),
        ("unheard_of", "owner", False, "allow"),
        ("unheard_of", "owner", True, "ask"),
        ("unheard_of", "paired", False, "deny"),
        ("mcp_mail_send", "owner", False, "allow"),
        ("mcp_mail_send", "owner", True, "ask"),
        ("mcp_mail_send", "paired", False, "ask"),
        ("mcp_mail_send", "scheduled", False, "ask"),
        ("mcp_mail_send", "group", True, "deny"),
        ("mcp_mail_list:reads", "owner", True, "allow"),
        ("mcp_mail_list:reads", "paired", False, "ask"),
        ("mcp_mail_list:reads", "scheduled", True, "allow"),
        ("mcp_mail_list:reads", "group", False, "deny"),
    ],
)
def test_the_defaults(row: str, who: Who, tainted: bool, decision: Decision) -> None:
    assert decide(case(row, who, tainted=tainted), ()) == decision


def test_an_unknown_tool_that_only_reads() -> None:
    unknown = Case("look", Effect.READS, "", "paired", "telegram", tainted=True)
    assert decide(unknown, ()) == "allow"
    assert decide(attrs.evolve(unknown, who="group"), ()) == "deny"


# --- exceptions


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (PolicyRule("exec"), True),
        (PolicyRule("exe*"), True),
        (PolicyRule("exec:network"), False),
        (PolicyRule("exec", who="owner"), True),
        (PolicyRule("exec", who="group"), False),
        (PolicyRule("exec", channel="telegram"), True),
        (PolicyRule("exec", channel="slack"), False),
        (PolicyRule("exec", tainted=False), True),
        (PolicyRule("exec", tainted=True), False),
        (PolicyRule("exec", pattern="git *"), True),
        (PolicyRule("exec", pattern="svn *"), False),
    ],
)
def test_a_rule_fits_where_all_that_it_says_does(rule: PolicyRule, fits: bool) -> None:
    asked = case("exec", subject="git status", channel="telegram")
    assert decide(asked, [rule]) == ("ask" if fits else "allow")


@pytest.mark.parametrize("row", ["mcp_mail_send", "mcp_mail_send:reads"])
@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("mcp_mail_send", True), ("mcp_mail_*", True), ("mcp_*", True), ("mcp_mail_sen", False), ("mail_send", False)],
)
def test_a_rule_for_a_tool_of_a_server_means_it_whatever_it_claims_of_itself(row: str, pattern: str, *, fits: bool) -> None:
    assert decide(case(row), [PolicyRule(pattern, decision="deny")]) == ("deny" if fits else "allow")


def test_a_rule_for_what_servers_say_only_reads() -> None:
    rules = [PolicyRule("mcp_*:reads", decision="deny")]
    assert decide(case("mcp_mail_list:reads"), rules) == "deny"
    assert decide(case("mcp_mail_send"), rules) == "allow"


def test_tools_of_servers_are_offered_to_whoever_may_ask_for_them() -> None:
    everybody: tuple[Who, ...] = ("owner", "paired", "group", "scheduled")
    assert all(offered("mcp_mail_send", Effect.WRITES, who, "telegram", ()) for who in everybody)
    rules = [PolicyRule("mcp_mail_*", who="group", decision="deny")]
    assert not offered("mcp_mail_send", Effect.WRITES, "group", "telegram", rules)


def test_the_first_rule_that_fits_counts() -> None:
    rules = [PolicyRule("exec", "rm *", decision="deny"), PolicyRule("exec", decision="ask")]
    assert decide(case("exec", subject="rm x"), rules) == "deny"
    assert decide(case("exec", subject="ls"), rules) == "ask"
    assert decide(case("exec", subject="rm x"), rules[::-1]) == "ask"


ALLOW_GIT = [PolicyRule("exec:network", "git *", decision="allow")]


@pytest.mark.parametrize(
    "command",
    [
        "git log; rm -rf x",
        "git log && rm -rf x",
        "git log || rm -rf x",
        "git log | sh",
        "git log & rm -rf x",
        "git log\nrm -rf x",
        "git log > ~/.profile",
        "git log < /etc/passwd",
        "git log $(rm -rf x)",
        "git log `rm -rf x`",
        "git log ${IFS}x",
        "git log \\\n; rm x",
        "git add *",
        "git log <(rm x)",
        "(git log)",
        "A=1 git log",
        "gitx log",
        "sudo git log",
    ],
)
def test_a_rule_that_allows_means_the_whole_command(command: str) -> None:
    assert decide(case("exec:network", subject=command), ALLOW_GIT) == "ask"


@pytest.mark.parametrize(
    "command", ["git pull", "git  pull", 'git commit -m "a word"', "git log --format=%h", "git -C 'a folder' show HEAD:x"]
)
def test_a_plain_command_that_a_rule_allows(command: str) -> None:
    assert decide(case("exec:network", subject=command), ALLOW_GIT) == "allow"


@pytest.mark.parametrize(
    "command", ["rm x", "ls; rm x", "ls && rm x", "(rm x)", "echo $(rm x)", "ls |rm x", "ls\nrm x", "  rm   x"]
)
def test_a_rule_that_denies_fits_any_part_of_a_command(command: str) -> None:
    assert decide(case("exec", subject=command), [PolicyRule("exec", "rm *", decision="deny")]) == "deny"


def test_a_pattern_of_anything_else_is_about_the_whole_subject() -> None:
    rules = [PolicyRule("write_file", "*.env", decision="deny")]
    assert decide(case("write_file", subject="deep/.env"), rules) == "deny"
    assert decide(case("write_file", subject="a;b.txt"), rules) == "allow"


# --- what is offered


def names(who: Who, *rules: PolicyRule, channel: str = "telegram") -> set[str]:
    return {spec.name for spec in TOOLS.specs(lambda name, effect: offered(name, effect, who, channel, rules))}


def test_what_is_denied_in_every_way_is_not_offered() -> None:
    everything = {spec.name for spec in TOOLS.specs()}
    assert names("owner") == names("scheduled") == everything
    assert names("paired") == everything - {"write_file", "edit_file", "apply_patch", "propose_change"}
    assert {"read_file", "write_file"} & names("group") == set()
    assert "message" in names("group")


@pytest.mark.parametrize(
    "rule", [PolicyRule("write_file", decision="allow"), PolicyRule("write_file", "notes/*", decision="ask")]
)
def test_what_a_rule_opens_is_offered(rule: PolicyRule) -> None:
    assert "write_file" in names("paired", rule)
    assert "write_file" not in names("paired", attrs.evolve(rule, channel="slack"))


def test_what_a_rule_denies_is_not_offered() -> None:
    assert "exec" not in names("owner", PolicyRule("exec*", decision="deny"))
    assert "exec" in names("owner", PolicyRule("exec", decision="deny")), "with network it may still be asked for"
    assert "exec" in names("owner", PolicyRule("exec*", "rm *", decision="deny"))


def test_a_call_that_may_run_is_always_of_a_tool_that_is_offered() -> None:
    rules = [
        PolicyRule("exec:network", "git *", decision="allow"),
        PolicyRule("write*", who="group", tainted=True, decision="ask"),
        PolicyRule("read_file", channel="slack", decision="deny"),
        PolicyRule("*", who="paired", decision="deny"),
    ]
    for row, who, channel, tainted in itertools.product(TABLE, WHO, ("slack", "telegram"), (False, True)):
        asked = case(row, who, "git pull", tainted=tainted, channel=channel)
        tool = row.partition(":")[0]
        if decide(asked, rules) != "deny" and TOOLS.has(tool):
            assert offered(tool, asked.effect, who, channel, rules), (row, who, channel, tainted)
