"""Pictures: who sees them, what is named instead of sent, how many, and that what was sent stays the same bytes."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, ModelSettings, ProviderConfig, Secret
from nanobot.messages import Attachment, Entry, MessageId, Reply, Said
from nanobot.pictures import LARGEST, Header, fault_of, header_of
from nanobot.providers import registry
from nanobot.providers.port import BadRequest, Completion, OnDelta, Request
from nanobot.providers.vision import OLDER, Seeing, left_behind
from nanobot.providers.vision_models import Caps, Sight, sight_of
from tests.fakes.llm import Answer
from tests.providers.support import PNG, WIRES, ask, done, said, service

SEES = Sight("m")


def png(width: int = 1, height: int = 1, size: int = 0) -> bytes:
    return PNG[:16] + struct.pack(">II", width, height) + PNG[24:] + bytes(size)


def jpeg(width: int, height: int) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", 40_000) + bytes(39_998)
    return b"\xff\xd8" + exif + b"\xff\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + bytes(10)


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + body


# --- what a file is


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (PNG, (1, 1)),
        (png(8000, 300), (8000, 300)),
        (jpeg(640, 480), (640, 480)),
        (b"GIF89a" + struct.pack("<HH", 20, 10), (20, 10)),
        (webp(b"VP8X", b"\x00\x00\x00\x00\xff\x02\x00\x0f\x00\x00"), (768, 16)),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 99 | 49 << 14)), (100, 50)),
        (webp(b"VP8 ", bytes(6) + struct.pack("<HH", 77, 66)), (77, 66)),
    ],
)
def test_the_size_of_every_sort_that_services_take(data: bytes, size: tuple[int, int]) -> None:
    header = header_of(data)
    assert (header.taken, (header.width, header.height), fault_of(data)) == (True, size, "")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x00\x00\x00\x18ftypheic", "do not take HEIC pictures"),
        (b"\x00\x00\x00\x18ftypmif1", "do not take HEIC pictures"),
        (b"\x00\x00\x00\x18ftypavif", "do not take AVIF pictures"),
        (b"II*\x00" + bytes(LARGEST), "do not take TIFF pictures"),
        (b"MM\x00*", "do not take TIFF pictures"),
        (b"BM", "do not take BMP pictures"),
        (b"<svg onload=...", "do not take SVG pictures"),
        (b"MZ\x90\x00", "do not take what it is"),
        (b"", "do not take what it is"),
        (png(size=LARGEST), "more than 3.75 MB"),
        (png(8001, 1), "8001 x 1 pixels"),
        (jpeg(65535, 65535), "65535 x 65535 pixels"),
        (png(0, 5), "begins like a PNG and is damaged"),
        (PNG[:20], "begins like a PNG and is damaged"),
        (b"\xff\xd8\xff\xe1\xff\xff", "begins like a JPEG and is damaged"),
        (b"\xff\xd8\xff\xe1\x00\x00" + b"\xff\xe1\x00\x00" * 10, "begins like a JPEG and is damaged"),
        (webp(b"VP8X", b""), "begins like a WebP and is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_services_would_refuse_is_named(data: bytes, fault: str) -> None:
    assert fault in fault_of(data)


@given(st.sampled_from([PNG[:8], b"\xff\xd8\xff", b"GIF89a", b"RIFF1234WEBPVP8L", b"RIFF1234WEBPVP8X"]), st.binary(max_size=200))
def test_no_bytes_do_harm(start: bytes, rest: bytes) -> None:
    assert header_of(start + rest).taken


# --- who sees


def test_a_file_of_nothing_but_markers_costs_nothing() -> None:
    """Going through all of them took seconds, and the interpreter with it."""
    began = time.thread_time()
    assert header_of(b"\xff\xd8" + b"\xff" * LARGEST) == Header("JPEG", taken=True)
    assert time.thread_time() - began < 0.2


@pytest.mark.parametrize(
    ("service_name", "model", "sees"),
    [
        ("anthropic", "claude-sonnet-5-5", True),
        ("openrouter", "anthropic/claude-3-haiku", True),
        ("openai", "gpt-5.4", True),
        ("openai", "gpt-4o-mini", True),
        ("openai", "gpt-4", False),
        ("openai", "o3-mini", False),
        ("openai", "o3", True),
        ("groq", "openai/gpt-oss-120b", False),
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", True),
        ("groq", "llama-3.3-70b-versatile", False),
        ("deepseek", "deepseek-chat", False),
        ("zhipu", "glm-4.6", False),
        ("zhipu", "glm-4.6v", True),
        ("zhipu", "glm-4.6-preview", False),
        ("moonshot", "kimi-k2-0905-preview", False),
        ("moonshot", "kimi-k2.5", True),
        ("dashscope", "qwen-plus", False),
        ("dashscope", "qwen3-vl-plus", True),
        ("siliconflow", "Qwen/Qwen3-235B-A22B-Instruct-2507", False),
        ("mistral", "mistral-large-latest", True),
        ("mistral", "codestral-latest", False),
        ("minimax", "MiniMax-M2", False),
        ("gemini", "gemini-2.5-flash", True),
        ("ollama", "gemma3:4b", True),
        ("ollama", "gemma3:1b", False),
        ("ollama", "llava:13b", True),
        ("ollama", "somebodys-model", False),
        ("vllm", "somebodys-model", True),
        ("demo", "demo", False),
    ],
)
def test_the_table_of_models(service_name: str, model: str, sees: bool) -> None:
    assert sight_of(service_name, model, None).sees is sees
    assert sight_of(service_name, model, not sees).sees is not sees  # the owner knows better


def test_the_configuration_is_believed_before_the_table() -> None:
    agents = AgentsConfig(AgentDefaults(model="deepseek-chat"), {"deepseek-chat": ModelSettings(vision=True)})
    config = Config(agents=agents, providers={"deepseek": ProviderConfig(Secret("k"))})
    assert registry.sight(config, registry.select(config, {})).sees


def test_services_that_take_less_are_sent_less() -> None:
    assert sight_of("groq", "llama-4", None).caps.pictures == 5
    assert sight_of("anthropic", "claude-x", None).caps == Caps()


# --- how many


@given(st.lists(st.lists(st.integers(1, 40), max_size=4), max_size=30), st.integers(1, 8))
def test_older_pictures_leave_in_jumps(groups: list[list[int]], most: int) -> None:
    """What has left stays away, what is shown fits, and from one jump to the next half of what fits can come."""
    caps = Caps(most, 100)
    firsts = [left_behind(groups[:count], caps) for count in range(len(groups) + 1)]
    assert firsts == sorted(firsts)
    for count, first in enumerate(firsts):
        sizes = [size for group in groups[:count] for size in group]
        assert len(sizes[first:]) <= most
        assert sum(sizes[first:]) <= 100
        if first and first > (before := firsts[count - 1]):  # a jump: to half, but for the newest entry
            older = sizes[first : len(sizes) - len(groups[count - 1])]
            assert not older or len(sizes[first:]) <= max(1, most // 2)
            assert before < first


def test_no_more_leave_than_must() -> None:
    assert left_behind([[1]] * 20, Caps(20, 1000)) == 0
    assert left_behind([[1]] * 21, Caps(20, 1000)) == 11
    assert left_behind([[1]] * 31, Caps(20, 1000)) == 11
    assert left_behind([[1]] * 32, Caps(20, 1000)) == 22
    assert left_behind([[1], [1] * 5], Caps(5, 1000)) == 1  # an album is shown whole
    assert left_behind([[1000]], Caps(5, 100)) == 1


# --- what is sent


@attrs.define
class Spy:
    """A service that keeps what it is asked; `refuses` says which requests it does not take."""

    refuses: Any = staticmethod(lambda _request: False)
    asked: list[Request] = attrs.field(factory=list)
    name: str = "spy"

    async def complete(self, request: Request, _on_delta: OnDelta) -> Completion:
        self.asked.append(request)
        if self.refuses(request):
            raise BadRequest("no")
        return Completion("ok")

    def shown(self, number: int = -1) -> list[str]:
        """Names of the pictures in a request."""
        files = [one for entry in self.asked[number].entries if isinstance(entry, Said) for one in entry.attachments]
        calls = [c for entry in self.asked[number].entries if isinstance(entry, Reply) for c in entry.calls]
        return [one.name for one in (*files, *(file for call in calls for file in call.attachments))]


def picture(folder: Path, name: str, data: bytes = PNG, mime: str = "image/png") -> Attachment:
    (folder / name).write_bytes(data)
    return Attachment(str(folder / name), mime, name, len(data))


def with_picture(folder: Path, name: str, data: bytes = PNG) -> Said:
    return Said(MessageId(name), f"see {name}", 0.0, "p", (picture(folder, name, data),))


async def send(seeing: Seeing, *entries: Entry) -> Completion:
    return await seeing.complete(ask(*entries), lambda _delta: None)


async def test_a_model_that_cannot_see_is_told_so_with_the_names_of_the_files(tmp_path: Path) -> None:
    spy = Spy()
    shot = attrs.evolve(done("one", "looked"), attachments=(picture(tmp_path, "shot.png"),))
    message = with_picture(tmp_path, "a.png")
    await send(Seeing(spy, Sight("gpt-oss-120b", sees=False)), message, Reply("", (shot,)))
    first, second = spy.asked[0].entries
    assert isinstance(first, Said)
    assert isinstance(second, Reply)
    assert first.text == f"see a.png\n[picture a.png ({tmp_path}/a.png): not shown: gpt-oss-120b cannot see pictures]"
    assert second.calls[0].result.endswith("shot.png): not shown: gpt-oss-120b cannot see pictures]")
    assert spy.shown() == []


async def test_what_services_refuse_is_named_and_the_rest_is_sent(tmp_path: Path) -> None:
    spy = Spy()
    files = (
        picture(tmp_path, "a.heic", b"\x00\x00\x00\x18ftypheic", "image/heic"),
        picture(tmp_path, "b.png"),
        Attachment(str(tmp_path / "gone.png"), "image/png", "gone\n.png", 5),
        picture(tmp_path, "lies.png", b"MZ\x90"),
        picture(tmp_path, "notes.txt", b"text", "text/plain"),
    )
    await send(Seeing(spy, SEES), said("look", attachments=files))
    [entry] = spy.asked[0].entries
    assert isinstance(entry, Said)
    assert spy.shown() == ["b.png", "notes.txt"]
    assert [line.partition(" (")[0] for line in entry.text.splitlines()[1:]] == [
        "[picture a.heic",
        "[picture gone .png",
        "[picture lies.png",
    ]
    assert "do not take HEIC pictures" in entry.text


async def test_a_picture_that_the_service_never_takes_is_not_called_an_older_one(tmp_path: Path) -> None:
    """Or the model would read it again and again."""
    spy = Spy()
    room = len(PNG) + 10
    large, small = with_picture(tmp_path, "large.png", PNG + bytes(11)), with_picture(tmp_path, "small.png")
    await send(Seeing(spy, Sight("m", caps=Caps(5, room))), large, Reply("ok"), small)
    first = spy.asked[0].entries[0]
    assert isinstance(first, Said)
    assert "it has more; make a smaller copy" in first.text
    assert spy.shown() == ["small.png"]


async def test_older_pictures_are_named_and_what_is_sent_stays_the_same_objects(tmp_path: Path) -> None:
    """The same entry is converted once, and its bytes stay, but for the jumps."""
    spy = Spy()
    seeing = Seeing(spy, Sight("m", caps=Caps(4, 10**9)))
    entries: list[Entry] = []
    jumps = 0
    for number in range(12):
        entries += [with_picture(tmp_path, f"{number}.png"), Reply("ok")]
        await send(seeing, *entries)
        if number:
            before, after = spy.asked[-2].entries, spy.asked[-1].entries
            jumps += any(one is not other for one, other in zip(before, after, strict=False))
    assert jumps == 3
    assert spy.shown() == ["9.png", "10.png", "11.png"]
    first = spy.asked[-1].entries[0]
    assert isinstance(first, Said)
    assert first.text.endswith(f"not shown: {OLDER}]")


async def test_a_picture_that_the_service_refuses_is_not_sent_again(tmp_path: Path) -> None:
    """And those that it took before are, as they were."""
    spy = Spy(lambda request: any("bad" in one.name for e in request.entries if isinstance(e, Said) for one in e.attachments))
    seeing = Seeing(spy, SEES)
    good, bad, more = (with_picture(tmp_path, name) for name in ("good.png", "bad.png", "more.png"))
    await send(seeing, good)
    assert (await send(seeing, good, bad)).text == "ok"
    assert [spy.shown(number) for number in (1, 2)] == [["good.png", "bad.png"], ["good.png"]]
    await send(seeing, good, bad, more)
    assert (len(spy.asked), spy.shown()) == (4, ["good.png", "more.png"])
    refused = spy.asked[-1].entries[1]
    assert isinstance(refused, Said)
    assert refused.text.endswith("bad.png): not shown: the model service refused it]")


async def test_a_request_that_is_refused_for_something_else_costs_no_picture(tmp_path: Path) -> None:
    answers = iter([True, True, False])
    spy = Spy(lambda _request: next(answers))
    seeing = Seeing(spy, SEES)
    message = with_picture(tmp_path, "a.png")
    with pytest.raises(BadRequest):
        await send(seeing, message)
    assert len(spy.asked) == 2
    await send(seeing, message)
    assert spy.shown() == ["a.png"]


@pytest.mark.parametrize("wire", WIRES)
async def test_pictures_reach_the_service_in_its_own_words(wire: str, tmp_path: Path) -> None:
    shot = attrs.evolve(done("one", "looked"), attachments=(picture(tmp_path, "shot.png"),))
    first, last = with_picture(tmp_path, "a.png"), with_picture(tmp_path, "b.tiff", b"II*\x00")
    async with service(wire, [Answer("seen")]) as (server, provider):
        await send(Seeing(provider, SEES), first, Reply("", (shot,)), last)
        told = json.dumps(server.requests[0].messages)
    marks = {"openai": '"type": "image_url"', "anthropic": '"type": "image"'}
    assert told.count(marks[wire]) == 2
    assert "b.tiff): not shown: model services do not take TIFF pictures" in told


async def test_nothing_is_kept_of_what_is_gone_and_nothing_done_without_pictures() -> None:
    spy = Spy()
    seeing = Seeing(spy, SEES)
    request = ask(said("hello"))
    await seeing.complete(request, lambda _delta: None)
    assert spy.asked[0] is request
    assert len(seeing._kept) == 0
