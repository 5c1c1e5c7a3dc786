"""Files that come with messages: under names of ours, whole and on disk, or named in the text."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

import pytest
import trio

from nanobot.channels import media
from nanobot.channels.media import MOST_FILES, Media
from nanobot.channels.port import Incoming
from nanobot.messages import MessageId, SessionKey
from tests.channels.kit import arrived

KEY = SessionKey("net", "Chat/../1")
MOST = 1000
Open = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]


def source(*chunks: bytes | Exception, opened: list[int] | None = None) -> Open:
    @asynccontextmanager
    async def open_it() -> AsyncIterator[AsyncIterator[bytes]]:
        if opened is not None:
            opened.append(1)

        async def body() -> AsyncGenerator[bytes, None]:
            for chunk in chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk

        async with aclosing(body()) as chunks_of_it:
            yield chunks_of_it

    return open_it


def file(*chunks: bytes | Exception, name: str = "a.PNG", size: int | None = None, opened: list[int] | None = None) -> Incoming:
    return Incoming(name, "image/png", size, source(*chunks, opened=opened))


async def test_a_file_is_stored_under_a_name_of_ours(tmp_path: Path) -> None:
    files, text = await Media(tmp_path).fetch(KEY, arrived(files=(file(b"ab", b"cd", name="../../e vil.PNG"),)), MOST)
    [stored] = files
    path = Path(stored.path)
    assert path.parent.parent == tmp_path
    assert path.name == "m1-0.png"
    assert (path.read_bytes(), stored.size, stored.name, stored.mime, text) == (b"abcd", 4, "../../e vil.PNG", "image/png", "hi")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_everything_is_on_disk_before_the_message_is_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's bytes before it has its name, then its folder's entry, and the folder's own."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(fd: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{fd}"))
        done.append("file" if target.is_file() else f"folder {target.name}")
        fsync(fd)

    def noted_rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    [stored], _ = await Media(tmp_path / "media").fetch(KEY, arrived(files=(file(b"x"),)), MOST)
    folder = Path(stored.path).parent.name
    assert done == ["folder media", "file", "rename", f"folder {folder}"]


@pytest.mark.parametrize(
    ("incoming", "reason"),
    [
        (file(b"", size=MOST + 1), "it is larger than 0.001 MB"),
        (file(b"x" * MOST, b"y"), "it is larger than 0.001 MB"),
        (file(b"x", OSError(5, "Connection reset")), "Connection reset"),
        (file(name="\n" + "n" * 200, size=MOST + 1), "n" * 79 + "… was not fetched: it is larger than 0.001 MB"),
    ],
    ids=["said to be large", "is large", "breaks off", "has a long name"],
)
async def test_what_cannot_be_had_is_named_and_leaves_nothing(tmp_path: Path, incoming: Incoming, reason: str) -> None:
    files, text = await Media(tmp_path).fetch(KEY, arrived(files=(incoming, file(b"good", name="b"))), MOST)
    assert [Path(one.path).name for one in files] == ["m1-1"]
    assert text.startswith("hi\n[file ")
    assert text.endswith(f"{reason}]")
    assert len(text.splitlines()) == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["m1-1"]


async def test_a_bug_of_the_channel_costs_the_file_and_not_the_message(tmp_path: Path, claimed_errors: list[str]) -> None:
    files, text = await Media(tmp_path).fetch(KEY, arrived(files=(file(KeyError("url")),)), MOST)
    assert (files, "has a bug: KeyError" in text) == ((), True)
    assert claimed_errors == ["channel net has a bug"]


async def test_a_copy_of_a_message_fetches_nothing_again(tmp_path: Path) -> None:
    opened: list[int] = []
    message = arrived(files=(file(b"abc", opened=opened),))
    first, _ = await Media(tmp_path).fetch(KEY, message, MOST)
    again, _ = await Media(tmp_path).fetch(KEY, message, MOST)
    assert (again, len(opened)) == (first, 1)


async def test_two_copies_at_once_both_end_with_the_whole_file(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(Media(tmp_path).fetch, KEY, arrived(files=(file(b"a" * 300, b"b" * 300),)), MOST)
    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert path.read_bytes() == b"a" * 300 + b"b" * 300


async def test_slow_files_do_not_hold_a_message_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "FETCH_S", 0.2)

    async def stalls() -> AsyncGenerator[bytes, None]:
        yield b"half"
        await trio.sleep_forever()

    files, text = await Media(tmp_path).fetch(KEY, arrived(files=(Incoming("a", "", None, lambda: aclosing(stalls())),)), MOST)
    assert (files, text) == ((), "hi\n[file a was not fetched: it took more than 0.2 seconds]")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_only_so_many_files_come_with_one_message(tmp_path: Path) -> None:
    files, text = await Media(tmp_path).fetch(KEY, arrived(files=(file(b"x"),) * (MOST_FILES + 2)), MOST)
    assert (len(files), text.count("more than 10 files")) == (MOST_FILES, 2)


async def test_messages_with_odd_ids_have_names_of_their_own(tmp_path: Path) -> None:
    paths = set()
    for number, odd in enumerate(["../x", "..%2fx", "x" * 500, "", "X", "x"]):
        message = arrived(number, files=(file(b"1"),))
        [stored], _ = await Media(tmp_path).fetch(
            KEY, message.__class__(MessageId(odd), "c", "u", "", 0.0, files=message.files), MOST
        )
        assert Path(stored.path).parent.parent == tmp_path
        paths.add(stored.path)
    assert len(paths) == 6
