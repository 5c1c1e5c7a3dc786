"""The session machine is pure, and no match in it forgets a case: read from the syntax tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import nanobot.session
from nanobot.session import effects, events, records, state

HERE = Path(nanobot.session.__file__).parent
PURE = (
    "state",
    "records",
    "events",
    "effects",
    "fold",
    "plan",
    "machine",
    "turns",
    "stops",
    "orders",
    "starts",
    "errands",
    "delivery",
    "requests",
    "calls",
    "sentences",
)
STANDARD = {"__future__", "attrs", "collections.abc", "enum", "functools", "typing"}
CODEC = {"re", "cattrs", "cattrs.errors", "cattrs.gen", "nanobot.wire"}
UNIONS = {
    "State": state.State,
    "Event": events.Event,
    "Command": events.Command,
    "TurnEvent": events.TurnEvent,
    "Effect": effects.Effect,
    "Record": records.Record,
}


def tree(name: str) -> ast.Module:
    return ast.parse((HERE / f"{name}.py").read_text())


def imports(name: str) -> Iterator[str]:
    for node in ast.walk(tree(name)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module="nanobot.session", names=names):
                yield from (f"nanobot.session.{alias.name}" for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module
            case _:
                pass


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_values_and_each_other_only(name: str) -> None:
    allowed = STANDARD | {"nanobot.messages"} | {f"nanobot.session.{other}" for other in PURE}
    assert set(imports(name)) <= allowed


def test_the_codec_imports_the_converter_besides() -> None:
    allowed = STANDARD | CODEC | {"nanobot.messages"} | {f"nanobot.session.{other}" for other in PURE}
    assert set(imports("codec")) <= allowed


@pytest.mark.parametrize("name", PURE)
def test_nothing_pure_looks_at_a_clock_a_file_or_a_die(name: str) -> None:
    called = {node.func.id for node in ast.walk(tree(name)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"open", "print", "input", "id", "__import__", "eval", "exec"}


# --- every match is whole


def matches() -> list[tuple[str, ast.Match]]:
    found = [(name, node) for name in PURE for node in ast.walk(tree(name)) if isinstance(node, ast.Match)]
    assert len(found) > 15
    return found


def is_never(case: ast.match_case) -> bool:
    match case:
        case ast.match_case(
            pattern=ast.MatchAs(pattern=ast.MatchAs(pattern=None, name=None), name="never"),
            guard=None,
            body=[ast.Expr(ast.Call(ast.Name("assert_never"), [ast.Name("never")]))],
        ):
            return True
        case _:
            return False


def classes(pattern: ast.pattern) -> Iterator[str]:
    """Classes that the pattern takes whatever their fields are."""
    match pattern:
        case ast.MatchOr(patterns):
            for each in patterns:
                yield from classes(each)
        case ast.MatchAs(pattern=ast.pattern() as inner):
            yield from classes(inner)
        case ast.MatchClass(cls=cls, patterns=positional, kwd_patterns=named):
            if all(isinstance(p, ast.MatchAs) and p.pattern is None for p in [*positional, *named]):
                yield ast.unparse(cls).rpartition(".")[2]
        case _:
            pass


def whole(node: ast.Match) -> bool:
    """Ends in `assert_never`, or lists all members of one of the unions."""
    taken = {name for case in node.cases if case.guard is None for name in classes(case.pattern)}
    unions = [{member.__name__ for member in get_args(union)} for union in UNIONS.values()]
    return is_never(node.cases[-1]) or any(taken == members for members in unions)


def catches_all(case: ast.match_case) -> bool:
    return not any(isinstance(node, ast.MatchClass | ast.MatchValue) for node in ast.walk(case.pattern)) and not is_never(case)


@pytest.mark.parametrize(("name", "node"), [pytest.param(n, m, id=f"{n}:{m.lineno}") for n, m in matches()])
def test_every_match_names_all_its_cases(name: str, node: ast.Match) -> None:
    assert not any(catches_all(case) for case in node.cases), "a bare `case _` would swallow what is new"
    assert whole(node), f"{name}.py:{node.lineno} neither ends in assert_never nor lists all members"


@pytest.mark.parametrize(
    ("source", "good"),
    [
        ("match x:\n case Idle(): pass\n case _ as never: assert_never(never)", True),
        ("match x:\n case Idle(): pass\n case _: pass", False),
        ("match x:\n case Idle(): pass\n case other: pass", False),
        ("match x:\n case Idle() | Thinking(): pass", False),
        ("match x:\n case Idle() | Thinking() | AwaitingTool() | Stopping() | Consolidating(back=b): pass", True),
        ("match x:\n case Idle() | Thinking() | AwaitingTool() | Stopping() | Consolidating(back=None): pass", False),
        ("match x:\n case Idle() if y: pass\n case Thinking() | AwaitingTool() | Stopping() | Consolidating(): pass", False),
    ],
)
def test_the_reader_tells_whole_matches_from_others(source: str, good: bool) -> None:
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.Match)
    assert (whole(node) and not any(catches_all(case) for case in node.cases)) == good


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("machine", " | ev.DeadlinePassed():"),
        ("fold", "        case r.Draining():\n            return attrs.evolve(session, draining=True)\n"),
    ],
)
def test_a_forgotten_case_is_a_type_error(name: str, case: str, tmp_path: Path) -> None:
    source = HERE / f"{name}.py"
    text = source.read_text()
    assert case in text
    shadow = tmp_path / "shadow.py"
    shadow.write_text(text.replace(case, ":" if case.endswith("():") else "", 1))
    arguments = ["--shadow-file", str(source), str(shadow), "--cache-dir", str(tmp_path / "cache"), str(source)]
    command = [sys.executable, "-m", "mypy", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent.parent, timeout=120)
    assert '"assert_never" has incompatible type' in found.stdout
