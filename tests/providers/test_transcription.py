"""Words of voice messages: which service is asked, what it is sent, what it may not cost, and how each failure is told."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2  # noqa: F401  # loaded here, so that no deadline in a test pays for an import
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from nanobot.config.schema import ChannelsConfig, Config, ProviderConfig, Secret, TranscriptionConfig
from nanobot.messages import Attachment
from nanobot.providers import transcription
from nanobot.providers.client import open_http
from nanobot.providers.registry import BY_NAME, Kind, Wire
from nanobot.providers.transcription import AT_ONCE, SERVICES, NotTranscribed, Transcriber, chosen
from nanobot.providers.transcription_sound import sound_of
from tests.fakes.loopback import Responder
from tests.fakes.transcription import Scripted, TranscriptionServer, ogg, transcriptions

# --- what a file is


def flac(seconds: int) -> bytes:
    return b"fLaC\x00\x00\x00\x22" + bytes(10) + struct.pack(">Q", 48_000 << 44 | seconds * 48_000) + bytes(16)


def mvhd(seconds: int, *, wide: bool) -> bytes:
    body = bytes(16) + struct.pack(">IQ", 1000, seconds * 1000) if wide else bytes(8) + struct.pack(">II", 1000, seconds * 1000)
    return b"mvhd" + bytes([wide]) + bytes(3) + body


WAV = b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00" + struct.pack("<II", 8000, 16000) + bytes(32000)
VORBIS = b"OggS" + bytes(24) + b"\x01vorbis" + bytes(5) + struct.pack("<I", 44100) + b"OggS\x00\x00" + struct.pack("<q", 88200)
ID3 = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)


@pytest.mark.parametrize(
    ("data", "suffix", "seconds"),
    [
        (ogg(3.5), "ogg", 3.5),
        (VORBIS, "ogg", 2.0),
        (WAV, "wav", 2.0),
        (flac(9), "flac", 9.0),
        (b"\x00\x00\x00\x20ftypM4A \x00\x00" + mvhd(7, wide=False), "m4a", 7.0),
        (b"\x00\x00\x00\x20ftypisom\x00\x00" + mvhd(7, wide=True), "m4a", 7.0),
        (b"\xff\xfb\x90\x00" + bytes(15_996), "mp3", 1.0),
        (ID3 + b"\xff\xf3\x40\xc0" + bytes(3_996), "mp3", 1.0),
        (b"\xff\xfb\x90\x00" + bytes(32) + b"Xing\x00\x00\x00\x01" + struct.pack(">I", 1000) + bytes(99), "mp3", 26.1),
        (b"\x1a\x45\xdf\xa3webm", "webm", None),
        (b"OggS", "ogg", None),
        (b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(30), "wav", None),
    ],
)
def test_the_sort_and_length_of_a_file(data: bytes, suffix: str, seconds: float | None) -> None:
    sound = sound_of(data)
    assert sound is not None
    assert (sound.suffix, sound.seconds) == (suffix, None if seconds is None else pytest.approx(seconds, rel=0.01))


@pytest.mark.parametrize("data", [b"", b"#!AMR\n", b"\xff\xf1\x50\x80", b"\x00\x00\x00\x18ftypheic", b"MZ", b"{}"])
def test_what_is_no_sound_that_services_take(data: bytes) -> None:
    assert sound_of(data) is None


@given(st.sampled_from([b"OggS", b"RIFF1234WAVEfmt ", b"fLaC", b"1234ftypM4A mvhd", b"\xff\xfb", b"ID3"]), st.binary(max_size=99))
def test_no_bytes_do_harm(start: bytes, rest: bytes) -> None:
    sound_of(start + rest)


# --- which service


def config(own: TranscriptionConfig | None = None, channels: ChannelsConfig | None = None, **keys: str) -> Config:
    providers = {name: ProviderConfig(Secret(key)) for name, key in keys.items()}
    own = own or TranscriptionConfig()
    return Config(providers=providers, transcription=own, channels=channels or ChannelsConfig())


@pytest.mark.parametrize(
    ("made", "environ", "service", "model"),
    [
        (config(openai="k", groq="k"), {}, "groq", "whisper-large-v3"),
        (config(openai="k"), {}, "openai", "gpt-4o-mini-transcribe"),
        (config(openai="k"), {"GROQ_API_KEY": "k"}, "groq", "whisper-large-v3"),
        (config(anthropic="k"), {"MISTRAL_API_KEY": "k"}, "mistral", "voxtral-mini-latest"),
        (config(TranscriptionConfig(provider="OpenAI", model="whisper-1"), openai="k", groq="k"), {}, "openai", "whisper-1"),
        (config(channels=ChannelsConfig(transcription_provider="openai"), openai="k", groq="k"), {}, "openai", None),
        (config(TranscriptionConfig(provider="vllm", model="whisper")), {}, "vllm", "whisper"),
    ],
)
def test_which_service_is_asked(made: Config, environ: Mapping[str, str], service: str, model: str | None) -> None:
    found = chosen(made, environ)
    assert (found.provider, found.model) == (service, model or SERVICES[service])


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (config(), "no key for a service that does it: set one of GROQ_API_KEY, OPENAI_API_KEY, "),
        (config(anthropic="k"), "no key for a service that does it"),
        (config(TranscriptionConfig(provider="groq"), openai="k"), "groq cannot be used for it: set providers.groq.apiKey"),
        (config(TranscriptionConfig(provider="assemblyai"), openai="k"), "assemblyai cannot be used for it"),
        (config(TranscriptionConfig(provider="anthropic"), anthropic="k"), "anthropic does not do it: set"),
        (config(TranscriptionConfig(provider="vllm")), "which model of vllm does it: set transcription.model"),
    ],
)
def test_why_none_can_be_asked(made: Config, why: str) -> None:
    """A service that is named is never replaced by another: that would be a stranger who hears it."""
    with pytest.raises(NotTranscribed, match=why):
        chosen(made, {})


def test_the_table_names_services_that_there_are() -> None:
    for name in SERVICES:
        assert (BY_NAME[name].wire, BY_NAME[name].kind is Kind.LOCAL, bool(BY_NAME[name].env)) == (Wire.OPENAI, False, True)


# --- what is sent, and what comes back


@attrs.define
class Kit:
    server: TranscriptionServer
    transcriber: Transcriber
    folder: Path

    async def words(self, data: bytes | None = None, name: str = "voice.oga", mime: str = "audio/ogg") -> str | None:
        data = ogg() if data is None else data
        (self.folder / "m1-0.oga").write_bytes(data)
        return await self.transcriber.words(Attachment(str(self.folder / "m1-0.oga"), mime, name, len(data)))

    async def refused(self, data: bytes | None = None) -> str:
        with pytest.raises(NotTranscribed) as caught:
            await self.words(data)
        return str(caught.value)


@asynccontextmanager
async def kit(folder: Path, *script: Scripted, **own: Any) -> AsyncIterator[Kit]:
    async with transcriptions(*script) as server, open_http() as http:
        provider = ProviderConfig(Secret("sk-secret"), server.base + "/", {"x-extra": "1"})
        made = Config(providers={"groq": provider}, transcription=TranscriptionConfig(**own))
        yield Kit(server, Transcriber(lambda: made, {}, http), folder)


async def test_the_file_is_sent_as_the_wire_wants_it(tmp_path: Path) -> None:
    async with kit(tmp_path, "  Hello\nyou\u202e. ", language="de") as here:
        assert await here.words(name="../../etc/passwd\r\n", mime="audio/x-lies") == "Hello you ."
        [heard] = here.server.heard
    assert (heard.path, heard.headers["authorization"], heard.headers["x-extra"]) == (
        "/v1/audio/transcriptions",
        "Bearer sk-secret",
        "1",
    )
    assert heard.fields == {"model": "whisper-large-v3", "response_format": "json", "language": "de"}
    assert (heard.name, heard.mime, heard.data) == ("voice.ogg", "audio/ogg", ogg())


async def test_switched_off_nothing_is_sent(tmp_path: Path) -> None:
    async with kit(tmp_path, "hello", enabled=False) as here:
        assert await here.words() is None
        assert here.server.heard == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (ogg(121), "longer than 120 seconds"),
        (ogg(size=2_000_001), "larger than 2 MB"),
        (b"MZ this is no sound", "no format that services take"),
        (b"", "no format that services take"),
    ],
    ids=["long", "large", "a lie", "empty"],
)
async def test_what_is_too_much_is_not_sent(data: bytes, why: str, tmp_path: Path) -> None:
    async with kit(tmp_path, "hello", max_upload_mb=2.0) as here:
        assert why in await here.refused(data)
        assert here.server.heard == []


async def test_a_file_that_is_gone(tmp_path: Path) -> None:
    async with kit(tmp_path, "hello") as here:
        with pytest.raises(NotTranscribed, match="cannot be read: No such file"):
            await here.transcriber.words(Attachment(str(tmp_path / "gone"), "audio/ogg", "a", 1))


def problem(text: str) -> bytes:
    return json.dumps({"error": {"message": text, "type": "invalid_request_error"}}).encode()


async def cut(respond: Responder) -> None:
    await respond.cut()


async def endless(respond: Responder) -> None:
    await respond.head(200, [("content-type", "application/json")])
    while True:
        await respond.data(b'{"text": "' + b"a" * 65536)


@pytest.mark.parametrize(
    ("answer", "why", "attempts"),
    [
        ((401, problem("bad key sk-secret")), "refused the key: check providers.groq.apiKey", 1),
        ((400, problem("could not decode sk-secret-0123456789")), "It says: could not decode \\*\\*\\*", 1),
        ((402, problem("")), "no credit or quota left", 1),
        ((404, problem("")), "does not know the model whisper-large-v3", 1),
        ((413, b"<html>too large</html>"), "too large for groq", 1),
        ((429, problem("try again in 3600s")), "slow down", 1),
        ((500, b""), "cannot serve now", 2),
        ((302, b""), "did not accept the request", 1),
        ((200, b"<html>captive portal</html>"), "sent something that is no answer", 2),
        ((200, b'{"text": 5}'), "sent something that is no answer", 2),
        ((200, b"[" * 100_000), "sent something that is no answer", 2),
        ((200, b'{"text": " \\n "}'), "no words are heard in it", 1),
        pytest.param(cut, "the connection to groq .* failed", 2, id="cut"),
        pytest.param(endless, "sent something that is no answer", 2, id="endless"),
    ],
    ids=str,
)
async def test_every_failure_is_told(
    answer: Scripted, why: str, attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcription, "AGAIN_S", 0.01)
    async with kit(tmp_path, answer) as here:
        with pytest.raises(NotTranscribed, match=why) as caught:
            await here.words()
        assert len(here.server.heard) == attempts
    assert "sk-secret" not in str(caught.value)


async def test_what_passes_is_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcription, "AGAIN_S", 0.01)
    async with kit(tmp_path, (503, b""), "hello") as here:
        assert await here.words() == "hello"


async def test_an_answer_without_end_is_cut(tmp_path: Path) -> None:
    async with kit(tmp_path, "a" * 100_000) as here:
        words = await here.words()
    assert words is not None
    assert (len(words), words[-1]) == (transcription.MOST_CHARS, "…")


async def test_only_so_many_are_sent_at_once(tmp_path: Path) -> None:
    """The others wait, and their files are not in memory meanwhile."""
    go_on = trio.Event()

    async def slow(respond: Responder) -> None:
        await go_on.wait()
        await respond.reply(200, b'{"text": "a"}')

    async with kit(tmp_path, slow) as here, trio.open_nursery() as nursery:
        for _ in range(3 * AT_ONCE):
            nursery.start_soon(here.words)
        await here.server.received(AT_ONCE)
        go_on.set()
    assert (here.server.most, len(here.server.heard)) == (AT_ONCE, 3 * AT_ONCE)


async def test_cancelled_it_leaves_no_connection(tmp_path: Path) -> None:
    async def never(_respond: Responder) -> None:
        await trio.sleep_forever()

    async with kit(tmp_path, never) as here:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.words)
                await here.server.received(1)
                scope.cancel()
        with trio.fail_after(5):
            await here.server.http.all_closed()
