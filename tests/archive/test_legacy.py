"""Session files of HKUDS/nanobot, both generations, whole and broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanobot.archive import legacy
from nanobot.messages import CallState, Note, Reply, Said, SessionKey, TurnEnd
from nanobot.wire import Json, JsonObject

KEY = SessionKey("telegram", "42")
AT = "2026-03-01T10:00:00+00:00"
META: JsonObject = {"_type": "metadata", "key": "telegram:42", "created_at": AT, "metadata": {}, "last_consolidated": 0}
ASKED: JsonObject = {"id": "c1", "type": "function", "function": {"name": "exec", "arguments": '{"command":"ls"}'}}


def user(text: Json, **more: Json) -> JsonObject:
    return {"role": "user", "content": text, "timestamp": AT, **more}


def assistant(text: Json, *calls: Json) -> JsonObject:
    return {"role": "assistant", "content": text, "tool_calls": list(calls)} if calls else {"role": "assistant", "content": text}


def tool(id_: str, text: str) -> JsonObject:
    return {"role": "tool", "tool_call_id": id_, "name": "exec", "content": text}


def read(*lines: JsonObject | bytes, cursor: int = 0) -> legacy.Imported:
    meta: JsonObject = {**META, "last_consolidated": cursor}
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in (meta, *lines)]
    return legacy.read(encoded, KEY, Path("old.jsonl"))


def test_a_turn_with_a_tool() -> None:
    found = read(user("hi"), assistant("", ASKED), tool("c1", "a b"), assistant("done"))
    (exchange,) = found.exchanges
    said, asked, done = exchange.entries
    assert isinstance(said, Said)
    assert isinstance(asked, Reply)
    assert isinstance(done, Reply)
    (call,) = asked.calls
    assert (said.text, said.at, said.principal) == ("hi", 1772359200.0, "telegram:default:42:")
    assert (call.name, call.arguments, call.result, call.state) == ("exec", '{"command":"ls"}', "a b", CallState.DONE)
    assert (done.text, exchange.end, found.skipped_lines) == ("done", TurnEnd.ANSWERED, 0)


def test_the_later_generation() -> None:
    state: JsonObject = {"_type": "provider_state", "state": {}}
    found = read(
        state,
        {"role": "assistant", "content": "reminder", "_channel_delivery": True},
        user([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {}}], media=["/tmp/x/cat.jpg"], latency_ms=3),
        user("and this", injected_event=True),
        assistant(None),
        user("/status", _command=True),
        {"role": "system", "content": "summary"},
    )
    first, second = found.exchanges
    assert [type(entry) for entry in (*first.entries, *second.entries)] == [Reply, Said, Said, Reply, Note]
    said = second.entries[0]
    assert isinstance(said, Said)
    assert said.text == "look\n[file: cat.jpg]"
    assert found.skipped_lines == 0


def test_calls_and_results_that_lost_each_other() -> None:
    found = read(user("a"), assistant("", ASKED), user("b"), tool("zz", "whose?"), assistant("", "no call", {"id": 3}))
    calls = [call for exchange in found.exchanges for each in exchange.entries if isinstance(each, Reply) for call in each.calls]
    assert [(call.id, call.state) for call in calls] == [("c1", CallState.UNKNOWN_AFTER_CRASH)]
    assert (found.skipped_lines, [exchange.end for exchange in found.exchanges]) == (1, [TurnEnd.FAILED, TurnEnd.ANSWERED])


@pytest.mark.parametrize("bad", [b"{", b"\0" * 9, b"[1]", b'{"role":7}', b"\xff\xfe", b'{"content":"x"}', b"[" * 99_999])
def test_a_line_that_cannot_be_read_costs_itself_only(bad: bytes) -> None:
    found = read(user("a"), bad, assistant("b"), b"", b'{"role":"user","cont')
    assert [len(exchange.entries) for exchange in found.exchanges] == [2]
    assert found.skipped_lines == 2


@pytest.mark.parametrize(("cursor", "done"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 0), (-1, 0)])
def test_the_cursor_counts_whole_exchanges_and_falls_back_to_none(cursor: int, done: int) -> None:
    assert read(user("a"), assistant("b"), user("c"), assistant("d"), cursor=cursor).cursor == done


def test_the_cursor_counts_lines_that_were_lost_too() -> None:
    assert read(user("a"), b"{", user("c"), assistant("d"), cursor=2).cursor == 1


@pytest.mark.parametrize("stamp", ["yesterday", 7, None, "9999-99-99", "0001-01-01T00:00:00"])
def test_odd_times(stamp: Json) -> None:
    (exchange,) = read(user("a"), {"role": "assistant", "content": "b", "timestamp": stamp}).exchanges
    assert len(exchange.entries) == 2


def test_no_line_at_all() -> None:
    assert legacy.read([], KEY, Path("old.jsonl")).exchanges == ()


PLACES = {
    "older": ("work/sessions/telegram_42.jsonl", KEY),
    "oldest": ("home/.nanobot/sessions/telegram_42.jsonl", KEY),
    "later": ("data/sessions/" + "a" * 32 + "/dGVsZWdyYW06NDI.jsonl", KEY),
    "topic": ("work/sessions/telegram_42_topic_7.jsonl", SessionKey("telegram", "42", topic="7")),
    "thread": ("work/sessions/slack_C1_17.5.jsonl", SessionKey("slack", "C1", topic="17.5")),
}


@pytest.mark.parametrize("place", PLACES)
def test_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    name, key = PLACES[place]
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text("{}\n")
    assert legacy.find(key, workspace=tmp_path / "work", data=tmp_path / "data") == path
    other = SessionKey(key.channel, key.chat, "second", key.topic)
    assert legacy.find(other, workspace=tmp_path / "work", data=tmp_path / "data") is None


def test_the_workspace_says_which_folder_is_its_own(tmp_path: Path) -> None:
    for id_ in ("a" * 32, "b" * 32):
        (tmp_path / "data" / "sessions" / id_).mkdir(parents=True)
        (tmp_path / "data" / "sessions" / id_ / "dGVsZWdyYW06NDI.jsonl").write_text("{}\n")
    assert legacy.find(KEY, workspace=tmp_path, data=tmp_path / "data") is None
    (tmp_path / ".nanobot").mkdir()
    (tmp_path / ".nanobot" / "workspace-id").write_text("b" * 32 + "\n")
    found = legacy.find(KEY, workspace=tmp_path, data=tmp_path / "data")
    assert found is not None
    assert found.parent.name == "b" * 32


def test_a_lossy_name_of_another_key_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "sessions" / "telegram_42.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({**META, "key": "telegram_42:"}) + "\n")
    assert legacy.find(KEY, workspace=tmp_path, data=tmp_path) is None


def test_the_original_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text(json.dumps(META) + "\n" + json.dumps(user("a\u2028b\ud800")) + "\n")
    before = path.read_bytes()
    assert len(legacy.load(path, KEY).exchanges) == 1
    assert path.read_bytes() == before
