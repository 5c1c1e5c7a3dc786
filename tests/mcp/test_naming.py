"""Names under which the model knows what servers offer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.mcp.naming import LONGEST, assigned, safe

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")


@pytest.mark.parametrize(
    ("server", "label", "name"),
    [
        ("github", "create_issue", "mcp_github_create_issue"),
        ("files", "get-tiny-image", "mcp_files_get-tiny-image"),
        ("my server", "a.b/c", "mcp_my_server_a_b_c"),
        ("s", "__init__", "mcp_s_init_"),
        ("s", "tool\x07\n\u202e", "mcp_s_tool_"),
        ("größe", "ß", "mcp_gr_e_"),
    ],
)
def test_what_services_do_not_take_becomes_an_underscore(server: str, label: str, name: str) -> None:
    assert safe(server, label) == name


def test_a_long_name_ends_in_a_hash_of_all_of_it() -> None:
    one, other = safe("server", "x" * 100), safe("server", "x" * 99 + "y")
    assert (len(one), len(other)) == (LONGEST, LONGEST)
    assert one != other
    assert one == "mcp_server_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_" + one[-8:]


def test_of_two_that_collide_the_one_that_needed_no_change_keeps_the_name() -> None:
    first, second, third = assigned([("s", "a b"), ("s", "a_b"), ("s", "a.b")])
    assert second == "mcp_s_a_b"
    assert len({first, second, third}) == 3
    assert assigned([("s", "a_b")]) == [second]


def test_servers_whose_names_run_together_do_not_share_a_tool() -> None:
    names = assigned([("a", "b_c"), ("a_b", "c")])
    assert names[0] == "mcp_a_b_c"
    assert names[1] != names[0]


texts = st.text(max_size=80)


@given(st.lists(st.tuples(texts, texts), max_size=12))
def test_names_are_legal_different_and_the_same_each_time(wanted: list[tuple[str, str]]) -> None:
    names = assigned(wanted)
    assert all(LEGAL.fullmatch(name) for name in names)
    assert len(set(names)) == len(wanted)
    assert assigned(wanted) == names


def test_no_server_gets_a_name_that_begins_like_those_of_another() -> None:
    """A rule that allows `mcp_git_local_*` allows nothing of the server `git`, whatever it lists, and whoever is up."""
    wanted = [("git", "local_push"), ("git", "log"), ("git_local", "push")]
    names = ["mcp_git__local_push", "mcp_git_log", "mcp_git_local_push"]
    assert assigned(wanted, ["git", "git_local"]) == names
    assert assigned(wanted[:2], ["git_local", "git"]) == names[:2]
    [long] = assigned([("git", "local_" + "x" * 90)], ["git_local", "git"])
    assert (len(long), long.startswith("mcp_git__local_")) == (LONGEST, True)
