"""Voice messages on their way in: their words stand in the text, in time or with a reason, once, and as their sender's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from nanobot.channels import voice
from nanobot.channels.port import Incoming, NotTaken
from nanobot.channels.voice import MOST_REMEMBERED, Voice
from nanobot.config.paths import places
from nanobot.config.schema import AgentDefaults, AgentsConfig, ChannelsConfig, Config, GatewayConfig, ProviderConfig, Secret
from nanobot.errors import NanobotError
from nanobot.gateway.app import Run, open_gateway
from nanobot.messages import Attachment, Inbound
from nanobot.session import commands
from tests.channels.kit import Kit, Scripted, arrived, running
from tests.channels.telegram_kit import config as telegram_config
from tests.fakes.llm import Answer, model_server
from tests.fakes.telegram import fake_telegram
from tests.fakes.transcription import ogg, transcriptions


@asynccontextmanager
async def _bytes() -> AsyncIterator[AsyncIterator[bytes]]:
    async def body() -> AsyncIterator[bytes]:
        yield b"sound"

    async with aclosing(body()) as chunks:  # type: ignore[type-var]
        yield chunks


def spoken(name: str = "voice.ogg", mime: str = "audio/ogg") -> Incoming:
    return Incoming(name, mime, 5, _bytes)


def file(name: str = "voice.ogg", mime: str = "audio/ogg") -> Attachment:
    return Attachment(f"/media/{name}", mime, name, 5)


@attrs.define
class Ears:
    """A service that hears what it is told to."""

    says: str | None = "the words"
    fails: Exception | None = None
    heard: list[str] = attrs.field(factory=list)
    slow: bool = False
    ended: trio.Event = attrs.field(factory=trio.Event)

    async def __call__(self, file: Attachment, /) -> str | None:
        self.heard.append(file.name)
        if self.slow:
            await self.ended.wait()
        if self.fails:
            raise self.fails
        return self.says


async def started(kit: Kit, ears: Ears) -> Scripted:
    channel = Scripted()
    kit.channels.voice.transcribe = ears
    await kit.start(channel)
    return channel


# --- through the whole way in


@pytest.mark.parametrize("tainted", [True, False])
async def test_the_words_stand_in_the_text_as_the_senders(tainted: bool, tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        channel = await started(kit, Ears())
        await channel.port.deliver(arrived(text="listen", files=(spoken(), spoken("a.png", "image/png")), tainted=tainted))
    [taken] = kit.taken
    assert (taken.text, len(taken.attachments), taken.tainted) == ("listen\n[voice: the words]", 2, tainted)


async def test_a_spoken_command_is_none(tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        channel = await started(kit, Ears("/new"))
        await channel.port.deliver(arrived(text="", files=(spoken(),)))
    [taken] = kit.taken
    assert taken.text == "[voice: /new]"
    assert taken.attachments  # with which no message is a command, whatever its text
    assert commands.read(taken.text, lambda _model: "") is None


async def test_a_stranger_is_not_listened_to(tmp_path: Path) -> None:
    ears = Ears()
    async with running(tmp_path) as kit:
        channel = await started(kit, ears)
        kit.access.strange, kit.access.ignored = {"eve"}, {"mallory"}
        for user in ("eve", "mallory"):
            await channel.port.deliver(arrived(user=user, files=(spoken(),)))
    assert (ears.heard, kit.taken) == ([], [])


async def test_told_again_because_it_was_not_taken_it_is_heard_once(tmp_path: Path) -> None:
    ears = Ears()
    async with running(tmp_path) as kit:
        channel = await started(kit, ears)
        full = [NotTaken("the disk is full", code="disk_full")] * 2

        async def take(inbound: Inbound) -> None:
            if full:
                raise full.pop()
            kit.taken.append(inbound)

        kit.channels.deliver = take
        for _ in range(2):
            with pytest.raises(NotTaken):
                await channel.port.deliver(arrived(files=(spoken(),)))
        await channel.port.deliver(arrived(files=(spoken(),)))
    assert (ears.heard, [one.text for one in kit.taken]) == (["voice.ogg"], ["hi\n[voice: the words]"])


# --- by itself


@pytest.mark.parametrize(
    ("ears", "line"),
    [
        (Ears(None), ""),
        (Ears(fails=NanobotError("there is no key")), "[voice message voice.ogg was not turned into text: there is no key]"),
    ],
)
async def test_what_cannot_be_heard_is_said_and_what_is_switched_off_is_not(ears: Ears, line: str) -> None:
    assert await Voice(ears).heard([file()], "hi") == "\n".join(filter(None, ("hi", line)))
    assert await Voice(ears).heard([file()], "") == line


async def test_a_bug_costs_the_words_and_not_the_message(claimed_errors: list[str]) -> None:
    text = await Voice(Ears(fails=KeyError("text"))).heard([file()], "hi")
    assert text.startswith("hi\n[voice message voice.ogg was not turned into text: ")
    assert claimed_errors


async def test_a_message_without_sound_waits_for_nothing() -> None:
    ears = Ears()
    with trio.testing.assert_no_checkpoints():
        assert await Voice(ears).heard([file("a.png", "image/png")], "hi") == "hi"
    assert ears.heard == []


async def test_what_takes_too_long_is_said_and_what_was_heard_by_then_counts(autojump_clock: object) -> None:
    ears = Ears()

    async def second_is_slow(file: Attachment, /) -> str | None:
        ears.slow = file.name != "one.ogg"
        return await ears(file)

    hearing = Voice(second_is_slow)
    text = await hearing.heard([file("one.ogg"), file("two\n.ogg"), file("three.ogg")], "hi")
    late = "was not turned into text: it took more than 25 seconds]"
    assert text.splitlines() == [
        "hi",
        "[voice: the words]",
        f"[voice message two .ogg {late}",
        f"[voice message three.ogg {late}",
    ]
    assert trio.current_time() == voice.HEAR_S
    await hearing.heard([file("one.ogg"), file("two\n.ogg")], "hi")
    assert trio.current_time() == voice.HEAR_S  # told again, it does not hold up its chat once more


async def test_the_same_under_way_is_waited_for(autojump_clock: object) -> None:
    ears, texts = Ears(slow=True), []
    hearing = Voice(ears)

    async def hear() -> None:
        texts.append(await hearing.heard([file()], ""))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(hear)
        await trio.sleep(1)
        ears.ended.set()
    assert (texts, ears.heard, len(hearing._under_way)) == (["[voice: the words]"] * 5, ["voice.ogg"], 0)


async def test_if_the_first_is_cancelled_the_second_goes_on_by_itself(autojump_clock: object) -> None:
    ears, texts = Ears(slow=True), []
    hearing = Voice(ears)

    async def hear() -> None:
        texts.append(await hearing.heard([file()], ""))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            async with trio.open_nursery() as first:
                first.start_soon(hear)
                await trio.sleep(0.5)
                nursery.start_soon(hear)
        ears.slow = False
        ears.ended.set()
    assert (texts, ears.heard) == (["[voice: the words]"], ["voice.ogg"] * 2)


async def test_only_so_many_are_remembered() -> None:
    hearing = Voice(Ears())
    for number in range(MOST_REMEMBERED + 50):
        await hearing.heard([file(f"{number}.ogg")], "")
    assert len(hearing._lines) == MOST_REMEMBERED


# --- in the whole gateway


async def test_a_voice_message_reaches_the_model_as_words(tmp_path: Path) -> None:
    """From Telegram by a service with the key of a provider, and the answer goes back."""
    async with fake_telegram() as fake, transcriptions("what is the time") as ears, model_server([Answer("noon")]) as model:
        config = Config(
            agents=AgentsConfig(AgentDefaults(model="m", provider="custom")),
            providers={"custom": ProviderConfig(api_base=model.base), "groq": ProviderConfig(Secret("k"), ears.base)},
            channels=ChannelsConfig(telegram=telegram_config(fake, allow_from=("*",))),
            gateway=GatewayConfig(http=False, drain_s=0.0),
        )
        lock = os.open(tmp_path, os.O_RDONLY)
        try:
            async with open_gateway(Run(config, places(tmp_path / "config.json"), {}, lock, lambda: config)):
                fake.says(None, voice=fake.file("voice/f", ogg(), duration=3, mime_type="audio/ogg"))
                await fake.until(lambda: any("noon" in text for text in fake.chat()))
        finally:
            os.close(lock)
    assert model.requests[0].texts[0].startswith("[voice: what is the time]\n[file: ")
    assert (ears.heard[0].name, ears.heard[0].data) == ("voice.ogg", ogg())
