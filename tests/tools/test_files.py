"""`read_file` and `write_file`."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from nanobot.pictures import LARGEST
from nanobot.tools import files
from tests.tools.kit import PNG, Kit

GIF = b"GIF89a" + struct.pack("<HH", 640, 480)
JPEG = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc0\0\x11\x08" + struct.pack(">HH", 480, 640) + bytes(9)
WEBPS = {
    "lossy": b"VP8 " + bytes(10) + struct.pack("<HH", 640, 480),
    "lossless": b"VP8L" + bytes(4) + b"/" + struct.pack("<I", 479 << 14 | 639),
    "extended": b"VP8X" + bytes(8) + b"\x7f\2\0\xdf\1\0",
}
IMAGES = {"image/png": [PNG], "image/gif": [GIF], "image/jpeg": [JPEG]} | {
    "image/webp": [b"RIFF\0\0\0\0WEBP" + chunk for chunk in WEBPS.values()]
}


async def test_lines_are_numbered(kit: Kit) -> None:
    kit.put("a.txt", "one\ntwo\r\nthree")
    assert await kit.text("read_file", path="a.txt") == "1| one\n2| two\n3| three"


async def test_pages_say_how_to_go_on_and_where_the_end_is(kit: Kit) -> None:
    kit.put("a.txt", "".join(f"{n}\n" for n in range(1, 21)))
    assert (await kit.text("read_file", path="a.txt", limit=2)).endswith("\n(lines 1-2 of 20; go on with offset=3)")
    assert await kit.text("read_file", path="a.txt", offset=19) == "19| 19\n20| 20\n(lines 19-20 of 20, the end)"
    assert "has 20 lines; offset 21 is beyond its end" in await kit.refused("read_file", path="a.txt", offset=21)


async def test_going_on_reads_every_line_exactly_once(kit: Kit) -> None:
    lines = [f"{n} {'x' * (n % 3000)}" for n in range(300)]
    kit.put("long.txt", "\n".join(lines))
    seen: list[str] = []
    while len(seen) < len(lines):
        text = await kit.text("read_file", path="long.txt", offset=len(seen) + 1)
        assert len(text) < 4 * 16000 + 3000
        seen += [line.partition("| ")[2] for line in text.splitlines() if "| " in line]
    assert seen == lines


async def test_a_wide_line_longer_than_a_page_is_cut(kit: Kit) -> None:
    kit.put("wide.txt", ("x" * 70_000 + "\nsecond").encode("utf-16"))
    text = await kit.text("read_file", path="wide.txt")
    assert "line 1 is too long and was cut" in text
    assert "lines 1-1 of 2; go on with offset=2" in text


async def test_a_line_longer_than_a_page_is_cut_and_the_rest_is_counted(kit: Kit) -> None:
    kit.put("min.js", "x" * 200_000 + "\nsecond\n")
    text = await kit.text("read_file", path="min.js")
    assert "line 1 is too long and was cut" in text
    assert "lines 1-1 of 2; go on with offset=2" in text
    assert await kit.text("read_file", path="min.js", offset=2) == "2| second\n(lines 2-2 of 2, the end)"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"", "(f is empty)"),
        ("grüße 😀".encode(), "1| grüße 😀"),
        ("wide\ntext".encode("utf-16"), "1| wide\n2| text"),
        ("grüße".encode("latin-1"), "1| gr\ufffd\ufffde\n(bytes that are not UTF-8 are shown as \ufffd)"),
    ],
)
async def test_texts(content: bytes, shown: str, kit: Kit) -> None:
    kit.put("f", content)
    assert await kit.text("read_file", path="f") == shown


async def test_a_wide_text_is_not_taken_apart_in_memory_if_it_is_long(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_WIDE", 1000)
    kit.put("wide.txt", ("ab\n" * 200).encode("utf-16"))
    assert "has 1,202 bytes of UTF-16, too many to read here" in await kit.refused("read_file", path="wide.txt")


@pytest.mark.parametrize(
    ("content", "advice"),
    [(b"a\0b", "binary file. Use exec"), (b"PK\x03\x04rest", "is damaged")],
)
async def test_what_is_no_text_is_refused_with_advice(content: bytes, advice: str, kit: Kit) -> None:
    kit.put("f", content)
    assert advice in await kit.refused("read_file", path="f")


@pytest.mark.parametrize(("start", "mime"), [(start, mime) for mime, starts in IMAGES.items() for start in starts])
async def test_an_image_is_attached_as_it_is_now(start: bytes, mime: str, kit: Kit) -> None:
    path = kit.put("pictures/photo.jpg", start)
    result = await kit.call("read_file", path="pictures/photo.jpg")
    path.write_bytes(b"changed later")
    (image,) = result.attachments
    assert result.text == f"pictures/photo.jpg: {mime}, 640 x 480 pixels, {len(start)} bytes, shown as an image"
    assert (image.mime, image.name, image.size) == (mime, "photo.jpg", len(start))
    (copy,) = kit.turn.results.iterdir()
    assert image.path == str(copy)
    assert copy.read_bytes() == start


@pytest.mark.parametrize("start", [PNG, GIF, JPEG, *IMAGES["image/webp"]], ids=str)
async def test_half_a_header_is_no_image(start: bytes, kit: Kit) -> None:
    """A model service that refuses an image would refuse every later request of the conversation."""
    for length in range(12, len(start) - 9 if start in (PNG, JPEG) else len(start)):
        kit.put("a.png", start[:length])
        result = await kit.call("read_file", path="a.png")
        assert (result.failed, result.attachments) == (True, ())
    assert list(kit.turn.results.iterdir()) == []


async def test_an_image_of_too_many_pixels_is_refused(kit: Kit) -> None:
    kit.put("bomb.png", PNG[:16] + struct.pack(">II", 50_000, 50_000) + bytes(9))
    assert "50000 x 50000 pixels; models see 8000 at most" in await kit.refused("read_file", path="bomb.png")
    kit.put("none.gif", GIF[:6] + bytes(4))
    assert "begins like an image (image/gif) and is damaged" in await kit.refused("read_file", path="none.gif")


async def test_a_huge_image_or_file_is_refused_with_advice(kit: Kit) -> None:
    kit.put("big.png", PNG + b"\0" * LARGEST)
    assert "Make a smaller copy" in await kit.refused("read_file", path="big.png")
    with kit.put("big.log", "text " * 2000).open("r+b") as file:
        file.truncate(files.LARGEST_FILE + 1)
    assert "Use exec with head" in await kit.refused("read_file", path="big.log")


async def test_only_files_are_read(kit: Kit) -> None:
    os.mkfifo(kit.workspace / "pipe")
    (kit.workspace / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(kit.workspace / "sock"))
    for name, kind in {"pipe": "a named pipe", "folder": "a folder", "sock": "a socket"}.items():
        assert f"{name} is {kind}, not a file" in await kit.refused("read_file", path=name)
    assert "nothing.txt does not exist" in await kit.refused("read_file", path="nothing.txt")


async def test_writing_makes_folders_and_says_what_it_did(kit: Kit) -> None:
    assert await kit.text("write_file", path="a/b/c.txt", content="one\ntwo\n") == "Made a/b/c.txt: 8 bytes, 2 lines"
    assert await kit.text("write_file", path="a/b/c.txt", content="ü") == "Overwrote a/b/c.txt: 2 bytes, 1 line"
    assert (kit.workspace / "a/b/c.txt").read_text() == "ü"
    assert [path.name for path in (kit.workspace / "a/b").iterdir()] == ["c.txt"]


async def test_overwriting_keeps_the_mode_and_what_others_have_open(kit: Kit) -> None:
    path = kit.put("run.sh", "old")
    path.chmod(0o750)
    with path.open() as reader:
        await kit.text("write_file", path="run.sh", content="new")
        assert reader.read() == "old"  # never half of each
    assert path.stat().st_mode & 0o777 == 0o750


async def test_a_new_file_has_the_mode_of_any_new_file(kit: Kit) -> None:
    kit.put("usual", "")
    await kit.text("write_file", path="ours", content="")
    assert (kit.workspace / "ours").stat().st_mode == (kit.workspace / "usual").stat().st_mode


async def test_writing_over_a_folder_or_pipe_is_refused(kit: Kit) -> None:
    os.mkfifo(kit.workspace / "pipe")
    (kit.workspace / "folder").mkdir()
    assert "is a named pipe" in await kit.refused("write_file", path="pipe", content="x")
    assert "is a folder" in await kit.refused("write_file", path="folder", content="x")
    kit.put("plain", "x")
    assert "cannot be reached" in await kit.refused("write_file", path="plain/below", content="x")
    assert sorted(path.name for path in kit.workspace.iterdir()) == ["folder", "pipe", "plain"]
