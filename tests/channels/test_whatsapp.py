"""WhatsApp: the real channel, the real bridge in a real Node, a WhatsApp of ours behind it."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio_websocket import WebSocketConnection

from nanobot.channels.port import NotTaken
from nanobot.channels.whatsapp import channel as whatsapp
from nanobot.channels.whatsapp import link
from nanobot.channels.whatsapp.bridge import Home, _locked, open_bridge
from nanobot.channels.whatsapp.channel import WhatsAppChannel
from nanobot.config.schema import Secret, WhatsAppConfig
from nanobot.messages import Attachment, Inbound, OutboundId, SessionKey
from nanobot.session import events as ev
from nanobot.session.state import Session
from nanobot.supervise.policy import Cause, ChildFailed
from tests.channels.kit import Kit, pending, running
from tests.fakes.whatsapp import GROUP, LID, ME_LID, PN, Network, open_bridge_like, open_network, until

NAME = "whatsapp"
CHAT = f"whatsapp:default:{PN}"


@attrs.define
class Place:
    kit: Kit
    network: Network
    lives: list[WhatsAppChannel]

    @property
    def channel(self) -> WhatsAppChannel:
        return self.lives[-1]

    async def taken(self, count: int = 1) -> list[Inbound]:
        await until(lambda: len(self.kit.taken) >= count)
        return self.kit.taken

    async def arrives(self, message: dict[str, Any], chat: str = LID, **more: str) -> Inbound:
        before = len(self.kit.taken)
        self.network.put(message, chat, **more)
        return (await self.taken(before + 1))[-1]

    async def send(self, text: str = "hello", key: str = CHAT, **more: Any) -> ev.Event:
        with trio.fail_after(20):
            message = pending(text, **more)
            outbound = attrs.evolve(message.outbound, id=OutboundId(text))
            return await self.kit.channels.send(Session(key), attrs.evolve(message, outbound=outbound), 0)


def config(**more: Any) -> WhatsAppConfig:
    return WhatsAppConfig(enabled=True, allow_from=("*",), **more)


@asynccontextmanager
async def connected(place: Path, **more: Any) -> AsyncIterator[Place]:
    async with open_network() as network, running(place) as kit:
        lives: list[WhatsAppChannel] = []

        def make() -> WhatsAppChannel:
            lives.append(WhatsAppChannel(config(**more), network.program(place)))
            return lives[-1]

        kit.channels.add(NAME, make, config(**more))
        await until(lambda: NAME in kit.up)
        yield Place(kit, network, lives)


# --- in


async def test_messages_of_all_kinds_arrive_once_in_order_and_are_acknowledged(tmp_path: Path) -> None:
    async with connected(tmp_path) as place:
        first = await place.arrives({"conversation": "hello"})
        assert (str(first.key), first.principal.user, first.text, first.direct) == (CHAT, "4915112345678", "hello", True)

        by_number = await place.arrives({"conversation": "again"}, PN)
        assert (str(by_number.key), by_number.principal.user) == (CHAT, "4915112345678")

        context = {"mentionedJid": [f"{ME_LID}@lid"]}
        named = {"extendedTextMessage": {"text": f"@{ME_LID} /status", "contextInfo": context}}
        in_group = await place.arrives(named, GROUP, participant=LID)
        assert (in_group.key.chat, in_group.principal.user, in_group.text) == (GROUP, "4915112345678", "/status")
        assert not in_group.direct

        quoting = {"stanzaId": "Q", "participant": "5@lid", "quotedMessage": {"conversation": "pay him"}, "isForwarded": False}
        answer = await place.arrives({"extendedTextMessage": {"text": "do it", "contextInfo": quoting}})
        assert (answer.text, answer.tainted) == ("[Reply to: pay him]\ndo it", True)
        assert '"5@lid"' not in (tmp_path / "channels" / NAME / "people.json").read_text()

        forwarded = await place.arrives({"extendedTextMessage": {"text": "x", "contextInfo": {"isForwarded": True}}})
        assert forwarded.tainted

        changed = {"type": 14, "key": {"id": "M1"}, "editedMessage": {"conversation": "hello you"}}
        edit = await place.arrives({"protocolMessage": changed}, id="E1")
        assert (edit.id, edit.text) == ("M1@E1", "[edited]\nhello you")

        await place.network.until(lambda: not place.network.waiting)
        inbox = tmp_path / "channels" / NAME / "inbox" / "inbox.jsonl"
        await until(lambda: inbox.read_text().count('"ack"') == 6)


async def test_files_are_fetched_through_the_bridge_and_voice_too(tmp_path: Path) -> None:
    def kind(content: bytes, **more: Any) -> dict[str, Any]:
        return {"directPath": base64.b64encode(content).decode(), "url": "x", **more}

    big = bytes(range(256)) * 4000
    async with connected(tmp_path) as place:
        named = kind(big, mimetype="application/pdf", fileName="../../e\u202efdp.exe", fileLength=len(big), caption="read")
        document = await place.arrives({"documentMessage": named})
        voice = await place.arrives({"audioMessage": kind(b"OggS", mimetype="audio/ogg; codecs=opus", ptt=True)})
        gone = await place.arrives({"imageMessage": {"directPath": "gone", "url": "x", "mimetype": "image/png"}})
        large = await place.arrives({"videoMessage": kind(b"x", mimetype="video/mp4", fileLength=33_000_000)})
    [file] = document.attachments
    assert (document.text, file.mime, Path(file.path).read_bytes()) == ("read", "application/pdf", big)
    assert Path(file.path).parent.parent == tmp_path / "media"
    assert [(one.mime, Path(one.path).suffix) for one in voice.attachments] == [("audio/ogg", ".ogg")]
    assert voice.text == "[Voice Message]"
    assert (gone.attachments, "WhatsApp has it no more (502)" in gone.text) == ((), True)
    assert (large.attachments, "larger than 32 MB" in large.text) == ((), True)


async def test_what_cannot_be_taken_now_is_not_acknowledged_and_taken_later_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanobot.channels.gathering.RETRY_S", 0.05)
    async with connected(tmp_path) as place:
        refusals = [NotTaken("the disk is full", code="disk_full")] * 3

        inbox = tmp_path / "channels" / NAME / "inbox" / "inbox.jsonl"

        async def take(inbound: Inbound) -> None:
            assert inbox.read_text().count('"ack"') <= len(place.kit.taken)
            if refusals:
                raise refusals.pop()
            place.kit.taken.append(inbound)

        place.kit.channels.deliver = take
        for text in ("one", "two"):
            place.network.say(text)
        assert [one.text for one in await place.taken(2)] == ["one", "two"]


async def test_what_no_program_of_whatsapps_would_write_holds_nobody_up(tmp_path: Path) -> None:
    worst = "\x01" * 1_000_000
    unnamed = {"directPath": base64.b64encode(b"x").decode(), "url": "x", "mimetype": "", "caption": "a file"}
    async with connected(tmp_path) as place:
        assert (await place.arrives({"conversation": worst})).text == worst
        assert (await place.arrives({"documentMessage": {**unnamed, "fileName": f"{worst}.pdf"}})).text == "a file"
        assert (await place.arrives({"conversation": "after"})).text == "after"


async def test_a_life_that_ends_while_a_message_is_taken_ends_by_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking, ending = trio.Event(), trio.Event()

    @asynccontextmanager
    async def slowly_ending(*args: Any) -> AsyncIterator[int]:
        async with open_bridge(*args) as number:
            try:
                yield number
            finally:
                ending.set()
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked(0.2)

    monkeypatch.setattr(link, "open_bridge", slowly_ending)
    async with connected(tmp_path) as place:

        async def take(_inbound: Inbound) -> None:
            taking.set()
            await ending.wait()

        place.kit.channels.deliver = take
        place.network.say("hello")
        await taking.wait()
        await place.network.order("close", code=440)
        error = await _end(place.kit)
    assert error.cause is Cause.CONFIG


async def test_pictures_that_are_sent_together_are_one_message(tmp_path: Path) -> None:
    picture = {"directPath": base64.b64encode(b"jpeg").decode(), "url": "x", "mimetype": "image/jpeg"}
    async with connected(tmp_path) as place:
        for n in range(3):
            place.network.put({"imageMessage": {**picture, "caption": f"p{n}"}})
        place.network.say("and?")
        album, after = await place.taken(2)
    assert (album.text, [Path(file.path).read_bytes() for file in album.attachments]) == ("p0\np1\np2", [b"jpeg"] * 3)
    assert after.text == "and?"


async def test_a_burst_of_5000_and_what_harms(tmp_path: Path) -> None:
    async with connected(tmp_path) as place:
        for n in range(5000):
            place.network.say(f"m{n}", chat=f"{4900000 + n % 50}@s.whatsapp.net")
        await place.taken(5000)
        for chat in range(50):
            texts = [int(one.text[1:]) for one in place.kit.taken if one.key.chat.startswith(f"{4900000 + chat}@")]
            assert texts == sorted(texts)
            assert len(texts) == 100
        megabyte = await place.arrives({"conversation": "x" * 1_000_000})
        assert len(megabyte.text) == 1_000_000
        odd = await place.arrives({"conversation": "\u202eabc\u200b\ud800 \x00\x1b[31m"})
        assert odd.text == "\u202eabc\u200b\ufffd \x00\x1b[31m"
        place.network.put({"conversation": ""})
        assert (await place.arrives({"conversation": "after nothing"})).text == "after nothing"


# --- out


async def test_texts_and_files_go_out_as_whatsapp_shows_them(tmp_path: Path) -> None:
    picture, voice = tmp_path / "a.png", tmp_path / "a.ogg"
    picture.write_bytes(b"PNG")
    voice.write_bytes(b"OggS")
    files = (Attachment(str(picture), "image/png", "a.png", 3), Attachment(str(voice), "audio/ogg", "a.ogg", 4))
    async with connected(tmp_path) as place:
        delivered = await place.send("**bold** and *this*\n# Head")
        await place.send("a **picture**", attachments=files[:1])
        await place.send("a voice", attachments=files[1:])
        shown = list(place.network.shown.values())
    assert isinstance(delivered, ev.PartDelivered)
    assert delivered.receipt == shown[0]["id"]
    assert [one["to"] for one in shown] == [PN] * 4
    assert shown[0]["content"] == {"text": "*bold* and _this_\n*Head*", "linkPreview": None}
    assert (shown[1]["content"]["caption"], shown[1]["content"]["image"]) == ("a *picture*", hashlib.sha256(b"PNG").hexdigest())
    assert (shown[2]["content"]["text"], shown[3]["content"]["ptt"]) == ("a voice", True)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [({"error": "403"}, ev.SendRefused), ({"error": "479"}, ev.SendFailed), (None, ev.SendFailed)],
    ids=["refused", "later", "no answer"],
)
async def test_a_send_that_whatsapp_does_not_confirm(tmp_path: Path, answer: dict[str, str] | None, expected: type) -> None:
    async with connected(tmp_path) as place:
        place.network.confirms = lambda _id: answer
        assert isinstance(await place.send(), expected)


async def test_a_send_whose_answer_was_lost_is_shown_once(tmp_path: Path) -> None:
    async with connected(tmp_path) as place:
        place.network.confirms = lambda _id: None
        assert isinstance(await place.send(), ev.SendFailed)
        place.network.confirms = lambda _id: {}
        assert isinstance(await place.send(), ev.PartDelivered)
        assert isinstance(await place.send(), ev.PartDelivered)
        assert (place.network.texts(), len(place.network.stanzas)) == (["hello"], 2)


async def test_a_chat_that_is_none_is_refused_and_nobody_else_notices(tmp_path: Path) -> None:
    async with connected(tmp_path) as place:
        assert isinstance(await place.send(key="whatsapp:default:Ann"), ev.SendRefused)
        assert isinstance(await place.send(), ev.PartDelivered)
        assert len(place.lives) == 1


async def test_typing_and_receipts_begin_with_the_answer(tmp_path: Path) -> None:
    async with connected(tmp_path) as place:
        await place.arrives({"conversation": "hi"})
        await place.arrives({"conversation": "hi", "messageContextInfo": {}}, GROUP, participant=LID)
        assert [one for one in place.network.told if one["op"] == "read"] == []
        await place.channel.typing(SessionKey.parse(CHAT))
        await place.network.until(lambda: any(one["op"] == "presence" for one in place.network.told))
        done = [one for one in place.network.told if one["op"] != "opened"]
        assert done == [
            {"op": "read", "keys": [{"remoteJid": LID, "id": "M1"}]},
            {"op": "presence", "presence": "composing", "to": PN},
        ]


# --- the bridge as a child


async def test_the_bridge_ends_with_the_channel_and_takes_nothing_of_anybody(tmp_path: Path) -> None:
    async with connected(tmp_path):
        token = tmp_path / "whatsapp-auth" / "bridge-token"
        assert (token.stat().st_mode & 0o777, len(token.read_text())) == (0o600, 43)
    home = Home(tmp_path)
    assert (home.linked, (home.auth / "creds.json").stat().st_mode & 0o777) == ("+4915199999999", 0o600)
    os.close(_locked(home))  # free again


async def test_a_bridge_that_is_killed_ends_the_life_and_nothing_is_lost(tmp_path: Path) -> None:
    async with connected(tmp_path) as place:
        await place.arrives({"conversation": "one"})
        _kill_node(tmp_path)
        error = await _end(place.kit)
        place.network.say("two")
        place.kit.supervisor.again(NAME)
        await place.taken(2)
    assert error.cause is Cause.TRANSIENT


@pytest.mark.parametrize(
    ("code", "cause", "word"),
    [(401, Cause.AUTH, "not linked"), (403, Cause.AUTH, "blocked"), (440, Cause.CONFIG, "Another program")],
)
async def test_an_end_that_needs_a_person_says_so(tmp_path: Path, code: int, cause: Cause, word: str) -> None:
    async with connected(tmp_path) as place:
        await place.network.order("close", code=code)
        error = await _end(place.kit)
    assert (error.cause, word in str(error)) == (cause, True)


async def test_whatsapp_away_sends_later_and_comes_back_by_itself(tmp_path: Path) -> None:
    async with connected(tmp_path) as place:
        before = place.network.connections
        await place.network.order("close", code=428)
        await until(lambda: place.channel._status != "connected")
        assert isinstance(await place.send(), ev.SendFailed)
        await place.network.until(lambda: place.network.connections > before)
        await until(lambda: place.channel._status == "connected")
        assert isinstance(await place.send(), ev.PartDelivered)


async def test_whatsapp_away_for_long_ends_the_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whatsapp, "OFFLINE_S", 0.3)
    async with connected(tmp_path) as place:
        place.network.away = True
        await place.network.order("close", code=503)
        error = await _end(place.kit)
    assert "has not been connected to WhatsApp" in str(error)


async def test_a_bridge_that_is_not_linked_parks_with_the_way_out(tmp_path: Path) -> None:
    async with open_network(linked=False) as network, running(tmp_path) as kit:
        kit.channels.add(NAME, lambda: WhatsAppChannel(config(), network.program(tmp_path)), config())
        error = await _end(kit)
    assert (error.cause, str(error)) == (Cause.AUTH, "WhatsApp is not linked. Run: nanobot channels login whatsapp")


async def test_a_port_that_is_taken_names_the_old_bridge(tmp_path: Path) -> None:
    async with open_network() as network, running(tmp_path) as kit:
        url = f"ws://localhost:{network.port}"
        kit.channels.add(NAME, lambda: WhatsAppChannel(config(bridge_url=url), network.program(tmp_path)), config())
        error = await _end(kit)
    assert (error.cause, "bridge of HKUDS/nanobot" in str(error)) == (Cause.CONFIG, True)


@pytest.mark.parametrize(
    ("missing", "word"), [("node", "Install Node.js 20 or later"), ("bridge", "nanobot channels login whatsapp")]
)
async def test_what_is_missing_is_said_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, word: str
) -> None:
    monkeypatch.setattr("nanobot.channels.whatsapp.bridge.shutil.which", lambda name: None if missing == "node" else name)
    monkeypatch.setattr("nanobot.channels.whatsapp.bridge.sources", lambda: _sources(tmp_path))
    async with running(tmp_path) as kit:
        kit.channels.add(NAME, lambda: WhatsAppChannel(config()), config())
        error = await _end(kit)
    assert (error.cause, word in str(error)) == (Cause.CONFIG, True)


def _sources(place: Path) -> Path:
    (place / "src").mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json", "tsconfig.json", ".npmrc"):
        (place / name).touch()
    return place


async def test_an_inbox_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "channels" / NAME / "inbox" / "inbox.jsonl").mkdir(parents=True)
    async with open_network() as network, running(tmp_path) as kit:
        kit.channels.add(NAME, lambda: WhatsAppChannel(config(), network.program(tmp_path)), config())
        assert "what waits in" in str(await _end(kit))


# --- a bridge that somebody else runs


async def _says(connection: WebSocketConnection, *frames: str) -> None:
    await connection.get_message()
    for frame in frames:
        await connection.send_message(frame)
    await trio.sleep_forever()


async def _closes(connection: WebSocketConnection, code: int) -> None:
    await connection.get_message()
    await connection.aclose(code)


READY = '{"type": "ready", "version": 2, "status": "connected"}'
OTHERS = {
    "version 1, connected": (
        lambda c: _says(c, '{"type": "status", "status": "connected"}'),
        Cause.CONFIG,
        "version 1, that of HKUDS",
    ),
    "version 1, a message": (lambda c: _says(c, '{"type": "message", "id": "A"}'), Cause.CONFIG, "version 1"),
    "version 3": (lambda c: _says(c, READY.replace("2", "3")), Cause.CONFIG, "another version"),
    "no bridge": (lambda c: _says(c, "hello"), Cause.CONFIG, "is no bridge"),
    "another token": (lambda c: _closes(c, 4003), Cause.AUTH, "another token"),
    "a rival": (lambda c: _closes(c, 4009), Cause.TRANSIENT, "perhaps a second nanobot"),
    "gone": (lambda c: _closes(c, 1001), Cause.TRANSIENT, "ended"),
    "garbage later": (lambda c: _says(c, READY, "{"), Cause.TRANSIENT, "a frame that is none"),
    "unlinked later": (lambda c: _says(c, READY, '{"type": "qr", "qr": "x"}'), Cause.AUTH, "not linked"),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_another_bridge(tmp_path: Path, name: str) -> None:
    talk, cause, word = OTHERS[name]
    async with open_bridge_like(talk) as url, running(tmp_path) as kit:
        section = config(autostart=False, bridge_url=url, bridge_token=Secret("t"))
        kit.channels.add(NAME, lambda: WhatsAppChannel(section), section)
        error = await _end(kit)
    assert (error.cause, word in str(error)) == (cause, True), str(error)


@pytest.mark.parametrize(
    ("more", "cause", "word"),
    [
        ({"bridge_url": "ws://127.0.0.1:9", "bridge_token": Secret("t")}, Cause.TRANSIENT, "no bridge answers"),
        ({"bridge_url": "ws://example.com:3001", "bridge_token": Secret("t")}, Cause.CONFIG, "is not ws://127.0.0.1:PORT"),
        ({"bridge_url": "ws://127.0.0.1:x", "bridge_token": Secret("t")}, Cause.CONFIG, "is not ws://127.0.0.1:PORT"),
        ({}, Cause.AUTH, "bridgeToken is not set"),
    ],
)
async def test_a_bridge_that_cannot_be_reached(tmp_path: Path, more: dict[str, Any], cause: Cause, word: str) -> None:
    async with running(tmp_path) as kit:
        kit.channels.add(NAME, lambda: WhatsAppChannel(config(autostart=False, **more)), config())
        error = await _end(kit)
    assert (error.cause, word in str(error)) == (cause, True)


async def test_silence_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.channels.whatsapp.link.READY_S", 0.1)
    async with open_bridge_like(_says) as url, running(tmp_path) as kit:
        section = config(autostart=False, bridge_url=url, bridge_token=Secret("t"))
        kit.channels.add(NAME, lambda: WhatsAppChannel(section), section)
        assert "does not say that it is ready" in str(await _end(kit))


# --- a look at it


async def test_a_look_tells_who_we_are_and_sends_only_when_asked(tmp_path: Path) -> None:
    async with open_network() as network:
        channel = WhatsAppChannel(config(), network.program(tmp_path))
        with trio.fail_after(30):
            lines = await channel.probe(tmp_path / "channels" / NAME, "")
            assert network.stanzas == []
            sent = await channel.probe(tmp_path / "channels" / NAME, "+4915112345678")
    assert lines[1] == "connected to WhatsApp as +4915199999999"
    assert sent[2].startswith("sent to +4915112345678 as 3EB0")
    assert [one["to"] for one in network.stanzas] == [PN]


async def test_a_look_beside_a_gateway_that_runs(tmp_path: Path) -> None:
    async with connected(tmp_path) as place:
        beside = WhatsAppChannel(config(), place.network.program(tmp_path))
        lines = await beside.probe(tmp_path / "channels" / NAME, "")
        sent = await beside.probe(tmp_path / "channels" / NAME, PN)
        assert place.network.stanzas == []
    assert lines == ("a nanobot that runs uses the link to +4915199999999: nanobot channels status",)
    assert sent == (*lines, "nothing was sent")


# --- what they share


async def _end(kit: Kit) -> ChildFailed:
    """The gravest of what has ended the life."""
    with trio.fail_after(30):
        await kit.supervisor.ended.wait()
    found = [error for error in kit.supervisor.ends if isinstance(error, ChildFailed)]
    assert len(found) == len(kit.supervisor.ends), kit.supervisor.ends
    kit.supervisor.ends.clear()
    return max(found, key=lambda error: list(Cause).index(error.cause))


def _kill_node(place: Path) -> None:
    """The bridge of this place, by its own command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and str(place / "bridge.mjs").encode() in _command(entry):
            os.kill(int(entry.name), signal.SIGKILL)


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""
